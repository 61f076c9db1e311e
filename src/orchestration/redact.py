"""Keep secrets out of what is stored, logged or shown: known values become `***`. Knows variables' names, no format."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["KEY_VARIABLES", "MASK", "known_secrets", "redact"]

MASK = "***"

# Where the shipped providers look for their keys.
KEY_VARIABLES = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "CODEX_API_KEY")

# Shorter values are placeholders ("test", "none"), and would blot out ordinary words.
_LENGTH_MIN = 8

T = TypeVar("T")


def known_secrets(variables: Iterable[str | None] = ()) -> tuple[str, ...]:
    """Return the values of the standard key variables and of `variables` that are set; the longest first.

    The order matters: a secret that begins with another one must go as a whole.
    """
    names = {*KEY_VARIABLES, *filter(None, variables)}
    # Asked before it is read: a variable that is not set costs an exception, and this is done for every task.
    found = [os.environ[name].strip() for name in names if name in os.environ]
    values = {value for value in found if len(value) >= _LENGTH_MIN}
    return tuple(sorted(values, key=lambda value: (-len(value), value))) if values else ()


def redact(value: T, secrets: tuple[str, ...]) -> T:
    """Return the text, list or mapping with every secret in it replaced; other values pass as they are."""
    if not secrets:
        return value
    cleaned: Any = _clean(value, secrets)
    return cleaned  # type: ignore[no-any-return]  # the same shape comes back


def _clean(value: Any, secrets: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, MASK)
        return value
    if isinstance(value, dict):
        return {_clean(key, secrets): _clean(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item, secrets) for item in value]
    return value
