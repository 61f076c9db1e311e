"""The merge into the root: what stands in its way is named and stays as it is."""

import pytest

from orchestration.workspace import Conflict, Merged, Refusal, WorkspaceError


async def refusal(workspace):
    with pytest.raises(WorkspaceError) as caught:
        await workspace.merge("Merge it")
    return caught.value


async def test_merging_again_changes_nothing_and_names_the_same_commit(repo, work):
    workspace = await work("t", {"b.txt": "b\n"})
    first = await workspace.merge("Merge it")
    repo.commit("later.txt", "later\n")
    assert await workspace.merge("Merge it") == first
    assert [file.path for file in await workspace.changes()] == ["b.txt"]


async def test_a_task_that_changed_nothing_merges_without_a_commit(repo, workspaces, work):
    other = await work("other", {"b.txt": "b\n"})
    idle = await workspaces.open("idle")
    start = repo.head()
    assert await idle.commit("Nothing") is None
    await other.merge("Merge other")
    assert await idle.merge("Merge idle") == Merged(commit=start)
    assert await idle.changes() == ()


async def test_a_branch_merged_by_hand_with_a_fast_forward_counts_as_merged(repo, work):
    workspace = await work("t", {"b.txt": "b\n"})
    repo.git("merge", "-q", "--ff-only", workspace.branch)
    assert await workspace.merge("Merge it") == Merged(commit=repo.head())


async def test_work_on_different_files_merges_whatever_was_merged_before(repo, work):
    names = [f"{letter}.md" for letter in "bcdef"]
    workspaces = [await work(name[0], {name: name}) for name in names]
    for workspace in workspaces:
        assert isinstance(await workspace.merge(f"Merge {workspace.task_id}"), Merged)
    assert all(repo.read(name) == name for name in names)
    assert repo.status() == ""


async def test_renames_deletes_modes_links_and_binaries_arrive_as_they_are(repo, workspaces):
    repo.commit("old/name.txt", "same content\n" * 20)
    repo.commit("gone.txt", "gone\n")
    repo.commit("bin.dat", bytes(range(256)))
    repo.commit("turns", "a file that becomes a folder\n")
    workspace = await workspaces.open("t")
    (workspace.path / "new").mkdir()
    (workspace.path / "old/name.txt").rename(workspace.path / "new/name.txt")
    (workspace.path / "gone.txt").unlink()
    repo.write("bin.dat", bytes(range(255, -1, -1)) * 5_000, workspace.path)
    (workspace.path / "turns").unlink()
    repo.write("turns/inside.txt", "x", workspace.path).chmod(0o755)
    (workspace.path / "link").symlink_to("/etc/passwd")
    await workspace.commit("Turn everything over")
    assert isinstance(await workspace.merge("Merge it"), Merged)
    assert not (repo.path / "old").exists()
    assert not (repo.path / "gone.txt").exists()
    assert (repo.path / "new/name.txt").exists()
    assert (repo.path / "bin.dat").stat().st_size == 256 * 5_000
    assert (repo.path / "turns/inside.txt").stat().st_mode & 0o111
    assert (repo.path / "link").readlink().as_posix() == "/etc/passwd"
    assert repo.status() == ""


async def test_a_file_renamed_here_and_changed_there_merges(repo, workspaces, work):
    repo.commit("name.txt", "".join(f"line {number}\n" for number in range(30)))
    workspace = await workspaces.open("t")
    (workspace.path / "name.txt").rename(workspace.path / "moved.txt")
    await workspace.commit("Move")
    repo.commit("name.txt", repo.read("name.txt").replace("line 7\n", "line seven\n"))
    assert isinstance(await workspace.merge("Merge it"), Merged)
    assert "line seven" in repo.read("moved.txt")
    assert not (repo.path / "name.txt").exists()


async def test_odd_names_survive_every_step(repo, workspaces, work):
    odd = ["with space.txt", "new\nline.txt", "ünï/cödé.txt", "-dash", ":(glob)x", '"quoted"', "tab\there", "*"]
    workspace = await work("t", dict.fromkeys(odd, "x\n"))
    assert [file.path for file in await workspace.changes()] == sorted(odd)
    assert await workspace.outside(["ünï"]) == tuple(sorted(set(odd) - {"ünï/cödé.txt"}))
    assert isinstance(await workspace.merge("Merge it"), Merged)
    assert all(repo.read(name) == "x\n" for name in odd)
    again = await work("u", dict.fromkeys(odd, "u\n"))
    for name in odd:
        repo.write(name, "root\n")
    repo.git("commit", "-qam", "Root's own")
    conflict = await again.merge("Merge it")
    assert isinstance(conflict, Conflict)
    assert sorted(conflict.paths) == sorted(odd)
    assert await again.bring_conflict() == tuple(sorted(odd))


async def test_work_that_is_not_committed_is_refused(repo, workspaces):
    workspace = await workspaces.open("t")
    repo.write("b.txt", "b", workspace.path)
    error = await refusal(workspace)
    assert error.kind is Refusal.UNCOMMITTED
    assert error.paths == ("b.txt",)


async def test_a_switched_branch_is_refused_and_both_named(repo, work):
    workspace = await work("t", {"b.txt": "b"})
    repo.git("switch", "-qc", "feature")
    error = await refusal(workspace)
    assert error.kind is Refusal.BRANCH_SWITCHED
    assert "'main'" in str(error)
    assert "'feature'" in str(error)


async def test_staged_changes_are_refused(repo, work):
    workspace = await work("t", {"b.txt": "b"})
    repo.write("other.txt", "staged")
    repo.git("add", "other.txt")
    before = (repo.head(), repo.status())
    error = await refusal(workspace)
    assert error.kind is Refusal.DIRTY
    assert error.paths == ("other.txt",)
    assert (repo.head(), repo.status()) == before


@pytest.mark.parametrize("name", ["a.txt", "gone.txt"])
async def test_an_edited_file_that_the_merge_would_write_or_remove_is_refused(repo, workspaces, name):
    repo.commit("gone.txt", "gone\n")
    workspace = await workspaces.open("t")
    repo.write("a.txt", "theirs\n", workspace.path)
    (workspace.path / "gone.txt").unlink()
    await workspace.commit("Change both")
    repo.write(name, "mine\n")
    before = (repo.head(), repo.status())
    error = await refusal(workspace)
    assert error.paths == (name,)
    assert (repo.head(), repo.status(), repo.read(name)) == (*before, "mine\n")


async def test_an_edited_file_that_the_merge_leaves_alone_is_no_obstacle_and_keeps_the_edit(repo, work):
    workspace = await work("t", {"b.txt": "b"})
    repo.write("a.txt", "mine\n")
    assert isinstance(await workspace.merge("Merge it"), Merged)
    assert repo.read("a.txt") == "mine\n"
    assert repo.git("diff", "--name-only") == "a.txt"


@pytest.mark.parametrize(
    ("theirs", "mine", "named"),
    [
        ("b.txt", "b.txt", "b.txt"),
        ("b.log", "b.log", "b.log"),  # ignored: git's own merge would overwrite it
        ("dir/b.txt", "dir", "dir"),
        ("b", "b/inside.txt", "b/inside.txt"),
        ("b", "b/inside.log", "b/inside.log"),
    ],
)
async def test_a_file_unknown_to_git_where_the_merge_would_write_is_refused(repo, workspaces, theirs, mine, named):
    repo.commit(".gitignore", "*.log\n")
    workspace = await workspaces.open("t")
    repo.write(theirs, "theirs\n", workspace.path)
    repo.git("add", "-f", theirs, at=workspace.path)
    await workspace.commit("Add it")
    repo.write(mine, "mine\n")
    head = repo.head()
    error = await refusal(workspace)
    assert error.kind is Refusal.DIRTY
    assert error.paths == (named,)
    assert (repo.head(), repo.read(mine)) == (head, "mine\n")


async def test_a_link_to_elsewhere_in_the_root_is_never_written_through(repo, work, tmp_path):
    workspace = await work("t", {"out/b.txt": "b"})
    (tmp_path / "elsewhere").mkdir()
    (repo.path / "out").symlink_to(tmp_path / "elsewhere")
    assert (await refusal(workspace)).paths == ("out",)
    assert list((tmp_path / "elsewhere").iterdir()) == []


async def test_a_lock_of_a_git_at_work_is_waited_for_and_then_named(repo, work, monkeypatch):
    monkeypatch.setattr("orchestration.workspace.merging._LOCK_PATIENCE_S", 0.1)
    workspace = await work("t", {"b.txt": "b"})
    lock = repo.write(".git/index.lock", "")
    error = await refusal(workspace)
    assert error.kind is Refusal.BUSY
    assert str(lock) in str(error)
    lock.unlink()
    assert isinstance(await workspace.merge("Merge it"), Merged)


async def test_histories_without_a_common_commit_are_refused(repo, workspaces):
    workspace = await workspaces.open("t")
    repo.git("checkout", "-q", "--orphan", "fresh", at=workspace.path)
    repo.commit("b.txt", "b", workspace.path)
    repo.git("branch", "-qM", "fresh", "kept", at=workspace.path)
    error = await refusal(workspace)
    assert error.kind is Refusal.BRANCH_SWITCHED
    assert workspace.branch in str(error)


async def test_a_branch_moved_to_a_history_of_its_own_cannot_be_merged(repo, workspaces):
    workspace = await workspaces.open("t")
    fresh = repo.git("commit-tree", "HEAD^{tree}", "-m", "Start over")
    repo.git("reset", "-q", "--hard", fresh, at=workspace.path)
    assert await workspace.changes() == ()
    error = await refusal(workspace)
    assert error.kind is Refusal.GIT_FAILED
    assert "unrelated histories" in str(error)


async def test_an_obstacle_only_git_knows_of_is_told_in_its_words(repo, work):
    """An entry that `update-index --assume-unchanged` hides from `diff-files` is not hidden from a checkout."""
    workspace = await work("t", {"a.txt": "theirs\n"})
    repo.git("update-index", "--assume-unchanged", "a.txt")
    (repo.path / "a.txt").unlink()
    (repo.path / "a.txt").mkdir()
    repo.write("a.txt/inside", "mine")
    head = repo.head()
    error = await refusal(workspace)
    assert error.kind is Refusal.DIRTY
    assert repo.head() == head
    assert (repo.path / "a.txt/inside").read_text() == "mine"


async def test_a_merge_that_fails_while_files_are_written_is_undone(repo, workspaces, work):
    """Git finds out half-way that it cannot write: a filter fails that the root requires."""
    workspace = await work("t", {"aa.txt": "first\n", "zz.bin": "filtered\n", "a.txt": "changed\n"})
    repo.write(".git/info/attributes", "zz.bin filter=broken\n")
    repo.git("config", "filter.broken.smudge", "false")
    repo.git("config", "filter.broken.clean", "cat")
    repo.git("config", "filter.broken.required", "true")
    before = (repo.head(), repo.status(), repo.read("a.txt"))
    error = await refusal(workspace)
    assert error.kind is Refusal.GIT_FAILED
    assert "zz.bin" in str(error)
    assert (repo.head(), repo.status(), repo.read("a.txt")) == before
    repo.git("config", "filter.broken.smudge", "cat")
    assert isinstance(await workspace.merge("Merge it"), Merged)
    assert repo.status() == ""


async def test_a_long_conflict_is_cut(repo, workspaces, work):
    lines = "".join(f"line {number} {'x' * 60}\n" for number in range(5_000))
    workspace = await work("t", {"a.txt": lines})
    repo.commit("a.txt", lines.replace("x", "y"))
    conflict = await workspace.merge("Merge it")
    assert isinstance(conflict, Conflict)
    assert len(conflict.diff) < 210_000
    assert conflict.diff.endswith("(cut)\n")
