"""Output files: whole or not at all, inside the project, and right after a crash."""

import asyncio
import os

import pytest

from orchestration.orchestrator import ProjectOrchestrator
from orchestration.task import AgentTask, ExecutionResult, ExecutionStatus


def task(task_id, output_file, **fields):
    return AgentTask(task_id, task_id.upper(), output_file=output_file, **fields)


@pytest.fixture
def project(tmp_path, executor):
    return ProjectOrchestrator(tmp_path, executor=executor)


async def run(project, *tasks):
    """Add the tasks, run the project, close it."""
    async with project:
        for given in tasks:
            project.add_task(given)
        return await project.execute_workflow()


async def test_a_completed_task_s_output_is_in_its_file_and_nothing_else_beside_it(tmp_path, project, executor, result):
    executor.acts["a"] = result("a", "naïve\r\ntext\n")
    await run(project, task("a", "out/deep/report.md"))
    assert (tmp_path / "out/deep/report.md").read_bytes() == "naïve\r\ntext\n".encode()
    assert [path.name for path in (tmp_path / "out/deep").iterdir()] == ["report.md"]
    assert (tmp_path / "out/deep/report.md").stat().st_mode & 0o777 == 0o644


async def test_a_failed_or_waiting_task_writes_no_file(tmp_path, project, executor):
    executor.acts["a"] = ExecutionResult("a", status=ExecutionStatus.FAILED, output="partial")
    executor.acts["b"] = ExecutionResult("b", output="draft", metadata={"execution_mode": "hybrid"})
    await run(project, task("a", "a.md"), task("b", "b.md"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".orchestration"]


async def test_a_file_lost_to_a_crash_is_restored_by_the_next_run(tmp_path, executor, scripted):
    await run(ProjectOrchestrator(tmp_path, executor=executor), task("a", "a.md"))
    (tmp_path / "a.md").unlink()
    second = scripted()
    await run(ProjectOrchestrator(tmp_path, executor=second), task("a", "a.md"))
    assert (tmp_path / "a.md").read_text() == "a done"
    assert second.started == []


async def test_a_file_that_is_older_than_its_task_s_completion_is_written_again(tmp_path, executor, scripted):
    await run(ProjectOrchestrator(tmp_path, executor=executor), task("a", "a.md"))
    (tmp_path / "a.md").write_text("of an earlier run")
    os.utime(tmp_path / "a.md", (0, 0))
    await run(ProjectOrchestrator(tmp_path, executor=scripted()), task("a", "a.md"))
    assert (tmp_path / "a.md").read_text() == "a done"


async def test_a_file_that_was_edited_after_the_run_is_left_alone(tmp_path, executor, scripted):
    await run(ProjectOrchestrator(tmp_path, executor=executor), task("a", "a.md"))
    (tmp_path / "a.md").write_text("edited by a person")
    os.utime(tmp_path / "a.md", (4e9, 4e9))
    await run(ProjectOrchestrator(tmp_path, executor=scripted()), task("a", "a.md"))
    assert (tmp_path / "a.md").read_text() == "edited by a person"


async def test_a_written_file_is_never_taken_for_older_than_its_task(tmp_path, project):
    await run(project, *(task(f"t{number}", f"{number}.md") for number in range(20)))
    for number in range(20):
        ended_at = project.state.tasks[f"t{number}"].ended_at
        assert (tmp_path / f"{number}.md").stat().st_mtime >= ended_at.timestamp()


async def test_a_person_s_answer_is_written_when_the_project_closes(tmp_path, project, executor):
    executor.acts["a"] = ExecutionResult("a", output="prompt", metadata={"execution_mode": "interactive"})
    await run(project, task("a", "a.md"))
    async with project:
        project.answer("a", "my answer")
    assert (tmp_path / "a.md").read_text() == "my answer"


async def test_a_task_completed_by_hand_while_the_workflow_runs_has_its_file_when_it_ends(tmp_path, project, executor):
    began, go = asyncio.Event(), asyncio.Event()

    async def hold(given):
        began.set()
        await go.wait()
        return ExecutionResult(given.task_id, status=ExecutionStatus.SUCCESS)

    executor.acts["long"] = hold
    executor.acts["a"] = ExecutionResult("a", output="prompt", metadata={"execution_mode": "interactive"})
    async with project:
        project.add_task(AgentTask("long", "Long"))
        project.add_task(task("a", "a.md"))
        async with asyncio.TaskGroup() as group:
            group.create_task(project.execute_workflow())
            await began.wait()
            project.complete_task("a", "by hand")
            go.set()
        assert (tmp_path / "a.md").read_text() == "by hand"


async def test_a_symbolic_link_that_leads_out_of_the_project_is_refused_and_the_output_safe(tmp_path, executor):
    root, outside = tmp_path / "project", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "link").symlink_to(outside)
    result = await run(ProjectOrchestrator(root, executor=executor), task("a", "link/a.md"))
    assert list(outside.iterdir()) == []
    assert result.results["a"].output == "a done"
    assert result.status == "completed"
    assert len(result.problems) == 1
    assert "task 'a': cannot write output_file 'link/a.md': it leads out of the project's folder" in result.problems[0]


async def test_a_symbolic_link_in_the_file_s_own_place_is_replaced_and_not_followed(tmp_path, executor):
    root, outside = tmp_path / "project", tmp_path / "outside.txt"
    root.mkdir()
    outside.write_text("untouched")
    (root / "a.md").symlink_to(outside)
    await run(ProjectOrchestrator(root, executor=executor), task("a", "a.md"))
    assert outside.read_text() == "untouched"
    assert not (root / "a.md").is_symlink()
    assert (root / "a.md").read_text() == "a done"


@pytest.mark.parametrize("name", ["taken", "x" * 300, "blocked/a.md"])
async def test_a_file_that_cannot_be_written_is_a_problem_of_the_run_and_leaves_nothing_behind(tmp_path, project, name):
    (tmp_path / "taken").mkdir()
    (tmp_path / "blocked").write_text("a file where a folder is wanted")
    result = await run(project, task("a", name))
    assert result.status == "completed"
    assert result.problems[0].startswith("task 'a': cannot write output_file")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".orchestration", "blocked", "taken"]


async def test_problems_of_one_run_do_not_stick_to_the_next(tmp_path, project):
    (tmp_path / "a.md").mkdir()
    await run(project, task("a", "a.md"))
    (tmp_path / "a.md").rmdir()
    result = await run(project, task("a", "a.md"))
    assert result.problems == ()
    assert (tmp_path / "a.md").read_text() == "a done"
