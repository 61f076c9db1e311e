"""One task's worktree: what changed in it, its commit, its merge into the root's branch, and back.

Knows nothing of who works in it. Calls on one workspace wait for each other.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from orchestration.workspace import leaving, merging
from orchestration.workspace.conflicts import unresolved_paths
from orchestration.workspace.errors import Refusal, WorkspaceError, listed
from orchestration.workspace.git import Git
from orchestration.workspace.locks import held, sweep
from orchestration.workspace.place import Note, Place, Stage
from orchestration.workspace.produced import describe, shown
from orchestration.workspace.records import Change, Conflict, LeftWorkspace, Merged, ProducedFile
from orchestration.workspace.repository import Repository, in_progress
from orchestration.workspace.scopes import is_inside
from orchestration.workspace.worktrees import admin_folder, tip

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

__all__ = ["Workspace"]

_CHANGES = {"A": Change.ADDED, "D": Change.DELETED}
_LINK_MODE = "160000"  # a submodule


class Workspace:
    """The worktree at `path` with `branch` checked out, for the root's branch `target`. `Workspaces.open` makes it.

    `base` is the commit the work was started from, `spare` the branch that an earlier attempt's work was put on.
    """

    def __init__(self, repository: Repository, place: Place, *, target: str, base: str, spare: str = "") -> None:
        self.task_id = place.task_id
        self.path: Path = place.folder
        self.branch = place.branch
        self.target = target
        self.base = base
        self.spare = spare
        self._repository = repository
        self._place = place

    async def commit(self, message: str) -> str | None:
        """Commit everything that git does not ignore; return the branch's commit, or None when there is no work in it.

        Commits the worker made itself stay. The message gets a line that names the task.

        Raises:
            WorkspaceError: if conflicts are not resolved, another branch is checked out that does not go on from
                this one, a rebase or the like is not finished, or a repository within would not be committed.

        """
        async with self._turn() as git:
            await self._refuse_unfinished(git, is_merge_fine=True)
            await self._refuse_nested(git)
            await git("add", "--all")
            if await tip(git, "MERGE_HEAD") or not await git.says("diff-index", "--cached", "--quiet", "HEAD"):
                await git(
                    *("commit", "--quiet", "--no-verify", "--cleanup=whitespace", "--allow-empty", "-F", "-"),
                    stdin=self._message(message),
                    env=await merging.identity(git),
                )
            made = (await git("rev-parse", "HEAD")).line
            return made if made != await self._base(git) else None

    async def changes(self) -> tuple[ProducedFile, ...]:
        """Return the files that differ from where the work started, committed or not, by path.

        What came from the root's branch meanwhile does not count. A renamed file is one deleted and one added.
        """
        async with self._turn() as git:
            changed = await self._changed(git)
        files = await describe(self.path, changed)
        return tuple(
            file for file in files if file.change is not Change.DELETED or changed.get(file.path) is not Change.ADDED
        )

    async def outside(self, scopes: Sequence[str]) -> tuple[str, ...]:
        """Return the changed paths that are within none of the scopes; without scopes, all.

        Raises:
            ValueError: if a scope is no path below the root.

        """
        async with self._turn() as git:
            changed = await self._changed(git)
        return tuple(shown(path) for path in sorted(changed) if not is_inside(path, scopes))

    async def diff(self, limit_bytes: int = 100_000) -> str:
        """Return what has changed since the work started, as git shows it; cut when it is long."""
        async with self._turn() as git:
            changed = await git(
                *("diff", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", await self._base(git)),
                limit_bytes=limit_bytes,
            )
        return changed.out.decode(errors="backslashreplace") + ("\n... (cut)\n" if changed.is_cut else "")

    async def merge(self, message: str) -> Merged | Conflict:
        """Merge what is committed into the root's branch and its files. Merging again changes nothing.

        A conflict changes nothing either. Killed half-way, the next call of any workspace of the root finishes it.

        Raises:
            WorkspaceError: if work is not committed, or the root is not as it has to be: another branch is checked
                out, changes are staged, or the merge would write over what is in no commit.

        """
        async with self._turn() as git:
            await self._refuse_unfinished(git)
            await self._refuse_uncommitted(git)
            theirs = (await git("rev-parse", "HEAD")).line
            async with self._repository.turn() as turn:
                root = turn.holding(*git.held)
                head = await self._repository.head(root)
                self._refuse_switched(head.branch)
                base = await self._base(git)
                await self._refuse_submodules(git, base, theirs)
                await git("update-ref", self._place.base_ref, base)  # after the merge it could not be told any more
                return await merging.merge(
                    root,
                    self._repository.intent_file,
                    branch=head.branch,
                    ours=head.commit,
                    theirs=theirs,
                    message=self._message(message).decode(),
                )

    async def bring_conflict(self) -> tuple[str, ...]:
        """Merge the root's branch into the worktree; return the files in conflict, which have git's markers then.

        Without conflicts the merge is committed. Called again before a commit, it returns what is left to resolve.

        Raises:
            WorkspaceError: if work is not committed.

        """
        async with self._turn() as git:
            if await tip(git, "MERGE_HEAD") is None:
                await self._refuse_unfinished(git)
                await self._refuse_uncommitted(git)
                await self._bring(git)
            return await self._unresolved(git)

    async def unresolved(self) -> tuple[str, ...]:
        """Return the files that still have conflict markers, or of which git needs to be told the outcome."""
        async with self._turn() as git:
            return await self._unresolved(git)

    async def tidy(self) -> tuple[str, ...]:
        """Put the files back to the last commit, and return the paths of what was not in it. Ignored files stay.

        For what came after a commit and is nobody's work, such as the reports of a check.
        """
        async with self._turn() as git:
            status = await git("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all")
            if status.names:
                await git("reset", "--quiet", "--hard")
                await git("clean", "--quiet", "-d", "--force")
        return tuple(sorted(shown(entry[3:]) for entry in status.names))

    async def is_whole(self) -> bool:
        """Say whether the folder is there, and git knows it."""
        return await asyncio.to_thread(self.path.is_dir) and await admin_folder(Git(self.path)) is not None

    async def remove(self) -> LeftWorkspace | None:
        """Remove folder and branch if all work is committed and merged; else return what is kept, and why."""
        return await leaving.remove(self._repository, self._place)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[Git]:
        async with held(self._place.lock) as lock:
            git = Git(self.path).holding(lock.fd)
            admin = await admin_folder(git) if await asyncio.to_thread(self.path.is_dir) else None
            if admin is None:
                raise WorkspaceError(
                    f"{str(self.path)!r} is no worktree any more (its folder or its `.git` file is gone); "
                    f"the next attempt at task {self.task_id!r} finds one again, and has to do there what is missing",
                    kind=Refusal.NOT_A_REPOSITORY,
                )
            if lock.died_at_ns is not None:
                locks = self._place.git_locks(self._repository.git_folder, admin)
                await asyncio.to_thread(sweep, locks, self.path, since_ns=lock.died_at_ns)
            yield git

    async def _base(self, git: Git) -> str:
        """Return the last commit of the root's branch that the work contains, as it was before the work was merged."""
        head, target = (await git("rev-parse", "HEAD")).line, await tip(git, f"refs/heads/{self.target}")
        if target is not None:
            brought = await tip(git, "MERGE_HEAD")
            if brought is not None and await merging.is_ancestor(git, brought, target):
                return brought
            common = (await git("merge-base", head, target, codes=(0, 1))).line.partition("\n")[0]
            if common not in {"", head}:
                return common
        stored = await tip(git, self._place.base_ref)
        return stored if stored is not None and await merging.is_ancestor(git, stored, head) else head

    async def _changed(self, git: Git) -> dict[str, Change]:
        await git("update-index", "-q", "--refresh", codes=(0, 1))
        status = ("diff-index", "-z", "--name-status", "--no-renames", "--ignore-submodules=dirty")
        fields = (await git(*status, await self._base(git))).names
        changed: dict[str, Change] = {}
        for kind, path in zip(fields[::2], fields[1::2], strict=True):
            changed.setdefault(path, _CHANGES.get(kind, Change.MODIFIED))
        for path in (await git("ls-files", "-z", "--others", "--exclude-standard")).names:
            name = path.rstrip("/")  # a repository within
            changed[name] = Change.MODIFIED if name in changed else Change.ADDED
        return changed

    async def _unresolved(self, git: Git) -> tuple[str, ...]:
        """Look at the merge that is going on, or else at the last one since the root's branch."""
        if theirs := await tip(git, "MERGE_HEAD"):
            return tuple(map(shown, await unresolved_paths(git, "HEAD", theirs)))
        target = await tip(git, f"refs/heads/{self.target}")
        last = (await git("rev-list", "--merges", "-n1", "HEAD", *([f"^{target}"] if target else []))).line
        return tuple(map(shown, await unresolved_paths(git, f"{last}^1", f"{last}^2"))) if last else ()

    async def _bring(self, git: Git) -> None:
        theirs = await tip(git, f"refs/heads/{self.target}")
        if theirs is None:
            raise WorkspaceError(
                f"the branch {self.target!r} that the work is for is gone; make it again", kind=Refusal.BRANCH_SWITCHED
            )
        note = Note(task_id=self.task_id, target=self.target, stage=Stage.READY)
        at = (await git("rev-parse", "HEAD")).line
        await asyncio.to_thread(note.at(Stage.BRINGING, at).write, self._place.note)
        merged = await git(
            *(
                "-c",
                "merge.conflictStyle=zdiff3",
                "merge",
                "--ff",
                "--quiet",
                "--no-edit",
                "--no-stat",
                "--no-autostash",
            ),
            *("--no-verify-signatures", "-m", f"Merge {self.target!r} into {self.branch!r}", theirs),
            env=await merging.identity(git),
            codes=(0, 1, 128),
        )
        await asyncio.to_thread(note.write, self._place.note)
        if merged.code == 0:
            await git("update-ref", self._place.base_ref, theirs)
        elif await tip(git, "MERGE_HEAD") is None:
            raise WorkspaceError(
                f"git cannot merge {self.target!r} into {str(self.path)!r}: {merged.err.strip() or merged.line}",
                kind=Refusal.GIT_FAILED,
            )

    async def _refuse_unfinished(self, git: Git, *, is_merge_fine: bool = False) -> None:
        """Refuse unresolved conflicts and half-done operations; go back to our branch from one that goes on from it."""
        if unresolved := await self._unresolved(git):
            raise WorkspaceError(
                f"conflicts are not resolved in {str(self.path)!r}: {listed(unresolved)}; "
                "remove the markers, and `git add` or `git rm` files without any",
                kind=Refusal.UNRESOLVED,
                paths=unresolved,
            )
        admin = await admin_folder(git)
        unfinished = await asyncio.to_thread(in_progress, admin) if admin else None
        if unfinished and not (is_merge_fine and unfinished == "MERGE_HEAD"):
            raise WorkspaceError(
                f"a merge, rebase or the like is not finished in {str(self.path)!r} ({unfinished} exists); "
                "finish or abort it",
                kind=Refusal.IN_PROGRESS,
            )
        await self._return_to_branch(git)

    async def _return_to_branch(self, git: Git) -> None:
        """Move our branch along if the worker went on from it on one of its own, or on none."""
        on = (await git("symbolic-ref", "--quiet", "HEAD", codes=(0, 1))).line
        if on == self._place.ref:
            return
        ours, here = await tip(git, self._place.ref), await tip(git, "HEAD")
        if here is None or (ours is not None and not await merging.is_ancestor(git, ours, here)):
            raise WorkspaceError(
                f"{on or 'no branch'!r} is checked out in {str(self.path)!r}, and does not go on from {self.branch!r}; "
                f"merge it there with `git switch {self.branch} && git merge ...`",
                kind=Refusal.BRANCH_SWITCHED,
            )
        await git("update-ref", self._place.ref, here)
        await git("symbolic-ref", "-m", "orchestrate: return to the task's branch", "HEAD", self._place.ref)

    def _refuse_switched(self, branch: str) -> None:
        if branch != self.target:
            raise WorkspaceError(
                f"the work of task {self.task_id!r} is for the branch {self.target!r}, and {branch!r} is checked out "
                f"in {str(self._repository.root)!r}; switch back with `git switch {self.target}`",
                kind=Refusal.BRANCH_SWITCHED,
            )

    async def _refuse_uncommitted(self, git: Git) -> None:
        status = await git("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all")
        if paths := [entry[3:] for entry in status.names]:
            raise WorkspaceError(
                f"work in {str(self.path)!r} is not committed: {listed(paths)}; commit it first",
                kind=Refusal.UNCOMMITTED,
                paths=paths,
            )

    async def _refuse_nested(self, git: Git) -> None:
        """Refuse repositories that appeared within: git would commit a link to them, and none of their files."""
        others = (await git("ls-files", "-z", "--others", "--exclude-standard")).names
        if nested := [path for path in others if path.endswith("/")]:
            raise WorkspaceError(
                f"repositories within {str(self.path)!r} would not be committed: {listed(nested)}; "
                "remove their `.git` folders, or name them in .gitignore",
                kind=Refusal.NESTED_REPOSITORY,
                paths=nested,
            )

    async def _refuse_submodules(self, git: Git, base: str, theirs: str) -> None:
        """Refuse submodules at other commits: those may be nowhere but in this worktree."""
        fields = (await git("diff-tree", "-r", "-z", "--raw", "--no-renames", base, theirs)).names
        moved = [path for modes, path in zip(fields[::2], fields[1::2], strict=True) if modes.split()[1] == _LINK_MODE]
        if moved:
            raise WorkspaceError(
                f"task {self.task_id!r} moved submodules to commits that only its worktree may have: {listed(moved)}; "
                f"push them, and merge {self.branch!r} by hand",
                kind=Refusal.SUBMODULE,
                paths=moved,
            )

    def _message(self, message: str) -> bytes:
        text = f"{message.strip() or 'Work of a task'}\n\nOrchestrate-Task: {self.task_id}\n"
        return text.encode(errors="backslashreplace")
