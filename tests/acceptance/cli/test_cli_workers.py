"""What status, show and graph say of workers: checked results, tasks for each item, added tasks, coding agents."""

import json
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.acceptance

PLAN = """

def plan(work):
    return {"files": [f"f{n}.py" for n in range(12)], "tasks": [{"id": "extra", "title": "More", "agent": "say"}]}

def improve(work):
    return "good" if work.context.attempt > 1 else "bad"
"""


@pytest.fixture
def growing(project):
    """A project whose first result brings tasks, with one that is skipped and one that needs two attempts."""
    with (project.folder / "work.py").open("a") as file:
        file.write(PLAN)
    python = {"type": "python"}
    agents = {
        "say": python | {"function": "work:say"},
        "planner": python | {"function": "work:plan"},
        "improver": python | {"function": "work:improve"},
    }
    tasks = {
        "plan": {"agent": "planner", "adds_tasks": {"approval": "never"}},
        "review": {"agent": "say", "dependencies": ["plan"], "for_each": "tasks.plan.data.files", "title": "Review"},
        "maybe": {"agent": "say", "dependencies": ["plan"], "when": "tasks.plan.data.files | length > 99"},
        "better": {"agent": "improver", "max_attempts": 2, "checks": [{"matches": "good", "name": "is good"}]},
    }
    project.write(tasks, agents=agents)
    return project


def test_tasks_that_come_up_are_announced_before_they_run_and_counted_on_one_line(growing):
    lines = [line.split("  ", 1)[1] for line in growing("run").stdout.splitlines() if line[:2].isdigit()]
    became = "review  becomes 12 tasks, one for each item, for say: review.1, review.2, review.3 and 9 more"
    assert lines.index(became) < lines.index("review.1  running  say")
    (added,) = [line for line in lines if line.endswith("adds 1 task, for say: plan.extra")]
    assert lines.index(added) < lines.index("plan.extra  running  say")

    out = growing("status").stdout
    assert re.search(r"^[├└│ ]*review +✓ done .* 12 of 12 done$", out, re.MULTILINE)
    assert re.search(r"^[├└] plan.extra +✓ done", out, re.MULTILINE)
    assert re.search(r"^[├└] maybe +» skipped", out, re.MULTILINE)
    assert "review.3" not in out
    assert re.search(
        r"^│ ├ review.3 +✓ done .* f2.py: out of review.3$", growing("status", "--all").stdout, re.MULTILINE
    )
    assert "f2.py" in growing("show", "review").stdout


def test_a_check_that_failed_shows_what_it_saw_and_that_the_next_attempt_passed(growing):
    out = growing("run").stdout
    assert "better  check failed  is good: " in out
    shown = growing("show", "better").stdout
    assert re.search(r"^1 .* failed \(check_failed\) +is good$", shown, re.MULTILINE)
    assert re.search(r"^passed +is good", shown, re.MULTILINE)
    attempts = growing.json("show", "better")["attempts"]
    assert [[check["is_passed"] for check in attempt["checks"]] for attempt in attempts] == [[False], [True]]


def test_no_longer_part_of_the_file_is_not_said_of_tasks_a_run_has_added(growing):
    growing("run")
    assert growing("status").stderr == ""


@pytest.fixture
def coding(project):
    """A made-up `claude` that edits a file in a worktree, in a repository."""
    script = project.folder / "script.json"
    script.write_text(json.dumps({"*": [[{"use": "Read a.txt"}, {"write": {"a.txt": "new\\n"}}, {"say": "did it"}]]}))
    fake = project.folder / "fake.sh"
    fake.write_text(
        f'#!/bin/sh\nexec {sys.executable} -m orchestration.testing.cli_agents claude --script {script} "$@"\n'
    )
    fake.chmod(0o755)
    coder = {"type": "cli", "tool": "claude", "permissions": "edit", "command": ["./fake.sh"]}
    project.write({"edit": ("coder",)}, agents={"coder": coder})
    (project.folder / "a.txt").write_text("old\n")
    for words in (
        ["init", "-q", "-b", "main"],
        ["config", "user.name", "Ada"],
        ["config", "user.email", "ada@example.org"],
        ["add", "a.txt"],
        ["commit", "-qm", "begin"],
    ):
        subprocess.run(["git", *words], cwd=project.folder, check=True)
    return project


def test_a_coding_agents_files_session_and_commit_are_shown(coding):
    done = coding("run")
    assert done.returncode == 0, done.stdout + done.stderr
    shown = coding("show", "edit").stdout
    session_id = coding.json("show", "edit")["attempts"][0]["session_id"]
    assert f"to go on by hand: claude -r {session_id}" in shown
    assert re.search(r"^modified +a.txt +\d+ B +[0-9a-f]{10}$", shown, re.MULTILINE)
    assert re.search(r"^merged +[0-9a-f]{10}$", shown, re.MULTILINE)
    head = subprocess.run(
        ["git", "log", "-1", "--format=%H"], cwd=coding.folder, capture_output=True, text=True, check=True
    )
    assert head.stdout.startswith(re.search(r"^merged +([0-9a-f]{10})$", shown, re.MULTILINE)[1])


def test_a_list_of_tasks_that_a_person_gives_is_looked_at_before_it_is_taken_also_while_nothing_runs(project):
    agents = {"say": {"type": "python", "function": "work:say"}, "person": {"type": "human"}}
    project.write({"plan": {"agent": "person", "adds_tasks": True}}, agents=agents, default_agent="say")
    project("run")

    wrong = project("answer", "plan", json.dumps({"tasks": [{"id": "one", "title": "One", "agent": "nobody"}]}))
    assert wrong.returncode == 2
    assert "agent 'nobody' is unknown; enabled agents: 'say', 'person'" in wrong.stderr
    assert project("answer", "plan", "do one, then two").returncode == 2
    assert project.statuses() == {"plan": "waiting"}

    assert project("answer", "plan", json.dumps([{"id": "one", "title": "One", "agent": "say"}])).returncode == 0
    project("run")
    assert project.statuses() == {"plan": "completed", "plan.one": "completed"}
