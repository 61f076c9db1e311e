"""The budgets at work: nobody overshoots, nobody waits for nothing, and nothing that was set aside is forgotten."""

import asyncio
import contextlib
from decimal import Decimal

import pytest

from orchestration import events as ev
from orchestration.attempt import WorstCase
from orchestration.budget import Budget, Budgets
from orchestration.errors import AttemptError, FailureKind, StoreError, UnknownTaskError
from orchestration.journal import Journal, now
from orchestration.ledger import NO_SPEND
from orchestration.purse import JournalPurse
from orchestration.store.memory import MemoryStore
from orchestration.task import AgentTask
from orchestration.testing.virtual_loop import run

pytestmark = pytest.mark.looptime


class SlowStore(MemoryStore):
    """Takes a second to be durable, and has room for so many more facts."""

    room = 1_000

    def append(self, event):
        self.room -= 1
        if self.room < 0:
            raise StoreError("the disk is full")
        return super().append(event)

    async def flushed(self, seq):
        await asyncio.sleep(1)
        if self.room < 0:
            raise StoreError("the disk is full")


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def journal(store):
    return opened(store)


def opened(store):
    journal = Journal(store)
    journal.open()
    for task_id in "abcdef":
        journal.record(ev.TaskAdded(at=now(), task=AgentTask(task_id, task_id)))
    return journal


def usd(amount):
    return Budget(usd=Decimal(amount))


def worst(cost_usd="0.40"):
    return WorstCase(input_tokens=90, output_tokens=10, cost_usd=None if cost_usd is None else Decimal(cost_usd))


def project(journal):
    return journal.state.ledger.account("project")


def finish(journal, call_id, cost_usd="0.10", task_id="a", agent="gpt"):
    journal.record(
        ev.CallFinished(
            at=now(),
            task_id=task_id,
            attempt=1,
            provider="p",
            model="m",
            agent=agent,
            call_id=call_id,
            input_tokens=1,
            cost_usd=cost_usd,
        )
    )


class Line:
    """Calls that ask for their share, each in a task of its own; `served` has them in the order they got it."""

    def __init__(self, purse, group):
        self.purse, self.group = purse, group
        self.served, self.refused, self.calls = [], {}, {}

    async def ask(self, task_id, agent="gpt", cost_usd="0.40"):
        self.calls[task_id] = self.group.create_task(self._reserve(task_id, agent, cost_usd))
        for _ in range(3):
            await asyncio.sleep(0)

    async def _reserve(self, task_id, agent, cost_usd):
        try:
            call_id = await self.purse.reserve(task_id, agent, worst(cost_usd))
        except AttemptError as exc:
            self.refused[task_id] = exc
        else:
            self.served.append(task_id)
            return call_id

    async def finish(self, journal, task_id, cost_usd="0.10", agent="gpt"):
        finish(journal, self.calls[task_id].result(), cost_usd, task_id, agent)
        for _ in range(3):
            await asyncio.sleep(0)


async def test_a_call_s_worst_case_is_set_aside_as_a_fact_and_settled_by_what_it_used(journal):
    purse = JournalPurse(journal, Budgets(project=usd(1), tagged={"a": ("docs",)}))

    call_id = await purse.reserve("a", "gpt", worst())

    assert journal.state.ledger.reservations.get(call_id).scopes == ("project", "task:a", "agent:gpt", "tag:docs")
    assert (project(journal).reserved_usd, project(journal).reserved_tokens) == (Decimal("0.40"), 100)
    finish(journal, call_id)
    assert (project(journal).reserved_usd, project(journal).spend.cost_usd) == (0, Decimal("0.10"))


async def test_a_released_reservation_has_cost_nothing(journal):
    purse = JournalPurse(journal, Budgets(project=usd(1)))
    purse.release(await purse.reserve("a", "gpt", worst()))
    assert (project(journal).reserved_usd, project(journal).spend) == (0, NO_SPEND)


async def test_a_reservation_is_durable_before_the_call_may_be_made():
    journal = opened(SlowStore())
    purse = JournalPurse(journal, Budgets(project=usd(1)))
    await purse.reserve("a", "gpt", worst())
    assert asyncio.get_running_loop().time() == 1


async def test_what_can_never_fit_is_refused_at_once_also_while_calls_are_under_way(journal):
    purse = JournalPurse(journal, Budgets(project=usd(1)))
    await purse.reserve("a", "gpt", worst())
    with pytest.raises(AttemptError, match=r"does not hold this call's worst case of \$1.1000") as caught:
        await purse.reserve("b", "gpt", worst("1.10"))
    assert caught.value.kind is FailureKind.BUDGET
    assert len(journal.state.ledger.reservations) == 1


async def test_a_call_waits_for_those_under_way_which_leave_enough_in_the_order_they_came(journal):
    purse = JournalPurse(journal, Budgets(project=usd(1)))
    async with asyncio.TaskGroup() as group:
        line = Line(purse, group)
        for task_id in "abcd":
            await line.ask(task_id)
        await line.ask("e", cost_usd="0.10")  # would fit, but nobody overtakes
        assert line.served == ["a", "b"]
        await line.finish(journal, "a", "0.10")
        assert line.served == ["a", "b", "c"]
        await line.finish(journal, "b", "0.10")
        assert line.served == ["a", "b", "c", "d"]
        await line.finish(journal, "c", "0.10")
        assert line.served == ["a", "b", "c", "d", "e"]


async def test_who_waits_is_refused_when_calls_under_way_have_used_what_it_needs(journal):
    purse = JournalPurse(journal, Budgets(project=usd("0.70")))
    async with asyncio.TaskGroup() as group:
        line = Line(purse, group)
        await line.ask("a")
        await line.ask("b")
        await line.ask("c", cost_usd="0.20")
        await line.finish(journal, "a", "0.40")
        assert (line.served, list(line.refused)) == (["a", "c"], ["b"])
        assert "$0.4000 spent, $0.0000 set aside" in str(line.refused["b"])


async def test_only_who_needs_a_share_of_the_same_budget_waits_in_line(journal):
    purse = JournalPurse(journal, Budgets(agents={"gpt": usd("0.50"), "claude": usd("0.50")}))
    async with asyncio.TaskGroup() as group:
        line = Line(purse, group)
        await line.ask("a")
        await line.ask("b")
        await line.ask("c", agent="claude")
        await line.ask("d", agent="local")
        assert line.served == ["a", "c", "d"]
        await line.finish(journal, "a")
        assert line.served == ["a", "c", "d", "b"]


async def test_who_waits_for_one_budget_keeps_its_share_of_the_others(journal):
    budgets = Budgets(tags={"x": usd("0.40"), "y": usd("0.40")}, tagged={"a": ("x",), "b": ("x", "y"), "c": ("y",)})
    async with asyncio.TaskGroup() as group:
        line = Line(JournalPurse(journal, budgets), group)
        for task_id in "abc":
            await line.ask(task_id)
        assert line.served == ["a"]
        await line.finish(journal, "a", "0")
        assert line.served == ["a", "b"]
        await line.finish(journal, "b", "0")
        assert line.served == ["a", "b", "c"]


async def test_a_cancelled_waiter_lets_those_behind_it_go(journal):
    purse = JournalPurse(journal, Budgets(project=usd(1)))
    async with asyncio.TaskGroup() as group:
        line = Line(purse, group)
        await line.ask("a", cost_usd="0.60")
        await line.ask("b", cost_usd="0.90")
        await line.ask("c")
        line.calls["b"].cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert line.served == ["a", "c"]


async def test_a_released_or_lost_call_is_as_good_as_a_finished_one_for_those_who_wait(journal):
    purse = JournalPurse(journal, Budgets(project=usd("0.80")))
    async with asyncio.TaskGroup() as group:
        line = Line(purse, group)
        for task_id in "abcd":
            await line.ask(task_id)
        purse.release(line.calls["a"].result())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert line.served == ["a", "b", "c"]
        journal.record(ev.CallLost(at=now(), call_id=line.calls["b"].result()))
        await line.finish(journal, "c", "0")
        assert line.served == ["a", "b", "c", "d"]
        assert (project(journal).spend.lost_calls, project(journal).spend.cost_usd) == (1, Decimal("0.40"))


async def test_an_unpriced_answer_is_booked_at_its_worst_case(journal):
    purse = JournalPurse(journal, Budgets(project=usd(1)))
    finish(journal, await purse.reserve("a", "gpt", worst()), cost_usd=None)
    assert (project(journal).spend.cost_usd, project(journal).spend.unpriced_calls) == (Decimal("0.40"), 1)


async def test_a_larger_budget_lets_those_go_who_wait(journal):
    purse = JournalPurse(journal, Budgets(project=usd("0.40")))
    async with asyncio.TaskGroup() as group:
        line = Line(purse, group)
        await line.ask("a")
        await line.ask("b")
        assert line.served == ["a"]
        purse.change(Budgets(project=usd("0.80"), on_limit="wait"))
    assert line.served == ["a", "b"]
    assert (purse.on_limit, purse.budgets.project) == ("wait", usd("0.80"))


def test_one_purse_serves_several_event_loops_in_a_row(journal):
    purse = JournalPurse(journal, Budgets(project=usd("0.40")))

    async def ask_and_give_up():
        await purse.reserve("a", "gpt", worst())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await purse.reserve("b", "gpt", worst())

    run(ask_and_give_up())
    purse.release(next(iter(journal.state.ledger.reservations)))
    run(ask_and_give_up())
    purse.change(Budgets())


async def test_a_call_of_a_task_that_is_gone_is_the_caller_s_to_know(journal):
    purse = JournalPurse(journal, Budgets(project=usd(1)))
    with pytest.raises(UnknownTaskError):
        await purse.reserve("gone", "gpt", worst())
    assert await purse.reserve("a", "gpt", worst())


async def test_a_failing_store_reaches_who_asks_and_who_waits():
    store = SlowStore()
    journal = opened(store)
    purse = JournalPurse(journal, Budgets(project=usd("0.40")))
    call_id = await purse.reserve("a", "gpt", worst())
    waiting = asyncio.create_task(purse.reserve("b", "gpt", worst()))
    await asyncio.sleep(0)
    store.room = 1
    purse.release(call_id)
    with pytest.raises(StoreError):
        await waiting
    with pytest.raises(StoreError):
        await purse.reserve("c", "gpt", worst("0.01"))


async def test_where_the_store_fails_after_the_reservation_the_error_is_the_store_s():
    store = SlowStore()
    purse = JournalPurse(opened(store), Budgets(project=usd(1)))
    asking = asyncio.create_task(purse.reserve("a", "gpt", worst()))
    await asyncio.sleep(0.5)
    store.room = -1
    with pytest.raises(StoreError, match="full"):
        await asking


def test_whenever_a_call_is_cancelled_nothing_stays_set_aside_and_nobody_waits_for_ever():
    """Cancel at each step of a small story, until there is no step left to cancel at."""
    outcomes = set()
    for step in range(1, 40):
        outcome = run(_story_with_a_cancellation(step))
        outcomes.add(outcome)
        if outcome == "too late":
            break
    assert outcomes == {"cancelled", "too late"}


async def _story_with_a_cancellation(step):
    journal = opened(SlowStore())
    purse = JournalPurse(journal, Budgets(project=usd("0.40")))

    async def call(task_id):
        call_id = await purse.reserve(task_id, "gpt", worst())
        try:
            await asyncio.sleep(0)
        finally:
            purse.release(call_id)
        return task_id

    calls = [asyncio.create_task(call(task_id)) for task_id in "abc"]
    for _ in range(step):
        await asyncio.sleep(0.25)
    is_late = calls[1].done()
    calls[1].cancel()
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert (done[0], done[2]) == ("a", "c")
    assert isinstance(done[1], asyncio.CancelledError) or done[1] == "b"
    assert list(journal.state.ledger.reservations) == []
    assert project(journal).reserved_usd == 0
    assert purse._line == {}
    return "too late" if is_late else "cancelled"
