"""A document held against the schema: every structural mistake in words, and what is sound without them.

Knows JSON Schema's keywords; what was expected is worded in the schema itself.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from heapq import nsmallest
from itertools import islice
from typing import TYPE_CHECKING, Any

from orchestration.project_file.schema import json_schema
from orchestration.project_file.wording import did_you_mean, one_of, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from jsonschema import ValidationError

    from orchestration.project_file.document import Document, Problem
    from orchestration.project_file.wording import Keys

__all__ = ["MISTAKES_MAX", "Structure", "check_structure"]

# Nobody reads more, and a file can hold 400,000.
MISTAKES_MAX = 500


@dataclass(frozen=True, kw_only=True)
class Structure:
    """The sound part of a document.

    `value` has the form the schema asks for, save that required keys may be missing, and that None stands where a
    value was wrong and its problem is told. Unless `is_complete` there are more mistakes than `problems` tells, and the
    value still holds them.
    """

    value: dict[str, Any]
    problems: tuple[Problem, ...]
    is_complete: bool


@dataclass(frozen=True, kw_only=True)
class _Violation:
    """One keyword of the schema that one value does not meet."""

    keys: Keys
    value: Any
    keyword: str
    limit: Any  # what the keyword says
    schema: Mapping[str, Any]  # where it says so
    is_name: bool  # the value is the name of a key


@dataclass(frozen=True, kw_only=True)
class _Mistake:
    problem: Problem
    wrong: Keys | None  # the value nobody should look at again


def check_structure(document: Document) -> Structure:
    """Return the sound part of the document and what is wrong with its structure: the first `MISTAKES_MAX` mistakes."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 -- 0.13 s; only those who read a file should pay

    errors = map(_violation, Draft202012Validator(json_schema()).iter_errors(document.value))
    # The validator goes through keys in no fixed order, so the first ones have to be picked.
    first = nsmallest(MISTAKES_MAX + 1, errors, key=lambda error: document.places[error.keys].value)
    found = (mistake for error in first if error.keys not in document.faulty for mistake in _mistakes(document, error))
    mistakes = list(islice(found, MISTAKES_MAX + 1))
    value = _without(document.value, [mistake.wrong for mistake in mistakes if mistake.wrong is not None])
    return Structure(
        value=value if isinstance(value, dict) else {},
        problems=tuple(dict.fromkeys(mistake.problem for mistake in mistakes)),
        is_complete=max(len(first), len(mistakes)) <= MISTAKES_MAX,
    )


def _violation(error: ValidationError) -> _Violation:
    schema: Any = error.schema
    return _Violation(
        keys=tuple(error.absolute_path),
        value=error.instance,
        keyword=str(error.validator),
        limit=error.validator_value,
        schema=schema,
        is_name="propertyNames" in error.relative_schema_path,
    )


def _without(value: Any, wrong: Iterable[Keys]) -> Any:
    """Return a copy with None where something is wrong, so that what looks at it later knows to stay silent."""
    deepest_first = sorted(wrong, key=len, reverse=True)
    if not deepest_first:
        return value
    if not deepest_first[-1]:
        return None
    sound = copy.deepcopy(value)
    for keys in deepest_first:
        parent = sound
        for key in keys[:-1]:
            parent = parent[key]
        parent[keys[-1]] = None
    return sound


def _mistakes(document: Document, error: _Violation) -> Iterator[_Mistake]:
    """Return what the error says about values; one error may be about several keys of a mapping."""
    keys = error.keys
    match error.keyword:
        case "additionalProperties":
            yield from _unknown_keys(document, error)
        case "required":
            yield from _missing_keys(document, error)
        case _ if error.is_name:
            keys = (*keys, error.value)
            yield _Mistake(problem=document.at_key(keys, _words(error)), wrong=keys)
        case "anyOf":
            if error.schema["properties"].keys() >= error.value.keys():  # else that key may well be meant for it
                yield _Mistake(problem=document.at_value(keys, _words(error)), wrong=keys)
        case "not":
            message = f"{shown(keys[-1])} {error.schema['errorMessage']}"
            yield _Mistake(problem=document.at_key(keys, message), wrong=keys)
        case _:
            yield _Mistake(problem=document.at_value(keys, _words(error)), wrong=keys)


def _unknown_keys(document: Document, error: _Violation) -> Iterator[_Mistake]:
    known = error.schema["properties"]
    for key in error.value:
        if key not in known:
            hint = did_you_mean(key, known) or f"; known here: {one_of(known)}"
            unknown = (*error.keys, key)
            yield _Mistake(problem=document.at_key(unknown, f"this key is not known{hint}"), wrong=unknown)


def _missing_keys(document: Document, error: _Violation) -> Iterator[_Mistake]:
    # One error arrives for each missing key and does not say which it is; equal problems are merged later.
    for key in error.limit:
        if key not in error.value:
            expected = error.schema["properties"][key]["errorMessage"]
            yield _Mistake(problem=document.at_key(error.keys, f"the key {key!r} is missing; {expected}"), wrong=None)


def _words(error: _Violation) -> str:
    """Return what is wrong with a value and what was expected of it."""
    expected = error.schema["errorMessage"]
    if error.value is None:
        return f"has no value; {expected}, or remove the key"
    if error.keyword in {"minLength", "minItems", "minProperties"}:
        return f"is empty; {expected}"
    if error.keyword == "enum":
        return f"{shown(error.value)} is not one of {', '.join(error.limit)}{did_you_mean(error.value, error.limit)}"
    if error.keyword == "anyOf":
        return f"has none of {one_of(key for way in error.limit for key in way['required'])}; {expected}"
    given = "the value (not shown, it may be secret)" if error.schema.get("writeOnly") else shown(error.value)
    return f"{given} {_verdict(error)}; {expected}"


def _verdict(error: _Violation) -> str:
    limit = error.limit
    match error.keyword:
        case "type":
            return f"is not {_kinds(limit)}{_quote_hint(error)}"
        case "minimum":
            return f"is less than {limit}"
        case "maximum":
            return f"is more than {limit}"
        case "exclusiveMinimum":
            return f"is not above {limit}"
        case _:  # a pattern: what form it asks for is said in plain words by what was expected
            return "has the wrong form"


_KINDS = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "a boolean",
    "array": "a list",
    "object": "a mapping",
}


def _kinds(types: str | list[str]) -> str:
    return _KINDS[types] if isinstance(types, str) else " or ".join(_KINDS[kind] for kind in types)


def _quote_hint(error: _Violation) -> str:
    wants_text = "string" in error.limit
    return " (to be text it needs quotes)" if wants_text and isinstance(error.value, int | float) else ""
