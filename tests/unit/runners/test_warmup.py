"""Calls that share a beginning: who goes ahead, who waits, and for how long. On a virtual clock."""

import asyncio
import random

import pytest

from orchestration.attempt import Deadline
from orchestration.runners.warmup import LEAD_MAX_S, WARM_S, WarmUps

pytestmark = pytest.mark.looptime


class Calls:
    """Calls of one group whose course a test decides; `went` are their names in the order they went."""

    def __init__(self, warm_ups=None, key="k"):
        self.warm_ups = warm_ups or WarmUps()
        self.key = key
        self.went, self.ahead, self.turns, self.ends, self.tasks = [], [], {}, {}, {}

    async def start(self, *names, priority=0, is_sent=True):
        for name in names:
            self.tasks[name] = asyncio.create_task(self._call(name, priority, is_sent))
            await settle()

    async def _call(self, name, priority, is_sent):
        self.ends[name] = asyncio.get_running_loop().create_future()
        async with self.warm_ups.turn(self.key, priority=priority, deadline=Deadline()) as turn:
            self.went.append(name)
            self.turns[name] = turn
            if turn.is_ahead:
                self.ahead.append(name)
            if is_sent:
                turn.sent()
            await self.ends[name]

    async def begin(self, name):
        self.turns[name].begun()
        await settle()

    async def answer(self, name):
        self.ends[name].set_result(None)
        await self.tasks[name]
        await settle()

    async def fail(self, name):
        self.ends[name].set_exception(ConnectionError(name))
        with pytest.raises(ConnectionError):
            await self.tasks[name]
        await settle()

    async def cancel(self, name):
        self.tasks[name].cancel()
        await asyncio.gather(self.tasks[name], return_exceptions=True)
        await settle()


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def calls():
    made = Calls()
    yield made
    for task in made.tasks.values():
        task.cancel()
    await asyncio.gather(*made.tasks.values(), return_exceptions=True)


async def test_of_twenty_calls_one_goes_ahead_and_the_others_follow_when_its_answer_begins(calls):
    names = [f"c{number}" for number in range(20)]
    await calls.start(*names)
    assert calls.went == calls.ahead == ["c0"]

    await calls.begin("c0")

    assert calls.went == names
    assert calls.ahead == ["c0"]


async def test_an_answer_that_comes_in_one_piece_lets_the_others_go(calls):
    await calls.start("a", "b", "c")
    await calls.answer("a")
    assert calls.went == ["a", "b", "c"]
    assert calls.ahead == ["a"]


async def test_when_the_call_ahead_fails_the_next_goes_ahead(calls):
    await calls.start("a", "b", "c")
    await calls.fail("a")
    assert calls.went == calls.ahead == ["a", "b"]

    await calls.fail("b")
    await calls.begin("c")
    assert calls.ahead == ["a", "b", "c"]


async def test_a_call_that_fails_after_it_began_holds_nobody(calls):
    await calls.start("a", "b")
    await calls.begin("a")
    await calls.fail("a")
    await calls.start("c")
    assert calls.went == ["a", "b", "c"]
    assert calls.ahead == ["a"]


async def test_who_waits_goes_by_priority_then_age(calls):
    await calls.start("ahead", priority=3)
    await calls.start("low", "low2", priority=0)
    await calls.start("high", "high2", priority=2)
    await calls.fail("ahead")
    assert calls.ahead == ["ahead", "high"]

    await calls.begin("high")
    assert calls.went == ["ahead", "high", "high2", "low", "low2"]


async def test_a_more_urgent_call_does_not_wait_for_one_that_waits_itself(calls):
    await calls.start("low", is_sent=False)
    await calls.start("urgent", priority=3)
    await calls.start("urgent2", priority=3)
    assert calls.went == calls.ahead == ["low", "urgent"]

    await calls.begin("urgent")
    assert calls.went[2:] == ["urgent2"]


async def test_two_ahead_are_enough_for_one_to_fail(calls):
    await calls.start("low", is_sent=False)
    await calls.start("urgent", priority=3)
    await calls.start("waits")
    await calls.fail("urgent")
    assert calls.went == ["low", "urgent"]

    await calls.answer("low")
    assert calls.went[2:] == ["waits"]


async def test_the_others_wait_for_a_beginning_only_so_long_once_the_call_is_sent(calls):
    await calls.start("a", is_sent=False)
    await calls.start("b", "c")
    await asyncio.sleep(10 * LEAD_MAX_S)
    assert calls.went == ["a"]

    calls.turns["a"].sent()
    await asyncio.sleep(LEAD_MAX_S - 1)
    assert calls.went == ["a"]
    await asyncio.sleep(1)
    await settle()
    await calls.start("d")

    assert calls.went == ["a", "b", "c", "d"]
    assert calls.ahead == ["a"]


async def test_after_a_late_call_has_failed_the_next_to_come_goes_ahead(calls):
    await calls.start("a", "b")
    await asyncio.sleep(LEAD_MAX_S)
    await calls.fail("a")
    await calls.fail("b")
    await calls.start("c", "d")
    assert calls.went == ["a", "b", "c"]
    assert calls.ahead == ["a", "c"]


async def test_a_warm_beginning_lets_all_go_until_nobody_used_it_for_a_while(calls):
    await calls.start("a")
    await calls.answer("a")
    await asyncio.sleep(WARM_S - 1)
    await calls.start("b")
    await calls.answer("b")  # keeps it warm
    await asyncio.sleep(WARM_S - 1)
    await calls.start("c")
    assert calls.ahead == ["a"]

    await asyncio.sleep(2)
    await calls.start("d", "e")
    assert calls.went == ["a", "b", "c", "d"]
    assert calls.ahead == ["a", "d"]


async def test_an_answer_that_took_longer_than_the_cache_lives_keeps_nothing_warm(calls):
    await calls.start("a")
    await calls.begin("a")
    await calls.start("slow")
    await asyncio.sleep(WARM_S + 1)
    await calls.start("b", "c")
    assert calls.ahead == ["a", "b"]

    await calls.answer("slow")
    assert calls.went == ["a", "slow", "b"]
    await calls.answer("b")
    assert calls.went == ["a", "slow", "b", "c"]


async def test_a_call_ahead_that_is_cancelled_hands_over(calls):
    await calls.start("a", "b", "c")
    await calls.cancel("a")
    assert calls.ahead == ["a", "b"]


async def test_who_is_cancelled_while_waiting_is_passed_over(calls):
    await calls.start("a", "b", "c")
    await calls.cancel("b")
    await calls.fail("a")
    assert calls.ahead == ["a", "c"]


async def test_who_is_cancelled_in_the_moment_of_its_turn_hands_over(calls):
    await calls.start("a", "b", "c")
    calls.ends["a"].set_exception(ConnectionError())
    await asyncio.sleep(0)  # "a" has ended and named "b", which has not run yet
    calls.tasks["b"].cancel()
    await asyncio.gather(calls.tasks["a"], calls.tasks["b"], return_exceptions=True)
    await settle()

    assert calls.went == calls.ahead == ["a", "c"]


async def test_a_call_that_shares_nothing_goes_at_once(calls):
    calls.key = None
    await calls.start("a", "b")
    await calls.begin("a")
    await calls.answer("a")
    assert calls.went == ["a", "b"]
    assert calls.ahead == []
    assert calls.warm_ups._groups == {}


async def test_groups_do_not_wait_for_each_other(calls):
    await calls.start("a")
    calls.key = "other"
    await calls.start("b")
    assert calls.ahead == ["a", "b"]


async def test_waiting_does_not_count_as_the_task_s_time():
    warm_ups = WarmUps()
    async with asyncio.timeout(5) as timeout:
        async with warm_ups.turn("k", deadline=Deadline()) as turn, asyncio.TaskGroup() as group:
            turn.sent()

            async def follow():
                async with asyncio.timeout(5) as own:
                    async with warm_ups.turn("k", deadline=Deadline(own)):
                        await asyncio.sleep(4)

            following = group.create_task(follow())
            timeout.reschedule(None)
            await asyncio.sleep(20)
            turn.begun()
        assert following.exception() is None


async def test_groups_whose_cache_went_cold_are_forgotten():
    warm_ups = WarmUps()

    async def call(key):
        async with warm_ups.turn(key, deadline=Deadline()) as turn:
            turn.sent()

    for number in range(256):
        await call(number)
    await asyncio.sleep(WARM_S / 2)
    await call(0)
    await asyncio.sleep(WARM_S / 2 + 1)
    await call("new")

    assert set(warm_ups._groups) == {0, "new"}


def test_a_second_event_loop_begins_anew():
    warm_ups = WarmUps()

    async def leave_one_ahead():
        turn = warm_ups.turn("k", deadline=Deadline())
        await turn.__aenter__()  # and the loop ends in the middle

    async def call():
        async with asyncio.timeout(1), warm_ups.turn("k", deadline=Deadline()) as turn:
            return turn.is_ahead

    asyncio.run(leave_one_ahead())
    assert asyncio.run(call()) is True


@pytest.mark.parametrize("seed", range(60))
async def test_whatever_fails_or_is_cancelled_when_everyone_goes_and_nothing_is_left(seed):
    """Twenty calls, each of which succeeds, fails or is cancelled at a moment of its own."""
    dice = random.Random(seed)
    warm_ups = WarmUps()
    went = set()

    async def call(number):
        await asyncio.sleep(dice.choice((0, 0, 1)))
        async with warm_ups.turn("k", priority=dice.randrange(3), deadline=Deadline()) as turn:
            went.add(number)
            await asyncio.sleep(dice.choice((0, 1)))
            turn.sent()
            await asyncio.sleep(dice.choice((0, 1, 2 * LEAD_MAX_S)))
            if dice.random() < 0.5:
                turn.begun()
            await asyncio.sleep(dice.choice((0, 1)))
            if dice.random() < 0.5:
                raise ConnectionError

    tasks = [asyncio.create_task(call(number)) for number in range(20)]
    cancelled = set(dice.sample(range(20), 8))
    for number in cancelled:
        await asyncio.sleep(dice.choice((0, 0, 1)))
        tasks[number].cancel()
    async with asyncio.timeout(60 * 20 * LEAD_MAX_S):  # nobody waits for ever
        await asyncio.gather(*tasks, return_exceptions=True)

    assert went >= set(range(20)) - cancelled
    group = warm_ups._groups["k"]
    assert not group._ahead
    assert not group._line
    assert group._timer is None
