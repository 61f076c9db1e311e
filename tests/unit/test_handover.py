"""Tasks that cannot go on where they are: what they wait for, and who takes over. Times are a virtual clock's."""

import asyncio
from unittest.mock import patch

import pytest

from llm_abstractions.errors import (
    AuthError,
    CallTimeoutError,
    ConnectionFailedError,
    ContextLengthError,
    OverloadedError,
    QuotaError,
    RateLimitError,
)
from llm_abstractions.lane import LaneLimits
from llm_abstractions.testing import Reply, ScriptedLlm
from orchestration.agent_registry import AgentConfig, AgentRegistry, AgentType, Fallback
from orchestration.attempt import AttemptContext, Parking, current
from orchestration.errors import FailureKind, InvalidTaskError, RunStopError, UnknownAgentError
from orchestration.events import TaskParked, TaskRetrying
from orchestration.executor import TaskExecutor
from orchestration.retry import RetryPolicy
from orchestration.task import AgentTask, ExecutionStatus
from orchestration.testing.virtual_loop import run

pytestmark = pytest.mark.looptime

KINDS = {"claude": AgentType.ANTHROPIC_CLAUDE, "gpt": AgentType.OPENAI_GPT, "gemini": AgentType.GOOGLE_GEMINI}


class Models:
    """What each agent's model does, by the agent's type."""

    def __init__(self):
        self.llms, self.asked = {}, []

    def get_provider(self, agent_type, model=None, **_options):
        self.asked.append((str(agent_type), model))
        return self.llms[str(agent_type)]

    def say(self, name, *replies):
        made = self.llms[KINDS[name].value] = ScriptedLlm(list(replies) if len(replies) > 1 else replies[0])
        return made


@pytest.fixture
def models():
    made = Models()
    with patch("llm_abstractions.factory.LlmFactory.get_provider", made.get_provider):
        yield made


@pytest.fixture
def registry():
    return AgentRegistry()


@pytest.fixture
def agent(registry):
    def register(name, *fallback, kind=None, **options):
        registry.register_agent(AgentConfig(name, kind or KINDS[name], fallback=fallback, **options))

    return register


@pytest.fixture
async def make(registry, tmp_path):
    made = []

    def executor(**options):
        made.append(TaskExecutor(registry, root=tmp_path, **options))
        return made[-1]

    yield executor
    for each in made:
        await each.aclose()


@pytest.fixture
def reports():
    facts = []
    current.set(AttemptContext(report=facts.append))
    return facts


def task(agent="claude", task_id="t", **fields):
    return AgentTask(task_id, "Write it", agent=agent, **fields)


def clock():
    return asyncio.get_running_loop().time()


def parked(reports):
    return [(fact.kind.value, fact.reason) for fact in reports if isinstance(fact, TaskParked)]


# -- waiting


async def test_a_hundred_rate_limits_use_up_no_attempt_and_no_time_of_the_task(agent, make, models, reports):
    agent("claude", timeout_s=5)
    models.say("claude", *[Reply(failure=RateLimitError("slow down"), latency_s=0.01)] * 100, "done")

    result = await make().execute(task())

    assert (result.output, result.metadata["attempts"]) == ("done", 1)
    assert len(parked(reports)) == 100
    assert clock() > 100


async def test_a_rate_limit_holds_up_the_whole_lane_for_as_long_as_it_says(agent, make, models, reports):
    agent("claude")
    models.say("claude", RateLimitError("slow down", retry_after_s=40), "one", "two")
    executor = make()

    async with asyncio.TaskGroup() as group:
        for name in "ab":
            group.create_task(executor.execute(task(task_id=name)))
            await asyncio.sleep(1)

    assert 40 <= clock() <= 45
    assert next(fact.until - fact.at for fact in reports if isinstance(fact, TaskParked)).total_seconds() >= 40


@pytest.mark.parametrize("error", [OverloadedError("busy", retry_after_s=600), QuotaError("daily", retry_after_s=600)])
async def test_what_comes_back_at_a_stated_time_is_waited_for_with_the_task_s_time_standing_still(
    agent, make, models, reports, error
):
    agent("claude", timeout_s=5, max_attempts=1)
    models.say("claude", error, "done")

    result = await make().execute(task())

    assert (result.output, result.metadata["attempts"]) == ("done", 1)
    assert clock() >= 600
    (fact,) = reports[:1]
    assert fact.kind.value == error.kind.value
    assert (fact.until - fact.at).total_seconds() >= 600


async def test_a_parked_task_is_given_up_after_the_longest_time_the_policy_allows(agent, make, models, reports):
    agent("claude")
    models.say("claude", OverloadedError("busy"))

    result = await make(retry=RetryPolicy(max_parked_s=300)).execute(task())

    assert result.failure_kind is FailureKind.OVERLOADED
    assert 270 < clock() <= 330
    assert result.metadata["attempts"] == 1


async def test_money_that_is_gone_fails_at_once_and_stops_the_others_of_the_lane_uncalled(agent, make, models):
    agent("claude")
    llm = models.say("claude", Reply(failure=QuotaError("insufficient_quota"), latency_s=1))
    executor = make(limits={"anthropic": LaneLimits(concurrency=1)})

    results = await asyncio.gather(*(executor.execute(task(task_id=name)) for name in "abc"))

    assert [result.failure_kind for result in results] == [FailureKind.QUOTA] * 3
    assert "insufficient_quota" in results[2].error
    assert len(llm.calls) == 1
    assert clock() == 1

    models.say("claude", "done")
    assert (await executor.execute(task())).status is ExecutionStatus.FAILED
    executor.reopen()
    assert (await executor.execute(task())).output == "done"


async def test_without_parking_the_run_has_to_stop(agent, make, models):
    agent("claude")
    models.say("claude", OverloadedError("busy"))
    with pytest.raises(RunStopError, match="task 't' would be parked: agent 'claude': busy") as caught:
        await make(retry=RetryPolicy(park=False)).execute(task())
    assert caught.value.kind is FailureKind.OVERLOADED


async def test_a_run_that_stops_sends_parked_tasks_away(agent, make, models):
    agent("claude")
    models.say("claude", QuotaError("daily", retry_after_s=600))
    parking = Parking()
    current.set(AttemptContext(parking=parking))
    executor = make()
    asyncio.get_running_loop().call_later(10, parking.close)

    for _ in range(2):
        with pytest.raises(RunStopError, match="was parked") as caught:
            await executor.execute(task())
        assert caught.value.kind is FailureKind.QUOTA
    assert clock() == 10


async def test_retries_beyond_the_lane_s_budget_come_later_but_do_come(agent, make, models, reports):
    agent("claude", max_attempts=2)
    models.say("claude", CallTimeoutError("slow"))
    executor = make(retry=RetryPolicy(max_delay_s=600))

    results = await asyncio.gather(*(executor.execute(task(task_id=f"t{n}")) for n in range(12)))

    assert {result.failure_kind for result in results} == {FailureKind.TIMEOUT}
    assert [result.metadata["attempts"] for result in results] == [2] * 12
    delays = sorted(fact.delay_s for fact in reports if isinstance(fact, TaskRetrying))
    assert delays[9] <= 1
    assert delays[10] >= 300


async def test_what_has_no_lane_is_tried_again_by_the_policy_alone(agent, make, tmp_path):
    (tmp_path / "flaky_steps.py").write_text(
        "from orchestration import AttemptError, FailureKind\n"
        "def step(work):\n    raise AttemptError('cut', kind=FailureKind.CONNECTION)\n"
    )
    agent("f", kind=AgentType.PYTHON, function="flaky_steps:step")
    result = await make().execute(task("f"))
    assert (result.failure_kind, result.metadata["attempts"]) == (FailureKind.CONNECTION, 3)


async def test_a_breaker_of_the_lane_ends_tasks_at_once_with_its_kind(agent, make, models):
    agent("claude")
    llm = models.say("claude", AuthError("bad key"))
    executor = make()
    results = [await executor.execute(task(task_id=f"t{n}")) for n in range(5)]
    assert [result.failure_kind for result in results] == [FailureKind.AUTH] * 5
    assert len(llm.calls) == 3
    assert "not sent: 3 calls" in results[4].error


async def test_a_correction_outlives_a_rate_limit(agent, make, models):
    agent("claude")
    llm = models.say("claude", "no JSON", RateLimitError("slow down"), '{"n": 1}')
    result = await make().execute(task(output_schema={"required": ["n"]}))
    assert result.metadata["data"] == {"n": 1}
    asked = [call.turns[-1]["content"] for call in llm.calls]
    assert asked[1] == asked[2] != asked[0]


# -- handing over


@pytest.mark.parametrize(
    "error", [RateLimitError("no"), OverloadedError("no"), QuotaError("no"), ConnectionFailedError("no")]
)
async def test_the_next_of_the_chain_takes_over_at_once_and_the_result_says_so(agent, make, models, reports, error):
    agent("claude", "gpt", max_attempts=1)
    agent("gpt", model="m2")
    models.say("claude", error)
    models.say("gpt", "done")

    result = await make().execute(task())

    assert (result.output, result.agent, clock()) == ("done", "gpt", 0)
    assert (result.metadata["fallback_from"], result.metadata["attempts"]) == (["claude"], 2)
    (fact,) = (fact for fact in reports if isinstance(fact, TaskRetrying))
    assert (fact.agent, fact.attempt, fact.kind.value, fact.delay_s) == ("gpt", 2, error.kind.value, 0)


async def test_a_prompt_that_is_too_long_goes_to_the_larger_model_only_where_that_is_said(agent, make, models):
    agent("claude", Fallback(agent="gpt", on={"context_length"}), "gemini")
    agent("gpt")
    agent("gemini")
    models.say("claude", ContextLengthError("too long"))
    models.say("gpt", "large")
    models.say("gemini", "other")
    assert (await make().execute(task())).output == "large"
    models.say("claude", OverloadedError("busy"))
    assert (await make().execute(task())).output == "other"


async def test_the_model_a_task_names_is_the_first_agent_s(agent, make, models):
    agent("claude", "gpt")
    agent("gpt", model="gpt-m")
    models.say("claude", QuotaError("gone"))
    models.say("gpt", "done")
    await make().execute(task(metadata={"model": "opus"}))
    assert models.asked[-1] == ("openai", "gpt-m")
    assert ("anthropic", "opus") in models.asked


async def test_each_agent_has_attempts_of_its_own(agent, make, models):
    agent("claude", Fallback(agent="gpt", on={"quota"}), max_attempts=2)
    agent("gpt", max_attempts=3)
    models.say("claude", ConnectionFailedError("cut"), QuotaError("gone"))
    gpt = models.say("gpt", ConnectionFailedError("cut"))
    result = await make().execute(task())
    assert (len(gpt.calls), result.metadata["attempts"], result.agent) == (3, 5, "gpt")
    assert result.failure_kind is FailureKind.CONNECTION


async def test_a_person_may_be_the_last_of_the_chain(agent, make, models):
    agent("claude", "ann", system="Be brief.")
    agent("ann", kind=AgentType.HUMAN)
    models.say("claude", QuotaError("gone"))
    result = await make().execute(task())
    assert (result.status, result.agent) == (ExecutionStatus.PENDING, "ann")
    assert result.metadata["execution_mode"] == "interactive"
    assert "Write it" in result.output


async def test_whoever_takes_over_works_in_its_own_mode(agent, make, models):
    agent("claude", "gpt")
    agent("gpt", mode="hybrid")
    models.say("claude", QuotaError("gone"))
    models.say("gpt", "draft")
    result = await make().execute(task())
    assert (result.status, result.metadata["execution_mode"]) == (ExecutionStatus.PENDING, "hybrid")
    assert (await make().execute(task(mode="api"))).status is ExecutionStatus.SUCCESS


async def test_a_task_begins_with_the_first_agent_whose_lane_is_open_and_goes_back_when_it_recovers(
    agent, make, models, reports
):
    agent("claude", "gpt")
    agent("gpt")
    claude = models.say("claude", OverloadedError("busy"), OverloadedError("busy"), "well")
    models.say("gpt", "stand-in")
    executor = make()

    outputs = [(await executor.execute(task(task_id=f"t{n}"))).output for n in range(4)]
    assert (outputs, len(claude.calls), clock()) == (["stand-in"] * 4, 2, 0)
    assert [fact.error for fact in reports if isinstance(fact, TaskRetrying)][2:] == [
        "agent 'claude' cannot go on now; 'gpt' takes calls"
    ] * 2
    await asyncio.sleep(5)
    result = await executor.execute(task())
    assert (result.output, result.agent) == ("well", "claude")
    assert "fallback_from" not in result.metadata


@pytest.mark.parametrize(("claude_s", "gpt_s", "agents"), [(20, 1_000, {"claude"}), (1_000, 20, {"gpt"})])
async def test_where_no_lane_of_the_chain_is_open_whichever_recovers_first_is_used(
    agent, make, models, claude_s, gpt_s, agents
):
    agent("claude", "gpt")
    agent("gpt")
    models.say("claude", lambda _: "well" if clock() > claude_s else OverloadedError("busy"))
    models.say("gpt", lambda _: "well" if clock() > gpt_s else OverloadedError("busy"))
    executor = make()
    results = await asyncio.gather(*(executor.execute(task(task_id=f"t{n}")) for n in range(10)))
    assert {result.output for result in results} == {"well"}
    assert {result.agent for result in results} == agents
    assert 20 < clock() < 80


async def test_a_quota_of_the_last_agent_does_not_keep_a_task_from_the_first_that_is_well_again(agent, make, models):
    agent("claude", "gpt")
    agent("gpt")
    models.say("claude", lambda _: "well" if clock() > 40 else OverloadedError("busy"))
    gpt = models.say("gpt", QuotaError("daily", retry_after_s=36_000))
    result = await make().execute(task(metadata={"model": "opus"}))
    assert (result.output, result.agent) == ("well", "claude")
    assert "fallback_from" not in result.metadata
    assert (len(gpt.calls), models.asked[-1]) == (1, ("anthropic", "opus"))
    assert clock() < 120


async def test_who_waits_in_a_lane_s_line_is_handed_over_when_an_outage_begins(agent, make, models):
    agent("claude", "gpt")
    agent("gpt")
    claude = models.say("claude", Reply(failure=OverloadedError("busy"), latency_s=2))
    models.say("gpt", "stand-in")
    executor = make(limits={"anthropic": LaneLimits(concurrency=2)})

    results = await asyncio.gather(*(executor.execute(task(task_id=f"t{n}")) for n in range(20)))

    assert [result.agent for result in results] == ["gpt"] * 20
    assert len(claude.calls) <= 3  # the third may have gone out between the two failures that make an outage
    assert clock() <= 4


async def test_a_provider_that_is_not_there_is_told_by_the_attempt_itself(agent, make, models, monkeypatch):
    agent("claude", Fallback(agent="cat", on={"unavailable"}))
    agent("cat", kind=AgentType.CLI, command=("cat",))

    def get_provider(*_args, **_options):
        raise RuntimeError("ANTHROPIC_API_KEY is not set")

    monkeypatch.setattr(models, "get_provider", get_provider)
    with patch("llm_abstractions.factory.LlmFactory.get_provider", get_provider):
        result = await make().execute(task())
    assert (result.status, result.agent) == (ExecutionStatus.SUCCESS, "cat")


async def test_someone_without_a_lane_takes_over_while_the_first_one_s_is_closed(agent, make, models):
    agent("claude", "cat")
    agent("cat", kind=AgentType.CLI, command=("cat",))
    claude = models.say("claude", QuotaError("gone"))
    executor = make()
    results = [await executor.execute(task(task_id=f"t{n}")) for n in range(2)]
    assert [result.agent for result in results] == ["cat", "cat"]
    assert len(claude.calls) == 1


async def test_a_lane_that_is_closed_for_another_reason_than_the_chain_s_is_waited_for(agent, make, models):
    agent("claude", Fallback(agent="gpt", on={"context_length"}))
    agent("gpt")
    models.say("claude", OverloadedError("busy"), OverloadedError("busy"), "well")
    models.say("gpt", "stand-in")
    executor = make()
    results = await asyncio.gather(*(executor.execute(task(task_id=f"t{n}")) for n in range(2)))
    assert [result.output for result in results] == ["well", "well"] or results[0].agent == "claude"
    assert {result.agent for result in results} == {"claude"}


async def test_tasks_that_are_handed_over_keep_to_the_new_agent_s_number_at_once(agent, make, models):
    agent("claude", "gpt")
    agent("gpt", max_concurrent=3)
    models.say("claude", QuotaError("gone"))
    gpt = models.say("gpt", Reply(text="done", latency_s=1))
    executor = make()
    results = await asyncio.gather(*(executor.execute(task(task_id=f"t{n}", timeout_s=2)) for n in range(9)))
    assert [result.error for result in results] == [""] * 9
    assert (gpt.most_under_way, clock()) == (3, 3)


def test_those_who_are_handed_over_may_wait_in_one_event_loop_after_the_other(agent, registry, models):
    agent("claude", "gpt")
    agent("gpt", max_concurrent=1)
    models.say("claude", QuotaError("gone"))
    models.say("gpt", Reply(text="done", latency_s=1))
    executor = TaskExecutor(registry)

    async def three():
        return await asyncio.gather(*(executor.execute(task(task_id=f"t{n}")) for n in range(3)))

    for _ in range(2):
        assert [result.output for result in run(three())] == ["done"] * 3
    run(executor.aclose())


# -- a caller's mistakes


@pytest.mark.parametrize(("name", "words"), [("nobody", "'nobody' is unknown"), ("off", "'off' is disabled")])
async def test_a_chain_with_an_unknown_or_disabled_agent_is_refused_before_anything_is_called(
    agent, make, models, name, words
):
    agent("claude", name)
    agent("off", kind=AgentType.OPENAI_GPT, enabled=False)
    llm = models.say("claude", "done")
    with pytest.raises(UnknownAgentError, match=f"fallback of agent 'claude': agent {words}"):
        await make().execute(task())
    assert llm.calls == []


def test_an_agent_that_falls_back_to_itself_is_refused():
    with pytest.raises(InvalidTaskError, match="agent 'a' falls back to itself"):
        AgentConfig("a", AgentType.LOCAL, fallback=("b", "a"))


@pytest.mark.parametrize("given", [3, (3,), {"agent": "b"}])
def test_a_chain_that_is_none_is_refused(given):
    with pytest.raises(InvalidTaskError, match="agent 'a': fallback is"):
        AgentConfig("a", AgentType.LOCAL, fallback=given)


def test_a_chain_of_one_may_be_a_plain_name_and_kinds_are_checked():
    assert AgentConfig("a", AgentType.LOCAL, fallback="b").successors == (Fallback(agent="b"),)
    with pytest.raises(
        InvalidTaskError, match="fallback to 'b': 'sunday' is not a valid FailureKind; known kinds: rate"
    ):
        Fallback(agent="b", on={"sunday"})


async def test_two_agents_may_stand_in_for_each_other(agent, make, models):
    agent("claude", "gpt")
    agent("gpt", "claude")
    models.say("claude", QuotaError("gone"))
    models.say("gpt", QuotaError("gone too"))
    result = await make().execute(task())
    assert (result.failure_kind, result.agent, clock()) == (FailureKind.QUOTA, "gpt", 0)
