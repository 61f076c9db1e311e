"""What every store promises (`store/base.py`), over every adapter."""

import asyncio
import threading
from datetime import UTC, datetime

import pytest

from orchestration import events as ev
from orchestration.errors import StoreError
from orchestration.store.memory import MemoryStore
from orchestration.store.sqlite import SqliteStore
from orchestration.task import AgentTask, ExecutionResult, ExecutionStatus

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def fact(number):
    return ev.TaskAdded(at=AT, task=AgentTask(f"t{number}", "naïve ☃", metadata={"n": number}))


@pytest.fixture(params=["memory", "sqlite"])
async def store(request, tmp_path):
    store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "state" / "facts.db")
    yield store
    await store.aclose()


async def reopened(store):
    await store.aclose()
    return store.load()


async def test_a_new_store_is_empty(store):
    assert store.load() == []


async def test_facts_are_numbered_from_one_and_come_back_in_order(store):
    store.load()
    assert [store.append(fact(number)) for number in range(5)] == [1, 2, 3, 4, 5]
    await store.flushed(5)
    assert await reopened(store) == [fact(number) for number in range(5)]


async def test_numbering_goes_on_after_it_is_opened_again(store):
    store.load()
    store.append(fact(0))
    await reopened(store)
    assert store.append(fact(1)) == 2
    assert await reopened(store) == [fact(0), fact(1)]


async def test_every_kind_of_fact_comes_back_as_it_was(store):
    result = ExecutionResult("a", "x", ExecutionStatus.SUCCESS, AT, AT, "out", "", {"data": [1, {"k": None}]})
    facts = [
        ev.RunStarted(at=AT, run_id="r"),
        ev.TaskStarted(at=AT, task_id="a", attempt=1, agent="x", run_id="r"),
        ev.CallFinished(at=AT, task_id="a", attempt=1, provider="p", model="m", cost_usd="0.1"),
        ev.TaskRetrying(at=AT, task_id="a", attempt=2, kind="timeout", error="e", delay_s=1.5),
        ev.TaskWaiting(at=AT, task_id="a", need="approval", result=result),
        ev.TaskRejected(at=AT, task_id="a", comment="c"),
        ev.TaskCompleted(at=AT, task_id="a", result=result, by="person"),
        ev.TaskFailed(at=AT, task_id="a", result=result),
        ev.TaskCancelled(at=AT, task_id="a"),
        ev.TaskInterrupted(at=AT, task_id="a"),
        ev.TaskReset(at=AT, task_ids=("a", "b"), reason="r"),
        ev.TaskChanged(at=AT, task=AgentTask("a", "A", dependencies=("b",), priority=3, status="failed")),
        ev.TaskRemoved(at=AT, task_id="a"),
        ev.RunEnded(at=AT, run_id="r", status="completed"),
    ]
    store.load()
    for event in facts:
        store.append(event)
    assert await reopened(store) == facts


async def test_nothing_can_be_added_before_it_is_opened_or_after_it_is_closed(store):
    with pytest.raises(StoreError, match="open"):
        store.append(fact(0))
    store.load()
    await store.aclose()
    with pytest.raises(StoreError, match="open"):
        store.append(fact(0))
    assert store.load() == []


async def test_a_store_that_is_open_cannot_be_opened_again(store):
    store.load()
    with pytest.raises(StoreError, match="open already"):
        store.load()


async def test_closing_twice_and_closing_what_was_never_opened_is_fine(store):
    await store.aclose()
    store.load()
    await store.aclose()
    await store.aclose()
    await asyncio.gather(store.aclose(), store.aclose())


async def test_closing_keeps_what_was_queued_and_nobody_waited_for(store):
    store.load()
    for number in range(1_000):
        store.append(fact(number))
    assert len(await reopened(store)) == 1_000


async def test_waiting_for_a_fact_that_is_durable_already_returns_at_once(store):
    store.load()
    number = store.append(fact(0))
    await store.flushed(number)
    await store.flushed(number)
    await store.flushed(0)


async def test_many_can_wait_at_once_in_any_order(store):
    store.load()

    async def write(number):
        await store.flushed(store.append(fact(number)))

    await asyncio.gather(*(write(number) for number in range(200)))
    last = store.append(fact(200))
    await asyncio.gather(*(store.flushed(number) for number in range(last, 0, -7)))
    assert len(await reopened(store)) == 201


async def test_one_who_waits_can_be_cancelled_without_harm_to_the_others(store):
    store.load()
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(store.flushed(store.append(fact(number)))) for number in range(10)]
        await asyncio.sleep(0)
        waiting[3].cancel()
    assert len(await reopened(store)) == 10


async def test_facts_from_many_threads_get_numbers_of_their_own_and_are_all_kept(store):
    store.load()
    numbers, gate = [], threading.Barrier(8)

    def write(first):
        gate.wait()
        numbers.extend([store.append(fact(first + offset)) for offset in range(100)])

    threads = [threading.Thread(target=write, args=(worker * 100,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    assert sorted(numbers) == list(range(1, 801))
    facts = await reopened(store)
    assert sorted(event.task.metadata["n"] for event in facts) == list(range(800))


def test_one_event_loop_after_another_can_wait(tmp_path):
    for store in (MemoryStore(), SqliteStore(tmp_path / "facts.db")):
        store.load()
        asyncio.run(store.flushed(store.append(fact(0))))
        asyncio.run(store.flushed(store.append(fact(1))))
        asyncio.run(store.aclose())
        assert len(store.load()) == 2
        asyncio.run(store.aclose())
