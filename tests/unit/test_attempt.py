"""A task's time limit, and how it stands still while the task waits for others."""

import asyncio
import contextlib

import pytest

from orchestration.attempt import Deadline

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
