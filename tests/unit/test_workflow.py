"""The walk through the whole graph: eager, bounded, stoppable. Times are a virtual clock's seconds."""

import asyncio
import logging

import pytest

from orchestration import events as ev
from orchestration.agent_registry import AgentConfig, AgentRegistry, AgentType
from orchestration.errors import OrchestrationError, StoreError
from orchestration.orchestrator import ProjectOrchestrator
from orchestration.store.memory import MemoryStore
from orchestration.task import AgentTask, ExecutionResult, ExecutionStatus, TaskPriority, TaskStatus
from orchestration.workspace.scopes import overlap

pytestmark = pytest.mark.looptime


def task(task_id, *dependencies, s=0.0, **fields):
    return AgentTask(task_id, task_id.upper(), dependencies=dependencies, metadata={"s": s}, **fields)


def clock():
    return round(asyncio.get_running_loop().time(), 6)


def statuses(project):
    return {task_id: project.get_task(task_id).status.value for task_id in project.state.tasks}


def failed(task_id):
    return ExecutionResult(task_id, status=ExecutionStatus.FAILED, error="no luck")


@pytest.fixture
def project(executor):
    return ProjectOrchestrator(executor=executor)


def when(project, predicate, act):
    """Do something the moment a fact is told for which the predicate holds, once."""

    def look(event, _state):
        if predicate(event):
            leave()
            act()

    leave = project.subscribe(look)


def when_taken(project, act):
    """Do something when task `a` completed and the workflow has taken what that freed, but begun none of it.

    The workflow must hear of it first, so this begins to listen when the workflow listens already.
    """
    when(project, starts("a"), lambda: when(project, completes("a"), act))


def starts(task_id):
    return lambda event: isinstance(event, ev.TaskStarted) and event.task_id == task_id


def completes(task_id):
    return lambda event: isinstance(event, ev.TaskCompleted) and event.task_id == task_id


async def after(seconds, act):
    await asyncio.sleep(seconds)
    return act()


# -- eager and bounded


async def test_each_task_starts_when_its_own_dependencies_are_done_so_the_optimum_is_met(project, executor):
    for given in (
        task("a", s=0.1),
        task("b", "a", s=1.0),
        task("x", s=1.0),
        task("y", "x", s=0.1),
        task("d", "b", "y"),
    ):
        project.add_task(given)
    result = await project.execute_workflow()
    assert clock() == 1.1  # waves would take 2.0
    assert result.status == "completed"
    assert dict(executor.starts)["d"] == pytest.approx(1.1)


async def test_three_two_second_tasks_take_two_seconds(project):
    for name in "abc":
        project.add_task(task(name, s=2))
    await project.execute_workflow()
    assert clock() == 2


async def test_the_global_limit_is_never_exceeded_and_never_idle_while_something_could_run(project, executor):
    seconds = [3, 1, 1, 1, 2, 2, 2]
    for number, s in enumerate(seconds):
        project.add_task(task(f"t{number}", s=s))
    await project.execute_workflow(max_concurrent=2)
    assert executor.most[None] == 2
    assert clock() == 7  # t0 0-3, t1 0-1, t2 1-2, t3 2-3, t4 3-5, t5 3-5, t6 5-7: no slot ever waits


async def test_a_freed_slot_goes_to_the_highest_priority_then_to_the_first_added(project, executor):
    project.add_task(task("first", s=1, priority=TaskPriority.CRITICAL))
    for name, priority in (("low", "LOW"), ("m1", "MEDIUM"), ("m2", "MEDIUM"), ("high", "HIGH")):
        project.add_task(task(name, s=1, priority=TaskPriority[priority]))
    project.add_task(task("freed", "first", s=1, priority=TaskPriority.CRITICAL))
    await project.execute_workflow(max_concurrent=1)
    assert executor.started == ["first", "freed", "high", "m1", "m2", "low"]


async def test_an_agent_at_its_limit_does_not_hide_the_tasks_of_the_others(scripted):
    registry = AgentRegistry()
    registry.register_agent(AgentConfig("narrow", AgentType.PYTHON, max_concurrent=1))
    registry.register_agent(AgentConfig("wide", AgentType.PYTHON))
    executor = scripted()
    project = ProjectOrchestrator(executor=executor, registry=registry)
    for number in range(3):
        project.add_task(task(f"n{number}", s=1, agent="narrow", priority=TaskPriority.HIGH))
    for number in range(4):
        project.add_task(task(f"w{number}", s=1, agent="wide"))
    await project.execute_workflow()
    assert (executor.most["narrow"], executor.most["wide"]) == (1, 4)
    assert clock() == 3


async def test_the_default_agent_s_limit_counts_tasks_that_name_it_and_tasks_that_do_not(scripted):
    registry = AgentRegistry()
    registry.register_agent(AgentConfig("narrow", AgentType.PYTHON, max_concurrent=2))
    executor = scripted(default_agent="narrow")
    project = ProjectOrchestrator(executor=executor, registry=registry)
    for number in range(3):
        project.add_task(task(f"named{number}", s=1, agent="narrow"))
        project.add_task(task(f"unnamed{number}", s=1))
    await project.execute_workflow()
    assert executor.most["narrow"] == 2
    assert clock() == 3


async def test_a_chain_of_ten_thousand_tasks_needs_no_recursion(project):
    project.add_task(task("t0"))
    for number in range(1, 10_000):
        project.add_task(task(f"t{number}", f"t{number - 1}"))
    result = await project.execute_workflow()
    assert result.totals.tasks == {TaskStatus.COMPLETED: 10_000}
    project.reset("t0")
    project.fail_task("t0", "no")
    assert project.get_task("t9999").status is TaskStatus.BLOCKED


async def test_a_wide_graph_runs_all_at_once(project, executor):
    project.add_task(task("root"))
    names = [f"t{number}" for number in range(3_000)]
    for name in names:
        project.add_task(task(name, "root", s=1))
    project.add_task(task("end", *names))
    assert (await project.execute_workflow()).status == "completed"
    assert executor.most[None] == 3_000
    assert clock() == 1


async def test_an_empty_project_is_completed_at_once(project):
    result = await project.execute_workflow()
    assert (result.status, result.results, result.totals.tasks) == ("completed", {}, {})


# -- failures


async def test_a_failed_task_blocks_its_dependents_and_nothing_else(project, executor):
    executor.acts["a"] = failed("a")
    for given in (task("a"), task("b", "a"), task("c", "b"), task("x"), task("y", "x")):
        project.add_task(given)
    result = await project.execute_workflow()
    assert result.status == "failed"
    assert statuses(project) == {"a": "failed", "b": "blocked", "c": "blocked", "x": "completed", "y": "completed"}
    assert result.totals.tasks == {TaskStatus.FAILED: 1, TaskStatus.BLOCKED: 2, TaskStatus.COMPLETED: 2}
    assert list(result.results) == ["a", "x", "y"]


async def test_what_failed_or_was_cancelled_in_an_earlier_run_is_tried_again_and_nothing_more(project, executor):
    executor.acts["a"] = failed("a")
    for given in (task("a"), task("b", "a"), task("x"), task("z")):
        project.add_task(given)
    project.cancel("z")
    await project.execute_workflow()
    del executor.acts["a"]
    executor.starts.clear()
    assert (await project.execute_workflow()).status == "completed"
    assert executor.started == ["a", "b"]


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(ValueError("bad value"), id="a bad value"),
        pytest.param(RuntimeError("boom"), id="an error"),
        pytest.param(OSError("with an undecodable name \udcff"), id="an undecodable error"),
        pytest.param(asyncio.CancelledError(), id="a cancellation nobody asked for"),
        pytest.param(TimeoutError(), id="an error without words"),
        pytest.param(ExceptionGroup("several", [KeyError("k")]), id="several errors"),
        pytest.param("not a result", id="no result"),
        pytest.param(ExecutionResult("a", status=ExecutionStatus.IN_PROGRESS), id="still in progress"),
        pytest.param(
            ExecutionResult("a", status=ExecutionStatus.SUCCESS, output="half a pair \ud800"), id="half a pair"
        ),
        pytest.param(ExecutionResult("a", status=ExecutionStatus.SUCCESS, metadata={"x": object()}), id="not JSON"),
        pytest.param(ExecutionResult("a", status=ExecutionStatus.SUCCESS, output=None), id="no text"),
    ],
)
async def test_whatever_an_executor_does_is_one_failed_task_and_the_state_stays_readable(
    tmp_path, scripted, act, monkeypatch
):
    monkeypatch.setattr(logging.getLogger("orchestration"), "propagate", False)  # xdist cannot send half a pair
    executor = scripted({"a": act})
    async with ProjectOrchestrator(tmp_path, executor=executor) as project:
        for given in (task("a"), task("b", "a"), task("x"), task("y", "x")):
            project.add_task(given)
        result = await project.execute_workflow()
        assert executor.started.count("a") == 1
    assert (result.status, result.results["a"].status) == ("failed", ExecutionStatus.FAILED)
    assert result.results["a"].error
    async with ProjectOrchestrator(tmp_path, executor=executor) as project:
        assert statuses(project) == {"a": "failed", "b": "blocked", "x": "completed", "y": "completed"}


async def test_an_executor_that_says_cancelled_cancels_its_task(project, executor):
    executor.acts["a"] = ExecutionResult("a", status=ExecutionStatus.CANCELLED, error="gave up")
    project.add_task(task("a"))
    result = await project.execute_workflow()
    assert (result.status, statuses(project)) == ("failed", {"a": "cancelled"})
    assert result.results["a"].error == "gave up"


async def test_an_unexpected_exception_is_logged_with_its_traceback(project, executor, caplog):
    executor.acts["a"] = RuntimeError("boom")
    project.add_task(task("a"))
    with caplog.at_level(logging.ERROR, "orchestration"):
        await project.execute_workflow()
    assert "task 'a' failed" in caplog.text
    assert "Traceback" in caplog.text


# -- persons and other hands


async def test_tasks_that_wait_for_a_person_do_not_hold_the_rest(project, executor):
    executor.acts["a"] = ExecutionResult("a", output="prompt", metadata={"execution_mode": "interactive"})
    for given in (task("a"), task("b", "a"), task("x"), task("y", "x")):
        project.add_task(given)
    result = await project.execute_workflow()
    assert result.status == "waiting"
    assert statuses(project) == {"a": "waiting", "b": "pending", "x": "completed", "y": "completed"}
    project.answer("a", "done")
    assert (await project.execute_workflow()).status == "completed"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda project: project.answer("a", "x"), ["a", "long", "b"]),
        (lambda project: project.approve("a"), ["a", "long", "b"]),
        (lambda project: project.complete_task("a"), ["a", "long", "b"]),
        (lambda project: project.reject("a", "again"), ["a", "long", "a"]),
        (lambda project: project.reset("a"), ["a", "long", "a"]),
        (lambda project: project.add_task(task("new")), ["a", "long", "new"]),
    ],
    ids=["answer", "approve", "complete", "reject", "reset", "add"],
)
async def test_a_synchronous_call_while_the_workflow_runs_starts_what_it_frees(project, executor, call, expected):
    executor.acts["a"] = ExecutionResult("a", output="draft", metadata={"execution_mode": "hybrid"})
    for given in (task("a"), task("b", "a"), task("long", s=5)):
        project.add_task(given)
    async with asyncio.TaskGroup() as group:
        group.create_task(project.execute_workflow())
        group.create_task(after(1, lambda: call(project)))
    assert executor.started == expected
    assert executor.starts[-1] == (expected[-1], pytest.approx(1))


async def test_a_task_started_by_hand_leaves_the_run_waiting(project, executor):
    for given in (task("a"), task("b", "a")):
        project.add_task(given)
    project.start_task("a")
    assert (await project.execute_workflow()).status == "waiting"
    assert executor.started == []


async def test_a_task_executed_directly_is_not_run_by_the_workflow_as_well_but_frees_its_dependents(project, executor):
    for given in (task("a", s=2), task("b", "a"), task("long", s=5)):
        project.add_task(given)
    async with asyncio.TaskGroup() as group:
        group.create_task(project.execute_task("a"))
        await asyncio.sleep(1)
        result = await project.execute_workflow()
    assert executor.starts == [("a", 0), ("long", pytest.approx(1)), ("b", pytest.approx(2))]
    assert result.status == "completed"


async def test_a_second_workflow_at_once_is_refused_and_the_first_unharmed(project):
    project.add_task(task("a", s=1))
    async with asyncio.TaskGroup() as group:
        first = group.create_task(project.execute_workflow())
        await asyncio.sleep(0.5)
        with pytest.raises(OrchestrationError, match="this project's workflow is running already"):
            await project.execute_workflow()
    assert first.result().status == "completed"
    assert (await project.execute_workflow()).status == "completed"


# -- cancel and drain


async def test_cancel_stops_what_runs_starts_nothing_more_and_records_it(project, executor):
    for given in (task("a", s=10), task("b", "a"), task("x", s=1), task("y", "x", s=10)):
        project.add_task(given)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(project.execute_workflow())
        group.create_task(after(2, project.cancel))
    result = running.result()
    assert (clock(), result.status) == (2, "cancelled")
    assert statuses(project) == {"a": "cancelled", "b": "blocked", "x": "completed", "y": "cancelled"}
    assert result.results["a"].status is ExecutionStatus.CANCELLED
    assert (await project.execute_workflow()).status == "completed"


async def test_cancel_reaches_tasks_that_were_taken_but_have_not_begun(project, executor):
    for given in (task("a"), task("b", "a", s=1), task("c", "a", s=1)):
        project.add_task(given)
    when_taken(project, project.cancel)
    result = await project.execute_workflow()
    assert (executor.started, result.status) == (["a"], "cancelled")
    assert statuses(project) == {"a": "completed", "b": "pending", "c": "pending"}


async def test_drain_lets_what_runs_finish_and_starts_nothing_more(project, executor):
    for given in (task("a", s=2), task("b", "a"), task("x", s=3)):
        project.add_task(given)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(project.execute_workflow())
        group.create_task(after(1, project.drain))
    assert (clock(), running.result().status) == (3, "interrupted")
    assert statuses(project) == {"a": "completed", "b": "pending", "x": "completed"}
    assert (await project.execute_workflow()).status == "completed"


async def test_drain_reaches_tasks_that_were_taken_but_have_not_begun(project, executor):
    for given in (task("a"), task("b", "a")):
        project.add_task(given)
    when_taken(project, project.drain)
    assert (await project.execute_workflow()).status == "interrupted"
    assert executor.started == ["a"]
    assert project.get_ready_tasks() == ["b"]


async def test_drain_and_cancel_without_a_workflow_do_nothing(project):
    project.add_task(task("a"))
    project.drain()
    project.cancel()
    assert statuses(project) == {"a": "pending"}


async def test_cancelling_one_task_of_a_workflow_leaves_the_others_alone(project, executor):
    for given in (task("a", s=10), task("b", "a"), task("x", s=2), task("y", "x")):
        project.add_task(given)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(project.execute_workflow())
        group.create_task(after(1, lambda: project.cancel("a")))
    assert (clock(), running.result().status) == (2, "failed")
    assert statuses(project) == {"a": "cancelled", "b": "blocked", "x": "completed", "y": "completed"}


@pytest.mark.parametrize("limit", [None, 1])
async def test_cancelled_from_outside_the_tasks_are_pending_again_and_none_starts_anew(project, executor, limit):
    seen = []
    project.subscribe(lambda event, _state: seen.append(event))
    for given in (task("a", s=10), task("b", s=10), task("c", "a")):
        project.add_task(given)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await project.execute_workflow(max_concurrent=limit)
    assert clock() == 1
    assert executor.started == ["a", "b"][:limit]
    assert set(statuses(project).values()) == {"pending"}
    assert isinstance(seen[-1], ev.RunEnded)
    assert seen[-1].status == "interrupted"
    assert (await project.execute_workflow()).status == "completed"
    assert executor.contexts["a"].attempt == 2


async def test_a_worker_that_outlives_its_cancellation_does_not_start_its_dependents(project, executor):
    async def stubborn(given):
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return ExecutionResult(given.task_id, status=ExecutionStatus.SUCCESS, output="all the same")

    executor.acts["a"] = stubborn
    for given in (task("a"), task("b", "a")):
        project.add_task(given)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await project.execute_workflow()
    assert statuses(project) == {"a": "completed", "b": "pending"}
    assert executor.started == ["a"]


# -- what is said between the moment a task is taken and the moment it begins


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda project: project.complete_task("b", "by hand"), {"a": "completed", "b": "completed"}),
        (lambda project: project.cancel("b"), {"a": "completed", "b": "cancelled"}),
        (lambda project: project.fail_task("b", "no"), {"a": "completed", "b": "failed"}),
        (lambda project: project.remove_task("b"), {"a": "completed"}),
        (lambda project: project.start_task("b"), {"a": "completed", "b": "in_progress"}),
    ],
    ids=["complete", "cancel", "fail", "remove", "start"],
)
async def test_a_taken_task_that_was_settled_before_it_began_does_not_run(project, executor, act, expected):
    for given in (task("a"), task("b", "a")):
        project.add_task(given)
    when_taken(project, lambda: act(project))
    await project.execute_workflow()
    assert executor.started == ["a"]
    assert statuses(project) == expected


async def test_a_taken_task_whose_dependency_was_reset_waits_for_it_again(project, executor, caplog):
    for given in (task("a"), task("b", "a")):
        project.add_task(given)
    when_taken(project, lambda: project.reset("a"))
    result = await project.execute_workflow()
    assert executor.started == ["a", "a", "b"]
    assert result.status == "completed"
    assert caplog.text == ""


async def test_a_task_taken_twice_because_the_graph_changed_runs_once(project, executor):
    executor.acts["b"] = failed("b")
    for given in (task("a"), task("b", "a")):
        project.add_task(given)
    when_taken(project, lambda: project.add_task(task("new")))
    await project.execute_workflow()
    assert sorted(executor.started) == ["a", "b", "new"]


async def test_a_task_left_without_its_dependency_makes_the_run_fail_rather_than_look_complete(project):
    for given in (task("a"), task("b", "a")):
        project.add_task(given)
    when(project, starts("a"), lambda: project.complete_task("a"))
    when(project, completes("a"), lambda: project.remove_task("a"))
    result = await project.execute_workflow()
    assert (result.status, statuses(project)) == ("failed", {"b": "pending"})


# -- the store fails


class FailingStore(MemoryStore):
    """A disk that is full after so many facts: `append` works, nothing becomes durable any more."""

    def __init__(self, room):
        super().__init__()
        self.room = room

    def append(self, event):
        if len(self._events) >= self.room:
            raise StoreError("the disk is full")
        return super().append(event)


@pytest.mark.parametrize("room", range(4, 9))
async def test_a_store_that_fails_ends_the_run_with_its_error_and_stops_the_workers(executor, room):
    project = ProjectOrchestrator(executor=executor, store=FailingStore(room))
    for given in (task("a", s=1), task("b", "a", s=1), task("long", s=100)):
        project.add_task(given)
    with pytest.raises(StoreError, match="the disk is full"):
        await project.execute_workflow()
    assert clock() < 3
    assert {name for name, _ in executor.starts} == {name for name, _ in executor.ends}


async def test_a_store_that_fails_does_not_swallow_a_cancellation_from_outside(executor):
    store = FailingStore(100)
    project = ProjectOrchestrator(executor=executor, store=store)
    project.add_task(task("a", s=100))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(project.execute_workflow())
        await asyncio.sleep(1)
        store.room = 0
        running.cancel()
    assert running.cancelled()


async def test_parallel_tasks_raise_the_store_s_error(executor):
    project = ProjectOrchestrator(executor=executor, store=FailingStore(2))
    for name in "ab":
        project.add_task(task(name))
    with pytest.raises(StoreError, match="the disk is full"):
        await project.execute_parallel_tasks(["a", "b"])


# -- what tasks may write


def writer(task_id, *writes, s=1.0, **fields):
    return task(task_id, s=s, writes=writes, **fields)


def at_once(executor):
    """Return the pairs of tasks that ran at the same time."""
    ends = dict(executor.ends)
    return {
        frozenset({first, second})
        for first, began in executor.starts
        for second, other in executor.starts
        if first != second and began < ends[second] and other < ends[first]
    }


async def test_tasks_whose_files_meet_never_run_together_and_others_do_not_wait(project, executor):
    for new in (
        writer("api", "src/api/**"),
        writer("all", "src/**", s=2.0),
        writer("docs", "docs/*.md"),
        writer("page", "docs/index.md"),
        task("reads", s=1.0),
    ):
        project.add_task(new)
    assert (await project.execute_workflow()).status == "completed"
    assert dict(executor.starts) == {"api": 0, "docs": 0, "reads": 0, "all": 1, "page": 1}
    assert frozenset({"api", "all"}) not in at_once(executor)


async def test_of_tasks_that_write_the_same_the_more_important_one_goes_first(project, executor):
    for number, priority in enumerate((0, 2, 1, 3)):
        project.add_task(writer(f"t{number}", "src/**", priority=priority))
    await project.execute_workflow()
    assert executor.started == ["t3", "t1", "t2", "t0"]
    assert executor.most[None] == 1


async def test_a_task_that_failed_or_was_cancelled_lets_its_files_go(project, executor):
    executor.acts["a"] = failed("a")
    for name in "abc":
        project.add_task(writer(name, "src/**"))
    asyncio.get_running_loop().call_later(1.5, project.cancel, "b")
    await project.execute_workflow()
    assert executor.starts == [("a", 0), ("b", 1), ("c", 1.5)]


async def test_a_thousand_tasks_that_write_the_same_file_are_not_compared_over_and_over(project, executor, monkeypatch):
    compared = []

    def counted(these, others):
        compared.append((these, others))
        return overlap(these, others)

    monkeypatch.setattr("orchestration.workflow.overlap", counted)
    for number in range(1_000):
        project.add_task(writer(f"t{number}", "src/**", s=0.0))
    result = await project.execute_workflow()
    assert (result.status, executor.most[None]) == ("completed", 1)
    assert len(compared) <= 2_000


async def test_many_different_files_are_each_compared_once_with_what_runs(project, executor, monkeypatch):
    compared = []

    def counted(these, others):
        compared.append((these, others))
        return overlap(these, others)

    monkeypatch.setattr("orchestration.workflow.overlap", counted)
    for number in range(100):
        project.add_task(writer(f"t{number}", f"src/{number}.py"))
    result = await project.execute_workflow()
    assert (result.status, executor.most[None]) == ("completed", 100)
    assert len(compared) <= 100 * 100 / 2
