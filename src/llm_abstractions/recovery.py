"""Decide when a lane tries again after refusals and failures, and how many calls try first. Pure: time is an argument.

What a provider refuses or fails to do pauses the lane. Then a single call tries; each that goes through lets twice as
many go, so that nobody storms a provider that has just come back.
"""

import random
from math import inf

from llm_abstractions.adaptive import Window

__all__ = ["MAX_OUTAGE_PAUSE_S", "MAX_PAUSE_S", "Recovery"]

# However long a provider asks to wait, it is asked again after this; an account's quota states its own time.
MAX_PAUSE_S = 120.0
# Where the provider does not say how long: doubled with each refusal in a row.
_FIRST_PAUSE_S, _LAST_PAUSE_S = 1.0, 2.5
# So many refusals in a row, of single tries at the end, are no limit one could keep to. That is over when up to so many
# tries at once have gone through.
_STORM_REFUSALS, _STORM_PROBES = 3, 8
# The same after server errors and broken connections. One of them is bad luck, this many in a row are an outage.
_OUTAGE_FAILURES = 2
MAX_OUTAGE_PAUSE_S = 15.0
_JITTER = 0.1


class Recovery:
    """A lane's pauses. Calls are known by number: those sent before the latest setback tell nothing new about it."""

    def __init__(self, window: Window, rng: random.Random) -> None:
        self._window = window
        self._random = rng
        self._paused_until = -inf
        self._reason = ""
        self._refusals = 0  # in a row, each counted once for all the calls sent before it was heard
        self._outages = 0  # the same
        self._failures = 0  # calls in a row
        self._last_number = 0
        self._held_at = 0  # the last call sent before the latest setback
        self._under_way = 0  # of the calls sent since
        self.probes: int | None = None  # how many may try at once, while nobody knows whether it is over

    def wait(self, now: float) -> tuple[float, str]:
        """Return the seconds until calls may go, `inf` if a call under way has to end first, and what they wait for."""
        if self.is_paused(now):
            return self._paused_until - now, self._reason
        if self.probes is not None and self._under_way >= self.probes:
            return inf, "the answer of the first calls after a pause"
        return 0.0, ""

    def is_paused(self, now: float) -> bool:
        """Whether a pause is going on."""
        return now < self._paused_until

    def pause(self, seconds: float, reason: str, now: float) -> None:
        """Let nobody go for that long; a longer pause that is going on stays."""
        if now + seconds > self._paused_until:
            self._paused_until, self._reason = now + seconds, reason

    def resume(self) -> None:
        """End a pause."""
        self._paused_until = -inf

    def forget_calls(self) -> None:
        """Forget what is under way."""
        self._under_way = 0

    def on_start(self, number: int) -> None:
        """A call goes out."""
        self._last_number = number
        self._under_way += 1

    def on_end(self, number: int) -> None:
        """A call has ended, whatever came of it."""
        if self._is_news(number):
            self._under_way -= 1

    def on_answer(self, number: int) -> None:
        """The provider is well, be its answer an error about the call."""
        self._failures = 0
        if not self._is_news(number):
            return
        self._outages = 0
        if self.probes is None:
            self._refusals = 0
            return
        self.probes *= 2
        if self._refusals < _STORM_REFUSALS:
            is_over = self.probes > self._window.limit
        else:
            is_over = self.probes > _STORM_PROBES
            self._window.on_recovery(self.probes)
        if is_over:
            self.probes, self._refusals = None, 0

    def on_refusal(self, number: int, wait_s: float | None, *, under_way: int, is_explained: bool, now: float) -> None:
        """Take in a rate limit; `under_way` counts all calls, with the refused one.

        `is_explained` says whether the provider's headers tell when there will be room: then nobody has to try.
        """
        if self._is_news(number):
            is_probing = self.probes is not None and self.probes > 1
            self._window.on_rate_limit(tried=under_way if is_probing else None)
            self._refusals += 1
            self._hold(None if is_explained else 1)
        if wait_s is None:
            wait_s = _doubled(self._refusals, _LAST_PAUSE_S)
        self._pause(min(wait_s, MAX_PAUSE_S), "the provider's rate limit", now)

    def on_failure(self, number: int, wait_s: float | None, *, now: float) -> None:
        """Take in a server error or a broken connection: several in a row are an outage."""
        self._failures += 1
        if self._failures >= _OUTAGE_FAILURES and self._is_news(number):
            self._outages += 1
            self._hold(1)
            if wait_s is None:
                wait_s = _doubled(self._outages, MAX_OUTAGE_PAUSE_S)
        if wait_s is not None:
            self._pause(min(wait_s, MAX_OUTAGE_PAUSE_S), "the provider to recover", now)

    @property
    def is_outage(self) -> bool:
        """Whether nothing went through since an outage began."""
        return self._outages > 0

    def _is_news(self, number: int) -> bool:
        return number > self._held_at

    def _hold(self, probes: int | None) -> None:
        self._held_at = self._last_number
        self._under_way = 0
        self.probes = probes

    def _pause(self, seconds: float, reason: str, now: float) -> None:
        # Staggered, for other processes may share the account and have heard the same.
        self.pause(seconds * (1 + _JITTER * self._random.random()), reason, now)


def _doubled(times: int, most: float) -> float:
    """Return the pause after so many setbacks in a row."""
    pause_s = _FIRST_PAUSE_S
    for _ in range(times - 1):
        if pause_s >= most:
            break  # a night of outages would double it beyond any number
        pause_s *= 2
    return min(pause_s, most)
