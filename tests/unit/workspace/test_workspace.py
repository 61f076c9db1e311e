"""One workspace from its opening to its removal."""

import hashlib

import pytest

from orchestration.workspace import (
    Change,
    Conflict,
    LeftState,
    LeftWorkspace,
    Merged,
    ProducedFile,
    Refusal,
    WorkspaceError,
)


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


async def test_commits_of_the_worker_stay_and_nothing_new_is_no_commit(repo, workspaces):
    workspace = await workspaces.open("t")
    own = repo.commit("b.txt", "b\n", workspace.path)
    assert await workspace.commit("Nothing left to do") == own
    assert repo.git("log", "-1", "--format=%s", workspace.branch) == "Write b.txt"


async def test_what_git_ignores_is_neither_committed_nor_a_change(repo, workspaces):
    repo.commit(".gitignore", "build/\n")
    workspace = await workspaces.open("t")
    repo.write("build/out.o", "x", workspace.path)
    assert await workspace.commit("Nothing") is None
    assert await workspace.changes() == ()


async def test_a_user_without_a_name_gets_a_neutral_one(repo, workspaces, work, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("HOME", str(tmp_path))
    workspace = await work("t", {"b.txt": "b"})
    merged = await workspace.merge("Merge it")
    for commit in (workspace.branch, merged.commit):
        assert (
            repo.git("log", "-1", "--format=%an <%ae> %cn", commit) == "orchestrate <orchestrate@localhost> orchestrate"
        )


async def test_a_user_with_a_name_keeps_it(repo, work):
    workspace = await work("t", {"b.txt": "b"})
    assert repo.git("log", "-1", "--format=%an <%ae>", workspace.branch) == "Ada <ada@example.org>"


async def test_hooks_of_the_user_do_not_run_for_our_commits_but_do_for_the_workers(repo, workspaces):
    for hook in ("pre-commit", "commit-msg", "post-checkout", "reference-transaction", "prepare-commit-msg"):
        repo.write(f".git/hooks/{hook}", f"#!/bin/sh\necho {hook} >&2\nexit 1\n").chmod(0o755)
    workspace = await workspaces.open("t")
    repo.write("b.txt", "b", workspace.path)
    assert await workspace.commit("Commit") is not None
    assert isinstance(await workspace.merge("Merge it"), Merged)
    (repo.path / ".git/hooks/reference-transaction").unlink()
    repo.write("c.txt", "c", workspace.path)
    repo.git("add", "-A", at=workspace.path)
    with pytest.raises(AssertionError, match="pre-commit"):
        repo.git("commit", "-qm", "The worker's", at=workspace.path)


async def test_signing_editors_and_pagers_of_the_user_are_not_asked(repo, workspaces, work):
    for name, value in (("commit.gpgSign", "true"), ("gpg.program", "false"), ("core.editor", "false")):
        repo.git("config", name, value)
    workspace = await work("t", {"b.txt": "b"})
    assert isinstance(await workspace.merge("# Not a comment"), Merged)
    assert repo.git("log", "-1", "--format=%s") == "# Not a comment"


async def test_changes_tell_hashes_sizes_and_kinds_committed_or_not(repo, workspaces, tmp_path):
    repo.commit("gone.txt", "gone\n")
    repo.commit("untracked-again.txt", "same\n")
    workspace = await workspaces.open("t")
    big = bytes(range(256)) * 40_000
    repo.commit("big.bin", big, workspace.path)
    (workspace.path / "gone.txt").unlink()
    secret = tmp_path / "secret"
    secret.write_text("not to be read")
    (workspace.path / "link").symlink_to(secret)
    repo.git("rm", "-q", "--cached", "untracked-again.txt", at=workspace.path)
    repo.write("brief.txt", "x", workspace.path)
    repo.git("add", "brief.txt", at=workspace.path)
    (workspace.path / "brief.txt").unlink()
    found = {file.path: file for file in await workspace.changes()}
    target = str(secret).encode()
    assert found == {
        "big.bin": ProducedFile(
            path="big.bin", change=Change.ADDED, sha256=hashlib.sha256(big).hexdigest(), size_bytes=len(big)
        ),
        "gone.txt": ProducedFile(path="gone.txt", change=Change.DELETED, sha256=None, size_bytes=0),
        "link": ProducedFile(
            path="link", change=Change.ADDED, sha256=hashlib.sha256(target).hexdigest(), size_bytes=len(target)
        ),
        "untracked-again.txt": ProducedFile(
            path="untracked-again.txt",
            change=Change.MODIFIED,
            sha256=hashlib.sha256(b"same\n").hexdigest(),
            size_bytes=5,
        ),
    }


async def test_a_name_that_is_no_utf8_can_be_stored_as_text(repo, workspaces):
    workspace = await workspaces.open("t")
    repo.write("bad\udcff", "x", workspace.path)
    await workspace.commit("Odd bytes")
    (file,) = await workspace.changes()
    assert file.path == "bad\\xff"
    assert file.path.encode()
    assert isinstance(await workspace.merge("Merge it"), Merged)
    assert (repo.path / "bad\udcff").exists()


async def test_what_came_from_the_root_meanwhile_is_no_change_of_the_task(repo, work):
    workspace = await work("t", {"b.txt": "b"})
    repo.commit("roots.txt", "root\n")
    assert await workspace.bring_conflict() == ()
    assert (workspace.path / "roots.txt").exists()
    assert [file.path for file in await workspace.changes()] == ["b.txt"]
    repo.commit("more.txt", "root\n")
    repo.git("merge", "-q", "--no-edit", "main", at=workspace.path)
    assert [file.path for file in await workspace.changes()] == ["b.txt"]
    await workspace.merge("Merge it")
    assert [file.path for file in await workspace.changes()] == ["b.txt"]


async def test_a_worktree_without_work_follows_the_root_and_still_has_no_changes(repo, workspaces):
    workspace = await workspaces.open("t")
    repo.commit("roots.txt", "root\n")
    assert await workspace.bring_conflict() == ()
    assert await workspace.changes() == ()
    assert await workspace.commit("Nothing") is None


async def test_paths_outside_the_declared_scopes_are_named(repo, work):
    workspace = await work("t", {"src/a.py": "a", "docs/x.md": "x", "docs/deep/y.md": "y", "evil.sh": "e"})
    repo.write("late.txt", "not committed", workspace.path)
    assert await workspace.outside(["src/**", "docs/*.md"]) == ("docs/deep/y.md", "evil.sh", "late.txt")
    assert await workspace.outside(["**"]) == ()
    assert len(await workspace.outside([])) == 5


async def test_a_worker_that_made_a_branch_of_its_own_is_followed(repo, workspaces):
    workspace = await workspaces.open("t")
    repo.git("switch", "-qc", "feature/mine", at=workspace.path)
    repo.commit("b.txt", "b", workspace.path)
    repo.write("c.txt", "c", workspace.path)
    commit = await workspace.commit("The rest")
    assert repo.git("rev-parse", workspace.branch) == commit
    assert repo.git("symbolic-ref", "--short", "HEAD", at=workspace.path) == workspace.branch
    assert {file.path for file in await workspace.changes()} == {"b.txt", "c.txt"}


async def test_a_worker_that_left_for_older_history_is_refused_and_nothing_is_lost(repo, workspaces):
    workspace = await workspaces.open("t")
    own = repo.commit("b.txt", "b", workspace.path)
    repo.git("checkout", "-q", "--detach", "main", at=workspace.path)
    with pytest.raises(WorkspaceError, match="does not go on from") as caught:
        await workspace.commit("Commit")
    assert caught.value.kind is Refusal.BRANCH_SWITCHED
    assert repo.git("rev-parse", workspace.branch) == own


async def test_an_unfinished_rebase_of_the_worker_is_refused(repo, workspaces):
    workspace = await workspaces.open("t")
    repo.commit("a.txt", "theirs\n", workspace.path)
    repo.commit("a.txt", "root\n")
    repo.git("rebase", "main", at=workspace.path, check=False)
    with pytest.raises(WorkspaceError) as caught:
        await workspace.commit("Commit")
    assert caught.value.kind is Refusal.IN_PROGRESS
    assert (await workspace.remove()).state is LeftState.UNCOMMITTED


@pytest.mark.parametrize("has_commit", [False, True])
async def test_a_repository_made_within_is_refused_instead_of_committed_as_a_link(repo, workspaces, has_commit):
    workspace = await workspaces.open("t")
    repo.git("init", "-q", "app", at=workspace.path)
    repo.write("app/index.js", "x", workspace.path)
    if has_commit:
        repo.git("add", "-A", at=workspace.path / "app")
        repo.git("commit", "-qm", "Create app", at=workspace.path / "app")
    with pytest.raises(WorkspaceError, match="'app/'") as caught:
        await workspace.commit("Commit")
    assert caught.value.kind is Refusal.NESTED_REPOSITORY
    assert [file.path for file in await workspace.changes()] == ["app"]


async def test_a_submodule_is_no_obstacle_until_it_moves(repo, workspaces, tmp_path):
    library = tmp_path / "library"
    library.mkdir()
    repo.git("init", "-q", at=library)
    repo.commit("lib.txt", "lib", library)
    repo.git("submodule", "--quiet", "add", str(library), "vendor/library")
    repo.git("commit", "-qm", "Add library")
    workspace = await workspaces.open("t")
    repo.write("b.txt", "b", workspace.path)
    await workspace.commit("Work beside it")
    assert [file.path for file in await workspace.changes()] == ["b.txt"]
    assert isinstance(await workspace.merge("Merge it"), Merged)
    repo.git("submodule", "--quiet", "update", "--init", at=workspace.path)
    assert (await workspace.remove()).state is LeftState.SUBMODULE
    repo.commit("more.txt", "more", workspace.path / "vendor/library")
    await workspace.commit("Move it")
    assert [(file.path, file.sha256) for file in await workspace.changes()] == [("vendor/library", None)]
    with pytest.raises(WorkspaceError, match="vendor/library") as caught:
        await workspace.merge("Merge it")
    assert caught.value.kind is Refusal.SUBMODULE


async def test_a_worktree_whose_link_to_git_is_gone_never_touches_the_root(repo, workspaces):
    workspace = await workspaces.open("t")
    repo.write("b.txt", "b", workspace.path)
    (workspace.path / ".git").unlink()
    with pytest.raises(WorkspaceError, match="the next attempt at task 't' finds one again") as caught:
        await workspace.commit("Commit")
    assert caught.value.kind is Refusal.NOT_A_REPOSITORY
    assert repo.git("log", "--format=%s") == "Write a.txt"
    assert repo.git("diff", "--cached", "--name-only") == ""


async def test_markers_that_a_worker_commits_are_still_found(repo, workspaces, work):
    workspace = await work("t", {"a.txt": "theirs\n"})
    repo.commit("a.txt", "root\n")
    assert await workspace.bring_conflict() == ("a.txt",)
    assert await workspace.bring_conflict() == ("a.txt",)
    for attempt in (workspace.commit("Commit"), workspace.merge("Merge it")):
        with pytest.raises(WorkspaceError) as caught:
            await attempt
        assert (caught.value.kind, caught.value.paths) == (Refusal.UNRESOLVED, ("a.txt",))
    repo.git("commit", "-qam", "Look, no hands", at=workspace.path)
    assert await workspace.unresolved() == ("a.txt",)
    with pytest.raises(WorkspaceError, match="not resolved"):
        await workspace.merge("Merge it")
    repo.write("a.txt", "both\n", workspace.path)
    await workspace.commit("Resolve")
    assert isinstance(await workspace.merge("Merge it"), Merged)
    assert repo.read("a.txt") == "both\n"


async def test_conflicts_without_markers_wait_for_the_workers_word_to_git(repo, workspaces):
    repo.commit("removed.txt", "text\n")
    repo.commit("image.bin", b"\0\1\2")
    workspace = await workspaces.open("t")
    (workspace.path / "removed.txt").unlink()
    repo.write("image.bin", b"\0theirs", workspace.path)
    await workspace.commit("Remove one, change the other")
    repo.write("removed.txt", "text\nmore\n")
    repo.commit("image.bin", b"\0root")
    conflict = await workspace.merge("Merge it")
    assert set(conflict.paths) == {"image.bin", "removed.txt"}
    assert any("modify/delete" in reason for reason in conflict.reasons)
    assert set(await workspace.bring_conflict()) == {"image.bin", "removed.txt"}
    repo.git("rm", "-q", "removed.txt", at=workspace.path)
    assert await workspace.unresolved() == ("image.bin",)
    repo.git("add", "image.bin", at=workspace.path)
    assert await workspace.unresolved() == ()
    assert await workspace.commit("Resolve")
    assert isinstance(await workspace.merge("Merge it"), Merged)


async def test_the_roots_branch_cannot_be_brought_over_uncommitted_work_or_when_it_is_gone(repo, workspaces):
    workspace = await workspaces.open("t")
    repo.write("b.txt", "b", workspace.path)
    with pytest.raises(WorkspaceError) as caught:
        await workspace.bring_conflict()
    assert caught.value.kind is Refusal.UNCOMMITTED
    await workspace.commit("Commit")
    repo.git("branch", "-qM", "renamed")
    with pytest.raises(WorkspaceError, match="'main'") as caught:
        await workspace.bring_conflict()
    assert caught.value.kind is Refusal.BRANCH_SWITCHED
    assert await workspace.unresolved() == ()
    assert await workspace.commit("Nothing new") is not None


async def test_only_what_is_merged_is_removed(repo, workspaces, work):
    workspace = await work("t", {"b.txt": "b"})
    assert (await workspace.remove()).state is LeftState.UNMERGED
    await workspace.merge("Merge it")
    repo.write("b.txt", "changed since", workspace.path)
    kept = await workspace.remove()
    assert kept == LeftWorkspace(
        task_id="t", path=workspace.path, branch="orchestrate/demo/t", state=LeftState.UNCOMMITTED
    )
    assert await workspaces.list_left() == [kept]
    repo.git("checkout", "-q", "--detach", at=workspace.path)
    repo.git("commit", "-qam", "On no branch", at=workspace.path)
    assert (await workspaces.remove("t")).state is LeftState.UNMERGED
    repo.git("checkout", "-q", workspace.branch, at=workspace.path)
    assert await workspaces.remove("t") is None
    assert not workspace.path.exists()
    assert await workspaces.remove("t") is None


async def test_removing_a_task_that_never_had_a_workspace_does_nothing(workspaces):
    assert await workspaces.remove("never") is None
    await workspaces.open("other")
    assert await workspaces.remove("never") is None
    assert [left.task_id for left in await workspaces.list_left()] == ["other"]


async def test_tasks_are_listed_by_their_ids_whatever_their_branches_are_called(repo, workspaces):
    for task_id in ("Über@1", "a", "A"):
        await workspaces.open(task_id)
    listed = await workspaces.list_left()
    assert {left.task_id for left in listed} == {"Über@1", "a", "A"}
    assert {left.state for left in listed} == {LeftState.MERGED}
    assert len({left.branch.lower() for left in listed}) == 3


async def test_the_roots_branch_is_not_brought_over_a_history_of_its_own(repo, workspaces):
    workspace = await workspaces.open("t")
    fresh = repo.git("commit-tree", "HEAD^{tree}", "-m", "Start over")
    repo.git("reset", "-q", "--hard", fresh, at=workspace.path)
    with pytest.raises(WorkspaceError, match="unrelated histories"):
        await workspace.bring_conflict()
    assert await workspace.commit("Go on") is None


async def test_a_merge_the_worker_makes_itself_is_committed_and_only_its_own_work_counts(repo, workspaces):
    workspace = await workspaces.open("t")
    repo.git("branch", "side")
    repo.commit("a.txt", "theirs\n", workspace.path)
    repo.git("switch", "-q", "side")
    repo.commit("a.txt", "side\n")
    repo.git("switch", "-q", "main")
    repo.git("merge", "side", at=workspace.path, check=False)
    repo.write("a.txt", "both\n", workspace.path)
    assert [file.path for file in await workspace.changes()] == ["a.txt"]
    assert await workspace.commit("Resolve") is not None
    assert isinstance(await workspace.merge("Merge it"), Merged)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("merge.ff", "only"),
        ("core.autocrlf", "true"),
        ("core.safecrlf", "true"),
        ("grep.patternType", "fixed"),
        ("diff.external", "false"),
        ("diff.noprefix", "true"),
        ("status.showUntrackedFiles", "no"),
        ("color.ui", "always"),
        ("branch.autoSetupMerge", "always"),
        ("merge.conflictStyle", "diff3"),
        ("commit.cleanup", "strip"),
        ("core.commentChar", "M"),
    ],
)
async def test_no_setting_of_the_user_changes_what_happens(repo, workspaces, work, name, value):
    repo.git("config", name, value)
    first = await work("first", {"a.txt": "one\nfirst\nthree\n", "b.txt": "b\n"})
    second = await work("second", {"a.txt": "one\nsecond\nthree\n"})
    assert isinstance(await first.merge("Merge first"), Merged)
    conflict = await second.merge("Merge second")
    assert conflict.paths == ("a.txt",)
    assert "+second" in conflict.diff
    assert await second.bring_conflict() == ("a.txt",)
    repo.write("a.txt", "one\nboth\nthree\n", second.path)
    assert await second.unresolved() == ()
    await second.commit("Resolve")
    assert isinstance(await second.merge("Merge second"), Merged)
    assert repo.git("log", "-1", "--format=%s", "--no-color") == "Merge second"
    assert repo.git("--no-optional-locks", "-c", "color.ui=never", "status", "--porcelain", "-uall") == ""
    assert repo.read("a.txt").split() == ["one", "both", "three"]


async def test_the_diff_shows_what_is_committed_and_changed_since_and_is_cut_when_long(repo, work):
    workspace = await work("t", {"new.txt": "".join(f"line {number}\n" for number in range(100))})
    repo.write("a.txt", "edited\n", workspace.path)
    whole = await workspace.diff()
    assert "+edited" in whole
    assert "+line 99" in whole
    assert "cut" not in whole
    assert (await workspace.diff(limit_bytes=200)).endswith("(cut)\n")
