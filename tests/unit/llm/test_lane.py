import asyncio
import gc
import random
import weakref
from itertools import pairwise
from math import inf

import pytest

from llm_abstractions.errors import (
    AuthError,
    BadRequestError,
    CallTimeoutError,
    ConnectionFailedError,
    ContextLengthError,
    OverloadedError,
    QuotaError,
    RateLimitError,
    TruncatedError,
)
from llm_abstractions.lane import Cost, Lane, LaneLimits
from llm_abstractions.rate_limits import Quota, RateLimits
from llm_abstractions.types import Completion, Usage

pytestmark = pytest.mark.looptime

ONE = LaneLimits(concurrency=1)


def now() -> float:
    return asyncio.get_running_loop().time()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def call(lane: Lane, outcome: object = None, *, cost: Cost = Cost(), takes_s: float = 0, **options) -> float:  # noqa: B008
    """Make a call that ends with a usage, an error, or nothing said; return when it was admitted."""
    permit = await lane.acquire(cost, **options)
    admitted_at = now()
    with permit:
        if takes_s:
            await asyncio.sleep(takes_s)
        if isinstance(outcome, Exception):
            permit.fail(outcome)
        elif isinstance(outcome, Usage):
            permit.succeed(outcome)
    return admitted_at


# -- admission ---------------------------------------------------------------------------------------------------------


async def test_a_call_is_admitted_at_once_when_nothing_is_in_its_way():
    lane = Lane("l")

    assert await call(lane) == 0
    assert lane.status().under_way == 0


async def test_no_more_calls_are_under_way_than_allowed_and_a_place_freed_is_a_place_used(callers):
    lane = Lane("l", LaneLimits(concurrency=2))
    await callers.ask(lane, "abc")
    assert callers.names == "ab"
    assert (lane.status().under_way, lane.status().waiting, lane.status().reason) == (2, 1, "a free place")

    callers.permits["a"].succeed()
    await settle()

    assert callers.names == "abc"


async def test_requests_are_spread_over_the_minute_once_the_first_minutes_worth_is_used(callers):
    lane = Lane("l", LaneLimits(requests_per_minute=3))
    await callers.ask(lane, "abcd")
    assert callers.names == "ab"  # and not the last of a full bucket: to arrive too early costs a refusal
    assert lane.status().reason == "our limit of requests per minute"
    assert 0 < lane.status().wait_s < 1

    await asyncio.sleep(61)

    assert [moment for _, moment in callers.admitted[2:]] == pytest.approx([0.4, 20.4], abs=0.1)


@pytest.mark.parametrize("limit", ["input_tokens_per_minute", "output_tokens_per_minute", "tokens_per_minute"])
async def test_tokens_are_limited_too(callers, limit):
    lane = Lane("l", LaneLimits(**{limit: 1_000}))
    cost = Cost(input_tokens=400, output_tokens=400)

    assert await call(lane, cost=cost) == 0
    later = await call(lane, cost=cost)

    assert later == pytest.approx({"tokens_per_minute": 37.5}.get(limit, 0), abs=2)


async def test_an_estimate_is_settled_with_what_was_used():
    lane = Lane("l", LaneLimits(output_tokens_per_minute=1_000))

    await call(lane, Usage(output_tokens=10), cost=Cost(output_tokens=900))

    assert lane.wait_hint_s(Cost(output_tokens=950)) == 0
    assert await call(lane, cost=Cost(output_tokens=900)) == 0


async def test_a_call_of_which_nothing_is_known_keeps_its_estimate():
    lane = Lane("l", LaneLimits(output_tokens_per_minute=1_000))

    await call(lane, cost=Cost(output_tokens=900))

    assert lane.wait_hint_s(Cost(output_tokens=900)) == pytest.approx(48)


@pytest.mark.parametrize(("counts_cached", "free"), [(True, 0), (False, 900)])
async def test_input_from_the_cache_counts_only_where_the_provider_counts_it(counts_cached, free):
    lane = Lane("l", LaneLimits(input_tokens_per_minute=1_000), counts_cached=counts_cached)

    await call(lane, Usage(input_tokens=1_000, cached_tokens=900), cost=Cost(input_tokens=1_000))

    assert lane.wait_hint_s(Cost(input_tokens=900)) == pytest.approx(54 - free * 0.06)


# -- order -------------------------------------------------------------------------------------------------------------


async def test_the_higher_priority_goes_first_then_the_longer_wait(callers):
    lane = Lane("l", ONE)
    await callers.ask(lane, "a")
    await callers.ask(lane, "bc", priority=1)
    await callers.ask(lane, "de", priority=2)

    for name in "adebc":
        callers.permits[name].succeed()
        await settle()

    assert callers.names == "adebc"


async def test_a_low_priority_that_waited_long_enough_goes_first(callers):
    lane = Lane("l", ONE)
    await callers.ask(lane, "a")
    await callers.ask(lane, "b", priority=0)
    await asyncio.sleep(31)
    await callers.ask(lane, "c", priority=1)

    callers.permits["a"].succeed()
    await settle()

    assert callers.names == "ab"


async def test_a_small_call_does_not_overtake_a_big_one(callers):
    lane = Lane("l", LaneLimits(input_tokens_per_minute=1_000))
    await call(lane, cost=Cost(input_tokens=900))
    await callers.ask(lane, "a", Cost(input_tokens=900))
    await callers.ask(lane, "b", Cost(input_tokens=1))

    await asyncio.sleep(40)
    assert callers.names == ""
    await asyncio.sleep(20)

    assert callers.names == "ab"


# -- cancellation ------------------------------------------------------------------------------------------------------


async def test_who_is_cancelled_while_waiting_lets_the_next_go(callers):
    lane = Lane("l", LaneLimits(input_tokens_per_minute=1_000))
    await call(lane, cost=Cost(input_tokens=900))
    await callers.ask(lane, "a", Cost(input_tokens=900))
    await callers.ask(lane, "b", Cost(input_tokens=1))

    callers.tasks["a"].cancel()
    await settle()

    assert callers.names == "b"
    assert lane.status().waiting == 0


async def test_who_is_cancelled_in_the_very_moment_of_admission_gives_all_back(callers):
    lane = Lane("l", LaneLimits(concurrency=1, input_tokens_per_minute=1_000))
    await callers.ask(lane, "a")
    await callers.ask(lane, "b", Cost(input_tokens=900))
    await callers.ask(lane, "c", Cost(input_tokens=900))

    callers.permits["a"].succeed()  # admits b, whose task has not heard of it yet
    callers.tasks["b"].cancel()
    await settle()

    assert callers.names == "ac"
    assert now() == 0


async def test_ten_thousand_who_leave_are_not_kept(callers):
    lane = Lane("l", ONE)
    await callers.ask(lane, "ab")
    for _ in range(20):
        many = [asyncio.create_task(lane.acquire()) for _ in range(500)]
        await settle()
        for task in many:
            task.cancel()
        await asyncio.gather(*many, return_exceptions=True)

    assert lane.status().waiting == 1
    assert len(lane._line._heap) < 200


async def test_a_waiter_that_left_unseen_holds_nobody_up(callers):
    lane = Lane("l", ONE)
    await callers.ask(lane, "abc")

    callers.tasks["b"].cancel()  # it has not noticed yet
    callers.permits["a"].succeed()
    await settle()

    assert callers.names == "ac"


# -- settling ----------------------------------------------------------------------------------------------------------


async def test_only_the_first_settling_counts():
    lane = Lane("l", LaneLimits(concurrency=5))
    permit = await lane.acquire()

    with permit:
        permit.succeed(Usage())
        permit.fail(RateLimitError("no"))
        permit.cancel()

    assert lane.status().under_way == 0
    assert lane.is_open


async def test_an_error_that_leaves_the_block_settles_the_call():
    lane = Lane("l")

    with pytest.raises(RateLimitError), await lane.acquire():
        raise RateLimitError("no", retry_after_s=9)

    assert not lane.is_open
    assert lane.status().under_way == 0


async def test_a_bug_in_the_block_frees_the_place():
    lane = Lane("l", LaneLimits(concurrency=1, input_tokens_per_minute=100))

    with pytest.raises(ZeroDivisionError), await lane.acquire(Cost(input_tokens=90)):
        raise ZeroDivisionError

    assert lane.status().under_way == 0
    assert lane.wait_hint_s(Cost(input_tokens=90)) > 0


async def test_a_call_that_was_never_sent_has_used_nothing():
    lane = Lane("l", LaneLimits(requests_per_minute=1, input_tokens_per_minute=100))

    (await lane.acquire(Cost(input_tokens=100))).cancel()

    assert await call(lane, cost=Cost(input_tokens=100)) == 0


async def test_an_answer_that_was_no_use_is_settled_with_what_it_cost():
    lane = Lane("l", LaneLimits(output_tokens_per_minute=1_000))
    answer = Completion("{", usage=Usage(output_tokens=100))

    await call(lane, TruncatedError("cut", answer=answer), cost=Cost(output_tokens=1_000))

    assert lane.wait_hint_s(Cost(output_tokens=900)) == 0


# -- rate limits -------------------------------------------------------------------------------------------------------


async def test_a_429_pauses_the_lane_for_as_long_as_the_provider_asks():
    lane = Lane("l", rng=random.Random(1))

    await call(lane, RateLimitError("slow down", retry_after_s=20))
    assert not lane.is_open
    assert lane.status().reason == "the provider's rate limit"

    assert 20 <= await call(lane) <= 22


async def test_a_refused_call_has_used_nothing():
    lane = Lane("l", LaneLimits(input_tokens_per_minute=1_000))

    await call(lane, RateLimitError("slow down", retry_after_s=1), cost=Cost(input_tokens=900))

    assert await call(lane, cost=Cost(input_tokens=900)) < 2


async def test_a_wish_to_wait_is_bounded():
    lane = Lane("l")

    await call(lane, RateLimitError("slow down", retry_after_s=86_400))

    assert 120 <= await call(lane) <= 132


async def test_after_a_429_one_call_tries_and_then_ever_more(callers):
    lane = Lane("l")
    await call(lane, RateLimitError("slow down", retry_after_s=5))
    await callers.ask(lane, "abcdefg")

    await asyncio.sleep(6)
    assert callers.names == "a"
    assert lane.status().reason == "the answer of the first calls after a pause"
    assert (lane.status().limit, lane.is_open) == (1, False)

    callers.permits["a"].succeed()
    await settle()
    assert callers.names == "abc"
    callers.permits["b"].succeed()
    await settle()

    assert callers.names == "abcde"[: 1 + 2 + lane.status().limit - 1]


async def test_a_try_that_is_cancelled_leaves_its_place_to_another(callers):
    lane = Lane("l")
    await call(lane, RateLimitError("slow down", retry_after_s=5))
    await callers.ask(lane, "ab")
    await asyncio.sleep(6)

    with pytest.raises(asyncio.CancelledError), callers.permits["a"]:
        raise asyncio.CancelledError
    await settle()

    assert callers.names == "ab"


async def test_calls_sent_before_the_refusal_neither_hold_up_the_try_nor_count_as_one(callers):
    lane = Lane("l")
    await callers.ask(lane, "abc")
    callers.permits["a"].fail(RateLimitError("slow down", retry_after_s=5))
    await callers.ask(lane, "def")

    await asyncio.sleep(6)
    assert callers.names == "abcd"  # b and c are still under way
    callers.permits["b"].succeed()
    await settle()

    assert callers.names == "abcd"  # b was sent before, so it tells nothing


async def test_refusals_of_one_burst_cut_the_window_once(callers):
    lane = Lane("l")
    await callers.ask(lane, "abcd")

    for name in "abcd":
        callers.permits[name].fail(RateLimitError("slow down"))

    assert lane._window.limit == 3


async def test_without_a_wish_the_pause_grows_with_each_refusal_in_a_row_up_to_some_seconds():
    lane = Lane("l", rng=random.Random(1))
    moments = [await call(lane, RateLimitError("slow down")) for _ in range(5)]

    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert [round(pause) for pause in pauses] == [1, 2, 3, 3]
    assert all(pause >= least for pause, least in zip(pauses, (1, 2, 2.5, 2.5), strict=True))


async def test_after_a_storm_calls_come_back_fast(callers):
    lane = Lane("l")
    for _ in range(10):
        await call(lane, RateLimitError("slow down"))
    assert lane._window.limit == 1

    for _ in range(4):  # tries of 1, 2, 4 and 8 at once, which go through
        await callers.ask(lane, "x")
        await asyncio.sleep(3)
        callers.permits["x"].succeed()

    assert lane.status().limit >= 8
    assert lane._window.is_slow_start


async def test_where_headers_tell_when_there_is_room_nobody_has_to_try(callers):
    lane = Lane("l")
    empty = RateLimits(requests=Quota(limit=60, remaining=0))
    await call(lane, RateLimitError("slow down", retry_after_s=1, rate_limits=empty))
    await callers.ask(lane, "abc")

    await asyncio.sleep(4.5)

    assert callers.names == "abc"
    assert [round(moment, 1) for _, moment in callers.admitted] == pytest.approx([1.1, 2, 3], abs=0.2)


# -- what the provider states ------------------------------------------------------------------------------------------


async def test_the_providers_own_count_is_followed(callers):
    lane = Lane("l")
    with await lane.acquire() as permit:
        permit.succeed(Usage(), RateLimits(requests=Quota(limit=60, remaining=2)))

    await callers.ask(lane, "abc")
    assert callers.names == "a"
    assert lane.status().reason == "the provider's limit of requests per minute"
    assert lane.status().stated == RateLimits(requests=Quota(limit=60, remaining=1))
    await asyncio.sleep(1)
    assert callers.names == "ab"


async def test_of_two_limits_the_lower_wins():
    stated = RateLimits(requests=Quota(limit=600, remaining=599), output_tokens=Quota(limit=1_000, remaining=1_000))
    lane = Lane("l", LaneLimits(requests_per_minute=2))
    with await lane.acquire() as permit:
        permit.succeed(Usage(), stated)

    assert await call(lane, cost=Cost(output_tokens=900)) == pytest.approx(1, abs=1)
    assert await call(lane, cost=Cost(output_tokens=900)) == pytest.approx(48, abs=8)


async def test_a_limit_without_a_size_is_not_followed():
    lane = Lane("l")
    with await lane.acquire() as permit:
        permit.succeed(Usage(), RateLimits(requests=Quota(remaining=0), tokens=Quota(limit=0, remaining=0)))

    assert lane.status().stated is None
    assert await call(lane, cost=Cost(input_tokens=10)) == 0


# -- outages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OverloadedError, ConnectionFailedError])
async def test_a_single_server_error_pauses_nobody_but_two_in_a_row_do(error):
    lane = Lane("l")

    await call(lane, error("busy"))
    assert lane.is_open
    await call(lane, error("busy"))

    assert not lane.is_open
    assert 1 <= await call(lane) <= 1.1


async def test_a_success_between_makes_them_single_ones():
    lane = Lane("l")
    for _ in range(5):
        await call(lane, OverloadedError("busy"))
        await call(lane, Usage())

    assert lane.is_open
    assert now() == 0


async def test_an_outage_is_looked_at_again_at_least_every_15_seconds_even_after_a_night():
    lane = Lane("l", rng=random.Random(1))
    moments = [await call(lane, ConnectionFailedError("no route")) for _ in range(2_000)]

    pauses = [later - earlier for earlier, later in pairwise(moments[1:])]
    assert [round(pause) for pause in pauses[:4]] == [1, 2, 4, 8]
    assert max(pauses) <= 16.5
    assert min(pauses[4:]) >= 15


async def test_one_success_ends_an_outage():
    lane = Lane("l")
    for _ in range(4):
        await call(lane, OverloadedError("busy"))

    await call(lane, Usage())
    await call(lane, OverloadedError("busy"))

    assert lane.is_open


async def test_an_overloaded_provider_may_say_how_long_but_not_for_ever():
    lane = Lane("l")
    await call(lane, OverloadedError("busy", retry_after_s=3))
    assert 3 <= await call(lane) <= 3.3

    await call(lane, OverloadedError("busy", retry_after_s=600))
    assert 15 <= lane.wait_hint_s() <= 16.5


async def test_timeouts_alone_pause_nobody_but_prolong_an_outage():
    lane = Lane("l")
    for _ in range(5):
        await call(lane, CallTimeoutError("late"))
    assert lane.is_open

    for _ in range(2):
        await call(lane, OverloadedError("busy"))
    await call(lane, CallTimeoutError("late"))

    assert not lane.is_open


async def test_an_error_about_the_call_shows_that_the_provider_is_well():
    lane = Lane("l")
    for _ in range(3):
        await call(lane, OverloadedError("busy"))
    await call(lane, ContextLengthError("too long"))

    await call(lane, OverloadedError("busy"))

    assert lane.is_open


# -- stopping ----------------------------------------------------------------------------------------------------------


async def test_a_stopped_lane_turns_everyone_away_until_it_is_reopened(callers):
    lane = Lane("l", ONE)
    await callers.ask(lane, "abc")
    money = QuotaError("no money left", provider="p", answer=Completion("paid for"))

    lane.stop(money)

    for name in "bc":
        with pytest.raises(QuotaError, match=r"lane 'l' is stopped until it is reopened\. no money left"):
            await callers.tasks[name]
    with pytest.raises(QuotaError) as caught:
        await lane.acquire()
    assert caught.value.answer is None
    assert (lane.is_open, lane.wait_hint_s()) == (False, inf)
    assert lane.status().reason == "a person: the lane is stopped (quota)"

    lane.reopen()
    callers.permits["a"].succeed()
    assert await call(lane) == 0


async def test_each_who_is_turned_away_gets_an_error_of_its_own(callers):
    lane = Lane("l", ONE)
    await callers.ask(lane, "abc")

    lane.stop(QuotaError("no money left"))
    await settle()

    assert callers.tasks["b"].exception() is not callers.tasks["c"].exception()


async def test_who_is_turned_away_and_cancelled_at_once_is_just_cancelled(callers):
    lane = Lane("l", ONE)
    await callers.ask(lane, "ab")

    lane.stop(QuotaError("no money left"))
    callers.tasks["b"].cancel()
    await settle()

    assert callers.tasks["b"].cancelled()


async def test_the_same_failure_three_times_stops_that_models_calls_waiting_ones_too(callers):
    lane = Lane("l", LaneLimits(concurrency=3))
    await callers.ask(lane, "abc", model="m")
    await callers.ask(lane, "d", model="m")
    await callers.ask(lane, "e", model="other")

    for number, name in enumerate("abc"):
        callers.permits[name].fail(AuthError(f"wrong key (request {number})", status_code=401))
        callers.tasks.setdefault(name, None)
    await settle()

    assert callers.names in {"abcde", "abcd"}  # two were let go as the first two ended
    with pytest.raises(AuthError, match=r"not sent: 3 calls to 'm' in a row failed in the same way"):
        await lane.acquire(model="m")
    assert await call(lane, model="other") == 0

    await asyncio.sleep(60)
    assert await call(lane, Usage(), model="m") == 60
    assert await call(lane, model="m") == 60


async def test_those_who_wait_for_a_model_that_is_stopped_do_not_wait_on(callers):
    lane = Lane("l")
    await callers.ask(lane, "abc", model="m")
    lane.pause(100, "a person")
    await callers.ask(lane, "d", model="m")
    await callers.ask(lane, "e", model="other")

    for name in "abc":
        callers.permits[name].fail(BadRequestError("no such option"))
    await settle()

    assert isinstance(callers.tasks["d"].exception(), BadRequestError)
    assert not callers.tasks["e"].done()
    lane.reopen()
    await settle()
    assert await call(lane, model="m") == 0


# -- steering ----------------------------------------------------------------------------------------------------------


async def test_a_pause_holds_everyone_until_it_ends_and_a_longer_one_stays(callers):
    lane = Lane("l")
    lane.pause(10, "a person")
    lane.pause(5, "someone else")
    await callers.ask(lane, "a")
    assert lane.status().reason == "a person"

    await asyncio.sleep(9)
    assert callers.names == ""
    await asyncio.sleep(1)

    assert callers.names == "a"


async def test_a_pause_without_end_ends_with_resume(callers):
    lane = Lane("l")
    lane.pause(inf, "a person")
    await callers.ask(lane, "a")
    await asyncio.sleep(1_000_000)
    assert (callers.names, lane.wait_hint_s()) == ("", inf)

    lane.resume()
    await settle()

    assert callers.names == "a"


async def test_limits_can_be_changed_while_calls_wait(callers):
    lane = Lane("l", ONE)
    await callers.ask(lane, "abc")

    lane.change(LaneLimits(concurrency=2, requests_per_minute=600))
    await settle()
    assert callers.names == "ab"
    assert lane.status().limits.requests_per_minute == 600

    lane.change(ONE)
    callers.permits["a"].succeed()
    await settle()
    assert callers.names == "ab"
    lane.change(LaneLimits(requests_per_minute=60))
    await settle()

    assert callers.names == "abc"


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "many"])
def test_a_limit_has_to_be_a_whole_number(value):
    with pytest.raises(ValueError, match=f"concurrency is {value!r}; expected a whole number above 0, or None"):
        LaneLimits(concurrency=value)


# -- hints -------------------------------------------------------------------------------------------------------------


async def test_a_hint_counts_those_in_line(callers):
    lane = Lane("l", LaneLimits(output_tokens_per_minute=600))
    cost = Cost(output_tokens=500)
    await callers.ask(lane, "abc", cost)

    assert lane.wait_hint_s() == pytest.approx(90)
    assert lane.wait_hint_s(cost) == pytest.approx(140)


async def test_a_hint_knows_how_long_calls_take(callers):
    lane = Lane("l", ONE)
    assert lane.wait_hint_s() == 0
    await call(lane, takes_s=10)
    await callers.ask(lane, "abc")

    assert lane.wait_hint_s() == pytest.approx(30)
    callers.permits["a"].cancel()


async def test_a_hint_while_others_try_is_about_a_calls_time(callers):
    lane = Lane("l")
    await call(lane, RateLimitError("slow down"), takes_s=4)
    await callers.ask(lane, "a")
    assert 1 <= lane.wait_hint_s() <= 1.1
    await asyncio.sleep(2)

    assert callers.names == "a"
    assert lane.wait_hint_s() == 4


async def test_estimates_learn_from_what_calls_used():
    lane = Lane("l")
    for _ in range(20):
        cost = lane.estimate(4_000, 8_000, "writer")
        await call(lane, Usage(input_tokens=2_000, output_tokens=300), cost=cost)

    cost = lane.estimate(4_000, 8_000, "writer")

    assert (cost.input_tokens, cost.output_tokens) == (2_000, 300)


async def test_retries_are_a_fifth_of_the_requests_or_ten():
    lane = Lane("l")
    assert sum(lane.may_retry() for _ in range(50)) == 10

    for _ in range(500):
        await call(lane)

    assert 85 <= sum(lane.may_retry() for _ in range(500)) <= 90


# -- event loops -------------------------------------------------------------------------------------------------------


def test_a_lane_serves_one_loop_after_the_other_and_keeps_none_of_them():
    lane = Lane("l", LaneLimits(concurrency=2))
    loops = []

    async def leave_a_mess() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        permit = await lane.acquire()
        with await lane.acquire() as other:
            other.succeed(Usage(), RateLimits(requests=Quota(limit=60, remaining=30)))
        lane.pause(1, "a person")
        waiting = [asyncio.create_task(lane.acquire()) for _ in range(3)]
        await settle()
        assert (lane.status().under_way, lane.status().waiting) == (1, 3)
        del permit, waiting

    async def look() -> None:
        status = lane.status()
        assert (status.under_way, status.waiting) == (0, 0)
        assert status.stated is not None  # what was learned stays
        lane.resume()
        with await lane.acquire():
            assert lane.status().under_way == 1

    for _ in range(2):
        asyncio.run(leave_a_mess())
    asyncio.run(look())
    lane.change(LaneLimits(concurrency=1))  # nobody runs now

    gc.collect()
    assert [loop() for loop in loops] == [None, None]


def test_a_permit_of_an_earlier_loop_settles_nothing():
    lane = Lane("l", ONE)
    permits = []

    async def take() -> None:
        permits.append(await lane.acquire())

    async def settle_the_old_one() -> int:
        await take()
        permits[0].succeed(Usage())
        return lane.status().under_way

    asyncio.run(take())

    assert asyncio.run(settle_the_old_one()) == 1


def test_a_loop_that_was_closed_with_calls_in_line_does_no_harm():
    lane = Lane("l", LaneLimits(requests_per_minute=1))
    loop = asyncio.SelectorEventLoop()

    async def leave() -> list[asyncio.Task]:
        await lane.acquire()
        return [asyncio.create_task(lane.acquire()) for _ in range(3)]

    tasks = loop.run_until_complete(leave())
    loop.run_until_complete(settle())
    for task in tasks:
        task._log_destroy_pending = False
    loop.close()

    lane.resume()  # outside any loop

    assert lane.status().waiting == 0
