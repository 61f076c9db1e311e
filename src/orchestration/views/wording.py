"""How things are said to a person: states, durations, money, and text of others made safe to print. Pure."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING

from orchestration.task import TaskStatus

if TYPE_CHECKING:
    from orchestration.ledger import Spend

__all__ = [
    "ASCII_SYMBOLS",
    "PARKED_ASCII",
    "PARKED_STYLE",
    "PARKED_SYMBOL",
    "PARKED_WORD",
    "STYLES",
    "SYMBOLS",
    "WORDS",
    "count",
    "dollars",
    "duration",
    "exact",
    "in_ascii",
    "money",
    "one_line",
    "printable",
    "tokens",
]

# One cell wide in every terminal; the word beside it says the same, so that neither colour nor symbol is needed.
SYMBOLS = {
    TaskStatus.PENDING: "·",
    TaskStatus.IN_PROGRESS: "●",
    TaskStatus.VERIFYING: "◐",
    TaskStatus.WAITING: "?",
    TaskStatus.NEEDS_REVIEW: "!",
    TaskStatus.COMPLETED: "✓",
    TaskStatus.SKIPPED: "»",
    TaskStatus.FAILED: "✗",
    TaskStatus.BLOCKED: "⊘",
    TaskStatus.CANCELLED: "–",  # noqa: RUF001 -- wider than a hyphen on purpose
}
ASCII_SYMBOLS = dict(zip(SYMBOLS, ".>o?!+/x#-", strict=True))
# A task in progress that waits for something outside: a quota, an overloaded provider, more budget.
PARKED_SYMBOL, PARKED_ASCII, PARKED_WORD, PARKED_STYLE = "‖", "=", "parked", "yellow"
_LIKENESS = str.maketrans(
    {SYMBOLS[status]: ASCII_SYMBOLS[status] for status in SYMBOLS}
    | {PARKED_SYMBOL: PARKED_ASCII, "├": "|", "└": "`", "│": "|", "…": "~", "≥": ">="}
)

WORDS = {
    TaskStatus.PENDING: "pending",
    TaskStatus.IN_PROGRESS: "running",
    TaskStatus.VERIFYING: "checking",
    TaskStatus.WAITING: "waits for you",
    TaskStatus.NEEDS_REVIEW: "needs review",
    TaskStatus.COMPLETED: "done",
    TaskStatus.SKIPPED: "skipped",
    TaskStatus.FAILED: "failed",
    TaskStatus.BLOCKED: "blocked",
    TaskStatus.CANCELLED: "cancelled",
}
STYLES = {
    TaskStatus.PENDING: "dim",
    TaskStatus.IN_PROGRESS: "cyan",
    TaskStatus.VERIFYING: "cyan",
    TaskStatus.WAITING: "bold yellow",
    TaskStatus.NEEDS_REVIEW: "bold yellow",
    TaskStatus.COMPLETED: "green",
    TaskStatus.SKIPPED: "dim",
    TaskStatus.FAILED: "bold red",
    TaskStatus.BLOCKED: "red",
    TaskStatus.CANCELLED: "magenta",
}

_MINUTE, _HOUR, _DAY = 60, 3600, 24 * 3600
_DAYS = 2 * _DAY  # from here on they are counted
_SHOWN_MIN = Decimal("0.00005")
# Everything a terminal could take for a command, but for line breaks and tabs; and what reverses or hides text.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_BLANK = re.compile(r"\s+")


def duration(seconds: float | None) -> str:
    """Say how long: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 14 min`, `3 d 4 h`; empty when unknown."""
    if seconds is None:
        return ""
    if seconds < 9.95:  # noqa: PLR2004 -- below ten seconds the tenths matter
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    if whole < _DAYS:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def tokens(number: int) -> str:
    """Say how many tokens: `812`, `12.4k`, `1.2M`."""
    if number < 1_000:  # noqa: PLR2004
        return str(number)
    if number < 999_950:  # noqa: PLR2004 -- from here on it would round to 1000.0k
        return f"{number / 1_000:.1f}k"
    return f"{number / 1_000_000:.1f}M"


def money(spend: Spend) -> str:
    """Say what it cost; an unknown price is said, never taken for nothing. Empty when no model was called."""
    if not spend.calls:
        return ""
    if not spend.unpriced_calls:
        return dollars(spend.cost_usd)
    if spend.cost_usd < _SHOWN_MIN:
        return "≥ $0" if spend.cost_usd else "unknown"
    return f"≥ {dollars(spend.cost_usd)}"


def exact(amount: Decimal) -> str:
    """Return an amount to the last digit, without an exponent: for programs."""
    return f"{amount.normalize():f}"


def count(number: int, noun: str) -> str:
    """Say how many, in the right form: `1 task`, `1,200 tasks`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def in_ascii(text: str) -> str:
    """Return text for a terminal that knows ASCII only: our own signs have a likeness, others become escapes."""
    return text.translate(_LIKENESS).encode("ascii", "backslashreplace").decode()


def printable(text: str) -> str:
    """Return text of others with everything a terminal might obey made visible; lines and tabs stay."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text.replace("\r\n", "\n"))


def one_line(text: str, chars: int = 120) -> str:
    """Return the beginning of a text on one printable line, cut with an ellipsis."""
    # Cut before the expensive part: an output may be megabytes long.
    flat = printable(_BLANK.sub(" ", text[: chars * 4]).strip())
    return flat if len(flat) <= chars and len(text) <= chars * 4 else flat[: chars - 1].rstrip() + "…"


def dollars(amount: Decimal) -> str:
    """Say an amount: cents from a dollar on, hundredths of a cent below."""
    if amount < _SHOWN_MIN:
        return "< $0.0001" if amount else "$0"
    return f"${amount:,.2f}" if amount >= 1 else f"${amount:.4f}"
