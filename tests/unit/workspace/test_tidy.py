"""What nobody worked on goes, what is committed or ignored stays."""


async def test_files_that_came_after_the_commit_are_taken_away(repo, workspaces):
    workspace = await workspaces.open("a")
    repo.write(".gitignore", "*.cache\n", at=workspace.path)
    repo.write("made.txt", "made\n", at=workspace.path)
    await workspace.commit("Work")
    repo.write("made.txt", "changed\n", at=workspace.path)
    repo.write("reports/coverage.xml", "<xml/>", at=workspace.path)
    repo.write("x.cache", "kept", at=workspace.path)

    assert await workspace.tidy() == ("made.txt", "reports/coverage.xml")

    assert repo.status(workspace.path) == ""
    assert (workspace.path / "made.txt").read_text() == "made\n"
    assert (workspace.path / "x.cache").read_text() == "kept"


async def test_a_tidy_worktree_is_left_as_it_is(workspaces, work):
    workspace = await work("a", {"f": "text"})

    assert await workspace.tidy() == ()
    assert (workspace.path / "f").read_text() == "text"
