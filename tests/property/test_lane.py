"""What holds for a lane whatever comes: any calls, any outcomes, cancelled at any moment. On a virtual clock."""

import asyncio
import random
from collections.abc import Coroutine
from dataclasses import dataclass, field
from itertools import combinations_with_replacement
from typing import TypeVar

import looptime
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_abstractions.errors import (
    AuthError,
    CallTimeoutError,
    ConnectionFailedError,
    LlmError,
    OverloadedError,
    QuotaError,
    RateLimitError,
)
from llm_abstractions.lane import Cost, Lane, LaneLimits
from llm_abstractions.line import PRIORITY_STEP_S
from llm_abstractions.rate_limits import Quota, RateLimits
from llm_abstractions.types import Usage

# The smallest ceiling of tokens: no call needs more, for such a one waits for a full bucket and is let go all the same.
MOST = 1_000
EPSILON = 1e-6
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Call:
    comes_s: float
    takes_s: float
    input_tokens: int
    output_tokens: int
    share_used: float
    priority: int
    cancelled_after_s: float | None
    failures: list[type[LlmError]]


@dataclass
class Grant:
    number: int
    at: float
    rank: float
    call: Call
    used: tuple[float, float, float]


@dataclass
class Diary:
    """What happened to the calls of one lane."""

    grants: list[Grant] = field(default_factory=list)
    overtaken: list[str] = field(default_factory=list)
    most_under_way: int = 0
    under_way: int = 0
    line: list[tuple[float, int]] = field(default_factory=list)
    finished: int = 0


seconds = st.integers(0, 400).map(lambda tenths: tenths / 10)
tokens = st.integers(0, MOST)
failing = st.sampled_from([RateLimitError, OverloadedError, ConnectionFailedError, CallTimeoutError])


def calls_of(
    *, is_cancelled: bool = False, fails: int = 0, priorities: int = 0, shares: tuple[float, ...] = (0.0, 0.5, 1.0)
) -> st.SearchStrategy[list[Call]]:
    call = st.builds(
        Call,
        comes_s=seconds,
        takes_s=seconds,
        input_tokens=tokens,
        output_tokens=tokens,
        share_used=st.sampled_from(shares),
        priority=st.integers(0, priorities),
        cancelled_after_s=st.none() | seconds if is_cancelled else st.none(),
        failures=st.lists(failing, max_size=fails),
    )
    return st.lists(call, min_size=1, max_size=30)


limits_of = st.builds(
    LaneLimits,
    concurrency=st.none() | st.integers(1, 8),
    requests_per_minute=st.none() | st.integers(1, 100),
    tokens_per_minute=st.none() | st.integers(2 * MOST, 10 * MOST),
    input_tokens_per_minute=st.none() | st.integers(MOST, 10 * MOST),
    output_tokens_per_minute=st.none() | st.integers(MOST, 10 * MOST),
)


def play(lane: Lane, calls: list[Call], *, then=None) -> Diary:
    """Run the calls on a clock of their own."""
    diary = Diary()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number, call in enumerate(calls):
                group.create_task(_come(lane, call, number, diary))
        if then is not None:
            await then(lane)

    on_virtual_clock(main())
    return diary


def on_virtual_clock(work: Coroutine[None, None, Result]) -> Result:
    """Run to the end, or fail in a moment where nothing would ever happen again."""

    async def bounded() -> Result:
        async with asyncio.timeout(1e6):
            return await work

    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        return runner.run(bounded())


async def _come(lane: Lane, call: Call, number: int, diary: Diary) -> None:
    await asyncio.sleep(call.comes_s)
    try:
        async with asyncio.timeout(call.cancelled_after_s):
            for failure in [*call.failures, None]:
                await _once(lane, call, number, failure, diary)
            diary.finished += 1
    except TimeoutError:
        pass  # the cancellation


async def _once(lane: Lane, call: Call, number: int, failure: type[LlmError] | None, diary: Diary) -> None:
    now = asyncio.get_running_loop().time
    rank = now() - call.priority * PRIORITY_STEP_S
    diary.line.append((rank, number))
    try:
        permit = await lane.acquire(
            Cost(input_tokens=call.input_tokens, output_tokens=call.output_tokens), priority=call.priority
        )
    finally:
        diary.line.remove((rank, number))
    used = Usage(
        input_tokens=int(call.input_tokens * call.share_used), output_tokens=int(call.output_tokens * call.share_used)
    )
    diary.grants.append(
        Grant(
            permit.number,
            permit.sent_at,
            rank,
            call,
            (used.input_tokens, used.output_tokens, sum((used.input_tokens, used.output_tokens))),
        )
    )
    diary.under_way += 1
    diary.most_under_way = max(diary.most_under_way, diary.under_way)
    try:
        with permit:
            await asyncio.sleep(call.takes_s)
            if failure is not None:
                permit.fail(failure("no luck"))
            else:
                permit.succeed(used)
    finally:
        diary.under_way -= 1


def most_in_any_window(grants: list[tuple[float, float]], per_minute: int) -> float:
    """Return by how much the worst window exceeds what a full bucket and its refill allow; below 0: by nothing."""
    worst = -float("inf")
    ordered = sorted(grants)
    for first, last in combinations_with_replacement(range(len(ordered)), 2):
        used = sum(amount for _, amount in ordered[first : last + 1])
        allowed = per_minute * (1 + (ordered[last][0] - ordered[first][0]) / 60)
        worst = max(worst, used - allowed)
    return worst


@settings(max_examples=60, deadline=None)
@given(limits_of, calls_of(is_cancelled=True, fails=1))
def test_never_more_are_under_way_than_the_ceiling_allows(limits, calls):
    diary = play(Lane("l", limits, rng=random.Random(1)), calls)

    assert limits.concurrency is None or diary.most_under_way <= limits.concurrency


@settings(max_examples=60, deadline=None)
@given(limits_of, calls_of(is_cancelled=True, shares=(1.0,)))
def test_no_window_of_time_holds_more_than_a_bucket_and_its_refill(limits, calls):
    # Where less is used than estimated, the bucket may have been full meanwhile: giving the rest back is generous then.
    diary = play(Lane("l", limits, rng=random.Random(1)), calls)

    for per_minute, amount in (
        (limits.requests_per_minute, lambda _: 1),
        (limits.input_tokens_per_minute, lambda grant: grant.used[0]),
        (limits.output_tokens_per_minute, lambda grant: grant.used[1]),
        (limits.tokens_per_minute, lambda grant: grant.used[2]),
    ):
        if per_minute is not None:
            grants = [(grant.at, amount(grant)) for grant in diary.grants]
            assert most_in_any_window(grants, per_minute) <= EPSILON


@settings(max_examples=60, deadline=None)
@given(limits_of, calls_of(is_cancelled=True, fails=1))
def test_equals_are_served_in_the_order_they_came(limits, calls):
    diary = play(Lane("l", limits, rng=random.Random(1)), calls)

    # In the order granted: who waited hears of it a step of the loop later than who came when nobody waited any more.
    ranks = [grant.rank for grant in sorted(diary.grants, key=lambda grant: grant.number)]
    assert ranks == sorted(ranks)


@settings(max_examples=60, deadline=None)
@given(limits_of, calls_of(is_cancelled=True, fails=1, priorities=3))
def test_nobody_is_overtaken_by_a_later_rank(limits, calls):
    lane = Lane("l", limits, rng=random.Random(1))
    diary = Diary()
    grant = lane._grant

    def watched(cost, amounts, model, now):
        waiting = [entry for entry in lane._line._heap if not entry[2].future.done()]
        # Whoever is granted is either the first in line, or came when there was none.
        diary.overtaken += [repr(entry) for entry in waiting[1:] if entry[:2] < min(waiting)[:2]]
        diary.overtaken += ["past the line"] if waiting and min(waiting)[2].cost is not cost else []
        return grant(cost, amounts, model, now)

    lane._grant = watched
    play(lane, calls)

    assert diary.overtaken == []


@settings(max_examples=60, deadline=None)
@given(limits_of, calls_of(is_cancelled=True, fails=2, priorities=3))
def test_no_permit_is_lost_whatever_fails_or_is_cancelled(limits, calls):
    async def nothing_is_left(lane: Lane) -> None:
        assert (lane.status().under_way, lane.status().waiting) == (0, 0)
        assert lane._line.total == (0, 0, 0, 0)
        await asyncio.sleep(600)  # whatever was used has refilled
        for _ in range(5):
            with await lane.acquire(Cost(input_tokens=MOST // 10)):
                pass
        assert lane.is_open

    play(Lane("l", limits, rng=random.Random(1)), calls, then=nothing_is_left)


@settings(max_examples=60, deadline=None)
@given(limits_of, calls_of(fails=3, priorities=3))
def test_everyone_is_served_in_the_end_when_the_server_recovers(limits, calls):
    diary = play(Lane("l", limits, rng=random.Random(1)), calls)

    assert diary.finished == len(calls)


class Server:
    """Counts continuously, as providers do, by a factor of its own, and refuses what is too much."""

    def __init__(self, rpm: int, tpm: int, factor: float, latency_s: float) -> None:
        self.sizes, self.levels = (rpm, tpm), [float(rpm), float(tpm)]
        self.factor, self.latency_s = factor, latency_s
        self.at, self.refused = 0.0, 0

    async def answer(self, tokens: int) -> RateLimits:
        loop = asyncio.get_running_loop()
        passed, self.at = loop.time() - self.at, loop.time()
        self.levels = [
            min(size, level + passed * size / 60) for size, level in zip(self.sizes, self.levels, strict=True)
        ]
        needs = (1, tokens * self.factor)
        wait_s = max(
            (need - level) * 60 / size for need, level, size in zip(needs, self.levels, self.sizes, strict=True)
        )
        if wait_s <= 0:
            self.levels = [level - need for level, need in zip(self.levels, needs, strict=True)]
        stated = [
            Quota(limit=size, remaining=max(0, int(level))) for size, level in zip(self.sizes, self.levels, strict=True)
        ]
        limits = RateLimits(requests=stated[0], tokens=stated[1])
        await asyncio.sleep(self.latency_s)
        if wait_s > 0:
            self.refused += 1
            raise RateLimitError("slow down", retry_after_s=wait_s, rate_limits=limits)
        return limits


@settings(max_examples=40, deadline=None)
@given(
    calls=st.integers(20, 300),
    rpm=st.integers(60, 2_000),
    tpm=st.integers(5_000, 100_000),
    size=st.integers(10, 500),
    factor=st.floats(0.5, 5),
    latency_s=st.floats(0.001, 0.5),
)
def test_unknown_limits_are_found_and_used_whatever_they_are(calls, rpm, tpm, size, factor, latency_s):
    server = Server(rpm, tpm, factor, latency_s)
    lane = Lane("l", rng=random.Random(1))

    async def one() -> None:
        while True:
            with await lane.acquire(Cost(input_tokens=size)) as permit:
                try:
                    permit.succeed(None, await server.answer(size))
                    return
                except RateLimitError as error:
                    permit.fail(error)

    async def main() -> float:
        async with asyncio.TaskGroup() as group:
            for _ in range(calls):
                group.create_task(one())
        return asyncio.get_running_loop().time()

    took_s = on_virtual_clock(main())

    optimum_s = max(0.0, (calls - rpm) * 60 / rpm, (calls * size * factor - tpm) * 60 / tpm) + latency_s
    # A second to ramp up, and what the margins cost: 2 %, and the last drop of a bucket.
    assert took_s <= optimum_s * 1.1 + 1.5 + 4 * latency_s + 2 * size * factor * 60 / tpm + 120 / rpm
    assert server.refused <= 3 + 0.03 * calls + calls_before_the_first_answer(latency_s)


def calls_before_the_first_answer(latency_s: float) -> float:
    """Nobody can know a limit before an answer tells it, and slow start doubles every 100 ms until then."""
    return 4 * 2 ** (2 * latency_s / 0.1)


steps = st.lists(
    st.one_of(
        st.builds(lambda s: ("pause", s), seconds),
        st.builds(lambda limits: ("change", limits), limits_of),
        st.sampled_from([("resume", None), ("stop", None), ("reopen", None)]),
    ),
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(limits_of, calls_of(is_cancelled=True, fails=1), steps)
def test_whatever_a_person_does_meanwhile_every_call_ends_and_nothing_is_lost(limits, calls, steps):
    lane = Lane("l", limits, rng=random.Random(1))
    turned_away: list[LlmError] = []

    async def steer() -> None:
        for name, value in steps:
            await asyncio.sleep(7)
            match name:
                case "pause":
                    lane.pause(value, "a person")
                case "change":
                    lane.change(value)
                case "stop":
                    lane.stop(QuotaError("no money"))
                case _:
                    getattr(lane, name)()

    async def come(call: Call, number: int) -> None:
        try:
            await _come(lane, call, number, Diary())
        except QuotaError as error:
            turned_away.append(error)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(steer())
            for number, call in enumerate(calls):
                group.create_task(come(call, number))
        lane.reopen()
        assert (lane.status().under_way, lane.status().waiting) == (0, 0)
        (await lane.acquire()).cancel()

    on_virtual_clock(main())

    assert all("is stopped" in str(error) for error in turned_away)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([AuthError("no key"), OverloadedError("busy"), RateLimitError("slow"), None]), max_size=40)
)
def test_a_lane_is_never_shut_for_good(outcomes):
    lane = Lane("l", rng=random.Random(1))

    async def main() -> None:
        for outcome in outcomes:
            try:
                with await lane.acquire(model="m") as permit:
                    if outcome is not None:
                        permit.fail(outcome)
            except AuthError:
                await asyncio.sleep(1)
        await asyncio.sleep(121)
        for _ in range(3):
            with await lane.acquire(model="m"):
                pass
        assert lane.is_open

    on_virtual_clock(main())
