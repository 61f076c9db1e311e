"""One child process, from its start to the end of its last descendant. Knows bytes, signals and exit codes, no task.

The child leads a session of its own and carries a mark. However the attempt ends, no process of that session outlives
it; unless the child ended by itself and left nothing in its group, none that carries the mark does either, wherever it
went. Where there is no /proc (macOS) that holds for the child's process group alone.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import msgspec

from orchestration.runners.process_output import LINE_MAX_BYTES, STDERR_TAIL_BYTES, STDOUT_MAX_BYTES, Output
from orchestration.runners.process_tree import MARK_VARIABLE, ProcessTree, end_all, has_group, sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["LINE_MAX_BYTES", "STDERR_TAIL_BYTES", "STDOUT_MAX_BYTES", "ProcessEnd", "run_process", "sweep"]

_DRAIN_S = 1.0  # for the rest of the output after the exit; descendants may hold the pipe open for ever

_log = logging.getLogger(__name__)


class ProcessEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a process ended.

    `exit_code` is negative for a signal. `stdout` is empty when lines were handed over, and when it was longer than
    allowed (`is_overlong`), upon which the process was killed, as it was after it said nothing for too long
    (`is_idle`). `stderr_tail` is the last of what it said there.
    """

    exit_code: int
    stdout: bytes
    stderr_tail: bytes
    is_overlong: bool = False
    is_idle: bool = False


async def run_process(
    command: Sequence[str | Path],
    *,
    stdin: bytes,
    env: Mapping[str, str],
    cwd: Path | None,
    on_line: Callable[[bytes, bool], None] | None = None,
    raw: Path | None = None,
    idle_timeout_s: float | None = None,
    owner: str = "",
    secrets: Sequence[str] = (),
) -> ProcessEnd:
    """Run the command with `stdin` as its input, and return how it ended.

    Each line of stdout, without its end, goes to `on_line`, if there is one, in place of being collected. One longer
    than `LINE_MAX_BYTES` is cut there, which the second argument says. What it raises ends the process and is raised.
    Lines that the process says while it is being ended are handed over, too.

    The folder `raw` gets `stdout.log` and `stderr.log`, the first and the last 10 MB of each, in which `secrets` are
    masked. After `idle_timeout_s` without a byte on either the process is ended. `owner`, one line, is what `sweep`
    finds it by when we were killed.

    Cancelled, it ends all processes first: SIGTERM, a second's grace, SIGKILL.

    Raises:
        OSError, ValueError: if it cannot be started.
        Exception: what `on_line` raises.

    """
    loop = asyncio.get_running_loop()
    listen = partial(Output, loop, on_line=on_line, raw=raw, idle_timeout_s=idle_timeout_s, secrets=secrets)
    tree = ProcessTree(owner)
    marked = {**env, MARK_VARIABLE: tree.mark}
    # Started to the end even if cancelled meanwhile: asyncio's own way out would kill the child alone, and then wait
    # for its pipes, which descendants may hold open for ever.
    async with asyncio.TaskGroup() as group:
        starting = group.create_task(_start(command, marked, cwd, listen))
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
        if output.exited.done() and not output.drained.done():
            await asyncio.wait([output.drained], timeout=_DRAIN_S)
    finally:
        await _finish(transport, output, tree)
    output.end_lines()
    exit_code = transport.get_returncode()
    return ProcessEnd(
        exit_code=-signal.SIGKILL if exit_code is None else exit_code,  # None: stuck in the kernel, and told of
        stdout=bytes(output.stdout),
        stderr_tail=bytes(output.stderr_tail),
        is_overlong=output.is_overlong,
        is_idle=output.is_idle,
    )


async def _start(
    command: Sequence[str | Path],
    env: Mapping[str, str],
    cwd: Path | None,
    listen: Callable[[], Output],
) -> tuple[asyncio.SubprocessTransport, Output] | OSError | ValueError:
    """Start the process; return the error, too, since a TaskGroup would wrap one that is raised."""
    loop = asyncio.get_running_loop()
    try:
        return await loop.subprocess_exec(listen, *command, cwd=cwd, env=env, start_new_session=True)
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


def _feed(transport: asyncio.SubprocessTransport, stdin: bytes) -> None:
    """Hand over the input; a process that does not read it is free not to."""
    pipe = cast("asyncio.WriteTransport", transport.get_pipe_transport(0))
    pipe.write(stdin)
    pipe.write_eof()


async def _finish(transport: asyncio.SubprocessTransport, output: Output, tree: ProcessTree) -> None:
    """End whatever is left of the process and let go of it.

    A cancellation meanwhile, even a second one, is raised only after that: an abandoned process could never be found
    again.
    """
    async with asyncio.TaskGroup() as group:
        interruption = await _outlast(group.create_task(_let_go(transport, output, tree)))
    if interruption is not None:
        raise interruption


async def _let_go(transport: asyncio.SubprocessTransport, output: Output, tree: ProcessTree) -> None:
    output.stop_watching()
    leader = transport.get_pid()
    # The usual end costs one system call; only others are worth a look at every process of the system.
    if not (output.exited.done() and output.drained.done()) or has_group(leader):
        if survivors := await end_all(lambda: tree.living(leader), group=leader):
            pids = ", ".join(str(each.pid) for each in survivors)
            _log.warning("processes %s survived SIGKILL; look at `ps -p %s`", pids, pids.replace(" ", ""))
        await output.flush()
        # Else closing takes the exit code from under the nose of the loop, which reports 255 then.
        await asyncio.wait([output.exited], timeout=_DRAIN_S)
    transport.close()
    await asyncio.wait([output.released], timeout=_DRAIN_S)
    await output.aclose()
