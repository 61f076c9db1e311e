"""The parts a schema is built of, each with what it is, an example, and what was expected in its place. Pure data."""

from __future__ import annotations

from typing import Any

__all__ = ["END", "Schema", "cache", "count", "flag", "never", "seconds", "text", "texts"]

Schema = dict[str, Any]

# The end of a text in both Python, where `$` alone lets a line break follow, and JavaScript, which editors use.
END = r"$(?!\n)"


def text(description: str, expected: str, *examples: str, min_length: int = 1, **more: Any) -> Schema:
    """Return a text's schema; `expected` says in words what was wanted, the first example is named with it."""
    return {
        "type": "string",
        "minLength": min_length,
        "description": description,
        "errorMessage": f"expected {expected}, such as {examples[0]}",
        "examples": list(examples),
        **more,
    }


def texts(description: str, example: list[str], *, item: str = "text") -> Schema:
    """Return the schema of a list of texts; `item` says in words what each is."""
    expected = f"expected a list of texts, such as [{', '.join(example)}]"
    return {
        "type": "array",
        "items": {"type": "string", "minLength": 1, "errorMessage": f"expected {item}"},
        "description": description,
        "errorMessage": expected,
        "examples": [example],
    }


def cache(description: str) -> Schema:
    """Return the schema of what is said about using answers again."""
    return {
        "type": ["boolean", "object"],
        "properties": {"max_age_s": seconds("Age in seconds up to which an answer is used again. Default: a week.")},
        "additionalProperties": False,
        "description": f"{description} `max_age_s` says how old the answer may be; with `true`, a week.",
        "errorMessage": "expected true, false, or {max_age_s: 3600}",
        "examples": [True, {"max_age_s": 3600}],
    }


def count(description: str, example: int) -> Schema:
    """Return the schema of a whole number from 1 up."""
    return {
        "type": "integer",
        "minimum": 1,
        "description": description,
        "errorMessage": f"expected a whole number from 1 up, such as {example}",
        "examples": [example],
    }


def seconds(description: str, example: float = 120, **more: Any) -> Schema:
    """Return the schema of a time in seconds, above 0."""
    return {
        "type": "number",
        "exclusiveMinimum": 0,
        "description": description,
        "errorMessage": f"expected seconds above 0, such as {example}",
        "examples": [example],
        **more,
    }


def flag(description: str, **more: Any) -> Schema:
    """Return the schema of a switch."""
    return {
        "type": "boolean",
        "description": description,
        "errorMessage": "expected true or false",
        "examples": [more.get("default") is not True],
        **more,
    }


def never(message: str) -> Schema:
    """Return a schema no value meets, with the message that says why."""
    return {"not": {}, "errorMessage": message}
