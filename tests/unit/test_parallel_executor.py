import asyncio
import contextlib
import itertools

import pytest

from orchestration.agent_registry import AgentConfig, AgentRegistry, AgentType
from orchestration.errors import InvalidTaskError, UnknownAgentError
from orchestration.executor import TaskExecutor
from orchestration.parallel_executor import ParallelExecutor
from orchestration.task import AgentTask, ExecutionResult, ExecutionStatus


class Sleeper:
    """An executor whose tasks take as many seconds as their title says, and which keeps the books."""

    def __init__(self):
        self.started, self.ended, self.cancelled, self.running, self.most = [], [], [], 0, 0
        self.idle = asyncio.Event()

    async def execute(self, task):
        self.started.append(task.task_id)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(float(task.title))
        except asyncio.CancelledError:
            await asyncio.sleep(1)  # what it started takes its time to end
            self.cancelled.append(task.task_id)
            raise
        finally:
            self.running -= 1
            if not self.running:
                self.idle.set()
        if task.description == "mistake":
            raise UnknownAgentError("agent 'nobody' is unknown")
        self.ended.append(task.task_id)
        status = ExecutionStatus.FAILED if task.description == "failure" else ExecutionStatus.SUCCESS
        return ExecutionResult(task.task_id, status=status)


@pytest.fixture
def sleeper():
    return Sleeper()


def tasks(*seconds, **odd):
    return [AgentTask(f"t{index}", str(each), odd.get(f"t{index}", "")) for index, each in enumerate(seconds)]


def ids(results):
    return [result.task_id for result in results]


def now():
    return asyncio.get_running_loop().time()


pytestmark = pytest.mark.looptime


async def test_results_come_in_the_order_given(sleeper):
    results = await ParallelExecutor(sleeper).execute(tasks(3, 1, 2))

    assert ids(results) == ["t0", "t1", "t2"]
    assert sleeper.ended == ["t1", "t2", "t0"]
    assert now() == 3


async def test_three_calls_of_two_seconds_take_two_seconds(sleeper):
    await ParallelExecutor(sleeper, max_concurrent=3).execute(tasks(2, 2, 2))

    assert now() == 2


async def test_a_slot_freed_is_a_slot_used(sleeper):
    # In batches of two this would take 4 + 1 + 4 seconds.
    await ParallelExecutor(sleeper, max_concurrent=2).execute(tasks(4, 1, 1, 1, 1, 4))

    assert now() == 8
    assert sleeper.most == 2


async def test_results_can_be_had_as_the_tasks_finish(sleeper):
    seen = [(result.task_id, now()) async for result in ParallelExecutor(sleeper).as_completed(tasks(3, 1, 2))]

    assert seen == [("t1", 1), ("t2", 2), ("t0", 3)]


@pytest.mark.parametrize("empty", [[], iter(()), ()])
async def test_no_tasks_are_no_results(sleeper, empty):
    assert await ParallelExecutor(sleeper).execute(empty) == []
    assert [result async for result in ParallelExecutor(sleeper).as_completed(empty)] == []


async def test_a_failed_task_is_a_result_among_the_others(sleeper):
    results = await ParallelExecutor(sleeper).execute(tasks(1, 1, t0="failure"))

    assert [result.status for result in results] == [ExecutionStatus.FAILED, ExecutionStatus.SUCCESS]


async def test_a_slow_consumer_does_not_hold_the_slots(sleeper):
    async for _ in ParallelExecutor(sleeper, max_concurrent=1).as_completed(tasks(1, 1, 1)):
        await asyncio.sleep(10)
        assert sleeper.ended == ["t0", "t1", "t2"]


async def test_tasks_are_taken_only_as_slots_get_free(sleeper):
    endless = (AgentTask(f"t{index}", "1") for index in itertools.count())

    async with contextlib.aclosing(ParallelExecutor(sleeper, max_concurrent=2).as_completed(endless)) as results:
        async for _ in results:
            break

    assert len(sleeper.started) <= 4  # two, and those that took their slots
    assert next(endless).task_id == f"t{len(sleeper.started)}"


async def test_leaving_early_cancels_the_rest_and_waits_for_it(sleeper):
    async with contextlib.aclosing(ParallelExecutor(sleeper).as_completed(tasks(1, 50, 60))) as results:
        async for result in results:
            assert result.task_id == "t0"
            break

    assert sorted(sleeper.cancelled) == ["t1", "t2"]
    assert sleeper.running == 0
    assert now() == 2


async def test_leaving_early_without_closing_cancels_the_rest_as_well(sleeper):
    async for _ in ParallelExecutor(sleeper).as_completed(tasks(1, 50, 60)):
        break
    await sleeper.idle.wait()

    assert sorted(sleeper.cancelled) == ["t1", "t2"]
    assert now() < 5


async def test_an_exception_of_the_consumer_cancels_the_rest_and_stays_what_it_is(sleeper):
    async def consume():
        async with contextlib.aclosing(ParallelExecutor(sleeper).as_completed(tasks(1, 50))) as results:
            async for _ in results:
                raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await consume()

    assert sleeper.cancelled == ["t1"]


async def test_cancelling_cancels_all_and_waits_for_them(sleeper):
    running = asyncio.create_task(ParallelExecutor(sleeper, max_concurrent=2).execute(tasks(50, 50, 50)))
    await asyncio.sleep(1)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert running.cancelled()
    assert sorted(sleeper.cancelled) == ["t0", "t1"]
    assert sleeper.started == ["t0", "t1"]
    assert now() == 2


async def test_a_second_cancellation_reaches_what_was_started_and_still_waits_for_it(sleeper):
    running = asyncio.create_task(ParallelExecutor(sleeper).execute(tasks(50, 50)))
    await asyncio.sleep(1)
    running.cancel()
    await asyncio.sleep(0.5)
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert sleeper.running == 0


async def test_a_caller_s_mistake_that_shows_only_then_is_raised_after_the_rest_was_cancelled(sleeper):
    with pytest.raises(UnknownAgentError, match="nobody"):
        await ParallelExecutor(sleeper, max_concurrent=2).execute(tasks(1, 50, 50, t0="mistake"))

    assert sleeper.cancelled == ["t1"]
    assert sleeper.running == 0
    assert "t2" not in sleeper.started


async def test_a_caller_s_mistake_in_a_list_is_raised_before_anything_starts(tmp_path):
    registry = AgentRegistry()
    registry.register_agent(AgentConfig("touch", AgentType.SCRIPT, command=("touch", "started")))
    good, bad = AgentTask("a", "A", agent="touch"), AgentTask("b", "B", agent="nobody")

    async with TaskExecutor(registry, root=tmp_path) as executor:
        with pytest.raises(ValueError, match="'nobody' is unknown; enabled agents: 'touch'"):
            await ParallelExecutor(executor).execute([good, bad])

    assert not (tmp_path / "started").exists()


async def test_an_iterable_that_fails_is_told_and_stops_the_rest(sleeper):
    def broken():
        yield from tasks(1, 50)
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        await ParallelExecutor(sleeper, max_concurrent=2).execute(broken())

    assert sleeper.cancelled == ["t1"]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(sleeper, limit):
    with pytest.raises(InvalidTaskError, match=f"max_concurrent is {limit}"):
        ParallelExecutor(sleeper, max_concurrent=limit)
