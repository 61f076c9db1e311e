"""Projects with budgets, quotas and outages: how their runs end, and how they go on."""

import asyncio
import contextlib
from decimal import Decimal
from unittest.mock import patch

import pytest

from llm_abstractions.errors import OverloadedError, QuotaError, RateLimitError
from llm_abstractions.lane import LaneLimits
from llm_abstractions.testing import Reply, ScriptedLlm
from llm_abstractions.types import Usage
from orchestration import events as ev
from orchestration.agent_registry import AgentConfig, AgentRegistry, AgentType, Fallback
from orchestration.budget import Budget, Budgets
from orchestration.errors import RunStopError
from orchestration.executor import TaskExecutor
from orchestration.fold import fold
from orchestration.orchestrator import ProjectOrchestrator
from orchestration.retry import RetryPolicy
from orchestration.store.memory import MemoryStore
from orchestration.task import AgentTask, FailureKind, TaskStatus
from orchestration.testing.virtual_loop import run

pytestmark = pytest.mark.looptime

# The worst case of a call of these projects is 100 tokens of output and a few hundred of input: about $0.004.
MODEL = "claude-sonnet-4-5"


class World:
    """One project's agents, models and store; processes come and go."""

    def __init__(self):
        self.store, self.registry, self.llms = MemoryStore(), AgentRegistry(), {}
        self.facts = []

    def agent(self, name, kind, script="done", **options):
        self.registry.register_agent(AgentConfig(name, kind, max_tokens=100, **options), replace=True)
        self.llms[kind.value] = llm = ScriptedLlm(script, model=options.get("model", ""), provider=kind.value)
        return llm

    def project(self, *tasks, budgets=None, **options):
        executor = TaskExecutor(self.registry, **options)
        project = ProjectOrchestrator(registry=self.registry, executor=executor, store=self.store, budgets=budgets)
        for task in tasks:
            project.add_task(task)
        project.subscribe(lambda event, _state: self.facts.append(event))
        return project

    def of(self, kind):
        return [fact for fact in self.facts if isinstance(fact, kind)]


@pytest.fixture
def world():
    made = World()

    def get_provider(agent_type, **_options):
        return made.llms[str(agent_type)]

    with patch("llm_abstractions.factory.LlmFactory.get_provider", get_provider):
        yield made


def tasks(*names, agent="claude", **fields):
    return [AgentTask(name, name, agent=agent, **fields) for name in names]


def usd(amount):
    return Budget(usd=Decimal(amount))


def answer(output_tokens=10, latency_s=1.0):
    return Reply(text="done", usage=Usage(input_tokens=10, output_tokens=output_tokens), latency_s=latency_s)


def later(seconds, act):
    asyncio.get_running_loop().call_later(seconds, act)


def statuses(project):
    return {known.task.task_id: known.status.value for known in project.state.ordered()}


async def test_a_run_ends_over_budget_with_what_fitted_and_goes_on_with_a_larger_one(world):
    llm = world.agent("claude", AgentType.ANTHROPIC_CLAUDE, answer(100), model=MODEL)
    given = tasks(*"abcdefgh")
    async with world.project(*given, budgets=Budgets(project=usd("0.01"))) as project:
        result = await project.execute_workflow()
        spent = project.state.spend.cost_usd
        assert result.status == "over_budget"
        assert 0 < spent <= Decimal("0.01")
        done = [name for name, status in statuses(project).items() if status == "completed"]
        assert set(statuses(project).values()) == {"completed", "pending"}
        assert len(llm.calls) == len(done)
        assert "the budget of the project, $0.01, does not hold this call's worst case" in result.problems[0]
    (reason, *_) = {fact.reason for fact in world.of(ev.TaskInterrupted)}
    assert "cannot go on" in reason

    async with world.project(*given, budgets=Budgets(project=usd("0.10"))) as project:
        result = await project.execute_workflow()
        assert result.status == "completed"
        assert len(llm.calls) == 8  # nothing was done twice
        assert project.state.ledger.account("agent:claude").spend == project.state.spend
        assert result.totals.spend.calls == 8 - len(done)


async def test_a_run_that_may_wait_for_a_person_goes_on_when_the_budget_is_raised(world):
    world.agent("claude", AgentType.ANTHROPIC_CLAUDE, answer(100), model=MODEL)
    budgets = Budgets(project=usd("0.005"), on_limit="wait")
    async with world.project(*tasks(*"abc"), budgets=budgets) as project:
        looked = []

        def look():
            looked.append({known.task.task_id: (known.parked, known.parked_until) for known in project.state.ordered()})
            project.budgets = Budgets(project=usd("0.05"), on_limit="wait")

        later(3_600, look)
        result = await project.execute_workflow()
        assert result.status == "completed"
        waiting = [(why, until) for why, until in looked[0].values() if why]
        assert waiting
        assert all("the budget of the project" in why and until is None for why, until in waiting)
        assert project.budgets.project == usd("0.05")
        assert [known.parked for known in project.state.ordered()] == [""] * 3
        assert {known.result.metadata["attempts"] for known in project.state.ordered()} == {1}


async def test_the_cheaper_agent_takes_over_when_the_dearer_one_s_budget_is_used_up(world):
    world.agent(
        "claude",
        AgentType.ANTHROPIC_CLAUDE,
        answer(100),
        model=MODEL,
        fallback=(Fallback(agent="local", on={"budget"}),),
    )
    local = world.agent("local", AgentType.LOCAL, answer(100))
    async with world.project(*tasks(*"abcd"), budgets=Budgets(agents={"claude": usd("0.005")})) as project:
        result = await project.execute_workflow()
        assert result.status == "completed"
        assert {outcome.agent for outcome in result.results.values()} == {"claude", "local"}
        assert project.state.ledger.account("agent:claude").spend.cost_usd <= Decimal("0.005")
        assert project.state.ledger.account("agent:local").spend.calls == len(local.calls)


async def test_a_budget_holds_for_each_attempt_with_the_agent_that_makes_it(world):
    world.agent(
        "claude",
        AgentType.ANTHROPIC_CLAUDE,
        [answer(100), OverloadedError("busy"), answer(100)],
        model=MODEL,
        fallback=("gpt",),
    )
    world.agent("gpt", AgentType.OPENAI_GPT, answer(100), model="gpt-4o-mini")
    budgets = Budgets(
        project=usd("1"), tasks={"a": Budget(tokens=10_000)}, tagged={"a": ("docs",)}, tags={"docs": usd("1")}
    )
    async with world.project(*tasks("a", output_schema={"type": "object"}, max_attempts=2), budgets=budgets) as project:
        await project.execute_workflow()
        reserved = [(fact.agent, fact.tags) for fact in world.of(ev.CallReserved)]
        assert reserved == [("claude", ("docs",)), ("claude", ("docs",)), ("gpt", ("docs",)), ("gpt", ("docs",))]
        assert len(world.of(ev.CallReleased)) == 1  # the overloaded one
        costs = {fact.attempt: fact.cost_usd for fact in world.of(ev.CallFinished)}
        assert list(costs) == [1, 3, 4]
        ledger = project.state.ledger
        assert ledger.account("tag:docs").spend.cost_usd == sum(map(Decimal, costs.values()))
        assert ledger.account("task:a").spend == project.state.find("a").spend
        assert list(ledger.reservations) == []


async def test_an_unknown_price_under_a_budget_in_money_stops_the_run_unless_it_is_allowed(world):
    llm = world.agent("gpt", AgentType.OPENAI_GPT, answer(), model="no-such-model")
    given = tasks("a", agent="gpt")
    async with world.project(*given, budgets=Budgets(project=usd(1))) as project:
        result = await project.execute_workflow()
        assert result.status == "over_budget"
        assert "price of this call is unknown" in result.problems[0]
        assert llm.calls == []
        project.budgets = Budgets(project=usd(1), allow_unknown_price=True)
        assert (await project.execute_workflow()).status == "completed"
        assert project.state.spend.unpriced_calls == 1


async def test_who_calls_no_model_reserves_nothing(world, tmp_path):
    (tmp_path / "budget_steps.py").write_text("def step(work):\n    return 'done'\n")
    for name, kind, options in (
        ("f", AgentType.PYTHON, {"function": "budget_steps:step"}),
        ("ann", AgentType.HUMAN, {}),
        ("cat", AgentType.CLI, {"command": ("cat",)}),
    ):
        world.agent(name, kind, **options)
    given = [task for name in ("f", "ann", "cat") for task in tasks(name, agent=name)]
    given += tasks("x", agent="cat", mode="interactive")
    budgets = Budgets(project=Budget(usd=Decimal("0.0001"), tokens=1))
    async with world.project(*given, budgets=budgets, root=tmp_path) as project:
        assert (await project.execute_workflow()).status == "waiting"
        assert world.of(ev.CallReserved) == []


async def test_a_process_that_was_killed_has_spent_the_worst_case_of_its_calls(world):
    world.agent("claude", AgentType.ANTHROPIC_CLAUDE, answer(latency_s=100), model=MODEL)
    given = tasks("a")
    async with asyncio.TaskGroup() as group:
        project = world.project(*given, budgets=Budgets(project=usd("0.01")))
        running = group.create_task(project.execute_workflow())
        await asyncio.sleep(50)
        facts = list(world.store._events)  # what is on the disk when the process is killed
        running.cancel()
    (reserved,) = (fact for fact in facts if isinstance(fact, ev.CallReserved))
    await project.aclose()

    world.store._events[:] = facts
    async with world.project(*given, budgets=Budgets(project=usd("0.01"))) as project:
        spend = project.state.spend
        assert (spend.lost_calls, spend.cost_usd) == (1, Decimal(reserved.cost_usd))
        assert list(project.state.ledger.reservations) == []
        assert (await project.execute_workflow()).status == "completed"
        assert project.state.spend.cost_usd <= Decimal("0.01")
    assert fold(world.store._events).spend == project.state.spend


async def test_a_run_stops_instead_of_parking_where_that_is_switched_off(world):
    refused = Reply(failure=QuotaError("daily quota", retry_after_s=3_600), latency_s=1)
    world.agent("claude", AgentType.ANTHROPIC_CLAUDE, refused)
    world.agent("gpt", AgentType.OPENAI_GPT, answer(latency_s=5))
    given = [*tasks("a"), *tasks("b", agent="gpt"), AgentTask("c", "c", agent="gpt", dependencies=("b",))]
    async with world.project(*given, retry=RetryPolicy(park=False)) as project:
        result = await project.execute_workflow()
        assert (result.status, asyncio.get_running_loop().time()) == ("interrupted", 5)
        assert statuses(project) == {"a": "pending", "b": "completed", "c": "pending"}
        assert "daily quota" in result.problems[0]
        world.agent("claude", AgentType.ANTHROPIC_CLAUDE, "done")
        assert (await project.execute_workflow()).status == "completed"


async def test_a_run_goes_on_by_itself_when_a_quota_comes_back(world):
    llm = world.agent("claude", AgentType.ANTHROPIC_CLAUDE, [QuotaError("daily", retry_after_s=3_600), *["done"] * 3])
    async with world.project(*tasks(*"abc"), limits=None) as project:
        result = await project.execute_workflow()
        assert result.status == "completed"
        assert 3_600 <= asyncio.get_running_loop().time() < 3_610
        assert len(llm.calls) == 4
        assert {outcome.metadata["attempts"] for outcome in result.results.values()} == {1}


async def test_draining_puts_parked_tasks_back_and_lets_the_others_finish(world):
    world.agent("claude", AgentType.ANTHROPIC_CLAUDE, QuotaError("daily", retry_after_s=36_000))
    world.agent("gpt", AgentType.OPENAI_GPT, answer(latency_s=20))
    async with world.project(*tasks("a"), *tasks("b", agent="gpt")) as project:
        later(10, project.drain)
        result = await project.execute_workflow()
        assert (result.status, asyncio.get_running_loop().time()) == ("interrupted", 20)
        assert statuses(project) == {"a": "pending", "b": "completed"}


async def test_a_task_that_is_refused_its_budget_does_not_wait_for_parked_ones(world):
    world.agent("claude", AgentType.ANTHROPIC_CLAUDE, QuotaError("daily", retry_after_s=36_000))
    world.agent("gpt", AgentType.OPENAI_GPT, answer(), model="gpt-4o-mini")
    budgets = Budgets(agents={"gpt": Budget(tokens=1)})
    async with world.project(*tasks("a"), *tasks("b", agent="gpt"), budgets=budgets) as project:
        result = await project.execute_workflow()
        assert (result.status, asyncio.get_running_loop().time()) == ("over_budget", 0)
        assert statuses(project) == {"a": "pending", "b": "pending"}


async def test_money_that_is_gone_fails_the_tasks_of_its_lane_and_a_new_run_tries_again(world):
    llm = world.agent(
        "claude", AgentType.ANTHROPIC_CLAUDE, [Reply(failure=QuotaError("no credit"), latency_s=1), "done"]
    )
    async with world.project(*tasks("a")) as project:
        result = await project.execute_workflow()
        assert (result.status, result.results["a"].failure_kind) == ("failed", FailureKind.QUOTA)
        assert (await project.execute_workflow()).status == "completed"
    assert len(llm.calls) == 2


async def test_one_task_executed_by_hand_says_that_the_budget_does_not_hold_it(world):
    world.agent("claude", AgentType.ANTHROPIC_CLAUDE, answer(), model=MODEL)
    async with world.project(*tasks("a"), budgets=Budgets(project=usd("0.0001"))) as project:
        with pytest.raises(RunStopError, match="task 'a' cannot go on"):
            await project.execute_task("a")
        assert project.get_task("a").status is TaskStatus.PENDING
        project.budgets = Budgets()
        assert (await project.execute_task("a")).output == "done"


def test_at_whichever_step_a_run_is_cancelled_no_permit_and_no_reservation_leaks(world):
    """Two calls at once at most, a budget that holds two, a rate limit, an overload and a fallback: then cancel."""
    loop_steps, ended = 0, False
    while not ended:
        loop_steps += 1
        world.store, world.registry, world.facts = MemoryStore(), AgentRegistry(), []
        replies = [answer(50), RateLimitError("slow"), OverloadedError("busy"), answer(50), *[answer(100)] * 9]
        world.agent("claude", AgentType.ANTHROPIC_CLAUDE, replies, model=MODEL, fallback=("gpt",))
        world.agent("gpt", AgentType.OPENAI_GPT, answer(), model="gpt-4o-mini")
        ended = run(_cancelled_after(world, loop_steps), seed=loop_steps)
    assert loop_steps > 40


async def _cancelled_after(world, steps):
    limits = {"anthropic": LaneLimits(concurrency=2)}
    executor = TaskExecutor(world.registry, limits=limits)
    budgets = Budgets(agents={"claude": usd("0.009")}, on_limit="wait")
    async with executor, ProjectOrchestrator(executor=executor, store=world.store, budgets=budgets) as project:
        for task in tasks(*"abcd"):
            project.add_task(task)
        running = asyncio.create_task(project.execute_workflow())
        for step in range(steps):
            await asyncio.sleep(0 if step % 10 else 0.1)
        ended = running.done()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        assert list(project.state.ledger.reservations) == []
        assert [lane.name for lane in executor.lanes.status() if lane.under_way or lane.waiting] == []
        assert project.state.ledger.account("agent:claude").spend.cost_usd <= Decimal("0.009")
        assert project._task_run.parking._waiting == {}
        assert project._purse._line == {}
    return ended
