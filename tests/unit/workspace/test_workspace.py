"""One workspace from its opening to its removal."""

from orchestration.workspace import Change, Conflict, Merged


async def test_work_goes_from_a_new_worktree_into_the_root_and_leaves_nothing_behind(repo, workspaces):
    workspace = await workspaces.open("write")
    repo.write("src/new.txt", "new\n", workspace.path)
    repo.write("a.txt", "one\n2\nthree\n", workspace.path)
    commit = await workspace.commit("Write it")
    changes = {file.path: file.change for file in await workspace.changes()}
    merged = await workspace.merge("Merge it")

    assert changes == {"src/new.txt": Change.ADDED, "a.txt": Change.MODIFIED}
    assert isinstance(merged, Merged)
    assert repo.head() == merged.commit
    assert repo.git("rev-parse", "HEAD^2") == commit
    assert repo.read("src/new.txt") == "new\n"
    assert repo.status() == ""
    assert "Orchestrate-Task: write" in repo.git("log", "-1", "--format=%B", commit)
    assert await workspace.remove() is None
    assert await workspaces.list_left() == []
    assert repo.git("branch", "--list", "orchestrate/*") == ""
    assert repo.git("worktree", "list").count("\n") == 0
    assert not list((repo.path / ".orchestration/worktrees/demo").iterdir())


async def test_a_conflict_changes_nothing_and_is_resolved_in_the_worktree(repo, workspaces, work):
    first = await work("first", {"a.txt": "one\nTWO\nthree\n"})
    second = await work("second", {"a.txt": "one\nzwei\nthree\n"})
    await first.merge("Merge first")
    before = repo.head()
    conflict = await second.merge("Merge second")

    assert isinstance(conflict, Conflict)
    assert conflict.paths == ("a.txt",)
    assert "+zwei" in conflict.diff
    assert "CONFLICT" in conflict.reasons[0]
    assert (repo.head(), repo.status()) == (before, "")

    assert await second.bring_conflict() == ("a.txt",)
    assert await second.unresolved() == ("a.txt",)
    repo.write("a.txt", "one\nTWO zwei\nthree\n", second.path)
    assert await second.unresolved() == ()
    assert await second.commit("Resolve")
    assert [file.path for file in await second.changes()] == ["a.txt"]
    assert isinstance(await second.merge("Merge second"), Merged)
    assert repo.read("a.txt") == "one\nTWO zwei\nthree\n"
    assert repo.status() == ""
