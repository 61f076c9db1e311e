"""What is found again after a crash: a worktree, a branch, a folder, locks, a merge half put in place."""

import asyncio
import json
import shutil
import subprocess
import sys

import pytest

from orchestration import ProjectOrchestrator
from orchestration.workspace import LeftState, Merged, Refusal, WorkspaceError, Workspaces, recover
from orchestration.workspace.place import Note, Stage, place_of


async def test_a_second_opening_finds_uncommitted_work_even_when_the_root_has_changed(repo, workspaces):
    first = await workspaces.open("t")
    repo.write("b.txt", "half done", first.path)
    repo.commit("later.txt", "later")
    repo.write("a.txt", "the user is at work")
    again = await Workspaces(repo.path, "demo").open("t")
    assert (again.path / "b.txt").read_text() == "half done"
    assert (again.path, again.base, again.target) == (first.path, first.base, "main")


async def test_a_deleted_folder_comes_back_with_what_was_committed(repo, workspaces, work):
    workspace = await work("t", {"b.txt": "committed"})
    shutil.rmtree(workspace.path)
    (listed,) = await workspaces.list_left()
    assert (listed.path, listed.state) == (None, LeftState.UNMERGED)
    again = await workspaces.open("t")
    assert (again.path / "b.txt").read_text() == "committed"
    assert [file.path for file in await again.changes()] == ["b.txt"]
    assert isinstance(await again.merge("Merge it"), Merged)
    shutil.rmtree(workspace.path)
    assert await workspaces.remove("t") is None
    assert repo.git("worktree", "list").count("\n") == 0


async def test_a_branch_without_worktree_and_notes_is_used_again(repo, workspaces, work):
    workspace = await work("t", {"b.txt": "committed"})
    repo.git("worktree", "remove", "--force", str(workspace.path))
    shutil.rmtree(repo.path / ".orchestration")
    repo.git("update-ref", "-d", "refs/orchestrate/demo/t/base")
    again = await Workspaces(repo.path, "demo").open("t")
    assert (again.path / "b.txt").exists()
    assert [file.path for file in await again.changes()] == ["b.txt"]


async def test_a_branch_that_is_merged_and_has_no_worktree_starts_afresh_from_the_root(repo, workspaces, work):
    workspace = await work("t", {"b.txt": "b"})
    await workspace.merge("Merge it")
    repo.git("worktree", "remove", str(workspace.path))
    repo.commit("later.txt", "later")
    again = await workspaces.open("t")
    assert (again.path / "later.txt").exists()
    assert again.base == repo.head()
    assert await again.changes() == ()


@pytest.mark.parametrize("is_pruned", [False, True])
async def test_a_folder_that_git_has_forgotten_keeps_its_files_as_uncommitted_work(repo, workspaces, work, is_pruned):
    workspace = await work("t", {"b.txt": "committed", "c.txt": "c"})
    repo.write("b.txt", "edited", workspace.path)
    (workspace.path / "c.txt").unlink()
    repo.write("new.txt", "new", workspace.path)
    if is_pruned:
        shutil.rmtree(repo.path / ".git" / "worktrees")
    else:
        (workspace.path / ".git").unlink()
    assert [left.state for left in await workspaces.list_left()] == [LeftState.BROKEN]
    again = await workspaces.open("t")
    assert repo.status(again.path).split("\n") == [" M b.txt", " D c.txt", "?? new.txt"]
    await again.commit("Go on")
    assert isinstance(await again.merge("Merge it"), Merged)
    assert repo.read("b.txt") == "edited"


async def test_a_project_that_was_moved_keeps_its_workspaces(repo, workspaces, work, tmp_path):
    workspace = await work("t", {"b.txt": "committed"})
    repo.write("new.txt", "new", workspace.path)
    moved = tmp_path / "moved"
    repo.path.rename(moved)
    again = await Workspaces(moved, "demo").open("t")
    assert again.path == moved / ".orchestration/worktrees/demo/t"
    assert await again.commit("Go on") is not None
    assert isinstance(await again.merge("Merge it"), Merged)
    assert (moved / "new.txt").exists()


async def test_a_folder_that_became_a_repository_of_its_own_is_refused_and_kept(repo, workspaces):
    workspace = await workspaces.open("t")
    (workspace.path / ".git").unlink()
    repo.git("init", "-q", at=workspace.path)
    repo.write("b.txt", "precious", workspace.path)
    with pytest.raises(WorkspaceError, match="no worktree") as caught:
        await workspaces.open("t")
    assert caught.value.kind is Refusal.FOLDER_TAKEN
    assert (workspace.path / "b.txt").exists()


async def test_a_creation_that_was_killed_is_done_again_from_the_start(repo, workspaces):
    place = place_of(repo.path, "demo", "t")
    await workspaces.open("t")
    Note(task_id="t", target="main", stage=Stage.CREATING).write(place.note)
    (place.folder / "a.txt").unlink()  # the checkout had not come this far
    (place.folder / ".git").unlink()
    repo.write(".git/worktrees/t/locked", "initializing")
    again = await workspaces.open("t")
    assert (again.path / "a.txt").exists()
    assert repo.status(again.path) == ""
    Note(task_id="t", target="main", stage=Stage.CREATING).write(place.note)
    assert await workspaces.remove("t") is None


async def test_a_merge_into_the_worktree_that_was_killed_is_taken_back(repo, workspaces, work):
    workspace = await work("t", {"b.txt": "work"})
    Note(task_id="t", target="main", stage=Stage.BRINGING, commit=repo.head(workspace.path)).write(
        place_of(repo.path, "demo", "t").note
    )
    repo.write("roots.txt", "half a merge", workspace.path)
    repo.write("b.txt", "half a merge", workspace.path)
    repo.write(".git/worktrees/t/index.lock", "")
    again = await workspaces.open("t")
    assert repo.status(again.path) == ""
    assert (again.path / "b.txt").read_text() == "work"


async def test_locks_of_a_killed_process_are_removed_and_those_of_others_are_not(repo, workspaces, work):
    workspace = await work("t", {"b.txt": "b"})
    folder = repo.path / ".orchestration/worktrees"
    before = repo.write(".git/config.lock", "")
    (folder / "lock").write_text("4194304\n")  # the mark of one that died
    (folder / "demo/t,lock").write_text("4194304\n")
    stale = [repo.write(f".git/{name}.lock", "") for name in ("index", "HEAD", "packed-refs", "worktrees/t/index")]
    stale.append(repo.write(".git/refs/heads/orchestrate/demo/t.lock", ""))
    repo.write("c.txt", "c", workspace.path)
    await workspace.commit("Commit")
    assert isinstance(await workspace.merge("Merge it"), Merged)
    assert await workspace.remove() is None
    assert not any(lock.exists() for lock in stale)
    assert before.exists()


async def test_a_lock_is_kept_while_a_git_works_in_the_folder(repo, workspaces, work, monkeypatch):
    monkeypatch.setattr("orchestration.workspace.merging._LOCK_PATIENCE_S", 0.0)
    workspace = await work("t", {"b.txt": "b"})
    (repo.path / ".orchestration/worktrees/lock").write_text("4194304\n")
    lock = repo.write(".git/index.lock", "")
    at_work = await asyncio.create_subprocess_exec("git", "cat-file", "--batch", cwd=repo.path, stdin=subprocess.PIPE)
    with pytest.raises(WorkspaceError) as caught:
        await workspace.merge("Merge it")
    at_work.stdin.close()
    await at_work.wait()
    assert caught.value.kind is Refusal.BUSY
    assert lock.exists()


def half_merged(repo, workspace):
    """Bring the root to where a merge is written down and its branch has moved, and nothing else."""
    old, theirs = repo.head(), repo.head(workspace.path)
    tree = repo.git("merge-tree", "--write-tree", old, theirs)
    new = repo.git("commit-tree", tree, "-p", old, "-p", theirs, "-m", "Merge it")
    intent = repo.path / ".orchestration/worktrees/landing.json"
    intent.write_text(json.dumps({"ref": "refs/heads/main", "old": old, "new": new}))
    return old, new, intent


async def many_changes(repo, workspaces):
    for name in ("changed.txt", "gone.txt", "folder/file.txt", "begun.bin"):
        repo.commit(name, f"old {name}\n")
    workspace = await workspaces.open("t")
    repo.write("changed.txt", "new\n", workspace.path)
    repo.write("begun.bin", b"new" * 1000, workspace.path)
    repo.write("added/file.txt", "added\n", workspace.path)
    (workspace.path / "gone.txt").unlink()
    shutil.rmtree(workspace.path / "folder")
    repo.write("folder", "was a folder\n", workspace.path)
    await workspace.commit("Change much")
    return workspace


async def test_a_merge_killed_after_its_branch_moved_is_finished(repo, workspaces):
    workspace = await many_changes(repo, workspaces)
    old, new, intent = half_merged(repo, workspace)
    repo.git("update-ref", "refs/heads/main", new, old)
    assert await workspace.merge("Merge it") == Merged(commit=new)
    assert (repo.status(), intent.exists()) == ("", False)
    assert repo.read("folder") == "was a folder\n"
    assert not (repo.path / "gone.txt").exists()


async def test_a_merge_killed_among_the_files_is_finished_around_what_the_user_did_since(repo, workspaces):
    workspace = await many_changes(repo, workspaces)
    old, new, intent = half_merged(repo, workspace)
    repo.git("update-ref", "refs/heads/main", new, old)
    repo.write("added/file.txt", "added\n")  # written
    repo.write("begun.bin", b"newne")  # being written
    (repo.path / "gone.txt").unlink()
    repo.write("changed.txt", "mine\n")  # the user's
    repo.write("untracked.txt", "mine\n")
    await recover(repo.path)
    assert repo.status().split("\n") == [" M changed.txt", "?? untracked.txt"]
    assert repo.read("begun.bin") == "new" * 1000
    assert repo.read("changed.txt") == "mine\n"
    assert not intent.exists()


async def test_a_merge_killed_before_its_branch_moved_has_not_happened(repo, workspaces, work):
    workspace = await work("t", {"b.txt": "b"})
    old, _, intent = half_merged(repo, workspace)
    await recover(repo.path)
    assert (repo.head(), repo.status(), intent.exists()) == (old, "", False)
    assert isinstance(await workspace.merge("Merge it"), Merged)


async def test_a_merge_killed_at_its_very_end_is_left_as_it_is(repo, workspaces, work):
    workspace = await work("t", {"b.txt": "b"})
    _, new, intent = half_merged(repo, workspace)
    repo.git("reset", "-q", "--hard", new)
    repo.write("b.txt", "edited since\n")
    await recover(repo.path)
    assert (repo.status(), intent.exists()) == (" M b.txt", False)


async def test_a_record_of_a_merge_that_cannot_be_read_is_dropped(repo, workspaces):
    await workspaces.open("t")
    intent = repo.write(".orchestration/worktrees/landing.json", "{")
    await recover(repo.path)
    assert not intent.exists()


async def test_a_git_that_outlives_its_orchestrator_is_waited_for(repo, workspaces):
    """The lock is passed on to every git: while one of them lives, nobody else works."""
    await workspaces.open("t")
    lock = repo.path / ".orchestration/worktrees/lock"
    script = (
        "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
    )
    orphan = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(lock), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    await orphan.stdout.readline()
    async with asyncio.TaskGroup() as group:
        opening = group.create_task(workspaces.open("u"))
        await asyncio.wait([opening], timeout=0.2)
        assert not opening.done()
        orphan.stdin.close()
        await orphan.wait()
    assert opening.result().path.is_dir()


async def test_a_lock_that_is_never_let_go_is_refused_in_the_end(repo, workspaces, monkeypatch):
    monkeypatch.setattr("orchestration.workspace.locks._PATIENCE_S", 0.0)
    with pytest.raises(WorkspaceError, match="fuser") as caught:
        await workspaces.open("t")
    assert caught.value.kind is Refusal.BUSY


async def test_a_cancelled_opening_leaves_nothing_that_the_next_would_trip_over(repo, workspaces):
    for polls in range(0, 60, 4):
        async with asyncio.TaskGroup() as group:
            opening = group.create_task(workspaces.open(f"t{polls}"))
            for _ in range(polls):
                await asyncio.wait([opening], timeout=0.001)
            opening.cancel()
        workspace = await workspaces.open(f"t{polls}")
        assert repo.status(workspace.path) == ""


async def test_a_branch_made_by_hand_is_listed_by_its_name_and_used(repo, workspaces):
    repo.git("branch", "orchestrate/demo/by-hand")
    assert [(left.task_id, left.path) for left in await workspaces.list_left()] == [("by-hand", None)]
    assert (await workspaces.open("by-hand")).branch == "orchestrate/demo/by-hand"


async def test_a_lock_file_that_cannot_be_made_is_refused(repo, workspaces):
    (repo.path / ".orchestration/worktrees/lock").mkdir(parents=True)
    with pytest.raises(WorkspaceError, match="make the folder writable"):
        await workspaces.open("t")


async def test_where_nothing_tells_of_processes_locks_are_judged_by_their_age_alone(
    repo, workspaces, work, monkeypatch
):
    monkeypatch.setattr("orchestration.workspace.locks._PROC", repo.path / "no-proc")
    workspace = await work("t", {"b.txt": "b"})
    (repo.path / ".orchestration/worktrees/lock").write_text("4194304\n")
    repo.write(".git/index.lock", "")
    assert isinstance(await workspace.merge("Merge it"), Merged)


async def test_a_half_written_merge_leaves_links_and_folders_of_others_alone(repo, workspaces):
    workspace = await workspaces.open("t")
    repo.write("new/file.txt", "new\n", workspace.path)
    repo.write("a.txt", "theirs\n", workspace.path)
    await workspace.commit("Change")
    old, new, _ = half_merged(repo, workspace)
    repo.git("update-ref", "refs/heads/main", new, old)
    (repo.path / "a.txt").unlink()
    (repo.path / "a.txt").symlink_to("/etc/hostname")
    repo.write("new/other.txt", "mine\n")
    await recover(repo.path)
    assert (repo.path / "a.txt").is_symlink()
    assert repo.status().split("\n") == [" T a.txt", "?? new/other.txt"]
    assert repo.read("new/file.txt") == "new\n"


async def test_a_merge_that_removes_files_is_finished_beside_files_of_others(repo, workspaces):
    repo.commit("old/file.txt", "old\n")
    workspace = await workspaces.open("t")
    (workspace.path / "old/file.txt").unlink()
    await workspace.commit("Remove")
    old, new, _ = half_merged(repo, workspace)
    repo.git("update-ref", "refs/heads/main", new, old)
    repo.write("old/other.txt", "mine\n")
    await recover(repo.path)
    assert repo.status() == "?? old/other.txt"


async def test_a_recovery_that_fails_or_is_killed_itself_is_done_again(repo, workspaces):
    workspace = await many_changes(repo, workspaces)
    old, new, intent = half_merged(repo, workspace)
    repo.git("update-ref", "refs/heads/main", new, old)
    repo.write(".git/info/attributes", "begun.bin filter=broken\n")
    for name, value in (("smudge", "false"), ("clean", "cat"), ("required", "true")):
        repo.git("config", f"filter.broken.{name}", value)
    with pytest.raises(WorkspaceError, match=r"begun\.bin"):
        await recover(repo.path)
    assert intent.exists()
    repo.git("config", "filter.broken.smudge", "cat")
    await recover(repo.path)
    assert (repo.status(), intent.exists()) == ("", False)
    assert repo.read("begun.bin") == "new" * 1000


async def opened_again(repo):
    """Open a project that has been run before, in which no task needs git."""
    for _ in range(2):
        async with ProjectOrchestrator(repo.path) as project:
            outcome = await project.execute_workflow()
    return outcome.status


async def test_a_project_finishes_the_merge_of_its_killed_predecessor_before_any_task_looks_at_the_files(
    repo, workspaces
):
    workspace = await many_changes(repo, workspaces)
    old, new, intent = half_merged(repo, workspace)
    repo.git("update-ref", "refs/heads/main", new, old)
    assert await opened_again(repo) == "completed"
    assert (repo.status(), intent.exists()) == ("", False)


async def test_a_project_that_cannot_finish_a_merge_says_so_and_goes_on_with_what_needs_no_git(
    repo, workspaces, caplog
):
    workspace = await many_changes(repo, workspaces)
    old, new, intent = half_merged(repo, workspace)
    repo.git("update-ref", "refs/heads/main", new, old)
    (repo.path / ".git/HEAD").rename(repo.path / ".git/HEAD.away")
    assert await opened_again(repo) == "completed"
    assert "a merge is half done: " in caplog.text
    assert intent.exists()
