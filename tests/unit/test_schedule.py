from datetime import UTC, datetime

import pytest

from orchestration import events as ev
from orchestration.fold import apply
from orchestration.run_state import RunState
from orchestration.schedule import Schedule
from orchestration.task import AgentTask, ExecutionResult

AT = datetime(2026, 1, 2, tzinfo=UTC)


class Project:
    """A state and a schedule that hear the same facts."""

    def __init__(self):
        self.state, self.schedule = RunState(), Schedule()

    def tell(self, *events):
        for event in events:
            self.state = apply(self.state, event)
            self.schedule.update(self.state, event)

    def add(self, task_id, *dependencies, **fields):
        self.tell(ev.TaskAdded(at=AT, task=AgentTask(task_id, "T", dependencies=dependencies, **fields)))

    def ready(self):
        return self.schedule.ready(self.state)

    def take(self, has_slot=lambda agent: True, may_write=lambda scopes: True):
        return self.schedule.take(self.state, has_slot, may_write)


def completed(task_id):
    return ev.TaskCompleted(at=AT, task_id=task_id, result=ExecutionResult(task_id))


@pytest.fixture
def project():
    return Project()


def test_what_is_ready_comes_by_priority_then_in_the_order_added(project):
    for name, priority in (("a", 0), ("b", 3), ("c", 1), ("d", 3)):
        project.add(name, priority=priority)
    assert project.ready() == ["b", "d", "c", "a"]
    assert [project.take() for _ in range(5)] == ["b", "d", "c", "a", None]


def test_a_task_is_ready_when_the_last_of_its_dependencies_completed(project):
    project.add("c", "a", "b")
    project.add("a")
    project.add("b")
    assert project.ready() == ["a", "b"]
    project.tell(completed("b"))
    assert project.ready() == ["a"]
    project.tell(completed("a"))
    assert project.ready() == ["c"]


def test_a_task_whose_dependency_does_not_exist_is_not_ready(project):
    project.add("a", "ghost")
    assert project.ready() == []
    project.add("ghost")
    project.tell(completed("ghost"))
    assert project.ready() == ["a"]


def test_taking_asks_at_most_once_per_agent_with_something_ready_and_passes_those_without_a_slot(project):
    for name, agent in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("n1", None)):
        project.add(name, agent=agent)
    asked = []
    assert project.take(lambda agent: asked.append(agent) or agent == "b") == "b1"
    assert asked == ["a", "b"]  # not of the tasks without an agent: theirs comes after b's
    assert project.take(lambda agent: agent is None) == "n1"
    assert project.take(lambda agent: agent is None) is None
    assert project.ready() == ["a1", "a2"]


def test_a_task_that_was_taken_is_not_taken_again_until_it_is_ready_again(project):
    project.add("a")
    assert (project.take(), project.take()) == ("a", None)
    project.tell(ev.TaskStarted(at=AT, task_id="a", attempt=1), ev.TaskInterrupted(at=AT, task_id="a"))
    assert (project.ready(), project.take(), project.take()) == (["a"], "a", None)


def test_a_task_made_ready_twice_is_taken_once(project):
    project.add("a")
    project.ready()
    for attempt in (1, 2):
        project.tell(ev.TaskStarted(at=AT, task_id="a", attempt=attempt), ev.TaskInterrupted(at=AT, task_id="a"))
    assert (project.take(), project.take()) == ("a", None)


@pytest.mark.parametrize(
    "event",
    [
        completed("a"),
        ev.TaskStarted(at=AT, task_id="a", attempt=1),
        ev.TaskFailed(at=AT, task_id="a", result=ExecutionResult("a")),
        ev.TaskCancelled(at=AT, task_id="a"),
        ev.TaskRemoved(at=AT, task_id="a"),
        ev.TaskChanged(at=AT, task=AgentTask("a", "T", dependencies=("b",))),
    ],
    ids=lambda event: type(event).__name__,
)
def test_a_task_that_is_no_longer_pending_or_free_is_no_longer_ready(project, event):
    project.add("a")
    project.add("b", priority=0)
    assert project.ready() == ["a", "b"]
    project.tell(event)
    assert (project.ready(), project.take(), project.take()) == (["b"], "b", None)


def test_a_rejected_draft_is_ready_again_only_if_its_dependencies_still_are(project):
    project.add("a")
    project.add("b", "a")
    waiting = ev.TaskWaiting(at=AT, task_id="b", need="approval", result=ExecutionResult("b"))
    project.tell(completed("a"), ev.TaskStarted(at=AT, task_id="b", attempt=1), waiting)
    project.tell(ev.TaskReset(at=AT, task_ids=("a",)))
    project.ready()
    project.tell(ev.TaskRejected(at=AT, task_id="b", comment="c"))
    assert project.ready() == ["a"]


def test_a_reset_makes_ready_what_it_frees_and_holds_what_it_binds(project):
    project.add("a")
    project.add("b", "a")
    project.tell(completed("a"))
    assert project.ready() == ["b"]
    project.tell(ev.TaskReset(at=AT, task_ids=("a",)))
    assert project.ready() == ["a"]


def test_a_task_that_may_not_write_now_stays_ready_and_the_others_come_in_their_order(project):
    for name, writes in (("a", ("src/**",)), ("b", ()), ("c", ("docs/**",)), ("d", ("src/**",))):
        project.add(name, writes=writes, priority=3 if name == "d" else 1)
    no_src = {("docs/**",)}.__contains__
    assert [project.take(may_write=no_src) for _ in range(3)] == ["b", "c", None]
    assert project.ready() == ["d", "a"]
    assert [project.take() for _ in range(3)] == ["d", "a", None]


def test_whether_it_may_be_written_is_asked_once_per_scopes_however_many_tasks_have_them(project):
    for number in range(1_000):
        project.add(f"a{number}", writes=("src/**",), agent="x" if number % 2 else "y")
    asked = []
    assert project.take(may_write=asked.append) is None
    assert asked == [("src/**",)] * 2
    assert len(project.ready()) == 1_000


def test_an_agent_without_a_slot_is_not_asked_what_it_may_write(project):
    project.add("a", writes=("src/**",), agent="x")
    assert project.take(lambda agent: False, may_write=pytest.fail) is None


@pytest.mark.parametrize("fact", ["skipped", "expanded", "reopened"])
def test_a_schedule_hears_of_what_tasks_become(project, fact):
    project.add("a")
    project.add("b", "a")
    project.ready()
    if fact == "skipped":
        project.tell(ev.TaskSkipped(at=AT, task_id="a", reason="no"))
        assert project.ready() == ["b"]
    elif fact == "expanded":
        one = AgentTask("a.1", "One")
        project.tell(ev.TaskExpanded(at=AT, task_id="a", instances=(one,)))
        assert project.ready() == ["a.1"]
        project.tell(completed("a.1"))
        assert project.ready() == ["a"]
    else:
        review = ev.TaskNeedsReview(at=AT, task_id="a", cause="effect", reason="?")
        project.tell(ev.TaskStarted(at=AT, task_id="a", attempt=1), review)
        assert project.ready() == []
        project.tell(ev.TaskReopened(at=AT, task_id="a", result=ExecutionResult("a")))
        assert project.ready() == ["a"]


def test_tasks_that_a_result_adds_are_ready_and_hold_what_comes_after(project):
    project.add("a")
    project.add("b", "a")
    project.ready()
    new = AgentTask("a.x", "X", dependencies=("a",))
    project.tell(ev.TaskCompleted(at=AT, task_id="a", result=ExecutionResult("a"), added=(new,)))
    assert project.ready() == ["a.x"]
    project.tell(completed("a.x"))
    assert project.ready() == ["b"]
