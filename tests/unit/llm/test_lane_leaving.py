"""Who does not wait at a lane: where it is stopped for a time, and where a call has somewhere else to go."""

import asyncio

import pytest

from llm_abstractions.errors import ConnectionFailedError, FailureKind, LlmError, OverloadedError, QuotaError
from llm_abstractions.lane import Lane, LaneLimits

pytestmark = pytest.mark.looptime

OUTAGE = {FailureKind.OVERLOADED, FailureKind.CONNECTION}


async def fail(lane, error):
    with pytest.raises(type(error)), await lane.acquire():
        raise error


async def test_a_stop_for_a_time_says_how_much_is_left_and_ends_by_itself():
    lane = Lane("p/m")
    lane.stop(QuotaError("daily quota used up"), 600)
    await asyncio.sleep(200)

    assert (lane.is_open, lane.wait_hint_s()) == (False, 400)
    assert lane.status().reason == "the provider: the lane is stopped (quota)"
    with pytest.raises(QuotaError, match=r"stopped for another 400 s\. daily") as caught:
        await lane.acquire()
    assert caught.value.retry_after_s == 400

    await asyncio.sleep(400)
    assert lane.is_open
    (await lane.acquire()).cancel()


async def test_a_stop_without_end_lasts_until_it_is_reopened():
    lane = Lane("p/m")
    lane.stop(QuotaError("no money", retry_after_s=5))
    await asyncio.sleep(1e6)

    with pytest.raises(QuotaError, match="stopped until it is reopened") as caught:
        await lane.acquire()
    assert caught.value.retry_after_s is None
    lane.reopen()
    (await lane.acquire()).cancel()


async def test_who_can_go_elsewhere_leaves_the_line_when_an_outage_begins_and_the_others_stay():
    lane = Lane("p/m", LaneLimits(concurrency=2))
    held = [await lane.acquire() for _ in range(2)]
    left: list[LlmError] = []

    async def wait(leave_on):
        try:
            (await lane.acquire(leave_on=leave_on)).cancel()
        except LlmError as exc:
            left.append(exc)

    async with asyncio.TaskGroup() as group:
        for leave_on in ((), OUTAGE, {FailureKind.RATE_LIMIT}, OUTAGE):
            group.create_task(wait(leave_on))
        await asyncio.sleep(0)
        held[0].fail(OverloadedError("busy"))
        assert left == []  # one is bad luck
        held[1].fail(OverloadedError("busy"))
        await asyncio.sleep(0)
        assert [error.kind for error in left] == [FailureKind.OVERLOADED] * 2
        assert "waits for the provider to recover. busy" in str(left[0])
    assert len(left) == 2
    assert lane.status().under_way == lane.status().waiting == 0


async def test_who_comes_during_an_outage_is_turned_away_only_while_the_lane_is_closed():
    lane = Lane("p/m")
    for _ in range(2):
        await fail(lane, ConnectionFailedError("no route"))

    with pytest.raises(ConnectionFailedError, match="not sent"):
        await lane.acquire(leave_on=OUTAGE)
    await asyncio.sleep(2)
    probe = await lane.acquire(leave_on=OUTAGE)  # the first to find out whether it is over
    with pytest.raises(ConnectionFailedError, match="not sent"):
        await lane.acquire(leave_on=OUTAGE)
    probe.succeed()
    (await lane.acquire(leave_on=OUTAGE)).cancel()
