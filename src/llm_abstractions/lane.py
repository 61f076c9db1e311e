"""One lane of traffic: the calls of one provider, account and model family, admitted one by one at the right moment.

A call is admitted when the lane is open, a place is free, and the quotas hold a request and the tokens it will probably
use; it is settled with what it really used. What is not admitted waits in order of rank. Knows no provider, no task and
no money; time is the event loop's.
"""

import asyncio
import random
from collections.abc import Collection
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
from llm_abstractions.recovery import Recovery
from llm_abstractions.retry_budget import RetryBudget
from llm_abstractions.types import Completion, Usage

__all__ = ["Cost", "Lane", "LaneLimits", "LaneStatus", "Permit"]

# A timer may fire a rounding error early; a step in time this small still comes to an end on every clock.
_MIN_TIMER_S = 1e-5
_DURATION_WEIGHT = 0.2
_TROUBLES = frozenset({FailureKind.OVERLOADED, FailureKind.CONNECTION, FailureKind.TIMEOUT})


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

    Leaving the block settles it, too: with the `LlmError` that leaves it, or as an answer of which nothing is known.
    What a cancelled call used nobody knows either, so it keeps its estimate. Only the first settling counts.
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

    def succeed(
        self, usage: Usage | None = None, limits: RateLimits | None = None, *, is_first_try: bool = True
    ) -> None:
        """Settle with an answer's usage (None: it does not say, so the estimate stays) and what it said about limits.

        `is_first_try` is false where the call had to be repeated: that says nothing about how much the provider can do.
        """
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
        if error is None:
            self.succeed()
        elif isinstance(error, LlmError):
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
        self._clock = LoopClock()
        self._loop = 0
        self._line: Line[Permit] = Line()
        self._window = Window()
        # S311: it spreads calls in time and guards nothing.
        self._recovery = Recovery(self._window, rng or random.Random())  # noqa: S311
        self._quotas = Quotas()
        self._breaker = Breaker()
        self._retries = RetryBudget()
        self._estimates = Estimates()
        self._timer: asyncio.TimerHandle | None = None
        self._under_way = 0
        self._granted = 0
        self._call_s: float | None = None  # how long a call takes, on average
        self._stopped: LlmError | None = None
        self._stopped_until = inf
        self._outage: LlmError | None = None  # what the latest one began with
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
        self._recovery.pause(seconds, reason, self._now())

    def resume(self) -> None:
        """End a pause, whoever began it."""
        self._recovery.resume()
        self._admit_waiting(self._now())

    def stop(self, reason: LlmError, seconds: float = inf) -> None:
        """Turn away everyone who waits or comes with this error: for an account without money, or quota.

        It lasts until `reopen`, or for that many seconds; the error's `retry_after_s` then says how many are left.
        """
        now = self._now()
        self._stopped, self._stopped_until = reason, now + seconds
        self._line.turn_away(lambda _: self._stop_error(now))
        self._disarm()

    def reopen(self) -> None:
        """Take calls again, after a stop, a pause, or failures that stopped a model's calls."""
        self.forgive()
        self.resume()

    def forgive(self) -> None:
        """Take calls again, after a stop, or failures that stopped a model's calls; a pause goes on."""
        self._stopped = None
        self._breaker.reset()

    # -- looking ---------------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether calls go out now: the lane is not stopped or paused, and not busy finding out whether it works."""
        return self._closed(self._now())[0] <= 0

    @property
    def closed_by(self) -> FailureKind | None:
        """The kind of failure that keeps calls from going out now; None while `is_open`."""
        now = self._now()
        if self._closed(now)[0] <= 0:
            return None
        if self._stopped is not None:
            return self._stopped.kind
        return self._outage.kind if self._outage and self._recovery.is_outage else FailureKind.RATE_LIMIT

    def wait_hint_s(self, cost: Cost = NO_COST) -> float:
        """Return about how long a call that comes now will wait, 0 for not at all; while stopped, how much longer."""
        now = self._now()
        wait_s = max(0.0, self._closed(now)[0])
        if self._is_stopped(now):
            return wait_s
        if wait_s == inf and not self._recovery.is_paused(now):  # a few calls try, and these come back soon
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
            limit=min(self._window.limit, self._recovery.probes or self._window.limit),
            limits=self.limits,
            stated=self._quotas.stated(now),
            is_open=self._closed(now)[0] <= 0,
            reason=reason,
            wait_s=wait_s,
        )

    # -- admission -------------------------------------------------------------------------------------------------

    async def acquire(
        self,
        cost: Cost = NO_COST,
        *,
        priority: float = 0,
        model: str = "",
        leave_on: Collection[FailureKind] = (),
    ) -> Permit:
        """Wait for the right moment and return the permit for one call.

        Order: the higher priority first, then the longer wait; a step in priority is worth 30 s of waiting. The first
        in line is never overtaken, however small the others are. Who has somewhere else to go does not wait for the
        end of an outage that began with a failure of a kind in `leave_on`, but is turned away with it.

        Raises: LlmError: the lane was stopped, or calls to `model` fail again and again in a way no retry can mend.
        """
        now = self._now()
        if self._is_stopped(now):
            raise self._stop_error(now)
        if leave_on and (outage := self._outage_for(leave_on, now)) is not None:
            raise outage
        if (refusal := self._breaker.refusal(model, now)) is not None:
            raise refusal
        amounts = cost.amounts()
        if not self._line and self._wait(amounts, now)[0] <= 0:
            return self._grant(cost, amounts, model, now)
        waiter: Waiter[Permit] = Waiter(cost, model, leave_on)
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
        if self._stopped is not None and self._is_stopped(now):
            who = "a person" if self._stopped_until == inf else "the provider"
            return self._stopped_until - now, f"{who}: the lane is stopped ({self._stopped.kind})"
        return self._recovery.wait(now)

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
        self._granted += 1
        permit.number, permit.loop = self._granted, self._loop
        self._recovery.on_start(permit.number)
        permit.taken = self._quotas.take(amounts, now)
        self._window.on_start(self._under_way, now)
        self._retries.on_request(now)
        return permit

    def _admit_waiting(self, now: float) -> None:
        """Admit from the front of the line whom we can, and set the timer for the next."""
        while (waiter := self._line.first()) is not None:
            wait_s, _ = self._wait(waiter.amounts, now)
            if wait_s > 0:
                self._arm(wait_s, waiter.future.get_loop())
                return
            self._line.admit(self._grant(waiter.cost, waiter.amounts, waiter.model, now))
        self._disarm()

    def _arm(self, wait_s: float, loop: asyncio.AbstractEventLoop) -> None:
        # A timer that fires too early only looks again, so it may stay: moving it for every call would cost more.
        if wait_s == inf:
            return
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
            self._under_way = 0
            self._recovery.forget_calls()
        return now

    def _is_stopped(self, now: float) -> bool:
        if self._stopped is not None and now >= self._stopped_until:
            self._stopped = None
        return self._stopped is not None

    def _stop_error(self, now: float) -> LlmError:
        assert self._stopped is not None  # noqa: S101 - only called while stopped
        left_s = self._stopped_until - now
        how_long = "until it is reopened" if left_s == inf else f"for another {left_s:.0f} s"
        error = repeated(self._stopped, f"not sent: lane {self.name!r} is stopped {how_long}. {self._stopped}")
        error.retry_after_s = None if left_s == inf else left_s
        return error

    def _outage_for(self, kinds: Collection[FailureKind], now: float) -> LlmError | None:
        """Return the error for a call that would not wait for the end of an outage; None where there is no outage."""
        began_with = self._outage
        if began_with is None or began_with.kind not in kinds:
            return None
        if not self._recovery.is_outage or self._closed(now)[0] <= 0:
            return None
        return repeated(began_with, f"not sent: lane {self.name!r} waits for the provider to recover. {began_with}")

    # -- settling (called by permits) ------------------------------------------------------------------------------

    def settle(
        self, permit: Permit, usage: Usage | None, limits: RateLimits | None, *, is_first_try: bool = True
    ) -> None:
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
        elif error.kind in _TROUBLES:
            self._in_trouble(permit, error, now)
        else:
            self._declined(permit, error, now)
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
            self._recovery.on_end(permit.number)
            took_s = now - permit.sent_at
            self._call_s = took_s if self._call_s is None else self._call_s + (took_s - self._call_s) * _DURATION_WEIGHT
        return is_mine

    def _answered(self, permit: Permit, usage: Usage | None, limits: RateLimits | None, now: float) -> None:
        if usage is not None:
            counted = usage.input_tokens if self._counts_cached else usage.input_tokens - usage.cached_tokens
            actual = Cost(input_tokens=counted, output_tokens=usage.output_tokens)
            self._quotas.settle(permit.amounts, actual.amounts())
            self._estimates.learn(permit.cost, actual)
        self._learn(permit, limits, now)
        self._recovery.on_answer(permit.number)

    def _declined(self, permit: Permit, error: LlmError, now: float) -> None:
        """Take in a failure that is about the call, not the provider: it may have been paid for, and may come again."""
        if isinstance(error.answer, Completion):
            self._answered(permit, error.answer.usage, error.rate_limits, now)
        else:
            self._learn(permit, error.rate_limits, now)
            self._recovery.on_answer(permit.number)
        if (stopped := self._breaker.on_failure(permit.model, error, now)) is not None:
            self._turn_away(permit.model, stopped)

    def _refused(self, permit: Permit, error: LlmError, now: float) -> None:
        """Take in a 429: the lane as a whole waits."""
        self._quotas.give_back(permit.amounts)
        self._learn(permit, error.rate_limits, now, is_counted=False)
        self._recovery.on_refusal(
            permit.number,
            error.retry_after_s,
            under_way=self._under_way + 1,
            is_explained=self._quotas.is_short(permit.amounts, now),
            now=now,
        )

    def _in_trouble(self, permit: Permit, error: LlmError, now: float) -> None:
        """Take in what is the provider's fault: an outage pauses the lane, so that others can take over."""
        self._learn(permit, error.rate_limits, now)
        self._window.on_server_error(now)
        # A timeout says as much about the call as about the provider, unless that was in trouble before.
        if error.kind is not FailureKind.TIMEOUT or self._recovery.is_outage:
            self._recovery.on_failure(permit.number, error.retry_after_s, now=now)
        if self._recovery.is_outage:
            self._outage = error
            self._line.turn_away(lambda waiter: self._outage_for(waiter.leave_on, now) if waiter.leave_on else None)

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
