"""The merge of a task's branch into the root's: computed first, refused or put in place then. Knows no worktree."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestration.workspace.conflicts import blend, conflict_of
from orchestration.workspace.errors import Refusal, WorkspaceError, listed
from orchestration.workspace.landing import land
from orchestration.workspace.records import Conflict, Merged

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestration.workspace.git import Git

__all__ = ["identity", "is_ancestor", "merge", "merged_by"]

_FALLBACK_NAME, _FALLBACK_EMAIL = "orchestrate", "orchestrate@localhost"
_LOCK_PATIENCE_S = 5.0
_POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class _Difference:
    """What a merge would do to the root's files."""

    written: frozenset[str]
    added: frozenset[str]
    removed: frozenset[str]


async def merge(git: Git, intent_file: Path, *, branch: str, ours: str, theirs: str, message: str) -> Merged | Conflict:
    """Merge `theirs` into the branch that the root has checked out at `ours`. The caller holds the root's lock.

    Raises:
        WorkspaceError: if something in the root is in the way; it is then as before.

    """
    if await is_ancestor(git, theirs, ours):
        return Merged(commit=await merged_by(git, theirs, ours))
    found = await blend(git, ours, theirs)
    if found.paths or found.reasons:
        return await conflict_of(git, ours, found)
    await _wait_for_index(git)
    await _refuse_obstacles(git, ours, found.tree)
    made = await git(
        *("commit-tree", found.tree, "-p", ours, "-p", theirs, "-F", "-"),
        stdin=message.encode(errors="backslashreplace"),
        env=await identity(git),
    )
    await land(git, intent_file, f"refs/heads/{branch}", ours, made.line)
    return Merged(commit=made.line)


async def is_ancestor(git: Git, older: str, younger: str) -> bool:
    """Say whether everything in `older` is in `younger`."""
    return await git.says("merge-base", "--is-ancestor", older, younger)


async def merged_by(git: Git, theirs: str, ours: str) -> str:
    """Return the commit that brought `theirs` into `ours`; `theirs` itself, if no merge did."""
    found = await git("rev-list", "--first-parent", "--ancestry-path", "--parents", "--reverse", f"{theirs}..{ours}")
    oldest = found.line.partition("\n")[0].split()
    if len(oldest) > 2 and not await is_ancestor(git, theirs, oldest[1]):  # noqa: PLR2004 -- itself and two parents
        return oldest[0]
    return theirs


async def identity(git: Git) -> Mapping[str, str]:
    """Return the variables that name an author to git, where the user has configured none."""
    found: dict[str, str] = {}
    for role in ("AUTHOR", "COMMITTER"):
        told = await git("-c", "user.useConfigOnly=true", "var", f"GIT_{role}_IDENT", codes=(0, 128))
        if told.code:
            found |= {f"GIT_{role}_NAME": _FALLBACK_NAME, f"GIT_{role}_EMAIL": _FALLBACK_EMAIL}
    return found


async def _wait_for_index(git: Git) -> None:
    """Wait for a short command of the user's; a long one, such as a commit in the editor, is not waited for."""
    lock = git.folder / ".git" / "index.lock"
    deadline_s = asyncio.get_running_loop().time() + _LOCK_PATIENCE_S
    while await asyncio.to_thread(lock.exists):
        if asyncio.get_running_loop().time() >= deadline_s:
            raise WorkspaceError(
                f"{str(lock)!r} exists: another git is at work in {str(git.folder)!r}; "
                "finish what it does, or remove the file if there is none",
                kind=Refusal.BUSY,
            )
        await asyncio.sleep(_POLL_S)


async def _refuse_obstacles(git: Git, ours: str, tree: str) -> None:
    """Refuse a root in which the merge would meet staged changes, or write over what is in no commit.

    Git's own check comes last: it lets files go that are ignored, though they may be all there is of someone's work.
    """
    await git("update-index", "-q", "--refresh", codes=(0, 1))
    staged = (await git("diff-index", "--cached", "-z", "--name-only", "--no-renames", ours)).names
    if staged:
        raise _in_the_way(git, staged, "changes are staged", "commit or unstage them")
    difference = await _difference(git, ours, tree)
    edited = set((await git("diff-files", "-z", "--name-only", "--ignore-submodules=dirty")).names)
    if met := edited & (difference.written | difference.removed):
        raise _in_the_way(git, met, "uncommitted changes are in the way of the merge", "commit or stash them")
    if met := await asyncio.to_thread(_unknown, git.folder, difference):
        raise _in_the_way(
            git, met, "files that git does not know are in the way of the merge", "move them or commit them"
        )
    dry = await git("read-tree", "-n", "-m", "-u", ours, tree, codes=(0, 1, 128))
    if dry.code:
        raise WorkspaceError(
            f"git cannot bring the merge into {str(git.folder)!r}: {dry.err.strip()}; clear that away first",
            kind=Refusal.DIRTY,
        )


def _in_the_way(git: Git, paths: set[str] | list[str], what: str, advice: str) -> WorkspaceError:
    return WorkspaceError(
        f"{what} in {str(git.folder)!r}: {listed(paths)}; {advice}", kind=Refusal.DIRTY, paths=sorted(paths)
    )


async def _difference(git: Git, ours: str, tree: str) -> _Difference:
    fields = (await git("diff-tree", "-r", "-z", "--name-status", "--no-renames", ours, tree)).names
    by_path = dict(zip(fields[1::2], fields[::2], strict=True))
    return _Difference(
        written=frozenset(path for path, status in by_path.items() if status != "D"),
        added=frozenset(path for path, status in by_path.items() if status == "A"),
        removed=frozenset(path for path, status in by_path.items() if status == "D"),
    )


def _unknown(root: Path, difference: _Difference) -> set[str]:
    """Return what lies where the merge would add a file, or a folder for it, and is not removed by the merge itself."""
    met = set()
    for path in difference.added:
        for above in _parents(path):
            if above not in difference.removed and os.path.lexists(root / above) and not _is_folder(root / above):
                met.add(above)
        if path in difference.removed or not os.path.lexists(root / path):
            continue
        if _is_folder(root / path):
            met |= {file for file in _files(root, path) if file not in difference.removed}
        else:
            met.add(path)
    return met


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _files(root: Path, folder: str) -> set[str]:
    return {
        os.path.relpath(os.path.join(at, name), root)  # noqa: PTH118 -- relative to a folder that may be a link
        for at, _, files in os.walk(root / folder)
        for name in files
    }
