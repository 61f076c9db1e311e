"""An answer as the JSON its task asks for, checked against the task's schema. Knows no worker.

`jsonschema` is imported on first use: tasks without a schema need not pay for it.
"""

from __future__ import annotations

import asyncio
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from orchestration.errors import AttemptError
from orchestration.task import FailureKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestration.attempt import Outcome
    from orchestration.task import AgentTask

__all__ = ["AnswerForm", "form_of", "formed", "read_form"]

# Compatible servers that ignore the schema, and people, like to put JSON into a code block.
_FENCE = re.compile(r"\s*```(?:json)?[ \t]*\n(.*?)\n?```\s*", re.DOTALL | re.IGNORECASE)
_SHOWN_CHARS = 300


class AnswerForm(msgspec.Struct, frozen=True):
    """The form a task's answer must have."""

    _validator: Any

    def read(self, text: str) -> tuple[str, Any]:
        """Return the JSON text, freed of a code block around it, and its value.

        Raises:
            AttemptError: of kind `bad_output`, saying what is wrong and where, in words a model can act on.

        """
        fenced = _FENCE.fullmatch(text)
        plain = fenced.group(1) if fenced else text
        try:
            value = msgspec.json.decode(plain)
        except (msgspec.DecodeError, RecursionError) as exc:
            raise _bad(f"the answer is not JSON: {exc}; it begins with {_cut(plain, 80)!r}", text) from exc
        self.check(value, text)
        return plain, value

    def check(self, value: Any, text: str) -> None:
        """Refuse a value that does not meet the schema.

        Raises:
            AttemptError: of kind `bad_output`.

        """
        from jsonschema.exceptions import best_match  # noqa: PLC0415 -- loaded with the validator
        from referencing.exceptions import Unresolvable  # noqa: PLC0415

        try:
            error = best_match(self._validator.iter_errors(value))
        except (Unresolvable, RecursionError) as exc:
            raise AttemptError(
                f"the output schema cannot be used: {exc}; its references must stay within it and not go in circles",
                kind=FailureKind.BAD_REQUEST,
            ) from exc
        if error is not None:
            problem = f"at {error.json_path}: {_cut(error.message, _SHOWN_CHARS)}"
            raise _bad(f"the answer does not meet the output schema: {problem}", text)


async def form_of(task: AgentTask) -> AnswerForm | None:
    """Return the form the task's answer must have; None where it is free text.

    Raises:
        AttemptError: of kind `bad_request`, if the schema is not a JSON Schema.

    """
    if task.output_schema is None:
        return None
    try:
        # In a thread: the import alone takes longer than an event loop should wait.
        return await asyncio.to_thread(read_form, task.output_schema)
    except (TypeError, ValueError) as exc:
        raise AttemptError(
            f"the output_schema of task {task.task_id!r} cannot be used: {exc}", kind=FailureKind.BAD_REQUEST
        ) from exc


def read_form(schema: Mapping[str, Any]) -> AnswerForm:
    """Return the form that a JSON Schema asks for; takes a while the first time.

    Raises:
        TypeError, ValueError: if it is not a valid schema.

    """
    return _form(msgspec.json.encode(schema))


@lru_cache(maxsize=256)
def _form(raw: bytes) -> AnswerForm:
    """Return the form of a schema given as JSON.

    Raises:
        ValueError: if it is not a valid schema.

    """
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415 -- see the module's first lines
    from jsonschema.validators import validator_for  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415

    schema: dict[str, Any] = msgspec.json.decode(raw)
    validator = validator_for(schema, default=Draft202012Validator)
    try:
        validator.check_schema(schema)
    except SchemaError as exc:
        raise ValueError(f"at {exc.json_path}: {_cut(exc.message, _SHOWN_CHARS)}") from exc
    # An empty registry fetches nothing; by default jsonschema would load a remote "$ref" over the network.
    return AnswerForm(validator(schema, registry=Registry()))


def formed(outcome: Outcome, form: AnswerForm) -> Outcome:
    """Return the outcome with its answer read and checked; what it cost is known also if it is refused."""
    try:
        if outcome.data is not None:
            form.check(outcome.data, outcome.output)
            return outcome
        text, value = form.read(outcome.output)
    except AttemptError as exc:
        exc.details.update(outcome.metadata)
        raise
    return msgspec.structs.replace(outcome, output=text, data=value)


def _bad(message: str, answer: str) -> AttemptError:
    return AttemptError(message, kind=FailureKind.BAD_OUTPUT, details={"answer": _cut(answer, 2_000)})


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[:chars] + "..."
