"""Checks of kind `command`: a program that says by its exit code whether the result holds. Knows processes."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from typing import TYPE_CHECKING

from orchestration.errors import AttemptError, FailureKind
from orchestration.runners.process import ProcessEnd, run_process
from orchestration.verification.excerpt import GAP, excerpt, readable
from orchestration.verification.verdict import EVIDENCE_MAX_CHARS, verdict_on

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestration.task_options import Check
    from orchestration.verification.verdict import Verdict

__all__ = ["COMMAND_TIMEOUT_S", "run_command"]

COMMAND_TIMEOUT_S = 600.0

_SHOWN_CHARS = 200
_HEAD_BYTES = 2_000
_TAIL_BYTES = 4_000


async def run_command(check: Check, output: str, *, cwd: Path | None, env: Mapping[str, str], owner: str) -> Verdict:
    """Tell whether the command ends with exit code 0, given the output on stdin.

    What it says on stdout and stderr is the evidence: the beginning and the end of each. One that takes too long has
    failed, for it may be the worker's code that does not end. Programs named by a path are looked for below `cwd`.

    Raises:
        AttemptError: of kind `task_error`, if it cannot be started: that is not the worker's to mend.

    """
    program, *arguments = check.command
    if cwd is not None and "/" in program:
        program = str(cwd / program)
    timeout_s = check.timeout_s or COMMAND_TIMEOUT_S
    heard, limit = _Heard(), asyncio.timeout(timeout_s)
    try:
        async with limit:
            end = await run_process(
                [program, *arguments],
                stdin=output.encode(),
                env=os.environ | dict(env),
                cwd=cwd,
                on_line=heard.take,
                owner=owner,
            )
    except (OSError, ValueError) as exc:
        if limit.expired():
            ending = f"took more than {timeout_s:g} s and was stopped"
            return verdict_on(check, _evidence(check, ending, readable(heard.text()).strip(), ""), is_passed=False)
        raise AttemptError(
            f"check {check.label!r}: cannot start {program!r}: {_why(program, cwd, exc)}",
            kind=FailureKind.TASK_ERROR,
            details={"check": check.label},
        ) from exc
    stdout, stderr = readable(heard.text()).strip(), readable(_decoded(end.stderr_tail)).strip()
    return verdict_on(check, _evidence(check, _ending(end), stdout, stderr), is_passed=end.exit_code == 0)


class _Heard:
    """The beginning and the end of what a process says, line by line, however much that is."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._is_gapped = False

    def take(self, line: bytes, is_cut: bool) -> None:  # noqa: ARG002, FBT001 -- as `run_process` calls it
        """Keep of the line what there is room for."""
        room = _HEAD_BYTES - len(self._head)
        if len(line) < room:
            self._head += line + b"\n"
            return
        self._head += line[:room]
        self._tail += line[room:] + b"\n"
        self._is_gapped = self._is_gapped or len(self._tail) > _TAIL_BYTES
        del self._tail[:-_TAIL_BYTES]

    def text(self) -> str:
        """Return it as text, whatever the bytes."""
        return _decoded(self._head) + (GAP if self._is_gapped else "") + _decoded(self._tail)


def _evidence(check: Check, ending: str, stdout: str, stderr: str) -> str:
    """Say how the command ended and what it said; each stream gets half the room, and what the other leaves."""
    parts = [f"{excerpt(' '.join(check.command), _SHOWN_CHARS)!r} {ending}"]
    streams = {name: text for name, text in (("stdout", stdout), ("stderr", stderr)) if text}
    room = EVIDENCE_MAX_CHARS - len(parts[0]) - sum(len(f"\n{name}:\n") for name in streams)
    used = sum(map(len, streams.values()))
    for name, text in streams.items():
        share = max(room // 2, room - (used - len(text))) if len(streams) > 1 else room
        parts.append(f"{name}:\n{excerpt(text, share)}")
    return "\n".join(parts)


def _decoded(raw: bytes | bytearray) -> str:
    return raw.decode(errors="replace")


def _ending(end: ProcessEnd) -> str:
    if end.exit_code >= 0:
        return f"ended with exit code {end.exit_code}"
    try:
        return f"was killed by {signal.Signals(-end.exit_code).name} (signal {-end.exit_code})"
    except ValueError:  # a real-time signal
        return f"was killed by signal {-end.exit_code}"


def _why(program: str, cwd: Path | None, exc: OSError | ValueError) -> str:
    """Say why the program did not start, and what to do."""
    if isinstance(exc, FileNotFoundError) and cwd is not None and not cwd.is_dir():
        return f"the folder it is to run in, {str(cwd)!r}, is gone; find out what removed it"
    if isinstance(exc, FileNotFoundError) and "/" not in program:
        return f"no such program on the PATH; install it, or write './{program}' for a file of the project"
    if isinstance(exc, FileNotFoundError):
        return "no such file, or none that its first line names; correct the check's command"
    if isinstance(exc, PermissionError):
        return f"it is not executable; run `chmod +x {program}`, or name its interpreter first"
    if isinstance(exc, OSError) and exc.errno == errno.ENOEXEC:
        return "it is neither a program nor a script with a '#!' line; add one, or name its interpreter first"
    return f"{exc}; correct the check's command"
