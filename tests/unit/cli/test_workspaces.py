"""What tasks have left in worktrees of real repositories: listed, explained, and removed only where it is nothing."""

import json
import os
import subprocess

import pytest
from click.testing import CliRunner

from orchestration.cli.workspaces import workspaces
from orchestration.store.lock import ProjectLock
from orchestration.workspace import Workspaces

PROJECT = """\
project: demo
agents: {me: {type: human}}
tasks: {one: {agent: me}, two: {agent: me}, three: {agent: me}}
"""


def git(folder, *words):
    done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project in a repository with one commit; the machine's own configuration of git is kept out."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    config = tmp_path / "gitconfig"
    config.write_text("[user]\nname = Ada\nemail = ada@example.org\n[init]\ndefaultBranch = main\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    folder = tmp_path / "my project"
    folder.mkdir()
    (folder / "orchestrate.yaml").write_text(PROJECT)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "begin")
    return folder


def run(root, *words):
    done = CliRunner().invoke(workspaces, ["-C", str(root), *words], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def listed(root, *words):
    return json.loads(run(root, "--json", *words))


@pytest.fixture
async def left(root):
    """`one` has left a commit, `two` a file in no commit, `three` nothing, and so has `gone`, which is no task now."""
    owner = Workspaces(root, "demo")
    one, two = await owner.open("one"), await owner.open("two")
    await owner.open("three")
    await owner.open("gone")
    (one.path / "new.txt").write_text("work")
    await one.commit("Task one")
    (two.path / "loose.txt").write_text("work")
    return root


# The command starts an event loop of its own, so these tests are not coroutines, and the fixture's is over by then.


def test_a_project_without_worktrees_has_none_and_need_not_be_a_repository(tmp_path):
    (tmp_path / "orchestrate.yaml").write_text(PROJECT)
    assert run(tmp_path) == "No task has left a workspace.\n"
    assert listed(tmp_path, "--clean") == {"workspaces": [], "removed": []}
    assert not (tmp_path / ".orchestration" / "worktrees").exists()


def test_each_is_listed_with_what_it_holds(left):
    found = {one["task_id"]: one for one in listed(left)["workspaces"]}
    assert {name: one["state"] for name, one in found.items()} == {
        "gone": "merged",
        "one": "unmerged",
        "three": "merged",
        "two": "uncommitted",
    }
    assert found["one"]["branch"] == "orchestrate/demo/one"
    assert found["one"]["task_status"] == "pending"
    assert found["gone"]["task_status"] is None
    assert (left / ".orchestration/worktrees/demo/two").samefile(found["two"]["path"])


def test_people_are_told_how_to_look_at_it_and_how_to_keep_it(left):
    said = run(left)
    assert "commits that are not merged" in said
    assert f"one: see it with: git -C '{left}' log -p HEAD..orchestrate/demo/one" in said
    assert f"take it over: git -C '{left}' merge orchestrate/demo/one" in said
    assert f"two: see it with: git -C '{left}/.orchestration/worktrees/demo/two' status" in said
    assert f"2 workspaces hold nothing: orchestrate workspaces -C '{left}' --clean" in said


def test_the_commands_it_tells_do_what_it_says(left):
    steps = [
        line.partition(": ")[2] for line in run(left).splitlines() if "keep it: " in line or "take it over: " in line
    ]
    for step in steps:
        subprocess.run(step, shell=True, check=True, capture_output=True)  # noqa: S602 -- as people paste them
    assert (left / "new.txt").read_text() == "work"
    assert {one["task_id"]: one["state"] for one in listed(left)["workspaces"]} == {
        "gone": "merged",
        "one": "merged",
        "three": "merged",
        "two": "unmerged",
    }


def test_cleaning_removes_what_holds_nothing_and_leaves_the_rest_as_it_is(left):
    document = listed(left, "--clean")
    assert document["removed"] == ["gone", "three"]
    assert [one["task_id"] for one in document["workspaces"]] == ["one", "two"]
    assert (left / ".orchestration/worktrees/demo/two/loose.txt").read_text() == "work"
    assert git(left, "branch", "--format=%(refname:short)").split() == [
        "main",
        "orchestrate/demo/one",
        "orchestrate/demo/two",
    ]
    assert "There was nothing to remove." in run(left, "--clean")


def test_what_was_removed_is_said(left):
    assert "removed 2 workspaces: gone, three" in run(left, "--clean")


def test_nothing_is_removed_while_the_project_is_open(left):
    lock = ProjectLock(left / ".orchestration" / "demo.lock")
    try:
        done = CliRunner().invoke(workspaces, ["-C", str(left), "--clean"])
        assert "is open in another orchestrator" in str(done.exception)
        assert len(listed(left)["workspaces"]) == 4
    finally:
        lock.release()


def test_a_folder_that_git_does_not_know_any_more_is_left_and_told(left):
    (left / ".orchestration/worktrees/demo/three/.git").unlink()
    said = run(left, "--clean")
    assert "files, but git does not know the folder" in said
    assert "three: look into " in said
    assert (left / ".orchestration/worktrees/demo/three/orchestrate.yaml").exists()


def test_a_branch_whose_folder_is_gone_is_told_by_its_name(left):
    git(left, "worktree", "remove", str(left / ".orchestration/worktrees/demo/one"))
    (one,) = [one for one in listed(left)["workspaces"] if one["task_id"] == "one"]
    assert (one["state"], one["path"]) == ("unmerged", None)


def test_ascii_is_enough(left, monkeypatch):
    monkeypatch.setattr("orchestration.cli.workspaces.is_ascii_only", lambda _stream: True)
    assert run(left).isascii()
