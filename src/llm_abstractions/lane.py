"""One lane of traffic: the calls of one provider, account and model family, admitted one by one at the right moment.

A call is admitted when the lane is open, a place is free, and the quotas hold a request and the tokens it will probably
use; it is settled with what it really used. What is not admitted waits in order of rank. Knows no provider, no task and
no money; time is the event loop's.
"""

import asyncio
import random
from dataclasses import dataclass
from math import inf
from types import TracebackType
from typing import Self

from llm_abstractions.adaptive import Window
from llm_abstractions.breaker import Breaker, repeated
from llm_abstractions.cost import NO_COST, Cost, Estimates
from llm_abstractions.errors import FailureKind, LlmError
from llm_abstractions.line import Line, Waiter
from llm_abstractions.loop_clock import LoopClock
from llm_abstractions.quotas import Amounts, LaneLimits, Quotas
from llm_abstractions.rate_limits import RateLimits
from llm_abstractions.retry_budget import RetryBudget
from llm_abstractions.types import Completion, Usage

__all__ = ["Cost", "Lane", "LaneLimits", "LaneStatus", "Permit"]

# However long a provider asks to wait, it is asked again after this; an account's quota states its own time.
MAX_PAUSE_S = 120.0
# Where the provider does not say how long: doubled with each refusal in a row.
_FIRST_PAUSE_S, _LAST_PAUSE_S = 1.0, 2.5
# So many refusals in a row, of single tries at the end, are no limit one could keep to. That is over when up to so
# many tries at once have gone through.
_STORM_REFUSALS, _STORM_PROBES = 3, 8
# The same after server errors and broken connections. One of them is bad luck, this many in a row are an outage.
OUTAGE_FAILURES = 2
MAX_OUTAGE_PAUSE_S = 15.0
_JITTER = 0.1
# A timer may fire a rounding error early; a step in time this small still comes to an end on every clock.
_MIN_TIMER_S = 1e-5
_DURATION_WEIGHT = 0.2
# These come with an answer that was paid for: the provider is well.
_ANSWERED = frozenset({FailureKind.REFUSAL, FailureKind.TRUNCATED, FailureKind.BAD_OUTPUT})


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneStatus:
    """A lane at one moment.

    `reason` says what the next call waits for, and `wait_s` for how many seconds (`inf`: until something else happens);
    empty: nothing. `limit` is how many calls may be under way. `stated` are the provider's own limits, if it tells any.
    """

    name: str
    under_way: int
    waiting: int
    limit: int
    limits: LaneLimits
    stated: RateLimits | None = None
    is_open: bool = True
    reason: str = ""
    wait_s: float = 0.0


class Permit:
    """The right to make one call: a context manager around it, to be settled inside with what came of it.

    An `LlmError` that leaves the block settles it, too. A permit left unsettled (a cancelled call) keeps its estimate:
    nobody knows what the provider counted. Only the first settling counts.
    """

    __slots__ = ("_lane", "amounts", "cost", "is_open", "loop", "model", "number", "sent_at", "taken")

    def __init__(self, lane: "Lane", *, cost: Cost, amounts: Amounts, model: str, sent_at: float) -> None:
        self._lane = lane
        self.is_open = True
        self.cost = cost
        self.amounts = amounts
        self.model = model
        self.sent_at = sent_at
        # What the lane notes of the moment: the how-manieth call, all that is taken with it, and in which loop.
        self.number = 0
        self.taken: Amounts = amounts
        self.loop = 0

    def succeed(self, usage: Usage, limits: RateLimits | None = None, *, is_first_try: bool = True) -> None:
        """Settle with an answer's usage and with what it said about limits."""
        self._lane.settle(self, usage, limits, is_first_try=is_first_try)

    def fail(self, error: LlmError) -> None:
        """Settle with a failure; a rate limit pauses the whole lane, and so does an outage.

        What a `quota` failure means is the caller's to decide: `stop` the lane, or wait.
        """
        self._lane.settle_failed(self, error)

    def cancel(self) -> None:
        """Settle a permit whose call was never sent: it has used nothing."""
        self._lane.settle_unused(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, LlmError):
            self.fail(error)
        else:
            self._lane.settle_unknown(self)


class Lane:
    """Admission to one provider, account and model family.

    It may serve several event loops one after the other: what it knows of the provider stays, who waited and what was
    under way in an earlier loop is forgotten. Not for two loops, or threads, at a time.

    `counts_cached` says whether input tokens read from the provider's cache count towards its limits.
    """

    def __init__(
        self,
        name: str,
        limits: LaneLimits | None = None,
        *,
        counts_cached: bool = True,
        rng: random.Random | None = None,
    ) -> None:
        self.name = name
        self.limits = LaneLimits()
        self._counts_cached = counts_cached
        self._random = rng or random.Random()  # noqa: S311 - spreads calls in time, guards nothing
        self._clock = LoopClock()
        self._loop = 0
        self._line: Line[Permit] = Line()
        self._window = Window()
        self._quotas = Quotas()
        self._breaker = Breaker()
        self._retries = RetryBudget()
        self._estimates = Estimates()
        self._timer: asyncio.TimerHandle | None = None
        self._under_way = 0
        self._granted = 0
        self._call_s: float | None = None  # how long a call takes, on average
        self._stopped: LlmError | None = None
        self._paused_until = -inf
        self._pause_reason = ""
        self._refusals = 0  # episodes in a row
        self._outages = 0  # the same
        self._troubles = 0  # failures in a row
        self._held_at = 0  # calls up to this number tell nothing new about the latest refusal or outage
        self._probes: int | None = None  # how many may try while nobody knows whether it is over
        self._probing = 0  # calls under way that were sent since
        self.change(limits or LaneLimits())

    # -- steering --------------------------------------------------------------------------------------------------

    def change(self, limits: LaneLimits) -> None:
        """Put other ceilings in force, also while calls wait."""
        now = self._now()
        self._quotas.change(limits, now)
        self._window.set_ceiling(limits.concurrency or inf)
        self.limits = limits
        self._admit_waiting(now)

    def pause(self, seconds: float, reason: str) -> None:
        """Admit nobody for that long (`inf`: until `resume`); a longer pause that is going on stays."""
        now = self._now()
        if now + seconds > self._paused_until:
            self._paused_until, self._pause_reason = now + seconds, reason

    def resume(self) -> None:
        """End a pause, whoever began it."""
        self._paused_until = -inf
        self._admit_waiting(self._now())

    def stop(self, reason: LlmError) -> None:
        """Turn away everyone who waits or comes with this error, until `reopen`: for an account without money."""
        self._now()
        self._stopped = reason
        self._line.turn_away(lambda _: self._stop_error())
        self._disarm()

    def reopen(self) -> None:
        """Take calls again, after a stop, a pause, or failures that stopped a model's calls."""
        self._stopped = None
        self._breaker.reset()
        self.resume()

    # -- looking ---------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether calls go out now: the lane is not stopped or paused, and not busy finding out whether it works."""
        return self._closed(self._now())[0] <= 0

    def wait_hint_s(self, cost: Cost = NO_COST) -> float:
        """Return about how long a call that comes now will wait, 0 for not at all, `inf` when the lane is stopped."""
        now = self._now()
        wait_s = max(0.0, self._closed(now)[0])
        if self._stopped is not None:
            return inf
        if wait_s == inf:  # a few calls find out whether it works, and these come back soon
            wait_s = self._call_s or 0.0
        amounts = cost.amounts()
        requests, tokens, inputs, outputs = self._line.total
        ahead = (requests + amounts[0], tokens + amounts[1], inputs + amounts[2], outputs + amounts[3])
        limit = self._window.limit
        surplus = self._under_way + len(self._line) + 1 - limit
        if surplus > 0 and not (self._window.is_slow_start and limit < (self.limits.concurrency or inf)):
            wait_s = max(wait_s, surplus / limit * (self._call_s or 0.0))
        return max(wait_s, self._quotas.refill_s(ahead, now))

    def estimate(self, prompt_chars: int, max_tokens: int | None = None, key: str = "") -> Cost:
        """Return what a call will probably use, by what calls of this lane, and of `key` (an agent), used before."""
        return self._estimates.estimate(prompt_chars, max_tokens, key)

    def may_retry(self) -> bool:
        """Take one from the lane's budget for retries, and say whether there was one.

        Ask before repeating a call that failed: a fifth of the requests of the last minutes, and ten in any case, may
        be retries. A call the lane itself holds back, by a rate limit or an outage, needs no such leave.
        """
        return self._retries.take(self._now())

    def status(self) -> LaneStatus:
        """Return how the lane stands."""
        now = self._now()
        first = self._line.first()
        wait_s, reason = self._wait((first.cost if first else NO_COST).amounts(), now)
        return LaneStatus(
            name=self.name,
            under_way=self._under_way,
            waiting=len(self._line),
            limit=self._window.limit if self._probes is None else min(self._probes, self._window.limit),
            limits=self.limits,
            stated=self._quotas.stated(now),
            is_open=self._closed(now)[0] <= 0,
            reason=reason,
            wait_s=wait_s,
        )

    # -- admission -------------------------------------------------------------------------------------------------

    async def acquire(self, cost: Cost = NO_COST, *, priority: float = 0, model: str = "") -> Permit:
        """Wait for the right moment and return the permit for one call.

        Order: the higher priority first, then the longer wait; a step in priority is worth 30 s of waiting. The first
        in line is never overtaken, however small the others are.

        Raises: LlmError: the lane was stopped, or calls to `model` fail again and again in a way no retry can mend.
        """
        now = self._now()
        if self._stopped is not None:
            raise self._stop_error()
        if (refusal := self._breaker.refusal(model, now)) is not None:
            raise refusal
        amounts = cost.amounts()
        if not self._line and self._wait(amounts, now)[0] <= 0:
            return self._grant(cost, amounts, model, now)
        waiter: Waiter[Permit] = Waiter(cost, model)
        if self._line.join(waiter, priority=priority, now=now):
            self._admit_waiting(now)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            self._left(waiter)
            raise

    def _left(self, waiter: Waiter[Permit]) -> None:
        future = waiter.future
        if future.cancelled():
            self._line.leave(waiter)
            self._admit_waiting(self._now())
        elif future.exception() is None:  # granted in the very moment of the cancellation
            future.result().cancel()

    def _closed(self, now: float) -> tuple[float, str]:
        """Return for how long the lane as a whole is shut, `inf` if something else has to happen first, and why."""
        if self._stopped is not None:
            return inf, f"a person: the lane is stopped ({self._stopped.kind})"
        if now < self._paused_until:
            return self._paused_until - now, self._pause_reason
        if self._probes is not None and self._probing >= self._probes:
            return inf, "the answer of the first calls after a pause"
        return 0.0, ""

    def _wait(self, amounts: Amounts, now: float) -> tuple[float, str]:
        """Return the seconds until a call may go, `inf` if another has to end first, and what it waits for."""
        closed = self._closed(now)
        if closed[0] > 0:
            return closed
        place_s = self._window.wait_s(self._under_way, now)
        quota = self._quotas.wait(amounts, now)
        return quota if quota[0] >= place_s else (place_s, "a free place")

    def _grant(self, cost: Cost, amounts: Amounts, model: str, now: float) -> Permit:
        permit = Permit(self, cost=cost, amounts=amounts, model=model, sent_at=now)
        self._under_way += 1
        self._probing += 1
        self._granted += 1
        permit.number, permit.loop = self._granted, self._loop
        permit.taken = self._quotas.take(amounts, now)
        self._window.on_start(self._under_way, now)
        self._retries.on_request(now)
        return permit

    def _admit_waiting(self, now: float) -> None:
        """Admit from the front of the line whom we can, and set the timer for the next."""
        while (waiter := self._line.first()) is not None:
            wait_s, _ = self._wait(waiter.amounts, now)
            if wait_s > 0:
                self._arm(wait_s)
                return
            self._line.admit(self._grant(waiter.cost, waiter.amounts, waiter.model, now))
        self._disarm()

    def _arm(self, wait_s: float) -> None:
        # A timer that fires too early only looks again, so it may stay: moving it for every call would cost more.
        if wait_s == inf:
            return
        loop = asyncio.get_running_loop()
        wait_s = max(wait_s, _MIN_TIMER_S)
        if self._timer is not None:
            if self._timer.when() <= loop.time() + wait_s:
                return
            self._timer.cancel()
        self._timer = loop.call_later(wait_s, self._on_timer)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        self._admit_waiting(self._now())

    def _now(self) -> float:
        """Return the present moment; in another loop than before, first forget what belonged to the earlier one."""
        now = self._clock.now()
        if self._clock.loops != self._loop:
            self._loop = self._clock.loops
            self._line, self._timer = Line(), None
            self._under_way = self._probing = 0
        return now

    def _stop_error(self) -> LlmError:
        assert self._stopped is not None  # noqa: S101 - only called while stopped
        return repeated(self._stopped, f"not sent: lane {self.name!r} is stopped until it is reopened. {self._stopped}")

    # -- settling (called by permits) ------------------------------------------------------------------------------

    def settle(self, permit: Permit, usage: Usage, limits: RateLimits | None, *, is_first_try: bool = True) -> None:
        """Take in an answer."""
        now = self._now()
        if not self._close(permit, now):
            return
        self._answered(permit, usage, limits, now)
        self._window.on_success(now, is_first_try=is_first_try)
        self._breaker.on_success(permit.model)
        self._admit_waiting(now)

    def settle_failed(self, permit: Permit, error: LlmError) -> None:
        """Take in a failure, by its kind."""
        now = self._now()
        if not self._close(permit, now):
            return
        if error.kind is FailureKind.RATE_LIMIT:
            self._refused(permit, error, now)
        elif error.kind in _ANSWERED and isinstance(error.answer, Completion):
            self._answered(permit, error.answer.usage, error.rate_limits, now)
        else:
            self._learn(permit, error.rate_limits, now)
        if error.kind in {FailureKind.OVERLOADED, FailureKind.CONNECTION}:
            self._in_trouble(permit, error, now)
        elif error.kind is FailureKind.TIMEOUT:  # says as much about the call as about the provider
            self._window.on_server_error(now)
        elif (stopped := self._breaker.on_failure(permit.model, error, now)) is not None:
            self._turn_away(permit.model, stopped)
        self._admit_waiting(now)

    def settle_unused(self, permit: Permit) -> None:
        """Take back a permit as if it had never been given."""
        now = self._now()
        if self._close(permit, now):
            self._quotas.give_back(permit.amounts)
            self._admit_waiting(now)

    def settle_unknown(self, permit: Permit) -> None:
        """Free the place of a call nobody knows the outcome of."""
        now = self._now()
        if self._close(permit, now):
            self._admit_waiting(now)

    def _close(self, permit: Permit, now: float) -> bool:
        """Free the permit's place, once."""
        is_mine = permit.is_open and permit.loop == self._loop
        permit.is_open = False
        if is_mine:
            self._under_way -= 1
            if permit.number > self._held_at:
                self._probing -= 1
            took_s = now - permit.sent_at
            self._call_s = took_s if self._call_s is None else self._call_s + (took_s - self._call_s) * _DURATION_WEIGHT
        return is_mine

    def _answered(self, permit: Permit, usage: Usage, limits: RateLimits | None, now: float) -> None:
        counted = usage.input_tokens if self._counts_cached else usage.input_tokens - usage.cached_tokens
        actual = Cost(input_tokens=counted, output_tokens=usage.output_tokens)
        self._quotas.settle(permit.amounts, actual.amounts())
        self._estimates.learn(permit.cost, actual)
        self._learn(permit, limits, now)
        self._troubles = 0
        if permit.number > self._held_at:
            self._probed()

    def _probed(self) -> None:
        """A call went through: after a pause twice as many may try, until the window is the limit again."""
        self._outages = 0
        if self._probes is None:
            self._refusals = 0
            return
        self._probes *= 2
        if self._refusals < _STORM_REFUSALS:
            is_over = self._probes > self._window.limit
        else:
            is_over = self._probes > _STORM_PROBES
            self._window.on_recovery(self._probes)
        if is_over:
            self._probes, self._refusals = None, 0

    def _refused(self, permit: Permit, error: LlmError, now: float) -> None:
        """Take in a 429: the lane as a whole waits, and unless the headers explain it, goes on with a single try."""
        self._quotas.give_back(permit.amounts)
        self._learn(permit, error.rate_limits, now, is_counted=False)
        if permit.number > self._held_at:
            tried = self._under_way + 1 if self._probes is not None and self._probes > 1 else None
            self._window.on_rate_limit(tried=tried)
            self._refusals += 1
            self._hold(None if self._quotas.is_short(permit.amounts, now) else 1)
        wait_s = error.retry_after_s
        if wait_s is None:
            wait_s = min(_FIRST_PAUSE_S * 2 ** (self._refusals - 1), _LAST_PAUSE_S)
        self._pause_for(min(wait_s, MAX_PAUSE_S), "the provider's rate limit")

    def _in_trouble(self, permit: Permit, error: LlmError, now: float) -> None:
        """Take in a server error or a broken connection: several in a row pause the lane, so others take over."""
        self._window.on_server_error(now)
        self._troubles += 1
        wait_s = error.retry_after_s
        if self._troubles >= OUTAGE_FAILURES and permit.number > self._held_at:
            self._outages += 1
            self._hold(1)
            if wait_s is None:
                wait_s = _FIRST_PAUSE_S * 2 ** (self._outages - 1)
        if wait_s is not None:
            self._pause_for(min(wait_s, MAX_OUTAGE_PAUSE_S), f"the provider to recover ({error.kind})")

    def _hold(self, probes: int | None) -> None:
        self._held_at = self._granted
        self._probes, self._probing = probes, 0

    def _pause_for(self, seconds: float, reason: str) -> None:
        self.pause(seconds * (1 + _JITTER * self._random.random()), reason)

    def _turn_away(self, model: str, error: LlmError) -> None:
        self._line.turn_away(lambda waiter: repeated(error, str(error)) if waiter.model == model else None)

    def _learn(self, permit: Permit, limits: RateLimits | None, now: float, *, is_counted: bool = True) -> None:
        """Follow what the provider says of its limits; what it refused is not in its count."""
        if limits is None:
            return
        before = permit.taken
        if not is_counted:
            taken, own = permit.taken, permit.amounts
            before = (taken[0] - own[0], taken[1] - own[1], taken[2] - own[2], taken[3] - own[3])
        self._quotas.learn(limits, sent_at=permit.sent_at, before=before, now=now)
