"""Read what providers say about their rate limits. Pure: headers in, numbers out; knows no SDK.

Forms: Anthropic's `anthropic-ratelimit-<what>-{limit,remaining,reset}` (reset is an RFC 3339 moment) and OpenAI's
`x-ratelimit-{limit,remaining,reset}-<what>` (reset is a duration such as `6m0s`), which compatible servers copy.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Quota", "RateLimits", "parse_rate_limits"]

_ANTHROPIC, _OPENAI = "anthropic-ratelimit-", "x-ratelimit-"
_RESOURCES = frozenset({"requests", "tokens", "input_tokens", "output_tokens"})
# Patterns stay uncompiled: importing this should cost nothing.
_DURATION = r"(\d+(?:\.\d+)?)(ms|s|m|h|d)"
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class Quota:
    """One limit as a provider states it: how many per minute, how many are left, seconds until all are there again."""

    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class RateLimits:
    """All limits one response speaks of; None where it says nothing. `tokens` counts input and output together."""

    requests: Quota | None = None
    tokens: Quota | None = None
    input_tokens: Quota | None = None
    output_tokens: Quota | None = None


def parse_rate_limits(headers: Mapping[str, str], *, now: "datetime | None" = None) -> RateLimits | None:
    """Return the limits the headers state, None when they state none. What cannot be read counts as not said.

    `now` is when the headers came, the present by default. A total beside input and output limits is left out, for it
    only repeats them.
    """
    said: dict[str, dict[str, str]] = {}
    for name, value in headers.items():  # one pass, for this is on the path of every call
        lowered = name.lower()
        if lowered.startswith(_OPENAI):
            part, _, what = lowered[len(_OPENAI) :].partition("-")
            said.setdefault(what, {})[part] = value
        elif lowered.startswith(_ANTHROPIC):
            what, _, part = lowered[len(_ANTHROPIC) :].rpartition("-")
            said.setdefault(what.replace("-", "_"), {})[part] = value
    quotas = {what: quota for what, parts in said.items() if what in _RESOURCES and (quota := _quota(parts, now))}
    if "input_tokens" in quotas and "output_tokens" in quotas:
        quotas.pop("tokens", None)
    return RateLimits(**quotas) if quotas else None


def _quota(parts: Mapping[str, str], now: "datetime | None") -> Quota | None:
    limit, remaining = _whole(parts.get("limit")), _whole(parts.get("remaining"))
    if limit is None and remaining is None:
        return None
    reset = parts.get("reset")
    return Quota(limit=limit, remaining=remaining, reset_s=None if reset is None else _reset_s(reset, now))


def _reset_s(reset: str, now: "datetime | None") -> float | None:
    return _seconds_until(reset, now) if ":" in reset else _duration_s(reset)


def _whole(value: str | None) -> int | None:
    return int(value) if value is not None and value.isascii() and value.isdigit() else None


def _seconds_until(moment: str, now: "datetime | None") -> float | None:
    from datetime import UTC, datetime  # noqa: PLC0415 - a start without calls does not need it

    try:
        return max(0.0, (datetime.fromisoformat(moment) - (now or datetime.now(UTC))).total_seconds())
    except (TypeError, ValueError):  # a moment without a zone, or none at all
        return None


def _duration_s(value: str) -> float | None:
    parts = re.findall(_DURATION, value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        return None
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)
