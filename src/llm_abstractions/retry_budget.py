"""Keep retries a small share of all requests. Pure: the moment is an argument, in seconds of any one clock."""

from math import exp

__all__ = ["RetryBudget"]

SHARE, FLOOR = 0.2, 10
# Both counts fade with this time constant: what happened minutes ago hardly counts.
FADE_S = 120.0


class RetryBudget:
    """Retries allowed: a fifth of the requests of the last minutes, and ten in any case.

    When a provider fails, retries that multiply its load make it fail for longer; a budget ends that for all tasks
    together, where limits per task cannot.
    """

    def __init__(self) -> None:
        self._requests = 0.0
        self._retries = 0.0
        self._at = 0.0

    def on_request(self, now: float) -> None:
        """Count a request."""
        self._fade(now)
        self._requests += 1

    def take(self, now: float) -> bool:
        """Count one retry if there is room for it, and say whether there is."""
        self._fade(now)
        if self._retries + 1 > max(FLOOR, SHARE * self._requests):
            return False
        self._retries += 1
        return True

    def _fade(self, now: float) -> None:
        if now > self._at:
            left = exp((self._at - now) / FADE_S)
            self._requests *= left
            self._retries *= left
            self._at = now
