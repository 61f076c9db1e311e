"""The user's repository at the root: what it must be like, whose turn it is, and what a crash left in it."""

from __future__ import annotations

import asyncio
import os
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.workspace import landing
from orchestration.workspace.errors import Refusal, WorkspaceError, listed
from orchestration.workspace.git import Git
from orchestration.workspace.locks import held, sweep
from orchestration.workspace.scopes import LANDING, WORKTREES, is_inside

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

__all__ = ["GIT_MIN", "Head", "Repository", "in_progress"]

GIT_MIN = (2, 38)  # `git merge-tree --write-tree`
_UNFINISHED = (
    "MERGE_HEAD",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "BISECT_LOG",
    "rebase-merge",
    "rebase-apply",
    "sequencer",
)


@dataclass(frozen=True, kw_only=True)
class Head:
    """What the root has checked out: a branch, without `refs/heads/`, and its commit."""

    branch: str
    commit: str


class Repository:
    """The repository at `root`; paths within the scopes `ignoring` are the project's own and never count as changed."""

    def __init__(self, root: Path, *, ignoring: Sequence[str] = ()) -> None:
        self.root = root.resolve()
        self.git = Git(self.root)
        self.folder = self.root / WORKTREES
        self._ignoring = tuple(ignoring)
        self._is_checked = False

    @property
    def git_folder(self) -> Path:
        """Where git keeps its own files; within the root."""
        return self.root / ".git"

    @property
    def intent_file(self) -> Path:
        """Where it is written down which merge is being put in place."""
        return self.root / LANDING

    async def check(self) -> None:
        """Refuse a root that is not the top of an ordinary repository of its own; looks once.

        Raises:
            WorkspaceError: with the reason and what to do.

        """
        if self._is_checked:
            return
        await self._check_version()
        await self._check_kind()
        await self._check_layout()
        await asyncio.to_thread(self._hide)
        self._is_checked = True

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Git]:
        """Be the only one, of all orchestrators, to change the root's branch and worktrees; yields the git to use.

        What a killed predecessor left half done is finished first.

        Raises:
            WorkspaceError: if the root cannot be used, or what was left cannot be finished.

        """
        await self.check()
        async with held(self.folder / "lock") as lock:
            git = self.git.holding(lock.fd)
            if lock.died_at_ns is not None:
                await asyncio.to_thread(self._sweep, await _branch(git), lock.died_at_ns)
            await landing.finish(git, self.intent_file)
            yield git

    async def head(self, git: Git) -> Head:
        """Return what is checked out.

        Raises:
            WorkspaceError: if that is no branch, has no commit, or a merge or the like is not finished.

        """
        branch = await _branch(git)
        found = await git("rev-parse", "--verify", "--quiet", "HEAD^{commit}", codes=(0, 1, 128))
        if found.code:
            raise WorkspaceError(
                f"the repository in {str(self.root)!r} has no commit to start from; commit something first",
                kind=Refusal.NO_COMMIT,
            )
        if unfinished := await asyncio.to_thread(in_progress, self.git_folder):
            raise WorkspaceError(
                f"a merge, rebase or the like is not finished in {str(self.root)!r} ({unfinished} exists in .git); "
                "finish or abort it first",
                kind=Refusal.IN_PROGRESS,
            )
        if not branch:
            raise WorkspaceError(
                f"no branch is checked out in {str(self.root)!r} (HEAD is detached at {found.line[:10]}); "
                "switch to the branch the work is for, with `git switch BRANCH`",
                kind=Refusal.DETACHED,
            )
        return Head(branch=branch, commit=found.line)

    async def refuse_changes(self, git: Git) -> None:
        """Refuse a root whose tracked files differ from its last commit: a new workspace would not have them.

        Raises:
            WorkspaceError: naming the files.

        """
        status = await git(
            "status", "--porcelain", "-z", "--no-renames", "--untracked-files=no", "--ignore-submodules=dirty"
        )
        ours = (*self._ignoring, ".orchestration")  # committed by mistake, perhaps
        changed = [path for path in (entry[3:] for entry in status.names) if not is_inside(path, ours)]
        if changed:
            raise WorkspaceError(
                f"uncommitted changes in {str(self.root)!r}: {listed(changed)}; "
                "commit or stash them: a task's worktree starts from the last commit and would not have them",
                kind=Refusal.DIRTY,
                paths=changed,
            )

    async def _check_version(self) -> None:
        line = (await Git(self.root)("version")).line
        version = tuple(int(number) for number in re.findall(r"\d+", line)[:2])
        if version < GIT_MIN:
            raise WorkspaceError(
                f"{line!r} cannot merge without touching files; install git {'.'.join(map(str, GIT_MIN))} or newer",
                kind=Refusal.GIT_TOO_OLD,
            )

    async def _check_kind(self) -> None:
        reply = await self.git("rev-parse", "--is-bare-repository", "--show-cdup", codes=(0, 128))
        if reply.code and "not a git repository" not in reply.err:
            raise WorkspaceError(f"git refuses {str(self.root)!r}: {reply.err.strip()}", kind=Refusal.GIT_FAILED)
        if not reply.code and reply.line.startswith("true"):
            raise WorkspaceError(
                f"{str(self.root)!r} is a bare repository without files to work on; use a clone of it",
                kind=Refusal.BARE,
            )
        if not reply.code:
            return
        if above := await asyncio.to_thread(_repository_above, self.root):
            raise WorkspaceError(
                f"{str(self.root)!r} lies within the repository {str(above)!r}, and nothing outside the project's "
                "folder is written; move the project file to the top of the repository",
                kind=Refusal.NOT_TOP_LEVEL,
            )
        raise WorkspaceError(
            f"{str(self.root)!r} is not a git repository; run `git init` there and commit",
            kind=Refusal.NOT_A_REPOSITORY,
        )

    async def _check_layout(self) -> None:
        """Refuse a repository whose files, or whose git's files, are not those of the root."""
        reply = await self.git("rev-parse", "--path-format=absolute", "--show-toplevel", "--git-common-dir")
        top, common = (Path(line) for line in reply.line.split("\n"))
        if top != self.root:
            raise WorkspaceError(
                f"the files of the repository in {str(self.root)!r} are in {str(top)!r} (core.worktree); "
                "use the top of an ordinary clone",
                kind=Refusal.NOT_TOP_LEVEL,
            )
        outside = [
            path for path in (common, self.folder) if path.resolve() != path or not path.is_relative_to(self.root)
        ]
        if common != self.git_folder or outside:
            raise WorkspaceError(
                f"git would write to {str(outside[0].resolve() if outside else common)!r}, outside the project's "
                f"folder {str(self.root)!r} (a linked worktree, a submodule or a link); use a clone of its own",
                kind=Refusal.OUTSIDE_ROOT,
            )
        if (await self.git("config", "--type=bool", "core.sparseCheckout", codes=(0, 1))).line == "true":
            raise WorkspaceError(
                f"the repository in {str(self.root)!r} is checked out in part (sparse), and a merge needs all of it; "
                "run `git sparse-checkout disable`, or use a full clone",
                kind=Refusal.SPARSE,
            )

    def _hide(self) -> None:
        """Make the folder of our state, and keep it out of git's sight."""
        self.folder.mkdir(parents=True, exist_ok=True)
        ignore = self.folder.parent / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="utf-8")

    def _sweep(self, branch: str, died_at_ns: int) -> None:
        """Remove the lock files of a git that was killed together with its orchestrator."""
        top = self.git_folder
        files = [top / name for name in ("index.lock", "HEAD.lock", "packed-refs.lock", "packed-refs.new")]
        files += [top / "refs" / "heads" / f"{branch}.lock"] if branch else []
        for own in (top / "refs" / "heads" / "orchestrate", top / "refs" / "orchestrate"):
            files += own.rglob("*.lock")
        sweep(files, self.root, since_ns=died_at_ns)


async def _branch(git: Git) -> str:
    reply = await git("symbolic-ref", "--quiet", "HEAD", codes=(0, 1))
    return reply.line.removeprefix("refs/heads/")


def in_progress(git_folder: Path) -> str | None:
    """Return the file by which git remembers an unfinished merge, rebase, cherry-pick, revert or bisect, if any."""
    return next((name for name in _UNFINISHED if (git_folder / name).exists()), None)


def _repository_above(folder: Path) -> Path | None:
    return next((above for above in folder.parents if os.path.lexists(above / ".git")), None)
