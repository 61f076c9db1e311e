"""What a root has to be like before a task gets a worktree of it."""

import os
import stat

import pytest

from orchestration.workspace import Refusal, WorkspaceError, Workspaces


async def refusal(workspaces, task_id="t"):
    with pytest.raises(WorkspaceError) as caught:
        await workspaces.open(task_id)
    return caught.value


async def test_a_folder_without_a_repository_is_refused(tmp_path):
    error = await refusal(Workspaces(tmp_path, "demo"))
    assert error.kind is Refusal.NOT_A_REPOSITORY
    assert "git init" in str(error)
    assert not (tmp_path / ".orchestration").exists()


async def test_a_missing_folder_is_refused(tmp_path):
    error = await refusal(Workspaces(tmp_path / "nowhere", "demo"))
    assert error.kind is Refusal.NOT_A_REPOSITORY


async def test_a_folder_within_a_repository_is_refused_and_the_repository_named(repo):
    (repo.path / "sub").mkdir()
    error = await refusal(Workspaces(repo.path / "sub", "demo"))
    assert error.kind is Refusal.NOT_TOP_LEVEL
    assert repr(str(repo.path)) in str(error)


async def test_a_machine_without_git_is_refused(repo, workspaces, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    error = await refusal(workspaces)
    assert error.kind is Refusal.GIT_MISSING
    assert "install git" in str(error)


async def test_a_git_that_cannot_merge_without_touching_files_is_refused_by_its_version(
    repo, workspaces, monkeypatch, tmp_path
):
    old = tmp_path / "bin" / "git"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho git version 2.34.1\n")
    old.chmod(old.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{old.parent}:{os.environ['PATH']}")
    error = await refusal(workspaces)
    assert error.kind is Refusal.GIT_TOO_OLD
    assert "2.34.1" in str(error)
    assert "2.38" in str(error)


async def test_a_bare_repository_is_refused(repo, tmp_path):
    repo.git("clone", "-q", "--bare", str(repo.path), str(tmp_path / "bare"))
    assert (await refusal(Workspaces(tmp_path / "bare", "demo"))).kind is Refusal.BARE


async def test_a_sparse_checkout_is_refused(repo, workspaces):
    repo.git("sparse-checkout", "set", "src")
    error = await refusal(workspaces)
    assert error.kind is Refusal.SPARSE
    assert "sparse-checkout disable" in str(error)


async def test_a_linked_worktree_is_refused_since_git_would_write_outside_of_it(repo, tmp_path):
    repo.git("worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"))
    error = await refusal(Workspaces(tmp_path / "linked", "demo"))
    assert error.kind is Refusal.OUTSIDE_ROOT
    assert str(repo.path / ".git") in str(error)


async def test_files_in_another_place_than_the_root_are_refused(repo, workspaces, tmp_path):
    (tmp_path / "files").mkdir()
    repo.git("config", "core.worktree", str(tmp_path / "files"))
    assert (await refusal(workspaces)).kind is Refusal.NOT_TOP_LEVEL


async def test_a_folder_of_our_state_that_leads_outside_is_refused(repo, workspaces, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (repo.path / ".orchestration").symlink_to(tmp_path / "elsewhere")
    assert (await refusal(workspaces)).kind is Refusal.OUTSIDE_ROOT
    assert list((tmp_path / "elsewhere").iterdir()) == []


async def test_a_repository_that_git_itself_refuses_is_refused_in_its_words(repo, workspaces):
    (repo.path / ".git" / "config").write_text("[core\n")
    error = await refusal(workspaces)
    assert error.kind is Refusal.GIT_FAILED
    assert "bad config" in str(error)


async def test_a_root_reached_through_a_link_is_as_good_as_any(repo, tmp_path):
    (tmp_path / "link").symlink_to(repo.path)
    workspace = await Workspaces(tmp_path / "link", "demo").open("t")
    assert workspace.path.is_relative_to(repo.path)


async def test_a_repository_without_a_commit_is_refused(tmp_path, repo):
    (tmp_path / "empty").mkdir()
    repo.git("init", "-q", at=tmp_path / "empty")
    error = await refusal(Workspaces(tmp_path / "empty", "demo"))
    assert error.kind is Refusal.NO_COMMIT


async def test_a_detached_head_is_refused(repo, workspaces):
    repo.git("switch", "-q", "--detach")
    error = await refusal(workspaces)
    assert error.kind is Refusal.DETACHED
    assert "git switch" in str(error)


async def test_an_unfinished_merge_is_refused(repo, workspaces):
    repo.git("switch", "-qc", "side")
    repo.commit("a.txt", "side\n")
    repo.git("switch", "-q", "main")
    repo.commit("a.txt", "main\n")
    repo.git("merge", "side", check=False)
    error = await refusal(workspaces)
    assert error.kind is Refusal.IN_PROGRESS
    assert "MERGE_HEAD" in str(error)


async def test_uncommitted_changes_are_refused_by_name_but_new_files_are_not(repo, workspaces):
    repo.write("notes.txt", "not known to git")
    repo.write("a.txt", "changed\n")
    error = await refusal(workspaces)
    assert error.kind is Refusal.DIRTY
    assert error.paths == ("a.txt",)
    assert "'a.txt'" in str(error)
    repo.git("checkout", "-q", "a.txt")
    assert await workspaces.open("t")


async def test_a_long_list_of_changes_is_cut_in_the_message_and_whole_in_the_error(repo, workspaces):
    names = [f"{number:02}.txt" for number in range(15)]
    for name in names:
        repo.write(name, "x")
    repo.git("add", "-A")
    error = await refusal(workspaces)
    assert list(error.paths) == names
    assert "and 5 more" in str(error)


async def test_changes_to_what_the_project_itself_writes_are_no_obstacle(repo):
    repo.commit("out/report.md", "old\n")
    repo.write("out/report.md", "new\n")
    assert await Workspaces(repo.path, "demo", ignoring=["out"]).open("t")


async def test_the_state_stays_out_of_gits_sight_and_a_gitignore_of_the_user_stays(repo, workspaces):
    await workspaces.open("t")
    assert repo.status() == ""
    ignore = repo.path / ".orchestration" / ".gitignore"
    assert ignore.read_text() == "*\n"
    ignore.write_text("*\n!keep\n")
    await Workspaces(repo.path, "demo").open("u")
    assert ignore.read_text() == "*\n!keep\n"


async def test_variables_of_a_hook_that_started_us_do_not_lead_git_elsewhere(repo, workspaces, monkeypatch, tmp_path):
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    workspace = await workspaces.open("t")
    assert (workspace.path / "a.txt").exists()
    assert not (tmp_path / "elsewhere").exists()


async def test_a_branch_that_is_checked_out_elsewhere_is_refused(repo, workspaces, work, tmp_path):
    workspace = await work("t", {"b.txt": "b"})
    repo.git("worktree", "remove", "--force", str(workspace.path))
    repo.git("worktree", "add", "-q", str(tmp_path / "mine"), workspace.branch)
    error = await refusal(workspaces)
    assert error.kind is Refusal.CHECKED_OUT_ELSEWHERE
    assert str(tmp_path / "mine") in str(error)


async def test_a_folder_that_is_no_workspace_is_refused_and_kept(repo, workspaces):
    taken = repo.write(".orchestration/worktrees/demo/t/precious.txt", "mine")
    error = await refusal(workspaces)
    assert error.kind is Refusal.FOLDER_TAKEN
    assert taken.read_text() == "mine"
