"""What a workspace still holds, and its removal when that is nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestration.workspace.locks import held
from orchestration.workspace.merging import is_ancestor
from orchestration.workspace.place import Note, Place, Stage
from orchestration.workspace.records import LeftState, LeftWorkspace
from orchestration.workspace.repository import in_progress
from orchestration.workspace.worktrees import admin_folder, delete, discard, tip

if TYPE_CHECKING:
    from orchestration.workspace.git import Git
    from orchestration.workspace.repository import Repository

__all__ = ["left", "remove"]


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
