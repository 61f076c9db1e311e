"""Text that others made, cut and cleaned for people, prompts and the store. Pure; knows not where it comes from."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["GAP", "encodable", "excerpt", "listed", "readable"]

GAP = "\n[... the middle is left out ...]\n"

# What moves cursors, sets colours and titles. Stored evidence is shown in terminals: it must not steer them.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_HEAD_SHARE = 1 / 3  # programs say at the end what is wrong


def excerpt(text: str, max_chars: int) -> str:
    """Return the text, at most so many characters of it: its beginning and its end, and that something is missing."""
    if len(text) <= max_chars:
        return text
    room = max_chars - len(GAP)
    if room <= 0:
        return text[:max_chars]
    head = int(room * _HEAD_SHARE)
    return text[:head] + GAP + text[head - room :]


def encodable(text: str) -> str:
    """Replace lone surrogates, which neither a process nor a model nor a file can be given."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def readable(text: str) -> str:
    """Return the text as any terminal, file or prompt can take it: no escapes, control characters, lone surrogates."""
    text = _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return encodable(_CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text))


def listed(names: Sequence[str], limit: int = 10) -> str:
    """Return the first of the names, and how many more there are."""
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
