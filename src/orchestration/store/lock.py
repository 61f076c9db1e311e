"""One live orchestrator per project: a lock file that the kernel lets go of when its process dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from orchestration.errors import ProjectLockedError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ProjectLock", "owner_pid"]


class ProjectLock:
    """An exclusive lock, held from `__init__` until `release`. The file holds the owner's process id.

    Raises:
        ProjectLockedError: if another orchestrator, in this process or another, holds it; names its process.
        StoreError: if the file cannot be made or locked.

    """

    def __init__(self, path: Path) -> None:
        try:
            self._fd: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as exc:
            raise StoreError(f"cannot open the lock file {str(path)!r}: {exc}; make the folder writable") from exc
        try:
            self._take(self._fd, path)
        except BaseException:
            os.close(self._fd)
            self._fd = None
            raise

    @staticmethod
    def _take(fd: int, path: Path) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        except BlockingIOError:
            pid = _read_pid(path)
            raise ProjectLockedError(
                f"the project in {str(path.parent.parent)!r} is open in another orchestrator "
                f"(process {pid or 'unknown'}); wait for it, or stop it with `orchestrate cancel`",
                pid=pid,
            ) from None
        except OSError as exc:
            raise StoreError(
                f"cannot lock the project with {str(path)!r}: {exc}; it needs a local disk with space left"
            ) from exc

    def release(self) -> None:
        """Let go; calling it twice is fine. The file stays: removing it could give two owners two files."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None


def owner_pid(path: Path) -> int | None:
    """Return the process that holds the lock; None when nobody does."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    pid = _read_pid(path)
    try:
        if pid is not None:  # else it was released in order: not even a short shared lock is needed
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return pid
    finally:
        os.close(fd)
    return None


def _read_pid(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
