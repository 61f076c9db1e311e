"""A task's time limit, and how it stands still while the task waits for others."""

import asyncio
import contextlib

import pytest

from orchestration.attempt import Deadline, Parking

pytestmark = pytest.mark.looptime


def clock():
    return asyncio.get_running_loop().time()


async def ends_at(work):
    """Return when a limit of 10 s ends the work, which is given its deadline."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10) as timeout:
            await work(Deadline(timeout))
    return clock()


async def test_no_time_passes_while_a_deadline_is_held():
    async def work(deadline):
        await asyncio.sleep(4)
        with deadline.held():
            await asyncio.sleep(1_000)
        await asyncio.sleep(4)
        with deadline.held(), deadline.held():
            await asyncio.sleep(1_000)
        await asyncio.sleep(1_000)

    assert await ends_at(work) == 2_010


async def test_a_failure_while_it_is_held_lets_it_go_on():
    async def work(deadline):
        with contextlib.suppress(KeyError), deadline.held():
            await asyncio.sleep(5)
            raise KeyError
        await asyncio.sleep(100)

    assert await ends_at(work) == 15


async def test_without_a_limit_there_is_nothing_to_hold():
    with Deadline().held():
        await asyncio.sleep(1_000)
    async with asyncio.timeout(None) as timeout:
        with Deadline(timeout).held():
            await asyncio.sleep(1_000)
        assert timeout.when() is None


# -- parking


async def test_a_parked_task_goes_on_when_its_time_has_come():
    assert await Parking().wait(600)
    assert clock() == 600


async def test_a_task_parked_for_a_person_s_word_goes_on_with_it_and_the_others_stay():
    parking = Parking()
    async with asyncio.TaskGroup() as group:
        word = group.create_task(parking.wait(None))
        group.create_task(parking.wait(600))
        await asyncio.sleep(5)
        assert not word.done()
        parking.wake()
        assert await word
        assert clock() == 5
    assert clock() == 600


async def test_a_run_that_stops_has_no_time_for_parked_tasks_until_it_opens_again():
    parking = Parking()
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(parking.wait(seconds)) for seconds in (None, 600)]
        await asyncio.sleep(0)
        parking.wake()
        parking.close()
    assert [task.result() for task in waiting] == [True, False]
    assert not await parking.wait(600)
    parking.open()
    assert await parking.wait(1)
    assert clock() == 1


async def test_a_cancelled_task_leaves_the_parking():
    parking = Parking()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await parking.wait(600)
    assert parking._waiting == {}
    parking.wake()
    parking.close()
