"""Checks of kind `schema`: the result's data against a JSON Schema, read as an answer is. Knows no schema library."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestration.answer import form_of
from orchestration.errors import AttemptError, FailureKind
from orchestration.task import AgentTask
from orchestration.verification.verdict import verdict_on

if TYPE_CHECKING:
    from orchestration.answer import AnswerForm
    from orchestration.task_options import Check
    from orchestration.verification.verdict import Claim, Verdict

__all__ = ["meet_schema"]


async def meet_schema(check: Check, claim: Claim) -> Verdict:
    """Tell whether the claim's data, or its output read as JSON where there is none, meets the schema.

    Raises:
        AttemptError: of kind `bad_request`, if the schema cannot be used.

    """
    form = await _form_of(check)
    try:
        # In a thread: the data may be large, and the schema slow.
        await asyncio.to_thread(_read, form, claim)
    except AttemptError as exc:
        if exc.kind is FailureKind.BAD_OUTPUT or isinstance(exc.__cause__, RecursionError):
            return verdict_on(check, _reason(exc), is_passed=False)
        raise AttemptError(f"check {check.label!r}: {exc}", kind=exc.kind, details={"check": check.label}) from exc
    return verdict_on(check, "the data meets the schema", is_passed=True)


async def _form_of(check: Check) -> AnswerForm:
    try:
        form = await form_of(AgentTask("check", check.label, output_schema=check.schema))
    except AttemptError as exc:
        raise AttemptError(
            f"check {check.label!r}: its schema cannot be used: {exc.__cause__}; correct the schema",
            kind=exc.kind,
            details={"check": check.label},
        ) from exc
    assert form is not None  # noqa: S101 -- there is a schema
    return form


def _read(form: AnswerForm, claim: Claim) -> None:
    if claim.data is None:
        form.read(claim.output)
    else:
        form.check(claim.data, claim.output)


def _reason(exc: AttemptError) -> str:
    if isinstance(exc.__cause__, RecursionError) and exc.kind is not FailureKind.BAD_OUTPUT:
        # Which of the two it is cannot be told; neither meets the schema.
        return "the data is nested too deep to be checked, or the schema's references go in circles"
    return str(exc)
