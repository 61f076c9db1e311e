"""The demo: a real model, real processes. What the model says may change; what is made of it may not."""

import json
import shutil
import signal

import pytest

from orchestration import AgentConfig, AgentTask, AgentType, TaskInput, Work
from orchestration.attempt import AttemptContext
from orchestration.demo import PROJECT_FILES, copy_to, tour
from orchestration.events import TaskCompleted, TaskStarted
from orchestration.orchestrator import state_path
from orchestration.store.sqlite import read_facts

uses_model = [pytest.mark.acceptance, pytest.mark.model, pytest.mark.xdist_group("local model")]

READINGS = {f"read-{name.replace('_', '-')}" for name in tour.SUBJECTS}


def marked(*marks):
    def mark(test):
        for one in marks:
            test = one(test)
        return test

    return mark


def work_with(**inputs):
    given = {name.replace("_", "-"): TaskInput(output="", data=data) for name, data in inputs.items()}
    return Work(
        task=AgentTask("any", "any"),
        agent=AgentConfig("any", AgentType.PYTHON),
        prompt="",
        context=AttemptContext(inputs=given),
    )


def facts(folder):
    return [fact for _, fact in read_facts(state_path(folder, "demo"))]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, open_shell):
    """The folder of a demo that ran to its end. Tests work on copies."""
    shell = open_shell(tmp_path_factory.mktemp("demo"))
    printed = shell("orchestrate", "demo")
    (shell.folder / "printed.txt").write_text(printed)
    return shell.folder


@marked(*uses_model)
def test_the_demo_runs_to_its_end_and_says_what_to_try_next(finished):
    printed = (finished / "printed.txt").read_text()

    assert "All 11 tasks done" in printed
    assert "8 model calls" in printed
    assert "cat orchestrate-demo/report.md" in printed


@marked(*uses_model)
def test_the_report_states_the_score_that_the_grades_add_up_to(finished):
    grades = json.loads((finished / "orchestrate-demo" / "grades.json").read_text())
    report = (finished / "orchestrate-demo" / "report.md").read_text()

    answers = [mark for answers in grades["marks"].values() for mark in answers.values()]
    right = sum(mark["said"] == mark["is"] for mark in answers)
    assert len(answers) == 16
    assert f"{right} of 16" in report.splitlines()[0]
    assert grades["marks"]["execute_workflow"]["keyword"]["is"] == "async def"
    assert report.count("- the model: This function") + report.count("- the model: It ") == len(tour.SUBJECTS)


@marked(*uses_model)
def test_a_second_run_does_nothing_again(finished, tmp_path, open_shell):
    shell = open_shell(shutil.copytree(finished, tmp_path / "copy"))
    before = shell.folder / "orchestrate-demo" / "report.md"
    report = before.read_text()

    shell("orchestrate", "demo")

    assert sum(isinstance(fact, TaskStarted) for fact in facts(shell.folder / "orchestrate-demo")) == 11
    assert before.read_text() == report


@marked(*uses_model)
def test_a_reset_answer_is_asked_for_again_with_what_was_built_on_it_and_nothing_else(finished, tmp_path, open_shell):
    shell = open_shell(shutil.copytree(finished / "orchestrate-demo", tmp_path / "copy"))

    shell("orchestrate", "reset", "read-find")
    shell("orchestrate", "run")

    again = {name for name, task in shell.status().items() if task["attempt"] == 2}
    assert again == {"read-find", "grade", "report"}


@marked(*uses_model)
def test_killed_half_way_and_run_again_the_demo_goes_on_where_it_was(shell):
    running = shell.start("orchestrate", "demo")
    with running:
        for line in running.stdout:
            if "read-" in line and "done" in line:
                break
        running.send_signal(signal.SIGKILL)
    project = shell.folder / "orchestrate-demo"
    done_before = {fact.task_id for fact in facts(project) if isinstance(fact, TaskCompleted)}

    shell("orchestrate", "demo")

    completions = [fact.task_id for fact in facts(project) if isinstance(fact, TaskCompleted)]
    assert running.returncode == -signal.SIGKILL
    assert "survey" in done_before
    assert READINGS & done_before
    assert "report" not in done_before
    assert len(completions) == len(set(completions)) == 11
    assert (project / "report.md").exists()


def test_copying_the_demo_leaves_files_that_exist_alone(tmp_path):
    (tmp_path / "tour.py").write_text("mine")

    written = copy_to(tmp_path)

    assert (tmp_path / "tour.py").read_text() == "mine"
    assert {path.relative_to(tmp_path).as_posix() for path in written} == set(PROJECT_FILES) - {"tour.py"}
    assert copy_to(tmp_path) == []


def test_the_survey_finds_the_functions_in_the_installed_source():
    surveyed = tour.survey(work_with())

    assert set(surveyed["functions"]) == set(tour.SUBJECTS)
    assert surveyed["functions"]["find"]["head"].startswith("def find(capability: str) -> list[AgentConfig]:\n")
    assert {package["package"] for package in surveyed["packages"]} == set(tour.PACKAGES)
    assert all(package["files"] > 10 and package["functions"] > 100 for package in surveyed["packages"])


def test_a_wrong_answer_is_marked_wrong_and_listed_in_the_report():
    truth = {"keyword": "def", "function": "find", "argument": "capability", "returns": "list"}
    survey = {
        "functions": {"find": {**truth, "at": "registry.py:7", "author": "Return the agents."}},
        "packages": [{"package": "orchestration", "files": 1, "lines": 9, "functions": 1, "longest": "find"}],
    }

    grades = tour.grade(work_with(survey=survey, read_find={**truth, "keyword": "async def"}))
    report = tour.report(work_with(survey=survey, grade=grades, tell_find="It finds agents."))

    assert (grades["right"], grades["asked"]) == (3, 4)
    assert "- `find`, starts with: it said `async def`, the code says `def`" in report
    assert "| ✗ async def" in report
    assert "- the model: It finds agents.\n- the author: Return the agents." in report


def test_a_report_without_mistakes_lists_none():
    truth = {"keyword": "def", "function": "find", "argument": "capability", "returns": "list"}
    survey = {"functions": {"find": truth}, "packages": []}
    grades = tour.grade(work_with(survey=survey, read_find=truth))

    report = tour.report(work_with(survey=survey, grade=grades))

    assert "4 of 4" in report.splitlines()[0]
    assert "got wrong" not in report
