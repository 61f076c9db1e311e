"""No budget is ever exceeded: whatever calls come to, however many, whoever is cancelled, wherever it is killed.

The provider's own bill is the judge: each call is charged the moment it is made, and what is booked must cover it.
"""

import asyncio
import contextlib
import random
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration import events as ev
from orchestration.attempt import WorstCase
from orchestration.budget import Budget, Budgets
from orchestration.errors import AttemptError, StoreError
from orchestration.fold import fold
from orchestration.journal import Journal, now
from orchestration.ledger import scopes_of
from orchestration.purse import JournalPurse
from orchestration.task import AgentTask
from orchestration.testing.virtual_loop import KilledError, VirtualLoop

TASKS, AGENTS = "abcdef", ("gpt", "claude")
TAGGED = {"a": ("x",), "b": ("x", "y"), "c": ("y",)}

cents = st.integers(1, 40).map(lambda number: Decimal(number) / 100)
limits = (
    st.none()
    | st.builds(Budget, usd=st.integers(5, 120).map(lambda n: Decimal(n) / 100))
    | st.builds(Budget, tokens=st.integers(50, 900))
)


@dataclass(frozen=True)
class Call:
    """What a call may use at most, what it does use, and how it ends."""

    task_id: str
    agent: str
    worst_usd: Decimal
    worst_tokens: int
    share: float  # of the worst case that it uses
    end: str
    starts_s: float
    takes_s: float
    cancelled_s: float | None


calls = st.builds(
    Call,
    task_id=st.sampled_from(TASKS),
    agent=st.sampled_from(AGENTS),
    worst_usd=cents,
    worst_tokens=st.integers(2, 200),
    share=st.floats(0, 1),
    end=st.sampled_from(["finished", "finished", "unpriced", "silent", "refused", "broken"]),
    starts_s=st.sampled_from([0.0, 0.0, 1.0, 2.5]),
    takes_s=st.sampled_from([0.0, 1.0, 3.0]),
    cancelled_s=st.none() | st.none() | st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5]),
)
budgets = st.builds(
    Budgets,
    project=limits,
    agents=st.fixed_dictionaries({}, optional={name: limits.filter(bool) for name in AGENTS}),
    tags=st.fixed_dictionaries({}, optional={name: limits.filter(bool) for name in "xy"}),
    tasks=st.fixed_dictionaries({}, optional={"a": limits.filter(bool)}),
    tagged=st.just(TAGGED),
)


class Disk:
    """Keeps facts; those that are not flushed yet die with the process."""

    def __init__(self):
        self.facts, self.flushed_to, self.is_dead = [], 0, False

    def load(self):
        self.facts, self.is_dead = self.facts[: self.flushed_to], False
        return list(self.facts)

    def append(self, event):
        if self.is_dead:
            raise StoreError("dead")
        self.facts.append(event)
        return len(self.facts)

    async def flushed(self, seq):
        await asyncio.sleep(0.25)
        if not self.is_dead:
            self.flushed_to = max(self.flushed_to, seq)

    async def aclose(self):
        pass


@dataclass
class Bill:
    """What the provider charged, by account."""

    usd: Counter = field(default_factory=Counter)
    tokens: Counter = field(default_factory=Counter)

    def charge(self, call):
        usage = spent(call)
        for scope in scopes_of(call.task_id, call.agent, TAGGED.get(call.task_id, ())):
            self.usd[scope] += usage[1]
            self.tokens[scope] += usage[0]


def spent(call):
    return int(call.worst_tokens * call.share), (call.worst_usd * Decimal(str(round(call.share, 4))))


def limits_in(known):
    yield from (("project", known.project),) if known.project else ()
    yield from ((f"agent:{name}", budget) for name, budget in known.agents.items())
    yield from ((f"tag:{name}", budget) for name, budget in known.tags.items())
    yield from ((f"task:{name}", budget) for name, budget in known.tasks.items())


def check(known, ledger):
    for scope, budget in limits_in(known):
        account = ledger.account(scope)
        assert budget.usd is None or account.spend.cost_usd + account.reserved_usd <= budget.usd
        assert budget.tokens is None or account.spend.tokens + account.reserved_tokens <= budget.tokens


def check_bill(bill, ledger, known):
    """What was charged is in the books, for every account that a budget looks at."""
    for scope, _ in limits_in(known):
        account = ledger.account(scope)
        assert bill.usd[scope] <= account.spend.cost_usd + account.reserved_usd
        assert bill.tokens[scope] <= account.spend.tokens + account.reserved_tokens


async def make(call, journal, purse, bill, outcomes):
    """Be one task: ask for leave, call, and settle, as the runner of models does."""
    await asyncio.sleep(call.starts_s)
    if not purse.applies_to(call.task_id, call.agent):
        return
    tokens = call.worst_tokens
    worst = WorstCase(input_tokens=tokens - 1, output_tokens=1, cost_usd=call.worst_usd)
    try:
        call_id = await purse.reserve(call.task_id, call.agent, worst)
    except AttemptError:
        outcomes["too much"] += 1
        return
    try:
        if call.end != "refused":
            bill.charge(call)
        await asyncio.sleep(call.takes_s)
    except asyncio.CancelledError:
        journal.record(ev.CallLost(at=now(), call_id=call_id))
        raise
    outcomes[call.end] += 1
    used, cost = spent(call)
    if call.end == "refused":
        purse.release(call_id)
    elif call.end == "broken":
        journal.record(ev.CallLost(at=now(), call_id=call_id))
    else:
        is_silent, is_priced = call.end == "silent", call.end == "finished"
        journal.record(
            ev.CallFinished(
                at=now(),
                task_id=call.task_id,
                attempt=1,
                provider="p",
                model="m",
                agent=call.agent,
                tags=TAGGED.get(call.task_id, ()),
                call_id=call_id,
                input_tokens=0 if is_silent else used,
                cost_usd=str(cost) if is_priced else None,
            )
        )


async def live(disk, known, given, bill, outcomes, loop, kill_after):
    journal = Journal(disk)
    journal.open()
    if not journal.state.tasks:
        for task_id in TASKS:
            journal.record(ev.TaskAdded(at=now(), task=AgentTask(task_id, task_id)))
    await journal.durable()
    purse = JournalPurse(journal, known)
    journal.subscribe(lambda _event, state: check(known, state.ledger))
    loop.kill_after(kill_after) if kill_after else None
    tasks = [asyncio.create_task(make(call, journal, purse, bill, outcomes)) for call in given]
    for call, task in zip(given, tasks, strict=True):
        if call.cancelled_s is not None:
            loop.call_later(call.cancelled_s, task.cancel)
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task
    check(known, journal.state.ledger)
    check_bill(bill, journal.state.ledger, known)
    assert dict(journal.state.ledger.reservations) == {}
    assert purse._line == {}
    await journal.durable()


def play(known, given, seed, deaths):
    disk, bill, outcomes = Disk(), Bill(), Counter()
    for kill_after in (*deaths, None):
        loop = VirtualLoop(seed)
        with asyncio.Runner(loop_factory=lambda loop=loop: loop) as runner:
            try:
                runner.run(live(disk, known, given, bill, outcomes, loop, kill_after))
            except KilledError:
                disk.is_dead = True
                left = fold(disk.facts[: disk.flushed_to]).ledger
                check(known, left)
                check_bill(bill, left, known)
            finally:
                disk.is_dead = True
                loop.bury()
    return bill, outcomes


@settings(deadline=None, max_examples=400)
@given(known=budgets, given=st.lists(calls, min_size=1, max_size=14), seed=st.integers(0, 2**16))
def test_no_budget_is_exceeded_and_every_call_is_served_or_refused(known, given, seed):
    play(known, given, seed, ())


@settings(deadline=None, max_examples=400)
@given(
    known=budgets,
    given=st.lists(calls, min_size=1, max_size=14),
    seed=st.integers(0, 2**16),
    deaths=st.lists(st.integers(1, 90), min_size=1, max_size=3),
)
def test_no_budget_is_exceeded_wherever_the_process_is_killed_and_started_again(known, given, seed, deaths):
    play(known, given, seed, deaths)


def test_the_stories_above_are_worth_telling():
    """A generator that only made calls which all fit, or none, would prove nothing."""
    rng, ends = random.Random(1), Counter()
    for seed in range(50):
        given = [
            Call(
                task_id=rng.choice(TASKS),
                agent=rng.choice(AGENTS),
                worst_usd=Decimal(rng.randint(1, 40)) / 100,
                worst_tokens=rng.randint(2, 200),
                share=rng.random(),
                end=rng.choice(["finished", "refused", "broken", "silent"]),
                starts_s=rng.choice([0.0, 1.0]),
                takes_s=rng.choice([1.0, 3.0]),
                cancelled_s=None,
            )
            for _ in range(12)
        ]
        bill, outcomes = play(Budgets(project=Budget(usd=Decimal(1)), tagged=TAGGED), given, seed, (40,))
        ends += outcomes
        assert bill.usd["project"] <= 1
    assert min(ends[end] for end in ("finished", "refused", "broken", "silent", "too much")) > 20
