"""Stop repeating a call that fails the same way each time. Pure: the moment is an argument, in seconds of any clock."""

import re
from copy import copy
from dataclasses import dataclass

from llm_abstractions.errors import FailureKind, LlmError

__all__ = ["Breaker", "repeated"]

# These say that the call is wrong, not that the moment is.
_DETERMINISTIC = frozenset({FailureKind.AUTH, FailureKind.BAD_REQUEST})
_FAILURES, _HALF_OPEN_S = 3, 60.0
_IDS = r"\w*\d[\w-]*"  # request ids, moments, numbers: what differs between two tellings of one failure

_Signature = tuple[FailureKind, int | None, str]


@dataclass(kw_only=True, slots=True)
class _Streak:
    """The same failure in a row; `try_at` is set while calls are stopped."""

    signature: _Signature
    error: LlmError
    count: int = 1
    try_at: float | None = None


class Breaker:
    """Per model: open after the third same failure in a row, with no success between, and then closed by a success.

    While open, one call per minute is let through, to find out whether the cause is gone.
    """

    def __init__(self) -> None:
        self._streaks: dict[str, _Streak] = {}

    def refusal(self, model: str, now: float) -> LlmError | None:
        """Return the error with which to refuse a call, None when it may go, as the one try of its minute."""
        streak = self._streaks.get(model)
        if streak is None or streak.try_at is None:
            return None
        if now >= streak.try_at:
            streak.try_at = now + _HALF_OPEN_S
            return None
        return self._stopped(model, streak, now)

    def on_failure(self, model: str, error: LlmError, now: float) -> LlmError | None:
        """Count a failure; return the error for those who wait when it opens the breaker."""
        if error.kind not in _DETERMINISTIC:
            return None
        signature = (error.kind, error.status_code, re.sub(_IDS, "#", str(error)))
        streak = self._streaks.get(model)
        if streak is None or streak.signature != signature:
            self._streaks[model] = _Streak(signature=signature, error=error)
            return None
        streak.count += 1
        streak.error = error
        if streak.count < _FAILURES:
            return None
        was_open = streak.try_at is not None
        streak.try_at = now + _HALF_OPEN_S
        return None if was_open else self._stopped(model, streak, now)

    def on_success(self, model: str) -> None:
        """Forget the model's failures."""
        self._streaks.pop(model, None)

    def reset(self) -> None:
        """Forget all failures."""
        self._streaks.clear()

    def _stopped(self, model: str, streak: _Streak, now: float) -> LlmError:
        assert streak.try_at is not None  # noqa: S101 - only called while open
        wait_s = max(1.0, streak.try_at - now)
        return repeated(
            streak.error,
            f"not sent: {streak.count} calls to {model!r} in a row failed in the same way, "
            f"so the next try is in {wait_s:.0f} s. The failure: {streak.error}",
        )


def repeated(error: LlmError, message: str) -> LlmError:
    """Return an error of the same kind for a call that was not sent because of `error`: it has cost nothing."""
    again = copy(error)
    again.args = (message,)
    again.answer = again.rate_limits = again.request_id = None
    return again
