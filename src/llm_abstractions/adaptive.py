"""How many calls may be under way at once, found out by trying. Pure: the moment is an argument, in seconds.

Slow start doubles the window every 100 ms while it is full: a refusal is heard before many calls have been sent, a
thousand calls do not open a thousand connections in one instant, and yet they are under way within 0.9 s. A rate limit
cuts the window to four fifths, once for all the calls that were sent before the cut. Then it grows by a twentieth after
a clean round, and by twice as much after each further one, so that it comes back soon when the limit has gone. Only a
well-used window grows. (The cuts are Inspect AI's; its fixed growth took minutes to come back.) Delay is no signal:
how long a model takes depends on how much it writes.
"""

from math import inf, log

__all__ = ["Window"]

START = 4
DOUBLING_S = 0.1
_STEP_S = DOUBLING_S / log(2)  # between two more, of a window of one
SHRINK, GROW, SATURATED = 0.8, 0.05, 0.8
# After server errors there is no growth for so long.
TROUBLE_S = 15.0


class Window:
    """A limit on calls under way, between 1 and `ceiling`.

    `on_success` is to be told whether the call went through at the first try: retried ones say nothing about capacity.
    """

    def __init__(self, *, ceiling: float = inf) -> None:
        self._ceiling = ceiling
        self._limit: float = START
        self._is_slow_start = True
        self._opened_at = -inf
        self._grow_from = -inf
        self._growth = GROW
        self._clean = 0
        self._peak = 0

    @property
    def is_slow_start(self) -> bool:
        """Whether no limit has been found yet."""
        return self._is_slow_start

    @property
    def limit(self) -> int:
        """How many may be under way now."""
        return max(1, int(min(self._limit, self._ceiling)))

    def set_ceiling(self, ceiling: float) -> None:
        """Change the upper end; the window itself goes on from where it is."""
        self._ceiling = ceiling

    def wait_s(self, under_way: int, now: float) -> float:
        """Return the seconds until one more may start: 0 now, `inf` not before another ends."""
        if under_way < self.limit:
            return 0.0
        if not self._is_slow_start or under_way >= self._ceiling or now < self._grow_from:
            return inf
        return max(0.0, self._opened_at + _STEP_S / self._limit - now)

    def on_start(self, under_way: int, now: float) -> None:
        """One more has started; `under_way` counts it."""
        self._peak = max(self._peak, under_way)
        self._limit = max(self._limit, under_way)
        if under_way >= self._limit:
            self._opened_at = now

    def on_success(self, now: float, *, is_first_try: bool = True) -> None:
        """A call went through; a round of them at a well-used window lets it grow."""
        if self._is_slow_start or not is_first_try or now < self._grow_from:
            return
        self._clean += 1
        if self._clean < self.limit:
            return
        if self._peak >= SATURATED * self.limit:
            grown = max(self._limit * (1 + self._growth), self._limit + 1)
            self._limit = min(grown, max(self._ceiling, self._limit))
            self._growth = min(1.0, 2 * self._growth)
        self._clean = self._peak = 0

    def on_rate_limit(self, *, tried: int | None = None) -> None:
        """Cut the window: the provider refused a call that was sent after the last cut.

        `tried` is how many were let under way where those were fewer than the window allows: what was refused is
        then known to be too much.
        """
        self._clean = self._peak = 0
        self._growth = GROW
        self._is_slow_start = False
        self._limit = max(1.0, SHRINK * min(self._limit, self._ceiling, tried or inf))

    def on_recovery(self, reached: int) -> None:
        """Start slowly once more from `reached`: where everything was refused, nothing told how much is too much."""
        self._is_slow_start = True
        self._limit = max(self._limit, reached)

    def on_server_error(self, now: float) -> None:
        """The provider is in trouble: no reason to shrink, none to grow for a while."""
        self._clean = self._peak = 0
        self._grow_from = now + TROUBLE_S
