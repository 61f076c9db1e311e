"""Makes the worktree of a task, finds it again after a crash, and takes it away. Callers hold its lock and the root's.

What is left of a killed process is told from work by the note: a folder that nobody was given yet may be thrown away,
any other is kept as it is, and only git's knowledge of it is mended.
"""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from orchestration.workspace.errors import Refusal, WorkspaceError
from orchestration.workspace.locks import sweep
from orchestration.workspace.merging import is_ancestor
from orchestration.workspace.place import Note, Place, Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestration.workspace.git import Git
    from orchestration.workspace.repository import Head

__all__ = ["Entry", "admin_folder", "delete", "discard", "entries", "provide", "tip"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A worktree that git knows. `ref` is empty when its HEAD is detached."""

    path: Path
    ref: str


async def provide(git: Git, place: Place, head: Head, before_new: Callable[[Git], Awaitable[None]]) -> Note:
    """Find the task's worktree as it was left, or make a new one from `head`; `before_new` may refuse that.

    Raises:
        WorkspaceError: if the branch is checked out elsewhere, or the folder is somebody else's.

    """
    note = await asyncio.to_thread(Note.read, place.note)
    if note is not None and note.stage is Stage.CREATING:
        await discard(git, place)
        note = None
    known = await entries(git)
    _refuse_elsewhere(place, known)
    if await asyncio.to_thread(place.folder.is_dir):
        if note is None:
            raise WorkspaceError(
                f"the folder {str(place.folder)!r} exists, and is no workspace of task {place.task_id!r}; move it away",
                kind=Refusal.FOLDER_TAKEN,
            )
        return await _reuse(git, place, note)
    await before_new(git)
    if any(entry.path == place.folder for entry in known):  # its folder was deleted by hand
        await git("worktree", "remove", "--force", "--force", str(place.folder))
    return await _create(git, place, head)


async def entries(git: Git) -> list[Entry]:
    """Return the worktrees that git knows, the root first."""
    found = []
    for block in (await git("worktree", "list", "--porcelain", "-z")).out.split(b"\0\0"):
        lines = [line.partition(b" ") for line in block.split(b"\0")]
        fields = {name.decode(): value.decode(errors="surrogateescape") for name, _, value in lines}
        if "worktree" in fields:
            found.append(Entry(path=Path(fields["worktree"]), ref=fields.get("branch", "")))
    return found


async def tip(git: Git, ref: str) -> str | None:
    """Return the commit of a ref, if there is one."""
    return (await git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}", codes=(0, 1, 128))).line or None


async def admin_folder(git: Git) -> Path | None:
    """Return where git keeps what it knows of the worktree in the folder of `git`; None if it does not know it."""
    found = await git("rev-parse", "--absolute-git-dir", "--show-toplevel", codes=(0, 128))
    if found.code:
        return None
    folder, top = map(Path, found.line.split("\n"))
    back = await asyncio.to_thread(_text, folder / "gitdir")
    return folder if top == git.folder and Path(back) == git.folder / ".git" else None


async def delete(git: Git, place: Place, branch_at: str | None) -> None:
    """Remove folder, branch and note, of which nothing is needed any more. Git looks once more, and may refuse."""
    if await asyncio.to_thread(place.folder.is_dir):
        await git("worktree", "remove", str(place.folder))
    elif any(entry.path == place.folder for entry in await entries(git)):
        await git("worktree", "remove", "--force", "--force", str(place.folder))
    commands = [f"delete {place.ref} {branch_at}\n"] if branch_at else []
    commands += [f"delete {place.base_ref}\n"] if await tip(git, place.base_ref) else []
    await git("update-ref", "--stdin", stdin="".join(commands).encode())
    await asyncio.to_thread(place.note.unlink, missing_ok=True)


def _refuse_elsewhere(place: Place, known: list[Entry]) -> None:
    for entry in known:
        if entry.ref == place.ref and entry.path != place.folder and entry.path.exists():
            raise WorkspaceError(
                f"the branch {place.branch!r} of task {place.task_id!r} is checked out in {str(entry.path)!r}; "
                "switch to another branch there",
                kind=Refusal.CHECKED_OUT_ELSEWHERE,
            )


async def _create(git: Git, place: Place, head: Head) -> Note:
    note = Note(task_id=place.task_id, target=head.branch, stage=Stage.CREATING)
    await asyncio.to_thread(place.folder.parent.mkdir, parents=True, exist_ok=True)
    await asyncio.to_thread(note.write, place.note)
    old = await tip(git, place.ref)
    if old is None or await is_ancestor(git, old, head.commit):  # nothing in it that is not in the root's branch
        commands = f"update {place.ref} {head.commit}\nupdate {place.base_ref} {head.commit}\n"
        await git("update-ref", "--stdin", stdin=commands.encode())
    elif await tip(git, place.base_ref) is None:
        common = (await git("merge-base", old, head.commit, codes=(0, 1))).line.partition("\n")[0]
        await git("update-ref", place.base_ref, common or old)
    await git("worktree", "add", "--quiet", str(place.folder), place.branch)
    note = note.at(Stage.READY)
    await asyncio.to_thread(note.write, place.note)
    return note


async def discard(git: Git, place: Place) -> None:
    """Throw away a folder that was never given to anybody."""
    if any(entry.path == place.folder for entry in await entries(git)):
        await git("worktree", "remove", "--force", "--force", str(place.folder), codes=(0, 128))
    await asyncio.to_thread(shutil.rmtree, place.folder, ignore_errors=True)
    if any(entry.path == place.folder for entry in await entries(git)):  # it had not come as far as its `.git` file
        await git("worktree", "remove", "--force", "--force", str(place.folder))


async def _reuse(git: Git, place: Place, note: Note) -> Note:
    mine = git.at(place.folder)
    admin = await admin_folder(mine)
    if admin is None:
        await asyncio.to_thread(_relink, git.folder / ".git" / "worktrees", place.folder)
        admin = await admin_folder(mine) or await _adopt(git, place)
    # Nobody works here now: locks are left from a git that was killed with its agent.
    await asyncio.to_thread(sweep, place.git_locks(git.folder / ".git", admin), place.folder, since_ns=None)
    if note.stage is Stage.BRINGING:  # all work was in a commit, and nobody has worked since
        await mine("reset", "--quiet", "--hard", note.commit)
        await mine("clean", "--quiet", "-d", "--force")
        note = note.at(Stage.READY)
        await asyncio.to_thread(note.write, place.note)
    return note


async def _adopt(git: Git, place: Place) -> Path:
    """Make the folder a worktree again, with its files as they are: git has lost what it knew of it.

    Raises:
        WorkspaceError: if the folder has become a repository of its own, or its branch is gone.

    """
    link, spare = place.folder / ".git", place.folder.with_name(f"{place.folder.name},new")
    if await asyncio.to_thread(link.is_dir) or await tip(git, place.ref) is None:
        raise WorkspaceError(
            f"the folder {str(place.folder)!r} of task {place.task_id!r} is no worktree of {place.branch!r} any more; "
            "save what you need of it and remove it",
            kind=Refusal.FOLDER_TAKEN,
        )
    await asyncio.to_thread(shutil.rmtree, spare, ignore_errors=True)
    await git("worktree", "remove", "--force", "--force", str(spare), codes=(0, 128))  # of an adoption that was killed
    await git("worktree", "add", "--quiet", "--no-checkout", str(spare), place.branch)
    admin = Path((await git.at(spare)("rev-parse", "--absolute-git-dir")).line)
    await asyncio.to_thread(_link, admin, place.folder)
    await asyncio.to_thread(shutil.rmtree, spare)
    await git.at(place.folder)("reset", "--quiet", codes=(0, 1))
    return admin


def _relink(worktrees: Path, folder: Path) -> None:
    """Join the folder and what git knows of it again: its `.git` file is gone, or the whole project was moved.

    `git worktree repair` would do so for all worktrees of the user, some of which may lie outside the root.
    """
    link = folder / ".git"
    if link.is_dir():
        return
    for admin in (file.parent for file in worktrees.glob("*/gitdir")):
        if _text(admin / "gitdir") == str(link):
            _link(admin, folder)
            return
    former = worktrees / PurePath(_text(link).removeprefix("gitdir: ")).name
    back = Path(_text(former / "gitdir"))
    if back.parts[-5:] == link.parts[-5:] and not back.exists():  # from `.orchestration` on
        _link(former, folder)


def _link(admin: Path, folder: Path) -> None:
    (admin / "gitdir").write_text(f"{folder / '.git'}\n", encoding="utf-8", errors="surrogateescape")
    (folder / ".git").write_text(f"gitdir: {admin}\n", encoding="utf-8", errors="surrogateescape")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape").strip()
    except OSError:
        return ""
