"""The fold: which facts may follow which, and what each of them leaves behind."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from orchestration import events as ev
from orchestration.errors import TransitionError, UnknownTaskError
from orchestration.ledger import NO_SPEND, Spend
from orchestration.fold import apply, fold
from orchestration.run_state import RunState, blocked_tasks, is_blocked
from orchestration.task import AgentTask, ExecutionResult, ExecutionStatus, FailureKind, TaskStatus

AT = datetime(2026, 1, 2, tzinfo=UTC)
LATER = AT + timedelta(seconds=5)
DONE = ExecutionResult("a", "agent", ExecutionStatus.SUCCESS, output="out")
FAILED = ExecutionResult("a", status=ExecutionStatus.FAILED, error="no")
DRAFT = ExecutionResult("a", output="draft")

ADDED = ev.TaskAdded(at=AT, task=AgentTask("a", "A"))
STARTED = ev.TaskStarted(at=AT, task_id="a", attempt=1, agent="x")
WAITING = ev.TaskWaiting(at=AT, task_id="a", need="approval", result=DRAFT)

# How to bring the one task into each status, and which facts may follow there.
PATHS = {
    "pending": [],
    "in_progress": [STARTED],
    "waiting": [STARTED, WAITING],
    "completed": [ev.TaskCompleted(at=AT, task_id="a", result=DONE)],
    "failed": [ev.TaskFailed(at=AT, task_id="a", result=FAILED)],
    "cancelled": [ev.TaskCancelled(at=AT, task_id="a")],
}
FACTS = {
    "started": ev.TaskStarted(at=LATER, task_id="a", attempt=2),
    "retrying": ev.TaskRetrying(at=LATER, task_id="a", attempt=2, kind=FailureKind.TIMEOUT, error="slow", delay_s=2),
    "waiting": WAITING,
    "completed": ev.TaskCompleted(at=LATER, task_id="a", result=DONE),
    "failed": ev.TaskFailed(at=LATER, task_id="a", result=FAILED),
    "cancelled": ev.TaskCancelled(at=LATER, task_id="a"),
    "interrupted": ev.TaskInterrupted(at=LATER, task_id="a"),
    "rejected": ev.TaskRejected(at=LATER, task_id="a", comment="shorter"),
    "changed": ev.TaskChanged(at=LATER, task=AgentTask("a", "B")),
    "removed": ev.TaskRemoved(at=LATER, task_id="a"),
    "reset": ev.TaskReset(at=LATER, task_ids=("a",)),
    "added": ev.TaskAdded(at=LATER, task=AgentTask("a", "B")),
    "call": ev.CallFinished(at=LATER, task_id="a", attempt=1, provider="p", model="m"),
}
MAY_FOLLOW = {
    "pending": "started completed failed cancelled changed removed reset call",
    "in_progress": "retrying waiting completed failed cancelled interrupted call",
    "waiting": "completed failed cancelled rejected changed removed reset call",
    "completed": "changed removed reset call",
    "failed": "started completed changed removed reset call",
    "cancelled": "started completed changed removed reset call",
}


def at(status):
    return fold([ADDED, *PATHS[status]])


@pytest.mark.parametrize("status", PATHS)
@pytest.mark.parametrize("name", FACTS)
def test_a_fact_follows_where_it_may_and_is_refused_with_the_reason_where_not(status, name):
    state = at(status)
    assert state.find("a").status == status
    if name in MAY_FOLLOW[status].split():
        apply(state, FACTS[name])
    else:
        with pytest.raises(TransitionError, match=f"task 'a' is {status}: .* can follow only from|task 'a' exists"):
            apply(state, FACTS[name])
        assert state == at(status)


@pytest.mark.parametrize("name", sorted(set(FACTS) - {"added", "call"}))
def test_every_fact_about_a_task_that_does_not_exist_is_refused(name):
    with pytest.raises(UnknownTaskError, match="unknown task 'a'; there are no tasks yet"):
        apply(RunState(), FACTS[name])


def test_what_a_call_used_counts_also_when_its_task_is_gone():
    state = fold([FACTS["call"], FACTS["removed"], FACTS["call"]], at("pending"))
    assert state.spend.calls == 2


def test_a_start_forgets_the_last_outcome_and_keeps_the_comment():
    state = fold([*PATHS["waiting"], FACTS["rejected"], FACTS["started"]], fold([ADDED]))
    known = state.find("a")
    assert (known.attempt, known.started_at, known.result) == (2, LATER, None)
    assert (known.comment, known.draft) == ("shorter", "draft")


def test_a_retry_counts_and_names_the_moment():
    known = fold([FACTS["retrying"]], at("in_progress")).find("a")
    assert (known.attempt, known.last_error, known.retry_at) == (2, "slow", LATER + timedelta(seconds=2))


def test_an_outcome_names_who_and_when_and_clears_what_was_open():
    known = fold([FACTS["completed"]], at("waiting")).find("a")
    assert (known.result, known.agent, known.ended_at, known.need) == (DONE, "agent", LATER, "")
    known = fold([FACTS["failed"]], at("in_progress")).find("a")
    assert (known.agent, known.last_error, known.retry_at) == ("x", "no", None)


def test_a_reset_forgets_everything_but_the_attempts_the_money_and_the_place():
    call = ev.CallFinished(at=AT, task_id="a", attempt=1, provider="p", model="m", input_tokens=3, cost_usd="0.25")
    before = fold([STARTED, call, FACTS["completed"]], fold([ADDED]))
    known = fold([FACTS["reset"]], before).find("a")
    assert (known.status, known.result, known.started_at, known.ended_at) == (TaskStatus.PENDING, None, None, None)
    assert (known.attempt, known.spend.cost_usd, known.position) == (1, Decimal("0.25"), 0)


def test_a_reset_of_several_of_which_one_runs_changes_none():
    state = fold([ev.TaskAdded(at=AT, task=AgentTask("b", "B"))], at("completed"))
    state = apply(state, ev.TaskStarted(at=AT, task_id="b", attempt=1))
    with pytest.raises(TransitionError):
        apply(state, ev.TaskReset(at=AT, task_ids=("a", "b")))
    assert state.find("a").status is TaskStatus.COMPLETED


def test_money_adds_up_over_tasks_and_attempts_and_unknown_prices_are_counted():
    calls = [
        ev.CallFinished(at=AT, task_id="a", attempt=1, provider="p", model="m", input_tokens=1, cost_usd="0.1"),
        ev.CallFinished(at=AT, task_id="a", attempt=1, provider="p", model="m", output_tokens=2, cached_tokens=4),
        ev.CallFinished(at=AT, task_id="a", attempt=2, provider="p", model="m", cost_usd="0.2"),
    ]
    state = fold(calls, at("in_progress"))
    expected = Spend(
        calls=3, input_tokens=1, output_tokens=2, cached_tokens=4, cost_usd=Decimal("0.3"), unpriced_calls=1
    )
    assert state.spend == state.find("a").spend == expected
    assert expected - expected == NO_SPEND
    assert expected + NO_SPEND == expected


def test_an_answer_from_the_cache_is_no_call_and_costs_nothing():
    again = ev.CallFinished(at=AT, task_id="a", attempt=1, provider="p", model="m", cost_usd="0", cached=True)
    assert fold([again], at("in_progress")).spend == NO_SPEND


def test_a_run_begins_and_ends():
    state = fold([ev.RunStarted(at=AT, run_id="r1")])
    assert (state.run_id, state.run_status, state.run_started_at) == ("r1", None, AT)
    state = apply(state, ev.RunEnded(at=LATER, run_id="r1", status="failed"))
    assert (state.run_status, state.run_ended_at) == ("failed", LATER)
    assert apply(state, ev.RunStarted(at=LATER, run_id="r2")).run_status is None


def test_tasks_are_listed_in_the_order_added_also_after_one_was_removed():
    added = [ev.TaskAdded(at=AT, task=AgentTask(name, name)) for name in "cab"]
    state = fold([*added, ev.TaskRemoved(at=AT, task_id="a"), ev.TaskAdded(at=AT, task=AgentTask("a", "again"))])
    assert [known.task.task_id for known in state.ordered()] == ["c", "b", "a"]


def test_a_state_may_be_kept_while_the_project_goes_on():
    before = at("pending")
    apply(before, FACTS["started"])
    assert before.find("a").status is TaskStatus.PENDING


def test_blocked_is_what_waits_behind_a_failure_and_nothing_else():
    needs = {"a": [], "b": ["a"], "c": ["b"], "d": ["c", "e"], "e": []}
    tasks = [AgentTask(name, name, dependencies=names) for name, names in needs.items()]
    state = fold([ev.TaskAdded(at=AT, task=task) for task in tasks])
    state = fold([FACTS["failed"]], state)
    assert blocked_tasks(state) == {"b", "c", "d"}
    assert [name for name in "abcde" if is_blocked(state, name)] == ["b", "c", "d"]
    assert not is_blocked(state, "nobody")
    state = apply(state, ev.TaskCompleted(at=AT, task_id="b", result=DONE))
    assert blocked_tasks(state) == frozenset()


def test_all_tasks_are_there_without_an_order_and_in_the_order_they_were_added():
    names = [f"task-{number}" for number in range(100)]
    state = fold(ev.TaskAdded(at=AT, task=AgentTask(name, name)) for name in names)

    assert [known.task.task_id for known in state.ordered()] == names
    assert {known.task.task_id: known for known in state.unordered()} == dict(state.tasks)
    assert len(state.unordered()) == len(names)
    assert RunState().unordered() == []
