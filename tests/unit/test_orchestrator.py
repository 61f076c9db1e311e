"""The contract's section 5, sentence by sentence, on the facade."""

import asyncio
import logging
import os
import sqlite3
import time

import pytest

from orchestration import events as ev
from orchestration.agent_registry import AgentConfig, AgentRegistry, AgentType
from orchestration.errors import (
    CycleError,
    DependencyError,
    DuplicateError,
    InvalidTaskError,
    OrchestrationError,
    ProjectLockedError,
    StoreError,
    TransitionError,
    UnknownAgentError,
    UnknownTaskError,
)
from orchestration.executor import TaskExecutor
from orchestration.orchestrator import ProjectOrchestrator, state_path
from orchestration.store.memory import MemoryStore
from orchestration.store.sqlite import read_facts
from orchestration.task import AgentTask, Check, ExecutionResult, ExecutionStatus, TaskPriority, TaskStatus

SUCCESS, FAILED, CANCELLED = ExecutionStatus.SUCCESS, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED


def task(task_id, *dependencies, **fields):
    return AgentTask(task_id, task_id.upper(), dependencies=dependencies, **fields)


def statuses(project):
    return {task_id: project.get_task(task_id).status.value for task_id in project.state.tasks}


def draft(task_id, text="a draft"):
    return ExecutionResult(task_id, output=text, metadata={"execution_mode": "hybrid", "model": "m1"})


@pytest.fixture
def project(executor):
    return ProjectOrchestrator(executor=executor)


def kinds(project):
    """Watch a project; returns the list that the kinds of its facts are added to."""
    seen = []
    project.subscribe(lambda event, _state: seen.append(type(event).__name__))
    return seen


# -- where the state is


def test_without_a_root_nothing_is_written_anywhere(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project.add_task(task("a"))
    assert list(tmp_path.iterdir()) == []


def test_making_an_orchestrator_touches_no_disk_until_its_first_use(tmp_path):
    ProjectOrchestrator(tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_with_a_root_the_state_is_durable_under_it(tmp_path, executor):
    async with ProjectOrchestrator(str(tmp_path), executor=executor, project_id="nightly") as project:
        project.add_task(task("a"))
    assert state_path(tmp_path, "nightly") == tmp_path / ".orchestration" / "nightly.db"
    assert [type(event).__name__ for _, event in read_facts(state_path(tmp_path, "nightly"))] == ["TaskAdded"]


@pytest.mark.parametrize("project_id", ["../up", "a/b", "", ".hidden", "x" * 200])
def test_a_project_id_that_could_leave_its_folder_is_refused(tmp_path, project_id):
    with pytest.raises(InvalidTaskError, match="project id"):
        ProjectOrchestrator(tmp_path, project_id=project_id)


async def test_two_projects_live_side_by_side_under_one_root(tmp_path, executor):
    async with (
        ProjectOrchestrator(tmp_path, executor=executor, project_id="one") as one,
        ProjectOrchestrator(tmp_path, executor=executor, project_id="two") as two,
    ):
        one.add_task(task("a"))
        two.add_task(task("b"))
        assert (list(statuses(one)), list(statuses(two))) == (["a"], ["b"])


async def test_a_second_live_orchestrator_on_the_project_is_refused_with_the_pid(tmp_path, executor):
    async with ProjectOrchestrator(tmp_path, executor=executor):
        other = ProjectOrchestrator(tmp_path, executor=executor)
        with pytest.raises(ProjectLockedError, match=str(os.getpid())) as caught:
            other.add_task(task("a"))
    assert caught.value.pid == os.getpid()


async def test_the_default_executor_is_closed_with_the_project_and_a_given_one_is_not():
    closed = []

    class Watched(TaskExecutor):
        async def aclose(self):
            closed.append(self)
            await super().aclose()

    given = Watched(AgentRegistry())
    async with ProjectOrchestrator(executor=given):
        pass
    assert closed == []
    project = ProjectOrchestrator()
    assert isinstance(project.executor, TaskExecutor)
    project.executor.aclose = given.aclose
    await project.aclose()
    assert closed == [given]


def test_the_executor_s_agents_are_the_project_s_unless_it_names_its_own():
    registry, own = AgentRegistry(), AgentRegistry()
    assert ProjectOrchestrator(executor=TaskExecutor(registry)).registry is registry
    assert ProjectOrchestrator(executor=TaskExecutor(registry), registry=own).registry is own


# -- add_task


def test_a_task_is_there_at_once_and_pending(project):
    given = task("a")
    project.add_task(given)
    assert project.get_task("a") == given
    assert project.get_task("a").status is TaskStatus.PENDING
    assert project.get_task("nobody") is None


def test_adding_an_equal_task_again_changes_nothing(project):
    seen = kinds(project)
    project.add_task(task("a", metadata={"k": (1, 2)}))
    project.add_task(task("a", metadata={"k": [1, 2]}))
    assert seen == ["TaskAdded"]


def test_two_different_tasks_under_one_id_are_refused(project):
    project.add_task(task("a"))
    with pytest.raises(DuplicateError, match="task 'a' was added already with a different definition"):
        project.add_task(task("a", description="other"))
    assert project.get_task("a").description == ""


def test_a_status_in_the_definition_does_not_pass_for_work_done(project):
    project.add_task(task("a", status="completed"))
    assert project.get_ready_tasks() == ["a"]


def test_a_cycle_is_refused_and_spelled_out(project):
    project.add_task(task("a", "c"))
    project.add_task(task("b", "a"))
    with pytest.raises(CycleError, match="c -> b -> a -> c") as caught:
        project.add_task(task("c", "b"))
    assert caught.value.cycle == ("c", "b", "a", "c")
    assert project.get_task("c") is None


def test_a_task_that_depends_on_itself_is_refused(project):
    with pytest.raises(CycleError, match="a -> a"):
        project.add_task(task("a", "a"))


async def test_an_unknown_dependency_is_refused_when_the_run_starts_and_nothing_has_run(project, executor):
    project.add_task(task("outline"))
    project.add_task(task("draft", "outlin"))
    with pytest.raises(DependencyError, match=r"'draft' depends on 'outlin'.*did you mean 'outline'\?"):
        await project.execute_workflow()
    assert executor.started == []
    assert project.state.run_id == ""


def test_an_output_file_needs_a_root(project):
    with pytest.raises(InvalidTaskError, match=r"has output_file 'a[.]md', but the project is in memory"):
        project.add_task(task("a", output_file="a.md"))


async def test_a_removed_task_is_gone_and_its_id_free_again(project):
    project.add_task(task("a"))
    project.remove_task("a")
    assert project.get_task("a") is None
    project.add_task(task("a", description="another"))
    with pytest.raises(UnknownTaskError, match="unknown task 'b'; known tasks: 'a'"):
        project.remove_task("b")


# -- resuming


async def test_a_program_that_builds_its_project_and_runs_it_resumes(tmp_path, scripted):
    async def program(executor):
        async with ProjectOrchestrator(tmp_path, executor=executor) as project:
            project.add_task(task("a"))
            project.add_task(task("b", "a"))
            return await project.execute_workflow()

    first, second = scripted(), scripted()
    await program(first)
    again = await program(second)
    assert (first.started, second.started) == (["a", "b"], [])
    assert again.status == "completed"
    assert again.results["b"].output == "b done"


async def test_a_changed_definition_runs_again_with_its_dependents_and_this_is_reported(tmp_path, scripted, caplog):
    async def program(executor, description):
        async with ProjectOrchestrator(tmp_path, executor=executor) as project:
            for given in (task("a"), task("b", "a", description=description), task("c", "b"), task("d", "a")):
                project.add_task(given)
            await project.execute_workflow()

    await program(scripted(), "old")
    second = scripted()
    with caplog.at_level(logging.WARNING, "orchestration"):
        await program(second, "new")
    assert second.started == ["b", "c"]
    assert "task 'b' changed since the last run; tasks that run again: b, c" in caplog.text
    facts = [event for _, event in read_facts(state_path(tmp_path))]
    assert [event.task_ids for event in facts if isinstance(event, ev.TaskReset)] == [("b", "c")]


async def test_a_changed_definition_of_a_task_that_had_not_completed_just_replaces_it(tmp_path, executor, caplog):
    async with ProjectOrchestrator(tmp_path, executor=executor) as project:
        project.add_task(task("a"))
        project.add_task(task("b", "a"))
    async with ProjectOrchestrator(tmp_path, executor=executor) as project:
        project.add_task(task("b"))
        assert project.get_ready_tasks() == ["a", "b"]
    assert "none, it had not completed" in caplog.text


async def test_a_changed_definition_that_closes_a_circle_is_refused(tmp_path, executor):
    async with ProjectOrchestrator(tmp_path, executor=executor) as project:
        project.add_task(task("a"))
        project.add_task(task("b", "a"))
    async with ProjectOrchestrator(tmp_path, executor=executor) as project:
        with pytest.raises(CycleError):
            project.add_task(task("a", "b"))
        assert project.get_task("a").dependencies == ()


async def test_what_was_running_when_the_process_died_runs_again(tmp_path, executor):
    async with ProjectOrchestrator(tmp_path, executor=executor) as project:
        project.add_task(task("a"))
        project.start_task("a")
        assert statuses(project) == {"a": "in_progress"}
    async with ProjectOrchestrator(tmp_path, executor=executor) as project:
        assert statuses(project) == {"a": "pending"}
        await project.execute_workflow()
    facts = [type(event).__name__ for _, event in read_facts(state_path(tmp_path))]
    assert facts[:3] == ["TaskAdded", "TaskStarted", "TaskInterrupted"]
    assert executor.contexts["a"].attempt == 2


def test_the_synchronous_calls_work_before_any_loop_and_the_run_after(tmp_path, executor):
    project = ProjectOrchestrator(tmp_path, executor=executor)
    project.add_task(task("a"))
    project.add_task(task("b", "a"))
    project.complete_task("a", "by hand")
    assert asyncio.run(project.execute_workflow()).status == "completed"
    assert executor.started == ["b"]
    asyncio.run(project.aclose())


def test_two_event_loops_in_a_row_work_on_one_orchestrator(tmp_path, executor):
    project = ProjectOrchestrator(tmp_path, executor=executor)
    project.add_task(task("a"))
    asyncio.run(project.execute_workflow())
    project.add_task(task("b", "a"))
    assert set(asyncio.run(project.execute_workflow()).results) == {"a", "b"}

    async def finish():
        async with project:
            project.add_task(task("c"))
            await project.execute_task("c")

    asyncio.run(finish())
    assert executor.started == ["a", "b", "c"]


async def test_first_calls_made_at_once_open_the_project_once(tmp_path, scripted):
    async with ProjectOrchestrator(tmp_path, executor=scripted()) as project:
        for name in "abc":
            project.add_task(task(name))
    project = ProjectOrchestrator(tmp_path, executor=scripted())
    results = await asyncio.gather(*(project.execute_task(name) for name in "abc"))
    assert [result.status for result in results] == [SUCCESS] * 3
    await project.aclose()


# -- looking


async def test_ready_tasks_come_by_priority_then_in_the_order_added(project):
    for name, priority in (("low", "LOW"), ("m1", "MEDIUM"), ("top", "CRITICAL"), ("m2", "MEDIUM"), ("high", "HIGH")):
        project.add_task(task(name, priority=TaskPriority[priority]))
    project.add_task(task("later", "m1"))
    assert project.get_ready_tasks() == ["top", "high", "m1", "m2", "low"]
    project.start_task("top")
    project.complete_task("m1")
    assert project.get_ready_tasks() == ["high", "m2", "later", "low"]


async def test_blocked_is_derived_and_ends_with_its_cause(project):
    for given in (task("a"), task("b", "a"), task("c", "b"), task("free")):
        project.add_task(given)
    project.fail_task("a", "no luck")
    assert statuses(project) == {"a": "failed", "b": "blocked", "c": "blocked", "free": "pending"}
    assert project.state.tasks["b"].status is TaskStatus.PENDING
    project.complete_task("a")
    assert statuses(project) == {"a": "completed", "b": "pending", "c": "pending", "free": "pending"}


async def test_a_closed_project_can_still_be_looked_at_without_taking_its_lock_again(tmp_path, executor):
    async with ProjectOrchestrator(tmp_path, executor=executor) as project:
        project.add_task(task("a"))
        await project.execute_workflow()
    assert project.get_task("a").status is TaskStatus.COMPLETED
    assert project.get_ready_tasks() == []
    async with ProjectOrchestrator(tmp_path, executor=executor) as another:
        assert another.state == project.state


def test_a_subscriber_gets_each_fact_with_the_state_after_it_until_it_leaves(project):
    seen = []
    leave = project.subscribe(lambda event, state: seen.append((event.task.task_id, len(state.tasks))))
    project.add_task(task("a"))
    project.add_task(task("b"))
    leave()
    leave()
    project.add_task(task("c"))
    assert seen == [("a", 1), ("b", 2)]


# -- recording by hand


def test_a_task_cannot_start_while_a_dependency_is_not_completed(project):
    project.add_task(task("a"))
    project.add_task(task("b", "a", "ghost"))
    expected = r"task 'b' cannot start; it depends on 'a' \(pending\), 'ghost' \(not a task of this project\)"
    with pytest.raises(DependencyError, match=expected):
        project.start_task("b")


def test_a_running_task_cannot_start_twice(project):
    project.add_task(task("a"))
    project.start_task("a")
    with pytest.raises(TransitionError, match="task 'a' is in_progress"):
        project.start_task("a")


@pytest.mark.parametrize(
    ("output", "text", "metadata"),
    [
        ("text", "text", {}),
        (None, "", {}),
        ({"n": (1, 2)}, '{"n":[1,2]}', {"data": {"n": [1, 2]}}),
        (0, "0", {"data": 0}),
    ],
)
def test_completing_by_hand_keeps_text_as_text_and_data_as_both(project, output, text, metadata):
    project.add_task(task("a", agent="me"))
    project.start_task("a")
    project.complete_task("a", output)
    result = project.state.tasks["a"].result
    assert (result.output, result.metadata, result.status, result.agent) == (text, metadata, SUCCESS, "me")
    assert result.duration_s >= 0


def test_an_output_that_json_cannot_say_is_refused_and_the_task_unchanged(project):
    project.add_task(task("a"))
    with pytest.raises(InvalidTaskError, match="the output of task 'a' cannot be kept"):
        project.complete_task("a", object())
    assert statuses(project) == {"a": "pending"}


def test_completing_a_completed_task_changes_nothing(project):
    project.add_task(task("a"))
    project.complete_task("a", "first")
    seen = kinds(project)
    project.complete_task("a", "second")
    assert (project.state.tasks["a"].result.output, seen) == ("first", [])


def test_a_failed_task_keeps_its_error_and_a_completed_one_cannot_fail(project):
    project.add_task(task("a"))
    project.fail_task("a", "no luck")
    assert project.state.tasks["a"].result.error == "no luck"
    assert project.state.tasks["a"].result.failure_kind == "task_error"
    project.complete_task("a")
    with pytest.raises(TransitionError, match="task 'a' is completed: TaskFailed can follow only from"):
        project.fail_task("a", "too late")


@pytest.mark.parametrize("call", ["start_task", "complete_task", "approve", "reset", "cancel", "remove_task"])
def test_every_call_names_an_unknown_id_as_a_value_error(project, call):
    project.add_task(task("a"))
    with pytest.raises(ValueError, match="unknown task 'zzz'; known tasks: 'a'"):
        getattr(project, call)("zzz")


@pytest.mark.parametrize("call", ["fail_task", "answer", "reject"])
def test_every_call_with_a_text_names_an_unknown_id_as_well(project, call):
    with pytest.raises(UnknownTaskError, match="unknown task 'zzz'; there are no tasks yet"):
        getattr(project, call)("zzz", "text")


# -- execute_task


async def test_executing_a_task_starts_it_awaits_the_executor_and_records_the_outcome(project, executor):
    project.add_task(task("a", agent="writer"))
    seen = kinds(project)
    result = await project.execute_task("a")
    assert (result.status, result.output) == (SUCCESS, "a done")
    assert seen == ["TaskStarted", "TaskCompleted"]
    assert statuses(project) == {"a": "completed"}


async def test_the_agent_given_to_execute_task_reaches_the_executor(project, executor):
    project.add_task(task("a", agent="writer"))
    result = await project.execute_task("a", agent="other")
    assert result.agent == "other"
    assert project.state.tasks["a"].agent == "other"


async def test_executing_an_unknown_id_is_a_value_error_that_names_it(project):
    with pytest.raises(ValueError, match="unknown task 'nobody'"):
        await project.execute_task("nobody")


async def test_a_completed_task_s_recorded_result_is_returned_without_running_it(project, executor):
    project.add_task(task("a"))
    first = await project.execute_task("a")
    assert await project.execute_task("a") == first
    assert executor.started == ["a"]


async def test_a_failed_task_gets_a_new_attempt(project, executor):
    project.add_task(task("a"))
    executor.acts["a"] = ExecutionResult("a", status=FAILED, error="no")
    assert (await project.execute_task("a")).status is FAILED
    del executor.acts["a"]
    assert (await project.execute_task("a")).status is SUCCESS
    assert executor.contexts["a"].attempt == 2


async def test_a_task_that_waits_for_a_person_is_not_run_again_but_its_prompt_returned(project, executor):
    executor.acts["a"] = ExecutionResult("a", output="please answer", metadata={"execution_mode": "interactive"})
    project.add_task(task("a"))
    first = await project.execute_task("a")
    assert (first.status, await project.execute_task("a")) == (ExecutionStatus.PENDING, first)
    assert executor.started == ["a"]


async def test_the_dependencies_outputs_reach_the_executor_in_the_order_named(project, executor):
    for given in (task("a"), task("b"), task("c", "b", "a")):
        project.add_task(given)
    project.complete_task("a", {"n": 1})
    project.complete_task("b", "text")
    await project.execute_task("c")
    inputs = executor.contexts["c"].inputs
    assert [(name, given.output, given.data) for name, given in inputs.items()] == [
        ("b", "text", None),
        ("a", '{"n":1}', {"n": 1}),
    ]


async def test_the_variables_reach_the_executor(executor):
    project = ProjectOrchestrator(executor=executor, variables={"lang": "en"})
    project.add_task(task("a"))
    await project.execute_task("a")
    assert executor.contexts["a"].variables == {"lang": "en"}


async def test_an_unknown_agent_is_raised_and_recorded_as_the_failure():
    registry = AgentRegistry()
    registry.register_agent(AgentConfig("writer", AgentType.PYTHON, function="json:dumps"))
    async with ProjectOrchestrator(registry=registry) as project:
        project.add_task(task("a", agent="nobody"))
        with pytest.raises(UnknownAgentError, match="agent 'nobody' is unknown; enabled agents: 'writer'"):
            await project.execute_task("a")
        assert statuses(project) == {"a": "failed"}
        assert "nobody" in project.state.tasks["a"].result.error


# -- execute_parallel_tasks


@pytest.mark.looptime
async def test_parallel_tasks_run_all_together_and_return_in_the_order_asked(project, executor):
    for name, seconds in (("a", 3), ("b", 1), ("c", 2)):
        project.add_task(task(name, metadata={"s": seconds}))
    results = await project.execute_parallel_tasks(["c", "a", "b"])
    assert [result.task_id for result in results] == ["c", "a", "b"]
    assert asyncio.get_running_loop().time() == 3
    assert await project.execute_parallel_tasks([]) == []


async def test_an_exception_becomes_that_task_s_failed_result_and_the_others_go_on(project, executor):
    executor.acts["a"] = RuntimeError("boom")
    for given in (task("a"), task("b"), task("c", "a")):
        project.add_task(given)
    results = await project.execute_parallel_tasks(["a", "nobody", "b", "c"])
    assert [result.status for result in results] == [FAILED, FAILED, SUCCESS, FAILED]
    assert "RuntimeError: boom" in results[0].error
    assert "unknown task 'nobody'" in results[1].error
    assert "depends on 'a'" in results[3].error


async def test_the_same_id_twice_runs_once(project, executor):
    project.add_task(task("a", metadata={"s": 0.001}))
    first, second = await project.execute_parallel_tasks(["a", "a"])
    assert first == second
    assert executor.started == ["a"]


# -- a person's part


async def test_an_answer_completes_a_task_that_waits_and_frees_its_dependents(project, executor):
    executor.acts["a"] = ExecutionResult("a", output="prompt", metadata={"execution_mode": "interactive"})
    project.add_task(task("a"))
    project.add_task(task("b", "a"))
    await project.execute_task("a")
    project.answer("a", "my answer")
    assert project.get_ready_tasks() == ["b"]
    await project.execute_task("b")
    assert executor.contexts["b"].inputs["a"].output == "my answer"


async def test_an_approved_draft_is_the_output_with_the_facts_of_its_making(project, executor):
    executor.acts["a"] = draft("a")
    project.add_task(task("a"))
    await project.execute_task("a")
    project.approve("a")
    result = project.state.tasks["a"].result
    assert (result.output, result.status, result.metadata["model"]) == ("a draft", SUCCESS, "m1")


async def test_an_edited_draft_is_an_answer(project, executor):
    executor.acts["a"] = draft("a")
    project.add_task(task("a"))
    await project.execute_task("a")
    project.answer("a", "edited")
    assert project.state.tasks["a"].result.output == "edited"


async def test_a_rejected_draft_is_made_again_with_the_draft_and_the_comment(project, executor):
    executor.acts["a"] = draft("a")
    project.add_task(task("a"))
    await project.execute_task("a")
    project.reject("a", "shorter")
    assert project.get_ready_tasks() == ["a"]
    await project.execute_task("a")
    assert (executor.contexts["a"].draft, executor.contexts["a"].comment) == ("a draft", "shorter")


async def test_only_a_waiting_task_takes_a_person_s_word(project, executor):
    project.add_task(task("a"))
    for call in (lambda: project.answer("a", "x"), lambda: project.approve("a"), lambda: project.reject("a", "x")):
        with pytest.raises(TransitionError, match="task 'a' is pending; only a waiting task takes a person's word"):
            call()


async def test_a_task_that_waits_for_an_answer_cannot_be_approved(project, executor):
    executor.acts["a"] = ExecutionResult("a", output="prompt", metadata={"execution_mode": "interactive"})
    project.add_task(task("a"))
    await project.execute_task("a")
    with pytest.raises(TransitionError, match=r"waits for an answer, not for an approval; give it with answer\('a'"):
        project.approve("a")


# -- reset


async def test_reset_forgets_the_outcome_of_the_task_and_its_dependents_and_nothing_else(project, executor):
    for given in (task("a"), task("b", "a"), task("c", "b"), task("x")):
        project.add_task(given)
    await project.execute_workflow()
    assert project.reset("b") == ["b", "c"]
    assert statuses(project) == {"a": "completed", "b": "pending", "c": "pending", "x": "completed"}
    await project.execute_workflow()
    assert executor.started == ["a", "x", "b", "c", "b", "c"]


async def test_a_task_cannot_be_reset_while_a_dependent_runs(project, executor):
    project.add_task(task("a"))
    project.add_task(task("b", "a"))
    project.complete_task("a")
    project.start_task("b")
    with pytest.raises(
        TransitionError, match="task 'b' is in_progress: 'a' cannot be reset meanwhile; cancel 'b', or wait"
    ):
        project.reset("a")
    assert statuses(project) == {"a": "completed", "b": "in_progress"}


# -- durability and the end


async def test_an_asynchronous_call_returns_only_after_what_it_did_is_durable(tmp_path, executor):
    async with ProjectOrchestrator(tmp_path, executor=executor) as project:
        project.add_task(task("a"))
        await project.execute_task("a")
        rows = sqlite3.connect(f"file:{state_path(tmp_path)}?mode=ro", uri=True)
        try:
            assert rows.execute("SELECT count(*) FROM facts").fetchone() == (3,)
        finally:
            rows.close()


async def test_durable_waits_for_what_the_synchronous_calls_did(tmp_path, executor):
    async with ProjectOrchestrator(tmp_path, executor=executor) as project:
        for number in range(500):
            project.add_task(task(f"t{number}"))
        await project.durable()
        assert len(read_facts(state_path(tmp_path))) == 500


async def test_closing_twice_is_fine_and_closing_unused_too(tmp_path, executor):
    project = ProjectOrchestrator(tmp_path, executor=executor)
    await project.aclose()
    project.add_task(task("a"))
    await project.aclose()
    await project.aclose()
    assert len(read_facts(state_path(tmp_path))) == 1


async def test_a_closed_project_opens_again_when_it_is_written_to(tmp_path, executor):
    async with ProjectOrchestrator(tmp_path, executor=executor) as project:
        project.add_task(task("a"))
    await project.execute_task("a")
    await project.aclose()
    assert statuses(project) == {"a": "completed"}


async def test_a_store_of_the_caller_s_own_is_used(executor):
    store = MemoryStore()
    async with ProjectOrchestrator(executor=executor, store=store) as project:
        project.add_task(task("a"))
        with pytest.raises(StoreError, match="open already"):
            ProjectOrchestrator(executor=executor, store=store).add_task(task("b"))
    async with ProjectOrchestrator(executor=executor, store=store) as project:
        assert list(statuses(project)) == ["a"]


async def test_closing_while_a_workflow_runs_ends_the_workflow_with_a_clear_error(tmp_path, executor):
    began, go = asyncio.Event(), asyncio.Event()

    async def hold(given):
        began.set()
        await go.wait()
        return ExecutionResult(given.task_id, status=SUCCESS)

    executor.acts["a"] = hold
    project = ProjectOrchestrator(tmp_path, executor=executor)
    project.add_task(task("a"))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(_error_of(project.execute_workflow()))
        await began.wait()
        await project.aclose()
        go.set()
    assert isinstance(running.result(), StoreError)
    assert "closed" in str(running.result())


async def _error_of(awaitable):
    try:
        await awaitable
    except OrchestrationError as exc:
        return exc
    return None


@pytest.mark.parametrize("limit", [0, -1])
async def test_a_limit_below_one_is_refused(project, limit):
    with pytest.raises(ValueError, match=f"max_concurrent is {limit}, expected a number above 0, or None"):
        await project.execute_workflow(max_concurrent=limit)


def test_adding_ten_thousand_tasks_backwards_takes_no_quadratic_time(project):
    started = time.process_time()
    for number in range(10_000):
        project.add_task(task(f"t{number}", f"t{number + 1}"))
    assert time.process_time() - started < 5  # 0.3 s; a copy of the graph per task took 40


async def test_checks_that_an_executor_of_ones_own_would_have_to_make_are_warned_of(project, caplog):
    project.add_task(AgentTask("a", "A", checks=(Check(matches="ok"),)))
    assert "task 'a' has checks, which are made by TaskExecutor" in caplog.text
