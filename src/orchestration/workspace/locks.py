"""Locks between processes, which outlive a killed orchestrator for as long as a git it started does.

The lock is an `flock` on a file whose descriptor git inherits. The file is empty unless somebody is at work, or died at
it: then git may have left lock files of its own, which nobody else would ever remove.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.workspace.errors import Refusal, WorkspaceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

__all__ = ["Held", "has_live_git", "held", "sweep"]

_PATIENCE_S = 600.0
_POLL_S = 0.005
_WINDOW_NS = 600 * 10**9  # longer than this after it began, nothing was left by a git of ours
_PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True)
class Held:
    """A lock that is held. `died_at_ns`: when the last holder that never let go of it had begun; else None."""

    fd: int
    died_at_ns: int | None


@asynccontextmanager
async def held(path: Path) -> AsyncIterator[Held]:
    """Hold the lock of this file for the block; waits for others, in this process or another.

    Left by an exception, it stays marked: the next holder learns that something may have been left half done.

    Raises:
        WorkspaceError: if it cannot be had within ten minutes, or its file cannot be made.

    """
    fd = await _taken(path)
    try:
        status = os.fstat(fd)
        if not status.st_size:
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        yield Held(fd=fd, died_at_ns=status.st_mtime_ns if status.st_size else None)
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)


async def _taken(path: Path) -> int:
    """Return the descriptor of the file, locked: of the one that has the name now, should a holder have removed it."""
    deadline_s = asyncio.get_running_loop().time() + _PATIENCE_S
    while asyncio.get_running_loop().time() < deadline_s:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as exc:
            raise WorkspaceError(
                f"cannot open the lock file {str(path)!r}: {exc}; make the folder writable", kind=Refusal.BUSY
            ) from exc
        if _try(fd, path):
            return fd
        os.close(fd)
        await asyncio.sleep(_POLL_S)
    raise WorkspaceError(
        f"{str(path)!r} is held by another orchestrator or a git it started; see `fuser -v {path}`", kind=Refusal.BUSY
    )


def _try(fd: int, path: Path) -> bool:
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return path.stat().st_ino == os.fstat(fd).st_ino
    return False


def sweep(files: Iterable[Path], folder: Path, *, since_ns: int | None) -> None:
    """Remove lock files that a killed git left, unless a live git works in the folder.

    With `since_ns` only those that may come from a git started then: the user's own, older or younger, stay.
    """
    found = [file for file in files if _is_from(file, since_ns)]
    if found and not has_live_git(folder):
        for file in found:
            file.unlink(missing_ok=True)


def _is_from(file: Path, since_ns: int | None) -> bool:
    try:
        made_ns = file.lstat().st_mtime_ns
    except OSError:
        return False
    return since_ns is None or since_ns <= made_ns <= since_ns + _WINDOW_NS


def has_live_git(folder: Path) -> bool:
    """Say whether a git works in the folder or below; False where there is no /proc to tell."""
    if not _PROC.is_dir():
        return False
    for name in os.listdir(_PROC):  # noqa: PTH208 -- a tenth of the time of iterdir
        # A process may vanish, or belong to somebody else, at any point in here.
        with suppress(OSError):
            if (
                name.isdigit()
                and (_PROC / name / "comm").read_text(errors="replace").startswith("git")
                and (_PROC / name / "cwd").readlink().is_relative_to(folder)
            ):
                return True
    return False
