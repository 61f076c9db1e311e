"""Legal, then kept, then visible: the one place where facts become state."""

import asyncio
import logging
import threading
from datetime import UTC, datetime

import pytest

from orchestration import events as ev
from orchestration.errors import InvalidTaskError, StoreError, TransitionError
from orchestration.journal import Journal, now
from orchestration.store.memory import MemoryStore
from orchestration.store.sqlite import SqliteStore
from orchestration.task import AgentTask, TaskStatus


def added(task_id):
    return ev.TaskAdded(at=now(), task=AgentTask(task_id, "T"))


def removed(task_id):
    return ev.TaskRemoved(at=now(), task_id=task_id)


class Counting(MemoryStore):
    def __init__(self):
        super().__init__()
        self.loads, self.threads = 0, set()

    def load(self):
        self.loads += 1
        self.threads.add(threading.current_thread())
        return super().load()


@pytest.fixture
async def journal():
    journal = Journal(MemoryStore())
    journal.open()
    yield journal
    await journal.aclose()


def test_now_is_aware_and_in_utc():
    assert now().tzinfo is UTC
    assert abs((now() - datetime.now(UTC)).total_seconds()) < 60


async def test_a_fact_is_refused_before_it_is_kept(journal):
    journal.record(added("a"))
    with pytest.raises(TransitionError):
        journal.record(added("a"))
    assert len(journal._store._events) == 1


async def test_a_fact_that_cannot_be_kept_is_not_visible(tmp_path):
    journal = Journal(SqliteStore(tmp_path / "facts.db"))
    journal.open()
    seen = []
    journal.subscribe(lambda event, state: seen.append(event))
    with pytest.raises(InvalidTaskError):
        journal.record(ev.TaskAdded(at=now(), task=AgentTask("a", "T", metadata={"x": object()})))
    assert (journal.state.tasks.get("a"), journal.ready(), seen) == (None, [], [])
    await journal.aclose()


async def test_opening_twice_loads_once_and_so_do_many_at_once():
    store = Counting()
    journal = Journal(store)
    await asyncio.gather(*(journal.open_async() for _ in range(5)))
    journal.open()
    await journal.open_async()
    assert store.loads == 1
    assert store.threads.isdisjoint({threading.main_thread()})


async def test_what_was_running_is_interrupted_once_and_told_on_the_callers_thread():
    store = MemoryStore()
    journal = Journal(store)
    journal.open()
    for event in (
        added("a"),
        added("b"),
        ev.RunStarted(at=now(), run_id="r"),
        ev.TaskStarted(at=now(), task_id="b", attempt=1),
    ):
        journal.record(event)
    await journal.aclose()

    journal = Journal(store)
    seen = []
    journal.subscribe(lambda event, state: seen.append((type(event), threading.current_thread())))
    await asyncio.gather(journal.open_async(), journal.open_async())
    assert seen == [(ev.TaskInterrupted, threading.main_thread()), (ev.RunEnded, threading.main_thread())]
    assert journal.state.find("b").status is TaskStatus.PENDING
    assert (journal.state.run_id, journal.state.run_status) == ("r", "interrupted")
    await journal.aclose()


async def test_a_store_that_could_not_be_opened_can_be_tried_again():
    store = MemoryStore()
    store.load()
    journal = Journal(store)
    with pytest.raises(StoreError, match="open already"):
        await journal.open_async()
    assert not journal.is_open
    await store.aclose()
    await journal.open_async()
    assert journal.is_open
    await journal.aclose()


async def test_looking_opens_what_was_never_open_and_does_not_reopen_what_was_closed():
    store = Counting()
    journal = Journal(store)
    assert journal.look() is journal.state
    journal.record(added("a"))
    await journal.aclose()
    assert "a" in journal.look().tasks
    assert (store.loads, journal.is_open) == (1, False)


async def test_waiting_for_durability_waits_for_the_last_fact_or_the_one_named(tmp_path):
    journal = Journal(SqliteStore(tmp_path / "facts.db"))
    journal.open()
    await journal.durable()
    first = journal.record(added("a"))
    journal.record(added("b"))
    await journal.durable(first)
    await journal.durable()
    assert journal._store._durable == 2
    await journal.aclose()


async def test_subscribers_hear_facts_in_order_also_when_one_of_them_records(journal):
    heard = []

    def removes(event, state):
        if isinstance(event, ev.TaskAdded):
            journal.record(removed(event.task.task_id))

    journal.subscribe(removes)
    journal.subscribe(lambda event, state: heard.append((type(event).__name__, len(state.tasks))))
    journal.record(added("a"))
    journal.record(added("b"))
    assert heard == [("TaskAdded", 1), ("TaskRemoved", 0)] * 2


async def test_subscribers_that_answer_each_fact_with_another_need_no_recursion(journal):
    def flips(event, state):
        if len(journal._store._events) < 10_000:
            journal.record(removed("a") if isinstance(event, ev.TaskAdded) else added("a"))

    journal.subscribe(flips)
    journal.record(added("a"))
    assert len(journal._store._events) == 10_000


async def test_a_subscriber_that_raises_is_logged_and_detached_and_the_others_go_on(journal, caplog):
    heard = []

    def broken(event, state):
        raise RuntimeError("a view's mistake")

    leave = journal.subscribe(broken)
    journal.subscribe(lambda event, state: heard.append(event))
    with caplog.at_level(logging.ERROR, "orchestration"):
        journal.record(added("a"))
        journal.record(added("b"))
    assert len(heard) == 2
    assert caplog.text.count("a subscriber failed and was detached") == 1
    assert "a view's mistake" in caplog.text
    leave()


async def test_a_subscriber_that_leaves_and_then_raises_does_no_harm(journal):
    def rude(event, state):
        leave()
        raise RuntimeError("goodbye")

    leave = journal.subscribe(rude)
    journal.record(added("a"))
    journal.record(added("b"))
    assert len(journal.state.tasks) == 2


async def test_an_interrupt_in_a_subscriber_passes_and_facts_are_told_again_afterwards(journal):
    heard = []

    def interrupted(event, state):
        leave()
        raise KeyboardInterrupt

    leave = journal.subscribe(interrupted)
    journal.subscribe(lambda event, state: heard.append(event))
    with pytest.raises(KeyboardInterrupt):
        journal.record(added("a"))
    journal.record(added("b"))
    assert heard[-1].task.task_id == "b"
