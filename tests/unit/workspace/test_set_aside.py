"""Beginning anew in a workspace: what an earlier attempt has left is out of the way, and never lost."""

import pytest

from orchestration.workspace import Refusal, WorkspaceError


async def test_a_new_workspace_has_nothing_to_be_set_aside(repo, workspaces):
    workspace = await workspaces.open("a", is_fresh=True)

    assert (workspace.spare, repo.head(workspace.path)) == ("", repo.head())


async def test_commits_and_files_of_an_earlier_attempt_are_kept_on_a_branch(repo, workspaces):
    earlier = await workspaces.open("a")
    repo.commit("committed.txt", "one", at=earlier.path)
    repo.write("uncommitted.txt", "two", at=earlier.path)
    moved = repo.commit("meanwhile.txt", "three")

    again = await workspaces.open("a", is_fresh=True)

    assert again.spare == "orchestrate/demo/a+left1"
    assert repo.git("show", f"{again.spare}:committed.txt") == "one"
    assert repo.git("show", f"{again.spare}:uncommitted.txt") == "two"
    assert (repo.head(again.path), repo.status(again.path)) == (moved, "")
    assert [left.branch for left in await workspaces.list_left()] == [again.branch, again.spare]


async def test_each_attempt_gets_a_branch_of_its_own(repo, workspaces):
    for number in (1, 2):
        workspace = await workspaces.open("a", is_fresh=True)
        repo.write("draft.txt", f"draft {number}", at=workspace.path)

    spare = (await workspaces.open("a", is_fresh=True)).spare

    assert spare == "orchestrate/demo/a+left2"
    assert [repo.git("show", f"orchestrate/demo/a+left{n}:draft.txt") for n in (1, 2)] == ["draft 1", "draft 2"]


async def test_what_is_merged_needs_no_branch(repo, workspaces):
    workspace = await workspaces.open("a")
    repo.write("a.txt", "one", at=workspace.path)
    await workspace.commit("Work")
    await workspace.merge("Merge")

    again = await workspaces.open("a", is_fresh=True)

    assert again.spare == ""
    assert repo.head(again.path) == repo.head()


async def test_a_branch_whose_folder_is_gone_is_set_aside_as_well(repo, workspaces):
    workspace = await workspaces.open("a")
    commit = repo.commit("a.txt", "one", at=workspace.path)
    repo.git("worktree", "remove", "--force", str(workspace.path))

    again = await workspaces.open("a", is_fresh=True)

    assert repo.git("rev-parse", again.spare) == commit


async def test_an_unfinished_conflict_is_kept_as_it_is(repo, workspaces):
    workspace = await workspaces.open("a")
    repo.write("both.txt", "theirs\n", at=workspace.path)
    await workspace.commit("Work")
    repo.commit("both.txt", "ours\n")
    await workspace.bring_conflict()

    again = await workspaces.open("a", is_fresh=True)

    assert "<<<<<<<" in repo.git("show", f"{again.spare}:both.txt")
    assert (again.path / "both.txt").read_text() == "ours\n"


async def test_set_aside_again_after_a_crash_in_between_it_is_the_same_branch(repo, workspaces):
    workspace = await workspaces.open("a")
    commit = repo.commit("a.txt", "one", at=workspace.path)
    repo.git("update-ref", "refs/heads/orchestrate/demo/a+left1", commit)  # so far it had come

    assert (await workspaces.open("a", is_fresh=True)).spare == "orchestrate/demo/a+left1"


async def test_a_repository_within_is_not_thrown_away(repo, workspaces):
    workspace = await workspaces.open("a")
    repo.git("init", "-q", str(workspace.path / "inner"))
    repo.commit("x.txt", "precious", at=workspace.path / "inner")

    with pytest.raises(WorkspaceError, match="would not be kept: 'inner/'; save what you need") as caught:
        await workspaces.open("a", is_fresh=True)

    assert caught.value.kind is Refusal.NESTED_REPOSITORY
    assert (workspace.path / "inner" / "x.txt").read_text() == "precious"
