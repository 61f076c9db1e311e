"""The files tasks ask their outputs to be written to, whole or not at all, inside the project's folder.

A task's output is safe among the facts before its file is written; knows nothing of how it came about.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.task import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from orchestration.run_state import TaskState

__all__ = ["OutputFiles"]

_log = logging.getLogger("orchestration")


class OutputFiles:
    """Writes the output files of one project; what could not be written is logged and kept in `problems`."""

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self.problems: list[str] = []

    async def write(self, known: TaskState) -> None:
        """Write the file of a completed task; nothing for a task without one. A failure goes to `problems`."""
        if self._root is None or known.task.output_file is None or known.result is None:
            return
        try:
            await asyncio.to_thread(_write_atomically, self._root, known.task.output_file, known.result.output)
        except (OSError, ValueError) as exc:  # ValueError: a path or text the file system has no bytes for
            problem = f"task {known.task.task_id!r}: cannot write output_file {known.task.output_file!r}: {exc}"
            if problem not in self.problems:  # it is tried again at the end of the run
                _log.error(problem, extra={"action": "output_not_written", "task": known.task.task_id})
                self.problems.append(problem)

    async def restore(self, tasks: Iterable[TaskState]) -> None:
        """Write the files that are missing or older than their task's completion.

        A crash can come between the two, and a person's answer has no other moment to be written. A file that is newer
        was edited since, and is left alone.
        """
        if self._root is None:
            return
        for known in tasks:
            name, ended_at = known.task.output_file, known.ended_at
            if not name or ended_at is None or known.status is not TaskStatus.COMPLETED:
                continue
            if await asyncio.to_thread(_is_stale, self._root / name, ended_at):
                await self.write(known)


def _is_stale(path: Path, ended_at: datetime) -> bool:
    try:
        return path.stat().st_mtime < ended_at.timestamp()
    except OSError:
        return True


def _write_atomically(root: Path, relative: str, text: str) -> None:
    """Write a file inside the root through a temporary one beside it.

    Raises:
        OSError: if it cannot be written, or the path leads out of the root, also through a symbolic link.

    """
    import tempfile  # noqa: PLC0415 -- some milliseconds that projects without output files need not pay

    target = root / relative
    folder = target.parent.resolve()
    if not folder.is_relative_to(root.resolve()):
        raise PermissionError(f"it leads out of the project's folder, to {str(folder)!r}")
    folder.mkdir(parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=folder, prefix=f".{target.name[:100]}.")
    try:
        with os.fdopen(fd, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)  # else the name could outlive a power cut, and the text not
        Path(temporary).chmod(0o644)
        written_ns = time.time_ns()  # the kernel's stamp can be some ms old: older than the task's completion
        os.utime(temporary, ns=(written_ns, written_ns))
        Path(temporary).replace(folder / target.name)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
