"""What a task says in other languages: templates, expressions and JSON Schemas, fetched where they have files, checked.

Knows what a template may name and what a JSON Schema must be; nothing of the rest of a task.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from orchestration.answer import read_form
from orchestration.errors import AttemptError
from orchestration.project_file.answer_schema import find_fault
from orchestration.project_file.files import NamedFileError, read_named
from orchestration.project_file.templates import Scope, find_in_expression, find_mistakes
from orchestration.project_file.wording import shown
from orchestration.task import AgentTask
from orchestration.task_options import ACCEPT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestration.project_file.content import Content, Entry
    from orchestration.project_file.document import Problem
    from orchestration.project_file.wording import Keys

__all__ = ["TaskTexts", "read_texts"]

_TASK_FIELDS = tuple(field.name for field in fields(AgentTask))


@dataclass(frozen=True, kw_only=True)
class TaskTexts:
    """What was fetched for one task, and what is wrong with it. `check_schemas` are by the place of the check."""

    prompt: str | None
    output_schema: Mapping[str, Any] | None
    check_schemas: Mapping[int, Mapping[str, Any]]
    problems: tuple[Problem, ...]


def read_texts(content: Content, entry: Entry) -> TaskTexts:
    """Return the task's prompt and schemas, from their files where the task names files."""
    problems: list[Problem] = []
    prompt = _prompt(content, entry, problems)
    schema = _schema(content, entry.at("output_schema"), entry.fields.get("output_schema"), problems)
    check_schemas = {
        index: found
        for index, check in enumerate(entry.fields.get("checks", ()))
        if check is not None
        and (found := _schema(content, entry.at("checks", index, "schema"), check.get("schema"), problems)) is not None
    }
    problems += _expression_problems(content, entry)
    if schema is not None:
        problems += _default_problems(content, entry, schema)
    return TaskTexts(prompt=prompt, output_schema=schema, check_schemas=check_schemas, problems=tuple(problems))


def _prompt(content: Content, entry: Entry, problems: list[Problem]) -> str | None:
    path = entry.fields.get("prompt_file")
    if path is None:
        prompt: str | None = entry.fields.get("prompt")
        if prompt is not None:
            problems += _template_problems(content, entry, prompt)
        return prompt
    keys = entry.at("prompt_file")
    try:
        prompt = read_named(content.root, path)
    except NamedFileError as exc:
        problems.append(content.document.at_value(keys, str(exc)))
        return None
    for finding in find_mistakes(prompt, _scope(content, entry)):
        message = f"in line {finding.line} of {path!r}: {finding.message}"
        problems.append(content.document.at_value(keys, message))
    return prompt


def _template_problems(content: Content, entry: Entry, prompt: str) -> Iterator[Problem]:
    for finding in find_mistakes(prompt, _scope(content, entry)):
        yield content.document.in_text(entry.at("prompt"), finding.message, line=finding.line, find=finding.find)


def _expression_problems(content: Content, entry: Entry) -> Iterator[Problem]:
    scope = _scope(content, entry)
    # What is evaluated to find the items knows none yet.
    for name, known in (("when", scope), ("for_each", replace(scope, has_item=False))):
        for finding in find_in_expression(entry.fields[name], known) if name in entry.fields else ():
            yield content.document.in_text(entry.at(name), finding.message, line=finding.line, find=finding.find)


def _default_problems(content: Content, entry: Entry, schema: Mapping[str, Any]) -> Iterator[Problem]:
    """Say at once what would be found out at the deadline: that the default is no answer."""
    default = (entry.fields.get("wait") or {}).get("default")
    if default is None or default.strip() == ACCEPT:  # whether there will be a draft, nobody knows yet
        return
    try:
        read_form(schema).read(default)
    except AttemptError as exc:
        message = f"the default cannot be used: {exc}; write JSON text that meets output_schema"
        yield content.document.at_value(entry.at("wait", "default"), message)


def _scope(content: Content, entry: Entry) -> Scope:
    return Scope(
        task_id=entry.task_id,
        dependencies=dict.fromkeys(name for name in entry.fields.get("dependencies", ()) if name is not None),
        tasks=content.ids,
        variables=content.variables,
        task_fields=_TASK_FIELDS,
        has_item="for_each" in entry.given,
    )


def _schema(content: Content, keys: Keys, given: Any, problems: list[Problem]) -> Mapping[str, Any] | None:
    if given is None:
        return None
    try:
        schema = _read_schema(content, given) if isinstance(given, str) else given
    except NamedFileError as exc:
        problems.append(content.document.at_value(keys, str(exc)))
        return None
    fault = find_fault(schema)
    if fault is None:
        return schema
    if isinstance(given, str):
        where, message = keys, f"{given!r} is not a valid JSON Schema: at {fault.path}: {fault.message}"
    else:
        where, message = (*keys, *fault.keys), f"not a valid JSON Schema: {fault.message}"
    problems.append(content.document.at_value(where, message))
    return None


def _read_schema(content: Content, path: str) -> dict[str, Any]:
    """Return the mapping in a JSON file.

    Raises:
        NamedFileError: if there is none.

    """
    try:
        schema = json.loads(read_named(content.root, path))
    except json.JSONDecodeError as exc:
        raise NamedFileError(f"{path!r} is not JSON: line {exc.lineno}, column {exc.colno}: {exc.msg}") from exc
    except (ValueError, RecursionError) as exc:  # a number of thousands of digits, or lists in lists in lists
        raise NamedFileError(f"{path!r} is not JSON that can be read: {exc}") from exc
    if not isinstance(schema, dict):
        raise NamedFileError(f"{path!r} holds {shown(schema)}; expected a JSON Schema such as {{'type': 'object'}}")
    return schema
