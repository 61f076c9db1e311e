"""What follows from a failure: tables, without clock, loop or worker."""

from decimal import Decimal

import pytest

from orchestration.agent_registry import FALLBACK_KINDS, AgentConfig, AgentType
from orchestration.attempt import AttemptContext, Outcome
from orchestration.errors import AttemptError, FailureKind, RunStopError
from orchestration.execution import Execution, Step, Successor, storable
from orchestration.retry import RetryPolicy
from orchestration.task import AgentTask, ExecutionStatus

K = FailureKind
AGENT = AgentConfig("claude", AgentType.ANTHROPIC_CLAUDE)
POLICY = RetryPolicy(max_attempts=3, base_delay_s=2, max_parked_s=1_000)


class Purse:
    def __init__(self, on_limit):
        self.on_limit = on_limit


def successor(name, on=FALLBACK_KINDS, mode="api", kind=AgentType.OPENAI_GPT):
    return Successor(agent=AgentConfig(name, kind), mode=mode, on=frozenset(on))


def execution(*chain, agent=AGENT, policy=POLICY, on_limit=None, task=None, **context):
    return Execution(
        task=task or AgentTask("a", "A"),
        agent=agent,
        mode="api",
        context=AttemptContext(purse=on_limit and Purse(on_limit), **context),
        policy=policy,
        chain=chain,
    )


def fails(kind, retry_after_s=None):
    return AttemptError(f"no: {kind}", kind=K(kind), retry_after_s=retry_after_s)


def story(known, *failures, now_s=0.0):
    """Let the execution fail so often, and return what follows each time."""
    steps = []
    for kind, *more in failures:
        known.next_context()
        step = known.after(fails(kind, *more), now_s=now_s, jitter=0)
        if step is not None and step.successor is not None:
            known.hand_over(step.successor, K(kind))
        steps.append(step)
    return steps


@pytest.mark.parametrize(
    ("kind", "retry_after_s", "expected"),
    [
        ("connection", None, Step(delay_s=1)),
        ("connection", 30, Step(delay_s=30)),
        ("connection", 301, None),
        ("timeout", None, Step(delay_s=1)),
        ("bad_output", None, Step(delay_s=1)),
        ("rate_limit", None, Step(delay_s=1, is_parked=True, is_paced=True)),
        ("rate_limit", 40, Step(delay_s=40, is_parked=True, is_paced=True)),
        ("overloaded", None, Step(delay_s=1, is_parked=True)),
        ("overloaded", 40, Step(delay_s=40, is_parked=True)),
        ("quota", 900, Step(delay_s=900, is_parked=True)),
        ("quota", 1_001, None),
        ("quota", None, None),
        ("auth", None, None),
        ("context_length", None, None),
        ("refusal", None, None),
        ("truncated", None, None),
        ("bad_request", None, None),
        ("unavailable", None, None),
        ("task_error", None, None),
    ],
)
def test_what_follows_a_first_failure(kind, retry_after_s, expected):
    assert story(execution(), (kind, retry_after_s)) == [expected]


def test_attempts_run_out_for_what_counts():
    assert story(execution(), ["timeout"], ["connection"], ["bad_output"]) == [Step(delay_s=1), Step(delay_s=2), None]


@pytest.mark.parametrize("kind", ["rate_limit", "overloaded", "quota"])
def test_what_only_time_mends_uses_up_no_attempt_however_often_it_comes(kind):
    known = execution()
    steps = story(known, *[(kind, 1)] * 100, ["timeout"], ["timeout"])
    assert all(step.is_parked for step in steps[:100])
    assert steps[100:] == [Step(delay_s=1), Step(delay_s=2)]
    assert (known.attempts, known.number) == (2, 2)


def test_it_is_parked_no_longer_than_the_policy_says_counted_since_the_first_time_in_a_row():
    known = execution()
    assert story(known, ("overloaded", 600), now_s=0)[0].is_parked
    assert story(known, ("overloaded", 300), now_s=650)[0].is_parked
    assert story(known, ("overloaded", 400), now_s=950) == [None]

    known = execution()
    story(known, ("overloaded", 600), now_s=0)
    story(known, ["timeout"], now_s=800)  # the provider was there, as it seemed
    assert story(known, ("overloaded", 600), now_s=950)[0].is_parked


def test_only_models_have_a_lane_that_waits_out_a_rate_limit():
    function = AgentConfig("f", AgentType.PYTHON)
    assert story(execution(agent=function), ("rate_limit", 7)) == [Step(delay_s=7, is_parked=True)]


@pytest.mark.parametrize(
    ("kind", "agent", "is_stop"),
    [
        ("overloaded", AGENT, True),
        ("quota", AGENT, True),
        ("rate_limit", AgentConfig("f", AgentType.PYTHON), True),
        ("rate_limit", AGENT, False),
    ],
)
def test_without_parking_the_run_ends_instead_but_a_lane_s_pacing_goes_on(kind, agent, is_stop):
    known = execution(agent=agent, policy=RetryPolicy(park=False))
    if is_stop:
        with pytest.raises(RunStopError, match=f"task 'a' would be parked: no: {kind}") as caught:
            story(known, (kind, 7))
        assert caught.value.kind == kind
    else:
        assert story(known, (kind, 7))[0].is_paced


def test_money_that_is_gone_fails_also_without_parking():
    assert story(execution(policy=RetryPolicy(park=False)), ["quota"]) == [None]


@pytest.mark.parametrize("on_limit", ["stop", None])
def test_a_budget_that_is_used_up_stops_the_run(on_limit):
    with pytest.raises(RunStopError, match="task 'a' cannot go on: no: budget") as caught:
        story(execution(on_limit=on_limit), ["budget"])
    assert caught.value.kind is K.BUDGET


def test_a_budget_that_is_used_up_waits_for_a_person_where_that_is_asked_for():
    known = execution(on_limit="wait")
    assert story(known, ["budget"], ["budget"]) == [Step(is_parked=True, is_for_budget=True)] * 2
    assert known.attempts == 1


@pytest.mark.parametrize("kind", sorted(FALLBACK_KINDS))
def test_the_next_of_the_chain_takes_over_at_once_after_what_it_may_not_suffer_from(kind):
    known = execution(successor("gpt"))
    assert story(known, [kind]) == [Step(successor=0)]
    assert known.agent.name == "gpt"


def test_a_successor_takes_over_only_after_its_kinds_and_the_chain_goes_one_way():
    large = successor("large", {"context_length"})
    other = successor("other")
    known = execution(large, other)
    steps = story(known, ["timeout"], ["timeout"], ["timeout"])
    assert steps == [Step(successor=1), Step(delay_s=1), Step(delay_s=2)]
    assert known.agent.name == "other"

    known = execution(large, other)
    assert story(known, ["context_length"], ["context_length"], ["overloaded"], ["overloaded"]) == [
        Step(successor=0),
        None,
        Step(successor=1),
        Step(delay_s=1, is_parked=True),
    ]


def test_a_parked_task_of_a_chain_looks_soon_whether_an_earlier_agent_is_well_again():
    known = execution(successor("gpt"))
    assert story(known, ["overloaded"], ("quota", 900), ("quota", 900), ("quota", 900)) == [
        Step(successor=0),
        *(Step(delay_s=delay_s, is_parked=True) for delay_s in (15, 30, 60)),
    ]
    known.start_over()
    assert (known.agent, known.is_handed_over, known.is_first_try) == (AGENT, False, False)
    assert story(known, ["timeout"], ("quota", 900)) == [Step(successor=0), Step(delay_s=120, is_parked=True)]
    assert story(known, ("quota", 900), now_s=1_001) == [None]


def test_attempts_are_not_given_anew_by_starting_over():
    known = execution(successor("gpt", {"overloaded"}))
    story(known, ["timeout"], ["timeout"], ["overloaded"], ("overloaded", 1))
    known.start_over()
    assert story(known, ["timeout"]) == [None]


def test_there_is_no_way_back_to_an_agent_that_the_task_itself_was_too_much_for():
    known = execution(successor("large", {"context_length"}))
    assert story(known, ["context_length"], ("overloaded", 600)) == [
        Step(successor=0),
        Step(delay_s=600, is_parked=True),
    ]
    known.start_over()
    assert known.agent.name == "large"


def test_the_budget_s_cheaper_model_is_the_next_of_the_chain():
    known = execution(successor("small"), on_limit="stop")
    assert story(known, ["budget"]) == [Step(successor=0)]
    with pytest.raises(RunStopError):
        story(known, ["budget"])


def test_each_agent_has_its_own_attempts_and_the_task_s_numbers_go_on():
    known = execution(successor("gpt", {"timeout", "quota"}), attempt=5)
    steps = story(known, ["connection"], ["connection"], ["quota"], ["connection"], ["connection"], ["connection"])
    assert steps == [Step(delay_s=1), Step(delay_s=2), Step(successor=0), Step(delay_s=1), Step(delay_s=2), None]
    assert (known.attempts, known.number) == (6, 10)


def test_the_limit_of_attempts_is_the_task_s_else_the_agent_s_else_the_policy_s():
    once = AgentConfig("once", AgentType.LOCAL, max_attempts=1)
    assert story(execution(agent=once), ["timeout"]) == [None]
    task = AgentTask("a", "A", max_attempts=2)
    assert story(execution(agent=once, task=task), ["timeout"], ["timeout"]) == [Step(delay_s=1), None]


def test_who_takes_over_does_so_in_its_own_mode():
    known = execution(successor("ann", mode="interactive", kind=AgentType.HUMAN))
    story(known, ["quota"])
    assert (known.agent.name, known.mode) == ("ann", "interactive")


def test_there_is_no_use_in_waiting_for_what_someone_else_can_do():
    known = execution(successor("a", {"quota"}), successor("b", {"overloaded"}))
    assert known.leave_on == {K.QUOTA, K.OVERLOADED}
    story(known, ["quota"])
    assert known.leave_on == {K.OVERLOADED}
    story(known, ["overloaded"])
    assert known.leave_on == {K.OVERLOADED}  # after having been parked, the first may be well again
    assert execution().leave_on == frozenset()


def test_a_first_try_is_one_that_nothing_was_tried_before():
    known = execution(successor("gpt", {"quota"}))
    tries = []
    for kind, after in (("overloaded", None), ("timeout", None), ("quota", None)):
        known.next_context()
        tries.append(known.is_first_try)
        story_step = known.after(fails(kind, after), now_s=0, jitter=0)
        if story_step.successor is not None:
            known.hand_over(story_step.successor, K(kind))
    known.next_context()
    assert tries == [True, False, False]
    assert known.is_first_try


def test_a_retry_is_put_off_where_a_lane_has_too_many():
    step = execution().later(Step(delay_s=1), jitter=0.5)
    assert step == Step(delay_s=45)
    assert step.is_retry
    assert not Step(is_parked=True).is_retry
    assert not Step(successor=0).is_retry


def test_a_result_names_who_did_it_and_whom_it_took_over_from():
    known = execution(successor("gpt"), successor("local"))
    story(known, ["quota"], ["timeout"])
    known.next_context()
    result = known.finished(Outcome(output="done", metadata={"model": "m"}))
    assert (result.agent, result.status) == ("local", ExecutionStatus.SUCCESS)
    assert result.metadata == {
        "execution_mode": "api",
        "attempts": 3,
        "fallback_from": ["claude", "gpt"],
        "model": "m",
    }


def test_a_failed_result_has_the_kind_and_what_all_attempts_cost():
    known = execution()
    usage = {"usage": {"input_tokens": 1, "output_tokens": 2}, "cost_usd": "0.1"}
    known.book(usage)
    known.book({})
    known.book({"usage": {"input_tokens": 3}, "cost_usd": "0.25"})
    result = known.failed(fails("refusal"))
    assert (result.status, result.failure_kind, result.error) == (ExecutionStatus.FAILED, K.REFUSAL, "no: refusal")
    assert result.metadata["usage"] == {"input_tokens": 4, "output_tokens": 2}
    assert Decimal(result.metadata["cost_usd"]) == Decimal("0.35")
    assert "fallback_from" not in result.metadata


def test_a_person_s_part_is_pending_and_not_over():
    known = execution()
    known.mode = "hybrid"
    result = known.finished(Outcome(output="draft", data={"n": 1}))
    assert (result.status, result.completed_at, result.metadata["data"]) == (ExecutionStatus.PENDING, None, {"n": 1})


def test_text_no_file_can_hold_is_made_storable():
    assert [storable(text) for text in ("a", "ü", "ü\ud800")] == ["a", "ü", "ü?"]
