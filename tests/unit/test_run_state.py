"""What can be asked of a state: who waits for whom, who is blocked, who is there."""

from datetime import UTC, datetime

from orchestration import events as ev
from orchestration.fold import apply, fold
from orchestration.run_state import RunState, blocked_tasks, is_blocked
from orchestration.task import AgentTask, ExecutionResult, ExecutionStatus

AT = datetime(2026, 1, 2, tzinfo=UTC)
DONE = ExecutionResult("a", "agent", ExecutionStatus.SUCCESS, output="out")
FAILED = ev.TaskFailed(at=AT, task_id="a", result=ExecutionResult("a", status=ExecutionStatus.FAILED, error="no"))


def added(task_id, *dependencies):
    return ev.TaskAdded(at=AT, task=AgentTask(task_id, task_id, dependencies=dependencies))


def completed(task_id, *new):
    """Complete a task, whose result adds tasks that depend on it, and more: (id, dependencies...)."""
    tasks = tuple(AgentTask(name, name, dependencies=(task_id, *more)) for name, *more in new)
    return ev.TaskCompleted(at=AT, task_id=task_id, result=DONE, added=tasks)


def expanded(task_id, *names):
    return ev.TaskExpanded(at=AT, task_id=task_id, instances=tuple(AgentTask(name, name) for name in names))


def edges(state):
    return {known.task.task_id: state.edges_of(known) for known in state.ordered()}


def test_a_task_waits_for_what_its_dependency_has_added_and_that_waits_for_the_dependency_alone():
    state = fold([added("a"), added("b", "a"), completed("a", ("a.1",), ("a.2", "a.1"))])
    assert edges(state) == {"a": (), "b": ("a", "a.1", "a.2"), "a.1": ("a",), "a.2": ("a", "a.1")}
    state = apply(state, completed("a.1", ("a.1.x",)))
    assert edges(state)["b"] == ("a", "a.1", "a.1.x", "a.2")
    assert edges(state)["a.2"] == ("a", "a.1", "a.1.x")


def test_an_expanded_task_waits_for_its_instances_and_its_dependents_for_what_those_have_added():
    state = fold([added("a"), added("b", "a"), expanded("a", "a.1", "a.2"), completed("a.1", ("a.1.x",))])
    assert edges(state)["a"] == ("a.1", "a.2")
    assert edges(state)["b"] == ("a", "a.1.x")


def test_what_was_added_and_is_gone_since_is_not_waited_for():
    state = fold([added("a"), added("b", "a"), completed("a", ("a.1",), ("a.2",))])
    state = fold([ev.TaskRemoved(at=AT, task_id="a.1"), added("a.1")], state)
    assert edges(state)["b"] == ("a", "a.2")


def test_blocked_is_what_waits_behind_a_failure_and_nothing_else():
    needs = {"a": [], "b": ["a"], "c": ["b"], "d": ["c", "e"], "e": []}
    tasks = [AgentTask(name, name, dependencies=names) for name, names in needs.items()]
    state = fold([ev.TaskAdded(at=AT, task=task) for task in tasks])
    state = fold([FAILED], state)
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
