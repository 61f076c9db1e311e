"""What a workspace still holds, its removal when that is nothing, and how it is set aside for a new beginning."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestration.workspace.errors import Refusal, WorkspaceError, listed
from orchestration.workspace.locks import held, sweep
from orchestration.workspace.merging import identity, is_ancestor
from orchestration.workspace.place import Note, Place, Stage
from orchestration.workspace.records import LeftState, LeftWorkspace
from orchestration.workspace.repository import in_progress
from orchestration.workspace.worktrees import admin_folder, delete, discard, tip

if TYPE_CHECKING:
    from pathlib import Path

    from orchestration.workspace.git import Git
    from orchestration.workspace.repository import Repository

__all__ = ["left", "remove", "set_aside"]


async def remove(repository: Repository, place: Place) -> LeftWorkspace | None:
    """Remove the task's folder and branch if all in them is merged; else return what is kept, and why.

    Files that git ignores go with the folder.

    Raises:
        WorkspaceError: if the root cannot be used, or git refuses.

    """
    if not await asyncio.to_thread(place.folder.parent.is_dir):
        return None
    async with held(place.lock) as lock, repository.turn() as root:
        git = root.holding(lock.fd)
        note = await asyncio.to_thread(Note.read, place.note)
        if note is not None and note.stage is Stage.CREATING:
            await discard(git, place)
        found = await left(git, place)
        if found is not None and found.state is not LeftState.MERGED:
            return found
        if found is not None:
            await delete(git, place, await tip(git, place.ref))
        await asyncio.to_thread(place.lock.unlink)
        return None


async def set_aside(git: Git, place: Place) -> str:
    """Take the task's folder and branch away, so that it can begin anew; `git` is the root's, and holds all locks.

    Returns the branch on which everything is that is not merged, also what was in no commit; empty where there is none.
    Killed half-way, it can be called again.

    Raises:
        WorkspaceError: if a repository within would not be kept.

    """
    note = await asyncio.to_thread(Note.read, place.note)
    has_folder = await asyncio.to_thread(place.folder.is_dir)
    mine = git.at(place.folder)
    admin = await admin_folder(mine) if has_folder else None
    if (has_folder and admin is None) or (note is not None and note.stage is Stage.CREATING):
        return ""  # whoever opens it mends, refuses or discards it
    if admin is not None:
        await asyncio.to_thread(sweep, place.git_locks(git.folder / ".git", admin), place.folder, since_ns=None)
        await _refuse_repositories(mine, admin)
        await mine("add", "--all")
        if await tip(mine, "MERGE_HEAD") or not await mine.says("diff-index", "--cached", "--quiet", "HEAD"):
            message = f"Set aside what task {place.task_id} has left"
            await mine("commit", "--quiet", "--no-verify", "--allow-empty", "-m", message, env=await identity(mine))
    last = await tip(mine, "HEAD") if has_folder else await tip(git, place.ref)
    if last is None:
        return ""
    spare = "" if await is_ancestor(git, last, "HEAD") else await _spare(git, place, last)
    if has_folder:
        await git("worktree", "remove", "--force", "--force", str(place.folder))
    await delete(git, place, await tip(git, place.ref))
    return spare


async def _refuse_repositories(mine: Git, admin: Path) -> None:
    others = (await mine("ls-files", "-z", "--others", "--exclude-standard")).names
    nested = [path for path in others if path.endswith("/")]
    has_submodules = await asyncio.to_thread((admin / "modules").exists)
    if nested or has_submodules:
        raise WorkspaceError(
            f"repositories within {str(mine.folder)!r} would not be kept: {listed(nested or ['submodules'])}; "
            "save what you need of them, and remove that folder with `git worktree remove --force`",
            kind=Refusal.NESTED_REPOSITORY,
            paths=nested,
        )


async def _spare(git: Git, place: Place, commit: str) -> str:
    """Return a branch of the task's at this commit: the one that is there, or a new one."""
    number = 1
    while (known := await tip(git, f"{place.ref}+left{number}")) not in {None, commit}:
        number += 1
    if known is None:
        await git("update-ref", f"{place.ref}+left{number}", commit)
    return f"{place.branch}+left{number}"


async def left(git: Git, place: Place) -> LeftWorkspace | None:
    """Return what is left of the task's workspace; None if there is neither folder nor branch. `git` is the root's."""
    has_folder = await asyncio.to_thread(place.folder.is_dir)
    if not has_folder and await tip(git, place.ref) is None:
        return None
    state = (await _state_of_folder(git.at(place.folder)) if has_folder else None) or await _state_of_commits(
        git, place
    )
    return LeftWorkspace(
        task_id=place.task_id, path=place.folder if has_folder else None, branch=place.branch, state=state
    )


async def _state_of_folder(mine: Git) -> LeftState | None:
    admin = await admin_folder(mine)
    if admin is None:
        return LeftState.BROKEN
    status = await mine("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all")
    unfinished = await asyncio.to_thread(in_progress, admin)
    if status.names or unfinished:
        return LeftState.UNCOMMITTED
    if await asyncio.to_thread((admin / "modules").exists):
        return LeftState.SUBMODULE
    return None


async def _state_of_commits(git: Git, place: Place) -> LeftState:
    """Look at the branch and at what the folder has checked out, which an agent may have changed."""
    note = await asyncio.to_thread(Note.read, place.note)
    targets = [await tip(git, f"refs/heads/{note.target}") if note else None, await tip(git, "HEAD")]
    here = await tip(git.at(place.folder), "HEAD") if await asyncio.to_thread(place.folder.is_dir) else None
    for commit in filter(None, (await tip(git, place.ref), here)):
        if not any([await is_ancestor(git, commit, target) for target in targets if target]):
            return LeftState.UNMERGED
    return LeftState.MERGED
