"""What all programs need that do a task's work: their path, a folder for the attempt, and words for how they end."""

from __future__ import annotations

import asyncio
import errno
import signal
import textwrap
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.errors import AttemptError, FailureKind
from orchestration.runners.process import STDOUT_MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from orchestration.runners.process import ProcessEnd

__all__ = ["attempt_folder", "cannot_start", "how_ended", "located", "refuse_failure", "swept", "write_files"]

_SHOWN_CHARS = 200


def located(command: Sequence[str], root: Path | None) -> list[str]:
    """Return the command with its program's path, where it is one, taken from the project's folder."""
    program = command[0]
    if root is not None and "/" in program:
        program = str(root / program)
    return [program, *command[1:]]


def cannot_start(
    program: str, task_id: str, exc: OSError | ValueError, *, cwd: Path | None, install: str = ""
) -> AttemptError:
    """Return the failure of a program that did not start in `cwd`, with what to do. `install` is how to get it."""
    if isinstance(exc, FileNotFoundError) and cwd is not None and not cwd.is_dir():
        why = f"the folder it is to run in, {str(cwd)!r}, is gone; find out what removed it"
    else:
        why = _why(program, exc, install)
    return AttemptError(f"cannot start {program!r} for task {task_id!r}: {why}", kind=FailureKind.UNAVAILABLE)


def how_ended(exit_code: int) -> str:
    """Say how a process ended: its exit code, or the signal that killed it."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    try:
        return f"was killed by {signal.Signals(-exit_code).name} (signal {-exit_code})"
    except ValueError:  # a real-time signal
        return f"was killed by signal {-exit_code}"


def refuse_failure(command: Sequence[str], end: ProcessEnd, *, instead: str) -> None:
    """Raise what the end of a program means, unless it is a success. `instead` is what to do with a large output.

    Raises:
        AttemptError: of kind `timeout` if it fell silent, else `task_error`.

    """
    shown = textwrap.shorten(" ".join(command), _SHOWN_CHARS)
    if end.is_overlong:
        raise AttemptError(
            f"{shown!r} printed more than {STDOUT_MAX_BYTES:,} bytes and was stopped; {instead}",
            kind=FailureKind.TASK_ERROR,
        )
    if end.is_idle:
        raise AttemptError(
            f"{shown!r} said nothing for so long that it was stopped; "
            "raise idle_timeout_s of its agent if it may be silent for longer",
            kind=FailureKind.TIMEOUT,
        )
    if end.exit_code == 0:
        return
    how, said = how_ended(end.exit_code), end.stderr_tail.decode(errors="replace").strip()
    raise AttemptError(
        f"{shown!r} {how}; its stderr ends: {said}" if said else f"{shown!r} {how} and said nothing on stderr",
        kind=FailureKind.TASK_ERROR,
        details={"exit_code": end.exit_code},
    )


@asynccontextmanager
async def attempt_folder(prefix: str = "orchestrate-", *, above: Path | None = None) -> AsyncIterator[Path]:
    """Make a folder of one's own, below `above` or among the system's temporary ones, and remove it at the end."""
    folder = await asyncio.to_thread(_make_folder, prefix, above)
    try:
        yield folder
    finally:
        await asyncio.to_thread(_remove_folder, folder)


@asynccontextmanager
async def swept(folder: Path, litter: Sequence[str]) -> AsyncIterator[None]:
    """Remove from the folder, at the end, what is named and was not there at the beginning."""
    new = [folder / name for name in litter if not await asyncio.to_thread((folder / name).exists)]
    try:
        yield
    finally:
        for path in new:
            await asyncio.to_thread(_remove_folder, path)


def _make_folder(prefix: str, above: Path | None) -> Path:
    import tempfile  # noqa: PLC0415 -- with what it imports, milliseconds that every start would pay

    if above is not None:
        above.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=prefix, dir=above)).absolute()


def _remove_folder(folder: Path) -> None:
    import shutil  # noqa: PLC0415 -- as above

    shutil.rmtree(folder, ignore_errors=True)


async def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files into the folder, without blocking the event loop."""
    for name, text in files.items():
        await asyncio.to_thread((folder / name).write_text, text, encoding="utf-8", errors="replace")


def _why(program: str, exc: OSError | ValueError, install: str) -> str:
    """Say why a program did not start, and what to do."""
    if isinstance(exc, FileNotFoundError):
        return _why_not_found(program, install)
    if isinstance(exc, PermissionError):
        return f"it is not executable; run `chmod +x {program}`, or name its interpreter first"
    if isinstance(exc, OSError) and exc.errno == errno.ENOEXEC:
        return "it is neither a program nor a script with a '#!' line; add one, or name its interpreter first"
    if isinstance(exc, OSError) and exc.errno == errno.E2BIG:
        return "its arguments are too long for this system; use {prompt_file} in place of {prompt}"
    if isinstance(exc, ValueError) and "null byte" in str(exc):
        return "its name or arguments hold a NUL character; leave it out, or use {prompt_file} in place of {prompt}"
    return str(exc)


def _why_not_found(program: str, install: str) -> str:
    if "/" not in program:
        way = f"install it: {install}" if install else f"install it, or write './{program}' for a file of the project"
        return f"no such program on the PATH; {way}"
    if Path(program).exists():
        return "the interpreter its first line names does not exist"
    return "no such file; check the path, which is relative to the project's folder"
