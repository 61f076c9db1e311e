"""Coding agents under a budget: nothing begins when it is used up, and what a session cost is booked."""

from decimal import Decimal

import pytest

from orchestration import AgentConfig, AgentRegistry, AgentTask, AgentType, Budget, Budgets, ProjectOrchestrator
from orchestration.runners.cli_tools import TOOLS


async def run(stage, budget, *, allow_unknown_price=True):
    work = stage.work()
    registry = AgentRegistry()
    registry.register_agent(AgentConfig("writer", AgentType.CLI, tool=stage.tool, command=work.agent.command))
    budgets = Budgets(project=budget, allow_unknown_price=allow_unknown_price)
    async with ProjectOrchestrator(stage.root, registry=registry, budgets=budgets) as project:
        project.add_task(AgentTask("one", "One", agent="writer"))
        project.add_task(AgentTask("two", "Two", agent="writer", dependencies=("one",)))
        result = await project.execute_workflow()
        return result, project.state


async def test_no_session_begins_when_the_budget_is_used_up(stage):
    stage.play([{"say": "Done."}])

    result, state = await run(stage, Budget(tokens=2))

    assert result.status == "over_budget"
    assert "the budget of the project, 2 tokens" in result.problems[0]
    assert len(stage.calls) == 1
    assert state.spend.tokens > 2  # what a session takes is known at its end
    assert not state.ledger.reservations


@pytest.mark.parametrize("usd", ["100"])
async def test_a_tool_that_does_not_say_what_it_costs_needs_leave_under_a_budget_in_money(stage, usd):
    stage.play([{"say": "Done."}], [{"say": "Done."}])

    result, _ = await run(stage, Budget(usd=Decimal(usd)), allow_unknown_price=False)

    assert result.status == ("completed" if TOOLS[stage.tool].states_cost else "over_budget")
    assert len(stage.calls) == (2 if TOOLS[stage.tool].states_cost else 0)
