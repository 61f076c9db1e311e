"""Moves the root's branch, index and files from one commit to the next, so that a crash at any point can be mended.

What is meant to happen is written down first; then the branch moves, then the files. Whoever comes next brings the
files after the branch, and touches none that hold anything but what git had put there or was about to.
"""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from orchestration.workspace.errors import WorkspaceError
from orchestration.workspace.place import write_durably

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orchestration.workspace.git import Git

__all__ = ["finish", "land"]

_COMPARED_MAX_BYTES = 64_000_000


@dataclass(frozen=True, kw_only=True)
class _Intent:
    """What is being done: the branch (a full ref) goes from `old` to `new`, then the files do."""

    ref: str
    old: str
    new: str


async def land(git: Git, intent_file: Path, ref: str, old: str, new: str) -> None:
    """Move the branch and the files from `old` to `new`; the caller has seen that nothing is in the way.

    Raises:
        WorkspaceError: if git cannot; the branch and the files are then as before.

    """
    intent = _Intent(ref=ref, old=old, new=new)
    await asyncio.to_thread(write_durably, intent_file, json.dumps(asdict(intent)))
    await git("update-ref", "-m", "orchestrate: merge a task", ref, new, old)
    try:
        await git("read-tree", "-m", "-u", old, new)
    except WorkspaceError:
        await _bring(git, new, old)
        await git("update-ref", "-m", "orchestrate: undo a merge", ref, old, new)
        await asyncio.to_thread(intent_file.unlink)
        raise
    await asyncio.to_thread(intent_file.unlink)


async def finish(git: Git, intent_file: Path) -> None:
    """Finish what a killed process had begun; nothing to do most of the time.

    Raises:
        WorkspaceError: if git cannot, for instance because the disk is full; it is tried again next time.

    """
    intent = await asyncio.to_thread(_read, intent_file)
    if intent is not None:
        at = await git("rev-parse", "--verify", "--quiet", "HEAD", codes=(0, 1))
        on = await git("symbolic-ref", "--quiet", "HEAD", codes=(0, 1))
        # Else the branch had not moved, so nothing had; or the user has gone on from there by hand.
        if on.line == intent.ref and at.line == intent.new:
            # The index is replaced in one go, and last. So when it is the new one already, the files are, too.
            staged = await git("diff-index", "--cached", "-z", "--name-only", "--no-renames", intent.new)
            if set(staged.names).intersection(await _paths(git, intent.old, intent.new)):
                await _bring(git, intent.old, intent.new)
    await asyncio.to_thread(intent_file.unlink, missing_ok=True)


def _read(intent_file: Path) -> _Intent | None:
    try:
        return _Intent(**json.loads(intent_file.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


async def _bring(git: Git, old: str, new: str) -> None:
    """Bring the files that differ between the two from `old`, or half-way, to `new`, and then the index.

    The index comes last here, too: killed or failed before, all of it is done again.
    """
    paths = await _paths(git, old, new)
    ours = await _untouched(git, paths, old, new)
    async with _index_of(git, new) as env:
        kept = set((await git("ls-files", "-z", "--cached", env=env)).names)
        await asyncio.to_thread(_remove, git.folder, [path for path in ours if path not in kept])
        wanted = b"".join(os.fsencode(path) + b"\0" for path in ours if path in kept)
        await git("checkout-index", "-f", "-z", "--stdin", stdin=wanted, env=env)
    await git("read-tree", "-m", "-i", old, new)
    await git("update-index", "-q", "--refresh", codes=(0, 1))


async def _paths(git: Git, old: str, new: str) -> list[str]:
    return (await git("diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new)).names


async def _untouched(git: Git, paths: list[str], old: str, new: str) -> list[str]:
    """Return the paths where nothing would be lost: as in `old` or `new`, missing, or the beginning of either."""
    neither = await _differing(git, old) & await _differing(git, new)
    return [
        path
        for path in paths
        if path not in neither
        or await _is_begun(git, path, old)
        or await _is_begun(git, path, new)
        or not await asyncio.to_thread(os.path.lexists, git.folder / path)
    ]


async def _differing(git: Git, commit: str) -> set[str]:
    """Return the tracked or untracked paths whose file is not that of the commit, filters and all."""
    async with _index_of(git, commit) as env:
        await git("update-index", "-q", "--refresh", env=env, codes=(0, 1))
        changed = (await git("diff-files", "-z", "--name-only", "--ignore-submodules", env=env)).names
        others = (await git("ls-files", "-z", "--others", "--exclude=/.orchestration", env=env)).names
    return {*changed, *others}


@asynccontextmanager
async def _index_of(git: Git, commit: str) -> AsyncIterator[dict[str, str]]:
    """Yield the variables by which git uses a temporary index, which holds the commit, in place of the user's."""
    index = git.folder / ".git" / "orchestrate-index"
    env = {"GIT_INDEX_FILE": str(index)}
    for left in (index, index.with_name(f"{index.name}.lock")):  # of a killed one of ours
        await asyncio.to_thread(left.unlink, missing_ok=True)
    try:
        await git("read-tree", commit, env=env)
        yield env
    finally:
        await asyncio.to_thread(index.unlink, missing_ok=True)


async def _is_begun(git: Git, path: str, commit: str) -> bool:
    """Say whether the file is the beginning of the commit's: git was killed while it wrote it."""
    file = git.folder / path
    try:
        size = (await asyncio.to_thread(file.lstat)).st_size
        written = await asyncio.to_thread(_beginning, file)
    except OSError:
        return False
    meant = await git("cat-file", "--filters", f"{commit}:{path}", codes=(0, 128), limit_bytes=_COMPARED_MAX_BYTES)
    return meant.code == 0 and meant.out.startswith(written) and (size <= len(meant.out) or meant.is_cut)


def _beginning(file: Path) -> bytes:
    fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as opened:
        return opened.read(_COMPARED_MAX_BYTES)


def _remove(root: Path, paths: list[str]) -> None:
    for path in paths:
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            (root / path).unlink()
        for above in (root / path).parents:
            if above == root:
                break
            try:
                above.rmdir()
            except OSError:  # it has other files, or is gone
                break
