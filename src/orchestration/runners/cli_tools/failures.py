"""What a tool's last words mean: the kind of failure, and until when there is no use in trying again. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from orchestration.errors import FailureKind

__all__ = ["kind_of", "wait_s"]

# In this order: a text may say several things, and the narrower one comes first.
_WORDS: tuple[tuple[FailureKind, str], ...] = (
    (
        FailureKind.CONTEXT_LENGTH,
        r"context.?(window|length)|prompt is too long|too many tokens|maximum number of tokens",
    ),
    (
        FailureKind.QUOTA,
        r"usage limit|(hit|reached) your .*limit|limit reached|credit balance|billing|insufficient.?quota",
    ),
    (FailureKind.RATE_LIMIT, r"rate.?limit|too many requests|resource.?exhausted|quota|\b429\b"),
    (
        FailureKind.OVERLOADED,
        r"overloaded|high demand|(over|at) capacity|\b(50[0234]|529)\b|internal server error",
    ),
    (
        FailureKind.AUTH,
        (
            r"not logged in|run /login|log ?in again|unauthori[sz]ed|authenticat|oauth token|auth method|\b40[13]\b"
            r"|invalid.{0,10}api.?key|api.?key.{0,30}(invalid|not valid|expired|missing)|must specify the \w+_API_KEY"
            r"|missing environment variable"
        ),
    ),
    (FailureKind.REFUSAL, r"usage policy|content.?(filter|policy)|prohibited.?content|blocked by .*safety"),
    (
        FailureKind.CONNECTION,
        r"econn\w+|enotfound|etimedout|eai_again|connection|disconnected|fetch failed|socket hang up|network error",
    ),
    (FailureKind.BAD_REQUEST, r"invalid.?request|unknown model|model.{0,40}(not found|does not exist|not supported)"),
)
_PATTERNS = tuple((kind, re.compile(words, re.IGNORECASE)) for kind, words in _WORDS)
_BY_STATUS = {
    400: FailureKind.BAD_REQUEST,
    401: FailureKind.AUTH,
    402: FailureKind.QUOTA,
    403: FailureKind.AUTH,
    404: FailureKind.BAD_REQUEST,
    408: FailureKind.CONNECTION,
    413: FailureKind.CONTEXT_LENGTH,
    422: FailureKind.BAD_REQUEST,
    429: FailureKind.RATE_LIMIT,
    529: FailureKind.OVERLOADED,
}
# What a status leaves open and words can tell apart.
_NARROWER = {
    400: (FailureKind.CONTEXT_LENGTH, FailureKind.QUOTA, FailureKind.AUTH, FailureKind.REFUSAL),
    403: (FailureKind.QUOTA,),
    429: (FailureKind.QUOTA,),
}

_EPOCH = re.compile(r"limit reached\|(\d{10})\b")
_IN = re.compile(
    r"(?:reset|again|retry|retrying|available)\w*\s+(?:in|after)\s+"
    r"((?:\d+(?:\.\d+)?\s*(?:d|h|m|s)[a-z]*[\s,]*(?:and\s+)?)+)",
    re.IGNORECASE,
)
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(d|h|m|s)", re.IGNORECASE)
_AT = re.compile(r"resets?\s+(?:at\s+)?(\d{1,2})(?::(\d{2}))?\s*(am|pm)\b(?:\s*\(([^)]+)\))?", re.IGNORECASE)
_ON = re.compile(r"again at (\w{3})\w* (\d{1,2})(?:st|nd|rd|th)?,? (\d{4}),? (\d{1,2}:\d{2} [AP]M)", re.IGNORECASE)
_UNITS_S = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0}


def kind_of(text: str, status: int | None = None) -> FailureKind:
    """Return what kind of failure the words, and the HTTP status where there is one, tell of."""
    if status is None:
        return next((kind for kind, pattern in _PATTERNS if pattern.search(text)), FailureKind.TASK_ERROR)
    told = [kind for kind, pattern in _PATTERNS if kind in _NARROWER.get(status, ()) and pattern.search(text)]
    if told:
        return told[0]
    return _BY_STATUS.get(status) or (FailureKind.OVERLOADED if status >= 500 else FailureKind.TASK_ERROR)  # noqa: PLR2004


def wait_s(text: str, now: datetime) -> float | None:
    """Return for how many seconds there is no use in trying again, where the words say so.

    They say "in 3 hours 5 minutes", "after 34.07s", "resets 3pm", "again at Nov 23rd, 2026 1:05 PM" or, in older
    versions, seconds since 1970. `now` is aware; times of day without a zone are in its zone.
    """
    for read in (_until_epoch, _after_span, _until_hour, _until_date):
        found = read(text, now)
        if found is not None:
            return max(0.0, found)
    return None


def _until_epoch(text: str, now: datetime) -> float | None:
    found = _EPOCH.search(text)
    return float(found[1]) - now.timestamp() if found else None


def _after_span(text: str, _now: datetime) -> float | None:
    found = _IN.search(text)
    if not found:
        return None
    return sum(float(number) * _UNITS_S[unit.lower()] for number, unit in _PART.findall(found[1]))


def _until_hour(text: str, now: datetime) -> float | None:
    found = _AT.search(text)
    if not found or (hour := int(found[1])) > 12:  # noqa: PLR2004 -- on the clock's face
        return None
    here = now.astimezone(_zone(found[4])) if found[4] else now
    hour = hour % 12 + (12 if found[3].lower() == "pm" else 0)
    then = here.replace(hour=hour, minute=int(found[2] or 0), second=0, microsecond=0)
    return (then if then > here else then + timedelta(days=1)).timestamp() - now.timestamp()


def _until_date(text: str, now: datetime) -> float | None:
    found = _ON.search(text)
    if not found:
        return None
    try:
        then = datetime.strptime(" ".join(found.groups()), "%b %d %Y %I:%M %p")  # noqa: DTZ007 -- the zone is now's
    except ValueError:
        return None
    return then.replace(tzinfo=now.tzinfo).timestamp() - now.timestamp()


def _zone(name: str) -> tzinfo | None:
    """Return a zone by its name; None, the machine's own, where there is no such zone."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
