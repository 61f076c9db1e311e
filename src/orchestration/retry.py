"""Whether and when a failed attempt is tried again: a pure decision. Knows no clock, no randomness, no worker."""

from __future__ import annotations

from dataclasses import dataclass

from orchestration.errors import InvalidTaskError
from orchestration.task import FailureKind

__all__ = ["PARKABLE", "RETRYABLE", "RetryPolicy", "decide", "later_s", "park_s"]

# What may go away by itself. A bad output is asked for again because models answer differently each time.
RETRYABLE = frozenset(
    {
        FailureKind.CONNECTION,
        FailureKind.TIMEOUT,
        FailureKind.BAD_OUTPUT,
        FailureKind.CHECK_FAILED,
    }
)
# What only time can mend, and what says nothing about the task: waiting for it uses up no attempt.
PARKABLE = frozenset({FailureKind.RATE_LIMIT, FailureKind.OVERLOADED, FailureKind.QUOTA})

# A provider that has recovered is noticed this soon; until then its lane lets one call at a time find out.
_PARKED_AGAIN_S = 15.0
_DOUBLINGS_MAX = 64  # keeps the power of two a finite number; any delay is cut long before


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and how patiently.

    `max_attempts` counts the first one. Delays double from `base_delay_s` up to `max_delay_s`. A longer wait that the
    other side asks for is honoured up to `max_retry_after_s`; beyond that the attempt is given up. What only time can
    mend (rate limits, overload, a quota that comes back) is waited for without using up attempts, for `max_parked_s`
    in a row; with `park` off the run ends instead, resumable.

    Raises:
        InvalidTaskError: if a number is negative, or `max_attempts` is below 1.

    """

    max_attempts: int = 3
    base_delay_s: float = 1.0
    max_delay_s: float = 60.0
    max_retry_after_s: float = 300.0
    max_parked_s: float = 86_400.0
    park: bool = True

    def __post_init__(self) -> None:
        if not self.max_attempts >= 1:
            raise InvalidTaskError(f"max_attempts is {self.max_attempts!r}, expected 1 or more")
        for name in ("base_delay_s", "max_delay_s", "max_retry_after_s", "max_parked_s"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise InvalidTaskError(f"{name} is {value!r}, expected seconds, 0 or more")


def decide(
    kind: FailureKind, attempt: int, policy: RetryPolicy, *, retry_after_s: float | None = None, jitter: float
) -> float | None:
    """Return the seconds to wait before the next attempt, or None to give up.

    `attempt` is the number of attempts made, 1 or more. `jitter`, in [0, 1), spreads those who failed together: over
    the upper half of the doubling delay, or over `base_delay_s` after the moment that `retry_after_s` names.
    """
    if kind not in RETRYABLE or attempt >= policy.max_attempts:
        return None
    ceiling_s = min(policy.max_delay_s, policy.base_delay_s * 2.0 ** min(attempt - 1, _DOUBLINGS_MAX))
    delay_s = ceiling_s * (1 + jitter) / 2
    if retry_after_s is None:
        return delay_s
    if not retry_after_s <= policy.max_retry_after_s:  # also true for NaN
        return None
    return max(delay_s, retry_after_s + jitter * policy.base_delay_s)


def later_s(delay_s: float, policy: RetryPolicy, *, jitter: float) -> float:
    """Return the seconds to wait where too much of the traffic is retries already: the longest of the policy's delays.

    It is waited for once, and the retry then made, for a task must not fail because of others.
    """
    return max(delay_s, policy.max_delay_s * (1 + jitter) / 2)


def park_s(
    kind: FailureKind,
    parked: int,
    parked_s: float,
    policy: RetryPolicy,
    *,
    retry_after_s: float | None = None,
    jitter: float,
) -> float | None:
    """Return the seconds to wait for what only time can mend, or None where waiting does not help.

    `parked` says how often in a row the task was parked before, and `parked_s` since when. A quota is waited for only
    if the provider said until when: money does not come back by itself.
    """
    if kind not in PARKABLE or (kind is FailureKind.QUOTA and retry_after_s is None):
        return None
    if retry_after_s is None:
        ceiling_s = min(policy.max_delay_s, policy.base_delay_s * 2.0 ** min(parked, _DOUBLINGS_MAX), _PARKED_AGAIN_S)
        wait_s, spread_s = ceiling_s / 2, ceiling_s / 2
    else:
        wait_s, spread_s = retry_after_s, policy.base_delay_s
    if not parked_s + wait_s <= policy.max_parked_s:  # also true for NaN
        return None
    return wait_s + jitter * spread_s
