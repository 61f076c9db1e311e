"""One task's execution: joined, cancelled, overtaken. Times are a virtual clock's seconds."""

import asyncio

import pytest

from orchestration import events as ev
from orchestration.errors import DependencyError, TransitionError
from orchestration.journal import now
from orchestration.orchestrator import ProjectOrchestrator
from orchestration.task import AgentTask, ExecutionResult, ExecutionStatus, FailureKind
from orchestration.task_run import with_status

pytestmark = pytest.mark.looptime

SUCCESS, FAILED, CANCELLED = ExecutionStatus.SUCCESS, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED


def task(task_id, *dependencies, s=1.0, **fields):
    return AgentTask(task_id, task_id.upper(), dependencies=dependencies, metadata={"s": s}, **fields)


def status(project, task_id="a"):
    return project.get_task(task_id).status.value


def when(project, kind, act):
    def look(event, _state):
        if isinstance(event, kind):
            leave()
            act()

    leave = project.subscribe(look)


@pytest.fixture
def project(executor):
    project = ProjectOrchestrator(executor=executor)
    project.add_task(task("a"))
    return project


# -- joining


async def test_executing_a_running_task_joins_it(project, executor):
    results = await asyncio.gather(*(project.execute_task("a") for _ in range(5)))
    assert executor.started == ["a"]
    assert {result.output for result in results} == {"a done"}
    assert asyncio.get_running_loop().time() == 1


async def test_all_who_joined_a_failing_task_get_its_failure_and_it_runs_once(project, executor):
    executor.acts["a"] = ExecutionResult("a", status=FAILED, error="no luck")
    results = await asyncio.gather(*(project.execute_task("a") for _ in range(5)))
    assert [result.error for result in results] == ["no luck"] * 5
    assert executor.started == ["a"]


async def test_all_who_joined_a_task_whose_executor_raises_get_the_exception(project, executor):
    executor.acts["a"] = ValueError("unknown agent")
    results = await asyncio.gather(*(project.execute_task("a") for _ in range(3)), return_exceptions=True)
    assert [str(result) for result in results] == ["unknown agent"] * 3
    assert (executor.started, status(project)) == (["a"], "failed")


async def test_one_who_joined_takes_over_when_the_first_caller_is_cancelled(project, executor):
    async with asyncio.TaskGroup() as group:
        first = group.create_task(project.execute_task("a"))
        await asyncio.sleep(0.5)
        others = [group.create_task(project.execute_task("a")) for _ in range(3)]
        await asyncio.sleep(0)
        first.cancel()
    assert first.cancelled()
    assert [other.result().status for other in others] == [SUCCESS] * 3
    assert executor.started == ["a", "a"]


async def test_one_who_joined_can_be_cancelled_without_harm_to_the_task(project, executor):
    async with asyncio.TaskGroup() as group:
        first = group.create_task(project.execute_task("a"))
        await asyncio.sleep(0)
        joined = group.create_task(project.execute_task("a"))
        await asyncio.sleep(0.5)
        joined.cancel()
    assert joined.cancelled()
    assert (first.result().status, executor.started) == (SUCCESS, ["a"])


async def test_all_who_joined_a_task_that_is_cancelled_get_the_cancelled_result(project):
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(project.execute_task("a")) for _ in range(3)]
        await asyncio.sleep(0.5)
        project.cancel("a")
    assert [call.result().status for call in running] == [CANCELLED] * 3


# -- cancelling


async def test_cancelling_a_directly_awaited_task_is_a_result_and_its_caller_goes_on(project):
    async with asyncio.TaskGroup() as group:
        group.create_task(_later(0.5, lambda: project.cancel("a")))
        result = await project.execute_task("a")
        assert (result.status, result.error) == (CANCELLED, "cancelled")
        await asyncio.sleep(3)
        assert asyncio.current_task().cancelling() == 0
    assert status(project) == "cancelled"
    assert (await project.execute_task("a")).status is SUCCESS


async def test_cancel_without_an_id_reaches_directly_awaited_tasks(project):
    project.add_task(task("b"))
    async with asyncio.TaskGroup() as group:
        group.create_task(_later(0.5, project.cancel))
        results = await project.execute_parallel_tasks(["a", "b"])
    assert [result.status for result in results] == [CANCELLED, CANCELLED]


async def test_a_cancellation_from_outside_propagates_and_the_task_is_pending_again(project):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await project.execute_task("a")
    assert status(project) == "pending"
    assert (await project.execute_task("a")).status is SUCCESS


async def test_a_cancellation_from_outside_keeps_its_message(project):
    async with asyncio.TaskGroup() as group:
        running = group.create_task(_caught(project.execute_task("a")))
        await asyncio.sleep(0.5)
        running.cancel("scope 7")  # anyio tells its own cancellations by this
    assert running.result() == ("scope 7",)


async def test_cancelled_from_both_sides_the_outside_wins_and_the_task_is_cancelled(project):
    async with asyncio.TaskGroup() as group:
        running = group.create_task(project.execute_task("a"))
        await asyncio.sleep(0.5)
        project.cancel("a")
        running.cancel()
    assert running.cancelled()
    assert status(project) == "cancelled"


async def test_cancelling_twice_is_cancelling_once(project):
    async with asyncio.TaskGroup() as group:
        running = group.create_task(project.execute_task("a"))
        await asyncio.sleep(0.5)
        project.cancel("a")
        project.cancel("a")
        project.cancel()
    assert running.result().status is CANCELLED


async def test_a_task_that_does_not_run_is_cancelled_by_a_fact_alone_and_a_settled_one_not_at_all(project):
    project.cancel("a")
    assert status(project) == "cancelled"
    with pytest.raises(TransitionError, match="task 'a' is cancelled: TaskCancelled can follow only from"):
        project.cancel("a")


async def test_a_cancelled_task_keeps_no_draft_as_its_result(project, executor):
    executor.acts["a"] = ExecutionResult("a", output="draft", metadata={"execution_mode": "hybrid"})
    await project.execute_task("a")
    project.cancel("a")
    assert project.state.tasks["a"].result is None


@pytest.mark.parametrize("suspends", [True, False])
async def test_a_cancel_the_moment_a_task_starts_stops_it_and_nothing_else(project, executor, suspends):
    project.add_task(task("quick", s=0))
    when(project, ev.TaskStarted, lambda: project.cancel("a" if suspends else "quick"))
    result = await project.execute_task("a" if suspends else "quick")
    await asyncio.sleep(0)  # where a cancellation that came too late would strike
    assert result.status is CANCELLED
    assert asyncio.current_task().cancelling() == 0


async def test_a_cancel_that_comes_when_the_work_is_done_is_refused_and_strikes_nobody(project):
    errors = []

    def too_late():
        try:
            project.cancel("a")
        except TransitionError as exc:
            errors.append(str(exc))

    when(project, ev.TaskCompleted, too_late)
    result = await project.execute_task("a")
    await asyncio.sleep(0)
    assert (result.status, status(project)) == (SUCCESS, "completed")
    assert "task 'a' is completed" in errors[0]


async def test_a_worker_that_answers_its_cancellation_with_a_result_keeps_it(project, executor):
    async def stubborn(given):
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return ExecutionResult("a", status=SUCCESS, output="saved")

    executor.acts["a"] = stubborn
    async with asyncio.TaskGroup() as group:
        group.create_task(_later(2, lambda: project.cancel("a")))
        result = await project.execute_task("a")
        assert asyncio.current_task().cancelling() == 0
    assert (result.output, status(project)) == ("saved", "completed")


async def test_a_worker_that_breaks_while_it_is_cancelled_is_a_failure(project, executor):
    async def clumsy(given):
        try:
            await asyncio.sleep(10)
        finally:
            raise RuntimeError("broke in clean-up")

    executor.acts["a"] = clumsy
    async with asyncio.TaskGroup() as group:
        group.create_task(_later(2, lambda: project.cancel("a")))
        with pytest.raises(RuntimeError, match="broke in clean-up"):
            await project.execute_task("a")
        assert asyncio.current_task().cancelling() == 0
    assert status(project) == "failed"


async def test_a_worker_that_raises_cancelled_error_on_its_own_has_failed(project, executor):
    executor.acts["a"] = asyncio.CancelledError()
    result = await project.execute_task("a")
    assert (result.status, result.failure_kind) == (FAILED, FailureKind.TASK_ERROR)
    assert "nobody cancelled the task" in result.error


# -- overtaken by a person or caller


async def test_an_outcome_that_comes_after_a_person_completed_the_task_is_dropped(project, executor):
    project.add_task(task("b", "a"))
    async with asyncio.TaskGroup() as group:
        group.create_task(_later(0.5, lambda: project.complete_task("a", "by hand")))
        result = await project.execute_task("a")
    assert result.output == "by hand"
    assert project.state.tasks["a"].result.output == "by hand"
    await project.execute_task("b")
    assert executor.contexts["b"].inputs["a"].output == "by hand"


@pytest.mark.parametrize("act", [RuntimeError("late"), asyncio.CancelledError()], ids=repr)
async def test_a_late_failure_does_not_undo_what_a_person_completed(project, executor, act):
    executor.acts["a"] = act
    async with asyncio.TaskGroup() as group:
        group.create_task(_later(0.5, lambda: project.complete_task("a", "by hand")))
        await _caught(project.execute_task("a"))
    assert project.state.tasks["a"].result.output == "by hand"


async def test_a_worker_whose_task_was_completed_by_hand_is_still_stopped_by_cancel(project):
    async with asyncio.TaskGroup() as group:
        running = group.create_task(project.execute_task("a"))
        await asyncio.sleep(0.25)
        project.complete_task("a", "by hand")
        project.cancel("a")
    assert asyncio.get_running_loop().time() == pytest.approx(0.25)
    assert running.result().output == "by hand"
    assert status(project) == "completed"


async def test_one_who_joined_a_task_failed_by_hand_gets_that_failure_and_no_new_attempt(project, executor):
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(project.execute_task("a")) for _ in range(3)]
        await asyncio.sleep(0.5)
        project.fail_task("a", "enough")
    assert [call.result().error for call in running] == ["enough"] * 3
    assert executor.started == ["a"]


async def test_a_task_completed_and_reset_while_it_runs_runs_again_for_those_who_joined(project, executor):
    async with asyncio.TaskGroup() as group:
        first = group.create_task(project.execute_task("a"))
        await asyncio.sleep(0.5)
        second = group.create_task(project.execute_task("a"))
        await asyncio.sleep(0)
        project.complete_task("a")
        project.reset("a")
    assert executor.starts == [("a", 0), ("a", pytest.approx(1))]
    assert (first.result().status, second.result().status) == (SUCCESS, SUCCESS)
    assert status(project) == "completed"


async def test_a_task_removed_after_it_was_completed_by_hand_still_gives_its_caller_a_result(project):
    async with asyncio.TaskGroup() as group:
        running = group.create_task(project.execute_task("a"))
        await asyncio.sleep(0.5)
        project.complete_task("a", "by hand")
        project.remove_task("a")
    assert running.result().output == "a done"


# -- what the executor reports


async def test_what_an_executor_reports_becomes_facts_and_money(project, executor):
    async def spends(given):
        report = executor.contexts["a"].report
        at = now()
        report(ev.CallFinished(at=at, task_id="a", attempt=1, provider="p", model="m", output_tokens=7, cost_usd="0.5"))
        report(ev.TaskRetrying(at=at, task_id="a", attempt=2, kind=FailureKind.OVERLOADED, error="busy", delay_s=2))
        assert project.state.tasks["a"].attempt == 2
        return ExecutionResult("a", status=SUCCESS)

    executor.acts["a"] = spends
    await project.execute_task("a")
    assert (project.state.spend.output_tokens, str(project.state.spend.cost_usd)) == (7, "0.5")


async def test_reports_that_come_too_late_to_matter_are_dropped_but_money_is_counted(project, executor):
    async def slow(given):
        await asyncio.sleep(1)
        report, at = executor.contexts["a"].report, now()
        report(ev.TaskRetrying(at=at, task_id="a", attempt=2, kind=FailureKind.OVERLOADED, error="busy"))
        report(ev.CallFinished(at=at, task_id="a", attempt=1, provider="p", model="m", output_tokens=7))
        project.remove_task("a")
        report(ev.CallFinished(at=at, task_id="a", attempt=1, provider="p", model="m", output_tokens=7))
        return ExecutionResult("a", status=SUCCESS)

    executor.acts["a"] = slow
    async with asyncio.TaskGroup() as group:
        group.create_task(_later(0.5, lambda: project.complete_task("a")))
        await project.execute_task("a")
    assert (project.state.spend.output_tokens, project.state.spend.unpriced_calls) == (14, 2)


async def test_a_dependent_cannot_be_executed_before_its_dependency(project):
    project.add_task(task("b", "a"))
    with pytest.raises(DependencyError, match=r"task 'b' cannot start; it depends on 'a' \(pending\)"):
        await project.execute_task("b")
    assert status(project, "b") == "pending"


def test_a_task_with_another_status_is_equal_and_the_same_otherwise():
    given = task("a", agent="x")
    other = with_status(given, "failed")
    assert (other, other.status, given.status.value) == (given, "failed", "pending")
    assert with_status(given, given.status) is given


async def _later(seconds, act):
    await asyncio.sleep(seconds)
    act()


async def _caught(awaitable):
    try:
        await awaitable
    except asyncio.CancelledError as exc:
        return exc.args
    except RuntimeError:
        return None
