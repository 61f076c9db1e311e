"""How mistakes are worded: values shown short, near names suggested, paths spelled. Knows nothing of any file."""

from __future__ import annotations

import re
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

__all__ = ["Keys", "did_you_mean", "one_of", "printable", "shown", "spell"]

Keys = tuple[str | int, ...]
"""Where a value stands in the file: the keys and list positions that lead to it."""

_SHOWN_MAX = 60
_LISTED_MAX = 12
# Near names are looked for among this many only: a file may hold 10,000 ids, and each comparison takes 10 us.
_CANDIDATES_MAX = 500
_LENGTH_DIFFERENCE = 3
_PLAIN_KEY = re.compile(r"[^\W\d][\w-]*")


def spell(keys: Keys) -> str:
    """Return the path as a person would write it: `tasks.draft.dependencies[0]`, `tasks['v1.2'].title`."""
    parts = []
    for key in keys:
        if isinstance(key, int):
            parts.append(f"[{key}]")
        elif _PLAIN_KEY.fullmatch(key):
            parts.append(f".{key}" if parts else key)
        else:
            parts.append(f"[{shown(key)}]")
    return "".join(parts)


def shown(value: object) -> str:
    """Return a value for a message, in YAML's words and never long."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str) and len(value) > _SHOWN_MAX:
        return repr(value[: _SHOWN_MAX - 3]) + "..."
    return repr(value)


def printable(text: str) -> str:
    """Return a text that stays on its line and does nothing to a terminal, whatever of the file is in it."""
    return text if text.isprintable() else "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def one_of(names: Iterable[str]) -> str:
    """Return the names quoted and separated by commas; long lists are cut."""
    listed = list(names)
    rest = len(listed) - _LISTED_MAX
    return ", ".join(map(repr, listed[:_LISTED_MAX])) + (f" and {rest} more" if rest > 0 else "")


def did_you_mean(word: object, known: Collection[str]) -> str:
    """Return `; did you mean 'x'?` for the known name nearest to the word, or nothing when none is near."""
    if not isinstance(word, str):
        return ""
    near = (name for name in known if abs(len(name) - len(word)) <= _LENGTH_DIFFERENCE or name.startswith(word))
    lowered = {name.lower(): name for name in islice(near, _CANDIDATES_MAX)}
    matches = get_close_matches(word.lower(), lowered, n=1)
    return f"; did you mean {lowered[matches[0]]!r}?" if matches else ""
