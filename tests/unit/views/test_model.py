"""What there is to see, for any history that can happen."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration import ProjectOrchestrator
from orchestration import events as ev
from orchestration.budget import Budgets
from orchestration.errors import TransitionError
from orchestration.fold import apply
from orchestration.ledger import Spend
from orchestration.run_state import RunState, blocked_tasks
from orchestration.store.memory import MemoryStore
from orchestration.task import AgentTask, Check, ExecutionResult, FailureKind, TaskStatus
from orchestration.views.model import as_if_interrupted, view, with_new_tasks
from orchestration.views.notes import reason_blocked
from orchestration.views.plain import project_document

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

NAMES = [f"t{n}" for n in range(12)]
AT_WORK = (TaskStatus.IN_PROGRESS, TaskStatus.VERIFYING)


def some_fact(kind, name, at):
    result = ExecutionResult(name, output="text " * 3, error="bad")
    return {
        "start": lambda: ev.TaskStarted(at=at, task_id=name, attempt=1),
        "retry": lambda: ev.TaskRetrying(
            at=at, task_id=name, attempt=2, kind=FailureKind.RATE_LIMIT, error="429", delay_s=5
        ),
        "call": lambda: ev.CallFinished(at=at, task_id=name, attempt=1, provider="p", model="m", input_tokens=7),
        "wait": lambda: ev.TaskWaiting(at=at, task_id=name, need="approval", result=result),
        "complete": lambda: ev.TaskCompleted(at=at, task_id=name, result=result),
        "fail": lambda: ev.TaskFailed(at=at, task_id=name, result=result),
        "cancel": lambda: ev.TaskCancelled(at=at, task_id=name),
        "interrupt": lambda: ev.TaskInterrupted(at=at, task_id=name),
        "reject": lambda: ev.TaskRejected(at=at, task_id=name, comment="more"),
        "reset": lambda: ev.TaskReset(at=at, task_ids=(name,)),
        "report": lambda: ev.WorkerReported(at=at, task_id=name, attempt=1, kind="tool", text="Read\nx"),
        "claim": lambda: ev.TaskVerifying(at=at, task_id=name, attempt=1, result=result),
        "check": lambda: ev.CheckFinished(at=at, task_id=name, attempt=1, check="c", is_passed=True),
        "review": lambda: ev.TaskNeedsReview(at=at, task_id=name, cause="conflict", reason="a\nb", result=result),
        "reopen": lambda: ev.TaskReopened(at=at, task_id=name, result=result),
        "skip": lambda: ev.TaskSkipped(at=at, task_id=name, reason="no"),
        "expand": lambda: ev.TaskExpanded(at=at, task_id=name, instances=(AgentTask(f"{name}.1", "one"),)),
        "grow": lambda: ev.TaskCompleted(at=at, task_id=name, result=result, added=(AgentTask(f"{name}.x", "x"),)),
    }[kind]()


KINDS = (
    *("start", "retry", "call", "wait", "complete", "fail", "cancel", "interrupt", "reject", "reset", "report"),
    *("claim", "check", "review", "reopen", "skip", "expand", "grow"),
)


@st.composite
def states(draw):
    """Draw any state that facts can lead to; clocks may jump."""
    state = RunState()
    for index, name in enumerate(NAMES[: draw(st.integers(0, len(NAMES)))]):
        above = draw(st.sets(st.sampled_from(NAMES[:index]), max_size=3)) if index else set()
        state = apply(state, ev.TaskAdded(at=START, task=AgentTask(name, name, dependencies=tuple(sorted(above)))))
    if state.tasks:
        state = apply(state, ev.RunStarted(at=START, run_id="r"))
        steps = st.tuples(st.sampled_from(KINDS), st.sampled_from(sorted(state.tasks)), st.integers(-100, 100))
        for kind, name, seconds in draw(st.lists(steps, max_size=60)):
            try:
                state = apply(state, some_fact(kind, name, START + timedelta(seconds=seconds)))
            except TransitionError:
                continue
    return state


@given(states(), st.integers(-200, 200), st.none() | st.integers(0, 15))
@settings(max_examples=300, deadline=None)
def test_a_view_adds_up(state, seconds, rows_max):
    now = START + timedelta(seconds=seconds)
    seen = view(state, now, rows_max=rows_max)
    total = len(state.tasks)

    assert sum(seen.counts.values()) == len(seen.rows) + seen.hidden == total
    assert all(seen.counts.values())
    assert len(seen.rows) == (total if rows_max is None else min(rows_max, total))
    names = [row.task_id for row in seen.rows]
    assert len(set(names)) == len(names)
    assert set(names) <= set(state.tasks)
    assert seen.spend == state.spend
    assert sum((row.spend for row in view(state, now).rows), Spend()) == state.spend
    for row in seen.rows:
        known = state.tasks[row.task_id]
        expected = TaskStatus.BLOCKED if row.task_id in blocked_tasks(state) else known.status
        assert row.status is expected
        assert row.elapsed_s is None or row.elapsed_s >= 0
        assert "\n" not in row.note
    if not seen.hidden:
        assert Counter(row.status for row in seen.rows) == seen.counts


@given(states(), st.integers(1, 15))
@settings(max_examples=200, deadline=None)
def test_what_runs_is_never_hidden_behind_what_does_not(state, rows_max):
    seen = view(state, START, rows_max=rows_max)
    running = {name for name, known in state.tasks.items() if known.status in AT_WORK}
    shown = {row.task_id for row in seen.rows}
    assert running <= shown or shown <= running


@given(states())
@settings(max_examples=200, deadline=None)
def test_every_blocked_task_has_a_reason_and_only_those(state):
    blocked = blocked_tasks(state)
    for name, known in state.tasks.items():
        reason = reason_blocked(state, name)
        if name in blocked:
            assert reason is not None
            assert reason.status in {TaskStatus.FAILED, TaskStatus.CANCELLED}
        elif known.status is TaskStatus.PENDING:
            assert reason is None


@given(states())
@settings(max_examples=100, deadline=None)
def test_as_if_interrupted_nothing_runs_and_the_rest_stays(state):
    after = as_if_interrupted(state, START)
    for name, known in state.tasks.items():
        if known.status in AT_WORK:
            assert after.tasks[name].status is TaskStatus.PENDING
        else:
            assert after.tasks[name] is known


class TestAsTheNextRunFindsIt:
    def test_what_must_not_happen_twice_and_may_have_happened_needs_a_review(self, history):
        history.task("a", effects="once").start("a").task("b", effects="once").start("b").claim("b")
        after = as_if_interrupted(history.state, history.at)
        assert after.tasks["a"].status is TaskStatus.NEEDS_REVIEW
        assert after.tasks["a"].cause == "effect"
        assert after.tasks["b"].status is TaskStatus.PENDING

    async def test_is_as_the_journal_records_it_when_it_opens(self, history):
        for name in ("a", "b", "c", "d"):
            history.task(name, effects="once" if name in "ab" else "none").start(name)
        history.claim("b").claim("c")
        store = MemoryStore()
        list(store.load())
        for fact in history.facts:
            store.append(fact)
        await store.aclose()
        orchestrator = ProjectOrchestrator(store=store)
        opened = {known.task.task_id: known for known in orchestrator.state.unordered()}
        ours = as_if_interrupted(history.state, history.at)
        for name, known in opened.items():
            assert (known.status, known.cause, known.last_error) == (
                ours.tasks[name].status,
                ours.tasks[name].cause,
                ours.tasks[name].last_error,
            )
        await orchestrator.aclose()


class TestTheDocument:
    def test_says_what_each_task_is_at(self, history):
        history.task("a", checks=(Check(matches="x"), Check(matches="y")), for_each="v").task("b").start("b")
        task = history.state.tasks["a"].task
        history.add(ev.TaskExpanded, task_id="a", instances=(replace(task, task_id="a.1", for_each=None),))
        history.start("a.1").add(ev.SessionStarted, task_id="a.1", attempt=1, agent="ann", session_id="5e55")
        history.claim("a.1").check("a.1", "matches x").review("b", "workspace", "it is dirty")
        tasks = {task["task_id"]: task for task in project_document(history.state, Budgets(), {})["tasks"]}
        assert tasks["a"]["instances"] == {"verifying": 1}
        assert tasks["a.1"]["checks"] == {"total": 2, "passed": 1, "failed": 0}
        assert (tasks["a.1"]["origin"], tasks["a.1"]["session_id"]) == ("a", "5e55")
        assert (tasks["b"]["need"], tasks["b"]["cause"], tasks["b"]["asked_at"]) == ("review", "workspace", history.at)
        assert tasks["b"]["checks"] is tasks["b"]["instances"] is None


def note(history, name, after_s=0.0):
    rows = view(history.state, history.at + timedelta(seconds=after_s)).rows
    return next(row for row in rows if row.task_id == name).note


class TestNotes:
    def test_say_what_a_task_comes_after(self, history):
        history.task("a").task("b").task("c").task("d").task("e", "a", "b", "c", "d").complete("a")
        assert note(history, "b") == "ready"
        assert note(history, "e") == "after b, c, d"
        history.task("f", "b", "c", "d", "e")
        assert note(history, "f") == "after b, c, d and 1 more"

    def test_count_a_retry_down_and_then_say_what_it_came_after(self, history):
        history.task("a").start("a")
        assert note(history, "a") == ""
        history.add(ev.TaskRetrying, task_id="a", attempt=2, kind=FailureKind.RATE_LIMIT, error="slow\ndown", delay_s=4)
        assert note(history, "a", after_s=1) == "attempt 2 in 3.0 s: slow down"
        assert note(history, "a", after_s=5) == "attempt 2, after: slow down"

    def test_say_how_long_and_why_a_task_is_parked(self, history):
        until = history.at + timedelta(seconds=100)
        history.task("a").start("a").add(ev.TaskParked, task_id="a", kind=FailureKind.QUOTA, reason="no money")
        assert note(history, "a") == "until the budget is raised: no money"
        history.add(ev.TaskParked, task_id="a", kind=FailureKind.QUOTA, reason="no money", until=until)
        assert note(history, "a") == "1 min 36 s more: no money"

    def test_name_what_blocks(self, history):
        history.task("a").task("b", "a").task("c", "b").start("a").fail("a")
        assert note(history, "c") == "a failed"
        assert note(history, "a") == "no"

    def test_say_whose_word_it_waits_for(self, history):
        history.task("a").task("b").start("a").wait("a").start("b").wait("b", need="approval")
        assert note(history, "a") == "your answer"
        assert note(history, "b") == "your approval of its draft"

    def test_say_for_how_long_a_person_has_been_waited_for(self, history):
        history.task("a").start("a").wait("a").task("b").start("b").review("b", "conflict", "in a.py")
        assert note(history, "a", after_s=3 * 3600) == "your answer, for 3 h 00 min"
        assert note(history, "b", after_s=50 * 3600) == "a merge conflict, for 2 d 2 h: in a.py"
        assert note(history, "b") == "a merge conflict: in a.py"

    def test_say_what_the_worker_is_at_once_it_is_at_something(self, history):
        history.task("a").start("a")
        history.add(ev.TaskRetrying, task_id="a", attempt=2, kind=FailureKind.RATE_LIMIT, error="slow", delay_s=4)
        history.add(ev.WorkerReported, task_id="a", attempt=2, kind="text", text="I\nlook", after_s=5)
        assert note(history, "a") == "I look"

    def test_say_why_a_task_was_skipped(self, history):
        history.task("a", when="vars.x").add(ev.TaskSkipped, task_id="a", reason="`when` does not hold: vars.x")
        assert note(history, "a").endswith("does not hold: vars.x")

    def test_say_that_a_comment_goes_into_the_next_draft(self, history):
        history.task("a").start("a").wait("a", need="approval", output="x").add(
            ev.TaskRejected, task_id="a", comment="longer"
        )
        assert note(history, "a") == "your comment goes into a new draft"

    def test_say_that_a_cancelled_task_is_tried_again(self, history):
        history.task("a").add(ev.TaskCancelled, task_id="a")
        assert note(history, "a") == "the next run tries it again"

    def test_show_the_beginning_of_an_output(self, history):
        history.task("a").start("a").complete("a", "line\nnext \x1b[0m")
        assert note(history, "a") == "line next \\x1b[0m"


def test_a_dependency_that_was_removed_is_still_waited_for(history):
    history.task("a").task("b", "a").add(ev.TaskRemoved, task_id="a")
    assert note(history, "b") == "after a"
    assert reason_blocked(history.state, "b") is None


def test_new_tasks_are_shown_before_a_run_has_seen_them(history):
    history.task("a").start("a").complete("a")
    state = with_new_tasks(history.state, [AgentTask("a", "other"), AgentTask("b", "b")], history.at)
    assert [(row.task_id, row.status) for row in view(state, history.at).rows] == [
        ("a", TaskStatus.COMPLETED),
        ("b", TaskStatus.PENDING),
    ]
    assert state.tasks["a"].task.title == "a"


@pytest.mark.parametrize("rows_max", [1, 3])
def test_when_not_all_fit_the_latest_news_are_shown(history, rows_max):
    for name in ("a", "b", "c", "d"):
        history.task(name)
    for name in ("a", "b", "c", "d"):
        history.start(name).complete(name)
    shown = [row.task_id for row in view(history.state, history.at, rows_max=rows_max).rows]
    assert shown == ["b", "c", "d"][-rows_max:]
