"""What a live run lets others see and change, asked directly: a real project and real lanes, no other process."""

from decimal import Decimal

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_abstractions.errors import QuotaError
from llm_abstractions.lane import LaneLimits
from llm_abstractions.lanes import Lanes, family_of
from llm_abstractions.rate_limits import Quota, RateLimits
from llm_abstractions.types import Usage
from orchestration import AgentTask, ProjectOrchestrator
from orchestration.agent_registry import LLM_TYPES, AgentType
from orchestration.budget import Budget, Budgets
from orchestration.cli.amounts import lane_name
from orchestration.cli.controls import Controls, lane_limits
from orchestration.inbox import Request
from orchestration.project_file import LaneCeilings


@pytest.fixture
def lanes():
    return Lanes({"openai": LaneLimits(requests_per_minute=7)})


@pytest.fixture
def controls(lanes):
    orchestrator = ProjectOrchestrator(budgets=Budgets(project=Budget(tokens=100)))
    orchestrator.add_task(AgentTask("a", "a"))
    return Controls(orchestrator, lanes, {"openai": LaneCeilings(rpm=7)})


async def test_what_is_about_tasks_goes_to_the_project(controls):
    assert (await controls.answer(Request(command="reset", task_id="a"))).task_ids == ("a",)


async def test_a_lane_that_gets_its_own_limits_keeps_those_it_had(controls, lanes):
    lane = lanes.lane_of("openai", "", "gpt-5")
    reply = await controls.answer(Request(command="limits", lane="openai/gpt", values={"concurrency": 2}))
    assert reply.message == "lane openai/gpt: rpm=7 concurrency=2 from now on"
    assert lane.limits == LaneLimits(requests_per_minute=7, concurrency=2)
    assert reply.facts["limits"] == {"openai": {"rpm": 7}, "openai/gpt": {"rpm": 7, "concurrency": 2}}
    reply = await controls.answer(Request(command="limits", lane="gemini", values={"rpm": 3}))
    assert reply.message == "lane gemini: rpm=3 from now on"
    assert lanes.lane_of("gemini", "", "flash").limits == LaneLimits(requests_per_minute=3)


async def test_what_the_provider_states_is_shown_beside_our_own(controls, lanes):
    lane = lanes.lane_of("openai", "", "gpt-5")
    said = RateLimits(requests=Quota(limit=500, remaining=499), tokens=Quota(remaining=5))
    (await lane.acquire()).succeed(Usage(input_tokens=1), said)
    (seen,) = controls.lanes()
    assert seen.ceilings == {"rpm": 7}
    assert seen.stated["rpm"][0] == 500
    assert "tpm" not in seen.stated


async def test_a_stopped_lane_waits_for_a_person_and_can_be_reopened(controls, lanes):
    lane = lanes.lane_of("openai", "", "gpt-5")
    lane.stop(QuotaError("no money"))
    assert [(seen.is_open, seen.is_stopped, seen.wait_s) for seen in controls.lanes()] == [(False, True, None)]
    reply = await controls.answer(Request(command="limits", lane="openai", is_reopening=True))
    assert reply.message == "reopened: openai/gpt"
    assert lane.is_open
    refused = await controls.answer(Request(command="limits", lane="gemini", is_reopening=True))
    assert "there is none to reopen" in refused.error


async def test_a_budget_in_money_leaves_the_one_in_tokens(controls):
    reply = await controls.answer(Request(command="budget", usd=Decimal("2.50")))
    assert reply.message == "the project's budget is $2.50 from now on"
    assert (reply.facts["rows"][0]["usd"], reply.facts["rows"][0]["tokens"]) == ("2.50", 100)
    assert (await controls.answer(Request(command="budget"))).message == ""


@given(st.sampled_from(AgentType), st.text() | st.from_regex(r"[a-z0-9@/.-]{1,20}", fullmatch=True))
def test_every_lane_a_model_can_have_can_be_named(provider, model):
    """What a project file and a command line take for a lane is what lanes are called."""
    family = family_of(model)
    name = f"{provider}/{family}" if family else provider.value
    if provider in LLM_TYPES:
        assert lane_name(name) == name
    else:
        with pytest.raises(click.UsageError):
            lane_name(name)


@pytest.mark.parametrize("name", ["openai/", "openai/gpt-5", "openai/GPT", "openai/gpt\n", "*/gpt", "/gpt", ""])
def test_what_no_lane_is_called_is_refused(name):
    with pytest.raises(click.UsageError, match="is no lane"):
        lane_name(name)


def test_every_ceiling_of_a_file_is_one_of_a_lane():
    given = LaneCeilings(rpm=1, tpm=2, input_tpm=3, output_tpm=4, concurrency=5)
    assert lane_limits(given) == LaneLimits(
        requests_per_minute=1,
        tokens_per_minute=2,
        input_tokens_per_minute=3,
        output_tokens_per_minute=4,
        concurrency=5,
    )
