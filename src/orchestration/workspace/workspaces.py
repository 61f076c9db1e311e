"""The workspaces of one project: opens the one of a task, and lists what was left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestration.workspace import leaving
from orchestration.workspace.locks import held
from orchestration.workspace.place import Note, Place, place_of
from orchestration.workspace.repository import Repository
from orchestration.workspace.workspace import Workspace
from orchestration.workspace.worktrees import provide, tip

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestration.workspace.records import LeftWorkspace

__all__ = ["Workspaces", "recover"]


async def recover(root: Path) -> None:
    """Finish a merge into the root's files that a killed process had begun. Opening and merging do so, too.

    There is one to be finished only where the file `LANDING` is.

    Raises:
        WorkspaceError: if it cannot be finished; it is tried again next time.

    """
    async with Repository(root).turn():
        pass


class Workspaces:
    """The worktrees of one project, below `.orchestration` in `root`, the top of a git repository.

    Paths within the scopes `ignoring`, such as the files tasks' outputs go to, may differ from the last commit.
    """

    def __init__(self, root: Path, project_id: str, *, ignoring: Sequence[str] = ()) -> None:
        self._repository = Repository(root, ignoring=ignoring)
        self._project_id = project_id

    async def open(self, task_id: str, *, is_fresh: bool = False) -> Workspace:
        """Return the task's workspace: the one it has, with whatever is in it, or a new one from the root's commit.

        `is_fresh`: a new one in any case; what an earlier one holds is set aside on a branch that `workspace.spare`
        names.

        Raises:
            WorkspaceError: if the root is no repository to work in, or not in a state to start from; says what to do.

        """
        place = place_of(self._repository.root, self._project_id, task_id)
        await self._repository.check()
        await asyncio.to_thread(place.folder.parent.mkdir, parents=True, exist_ok=True)
        async with held(place.lock) as lock, self._repository.turn() as root:
            git = root.holding(lock.fd)
            head = await self._repository.head(git)
            spare = await leaving.set_aside(git, place) if is_fresh else ""
            note = await provide(git, place, head, self._repository.refuse_changes)
            base = await tip(git, place.base_ref)
            return Workspace(self._repository, place, target=note.target, base=base or head.commit, spare=spare)

    async def remove(self, task_id: str) -> LeftWorkspace | None:
        """Remove the task's workspace if all in it is merged; else return what is kept, and why."""
        return await leaving.remove(self._repository, place_of(self._repository.root, self._project_id, task_id))

    async def list_left(self) -> list[LeftWorkspace]:
        """Return the workspaces that exist, by task, with what they hold.

        A branch whose note is gone appears under the branch's own name.
        """
        async with self._repository.turn() as git:
            prefix = place_of(self._repository.root, self._project_id, "x").ref.removesuffix("x")
            refs = await git("for-each-ref", "--format=%(refname)", prefix)
            named = {ref.removeprefix(prefix) for ref in refs.line.split("\n") if ref}
            places = {place.ref.removeprefix(prefix): place for place in await asyncio.to_thread(self._noted)}
            for name in named - places.keys():
                places[name] = place_of(self._repository.root, self._project_id, name)
            found = [await leaving.left(git, places[name]) for name in sorted(places)]
            return [workspace for workspace in found if workspace is not None]

    def _noted(self) -> list[Place]:
        folder = place_of(self._repository.root, self._project_id, "x").folder.parent
        notes = [Note.read(file) for file in sorted(folder.glob("*,json"))]
        return [place_of(self._repository.root, self._project_id, note.task_id) for note in notes if note is not None]
