"""One child process, from its start to the end of its last descendant. Knows bytes, signals and exit codes, no task.

The child leads a session of its own. However the attempt ends, no process of that session outlives it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["STDERR_TAIL_BYTES", "STDOUT_MAX_BYTES", "ProcessEnd", "run_process"]

STDOUT_MAX_BYTES = 10_000_000
STDERR_TAIL_BYTES = 4_000

_GRACE_S = 1.0  # between the polite signal and the last one
_KILL_S = 5.0  # a process stuck in the kernel is not waited for longer
_DRAIN_S = 1.0  # for the rest of the output after the exit; descendants may hold the pipe open for ever
_POLL_S = 0.02
_PROC = Path("/proc")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ProcessEnd:
    """How a process ended.

    `exit_code` is negative for a signal. `stdout` is empty when it was longer than allowed (`is_overlong`), upon which
    the process was killed. `stderr_tail` is the last of what it said there.
    """

    exit_code: int
    stdout: bytes
    stderr_tail: bytes
    is_overlong: bool


async def run_process(
    command: Sequence[str | Path], *, stdin: bytes, env: Mapping[str, str], cwd: Path | None
) -> ProcessEnd:
    """Run the command with `stdin` as its input, and return how it ended.

    Cancelled, it ends the whole session first: SIGTERM, a second's grace, SIGKILL.

    Raises:
        OSError, ValueError: if it cannot be started.

    """
    # Started to the end even if cancelled meanwhile: asyncio's own way out would kill the child alone, and then wait
    # for its pipes, which descendants may hold open for ever.
    async with asyncio.TaskGroup() as group:
        starting = group.create_task(_start(command, env, cwd))
        interruption = await _outlast(starting)
    started = starting.result()
    if isinstance(started, Exception):
        raise interruption or started
    transport, output = started
    try:
        if interruption is not None:
            raise interruption
        _feed(transport, stdin)
        await output.ended
        if not output.is_overlong:
            await asyncio.wait([output.drained], timeout=_DRAIN_S)
    finally:
        await _end_session(transport, output)
    return ProcessEnd(
        exit_code=cast("int", transport.get_returncode()),
        stdout=bytes(output.stdout),
        stderr_tail=bytes(output.stderr_tail),
        is_overlong=output.is_overlong,
    )


async def _start(
    command: Sequence[str | Path], env: Mapping[str, str], cwd: Path | None
) -> tuple[asyncio.SubprocessTransport, _Output] | OSError | ValueError:
    """Start the process; return the error, too, since a TaskGroup would wrap one that is raised."""
    loop = asyncio.get_running_loop()
    try:
        return await loop.subprocess_exec(lambda: _Output(loop), *command, cwd=cwd, env=env, start_new_session=True)
    except (OSError, ValueError) as exc:
        return exc


async def _outlast(task: asyncio.Task[Any]) -> asyncio.CancelledError | None:
    """Wait for the task, even if cancelled meanwhile; return that cancellation, for the caller to raise."""
    interruption = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as exc:
            interruption = exc
    return interruption


class _Output(asyncio.SubprocessProtocol):
    """Collects what the process says, within bounds, and notes its end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.stdout = bytearray()
        self.stderr_tail = bytearray()
        self.is_overlong = False
        self.ended: asyncio.Future[None] = loop.create_future()  # it exited, or said too much
        self.exited: asyncio.Future[None] = loop.create_future()
        self.drained: asyncio.Future[None] = loop.create_future()  # nobody can write any more
        self.released: asyncio.Future[None] = loop.create_future()  # the loop has let go of it
        self._open = {1, 2}

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Keep it, as far as there is room."""
        if fd == 2:  # noqa: PLR2004 -- stderr
            self.stderr_tail += data
            del self.stderr_tail[:-STDERR_TAIL_BYTES]
        elif not self.is_overlong:
            self.stdout += data
            if len(self.stdout) > STDOUT_MAX_BYTES:
                self.is_overlong = True
                self.stdout.clear()
                _settle(self.ended)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 -- a closed pipe is an end
        """Note the end of one stream."""
        self._open.discard(fd)
        if not self._open:
            _settle(self.drained)

    def process_exited(self) -> None:
        """Note the exit."""
        _settle(self.exited)
        _settle(self.ended)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- see above
        """Note that the loop has let go."""
        _settle(self.released)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _feed(transport: asyncio.SubprocessTransport, stdin: bytes) -> None:
    """Hand over the input; a process that does not read it is free not to."""
    pipe = cast("asyncio.WriteTransport", transport.get_pipe_transport(0))
    pipe.write(stdin)
    pipe.write_eof()


async def _end_session(transport: asyncio.SubprocessTransport, output: _Output) -> None:
    """End whatever is left of the session and let go of the process.

    A cancellation meanwhile, even a second one, is raised only after that: an abandoned process could never be found
    again. It takes 6 s at most.
    """
    session = transport.get_pid()
    interruption: asyncio.CancelledError | None = None
    is_gone = output.exited.done() and not _has_group(session)
    for signum, patience_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _KILL_S)):
        deadline_s = asyncio.get_running_loop().time() + patience_s
        is_sent = False
        while not is_gone and asyncio.get_running_loop().time() < deadline_s:
            if not is_sent or signum == signal.SIGKILL:  # again and again, for those forked in between
                _signal(session, signum)
                is_sent = True
            try:
                await asyncio.sleep(_POLL_S)
            except asyncio.CancelledError as exc:
                interruption = exc
            is_gone = output.exited.done() and not any(_members(session))
    if not is_gone:
        _log.warning("processes of session %d survived SIGKILL; look at `ps -s %d`", session, session)
    transport.close()
    try:
        await asyncio.wait([output.released], timeout=_DRAIN_S)
    except asyncio.CancelledError as exc:
        interruption = exc
    if interruption is not None:
        raise interruption


def _signal(session: int, signum: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(session, signum)
    for pid in _members(session):  # shells give their background jobs groups of their own
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(pid) != session:
                os.kill(pid, signum)


def _has_group(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _members(session: int) -> Iterator[int]:
    """Yield the session's live processes; where there is no /proc, its leader while its group lives."""
    if not (_PROC / "self" / "stat").exists():
        if _has_group(session):
            yield session
        return
    for name in os.listdir(_PROC):  # noqa: PTH208 -- a tenth of the time of iterdir, on the event loop
        # A process may vanish at any point in here.
        with suppress(ProcessLookupError, PermissionError, FileNotFoundError):
            if name.isdigit() and os.getsid(int(name)) == session and not _is_zombie(_PROC / name / "stat"):
                yield int(name)


def _is_zombie(stat: Path) -> bool:
    """Say whether the process is dead and only waits for its parent to notice, which in a container may be never."""
    return stat.read_text(errors="replace").rpartition(")")[2].split()[0] == "Z"
