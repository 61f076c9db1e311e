"""One git command: an asynchronous process with a clean environment, bounded output, a timeout and no hooks.

Hooks are off because ours are intermediate commits: a pre-commit hook that asks, reformats or fails would lose work,
and what a task has to pass is said by its checks. What an agent commits itself runs the user's hooks as ever.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from orchestration.workspace.errors import Refusal, WorkspaceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["TIMEOUT_S", "Git", "Reply", "names"]

TIMEOUT_S = 600.0  # a checkout of a large repository through slow filters
_OUTPUT_MAX_BYTES = 64_000_000
_ERROR_MAX_BYTES = 20_000
_GRACE_S = 1.0  # git takes its lock files along when it is asked to end

_FLAGS: Final = (
    *("--no-pager", "--literal-pathspecs", "-c", "color.ui=never"),
    *("-c", "core.hooksPath=/dev/null", "-c", "core.quotePath=off", "-c", "core.fsmonitor=false"),
    *("-c", "core.editor=false", "-c", "commit.gpgSign=false", "-c", "i18n.commitEncoding=UTF-8"),
    *("-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "submodule.recurse=false"),
    *("-c", "rerere.enabled=false", "-c", "core.safecrlf=false", "-c", "advice.detachedHead=false"),
)
# Of the variables that tell git which repository to use, as set for instance inside a hook, none may reach it.
_KEPT: Final = (
    *("GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_EXEC_PATH", "GIT_SSL_"),
    *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"),
    *("GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_"),
)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What git said. `is_cut`: there was more output than asked for."""

    code: int
    out: bytes
    err: str
    is_cut: bool

    @property
    def line(self) -> str:
        """The output as one line of text."""
        return os.fsdecode(self.out).strip("\n")

    @property
    def names(self) -> list[str]:
        """The output of `-z`: names between NULs."""
        return names(self.out)


def names(output: bytes) -> list[str]:
    """Split what `-z` printed; bytes that are no UTF-8 become surrogates, as in `os.fsdecode`."""
    return [os.fsdecode(name) for name in output.split(b"\0") if name]


@dataclass(frozen=True)
class Git:
    """Git in one folder, which it does not look for a repository above.

    `held` are file descriptors of locks that each command inherits: a lock is free only when the last of them has
    ended, also when this process was killed meanwhile.
    """

    folder: Path
    held: tuple[int, ...] = ()

    def holding(self, *fds: int) -> Git:
        """Return one whose commands keep these locks."""
        return replace(self, held=(*self.held, *fds))

    def at(self, folder: Path) -> Git:
        """Return one in another folder, with the same locks."""
        return replace(self, folder=folder)

    async def __call__(
        self,
        *args: str,
        stdin: bytes = b"",
        codes: Sequence[int] = (0,),
        env: Mapping[str, str] | None = None,
        limit_bytes: int | None = None,
    ) -> Reply:
        """Run `git *args`. With `limit_bytes`, longer output is cut; else it is refused above 64 MB.

        Cancelled, it ends git with all it started, first politely.

        Raises:
            WorkspaceError: if there is no git, it takes longer than `TIMEOUT_S`, ends with none of `codes`, or
                says too much.

        """
        try:
            async with asyncio.timeout(TIMEOUT_S):
                reply = await self._run(args, stdin, {**_environment(self.folder), **(env or {})}, limit_bytes)
        except TimeoutError:
            raise WorkspaceError(
                f"`git {args[0]}` in {str(self.folder)!r} took longer than {TIMEOUT_S:g} s and was ended; "
                "try it by hand to see what it waits for",
                kind=Refusal.GIT_FAILED,
            ) from None
        if reply.code not in codes or (reply.is_cut and limit_bytes is None):
            said = f"more than {_OUTPUT_MAX_BYTES} bytes of output" if reply.is_cut else reply.err.strip()
            raise WorkspaceError(
                f"`git {args[0]}` in {str(self.folder)!r} failed with exit code {reply.code}: {said or 'no reason'}",
                kind=Refusal.BUSY if ".lock': File exists" in reply.err else Refusal.GIT_FAILED,
            )
        return reply

    async def says(self, *args: str) -> bool:
        """Return whether a question is answered with exit code 0 (yes) or 1 (no)."""
        return (await self(*args, codes=(0, 1))).code == 0

    async def _run(self, args: Sequence[str], stdin: bytes, env: Mapping[str, str], limit_bytes: int | None) -> Reply:
        process = await self._start(args, env)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_feed(process, stdin))
                out = group.create_task(_read(process.stdout, limit_bytes or _OUTPUT_MAX_BYTES))
                err = group.create_task(_read(process.stderr, _ERROR_MAX_BYTES))
            code = await process.wait()
        finally:
            if process.returncode is None:
                await _end(process)
        text, is_cut = out.result()
        return Reply(code=code, out=text, err=err.result()[0].decode(errors="replace"), is_cut=is_cut)

    async def _start(self, args: Sequence[str], env: Mapping[str, str]) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        try:
            return await asyncio.create_subprocess_exec(
                *("git", *_FLAGS, *args),
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                cwd=self.folder,
                env=env,
                start_new_session=True,
                pass_fds=self.held,
            )
        except OSError as exc:
            if self.folder.is_dir():
                message, kind = f"git cannot be started ({exc}); install git 2.38 or newer", Refusal.GIT_MISSING
            else:
                message, kind = f"the folder {str(self.folder)!r} is missing", Refusal.NOT_A_REPOSITORY
            raise WorkspaceError(message, kind=kind) from exc


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name.startswith(_KEPT)}
    return {
        **kept,
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_CEILING_DIRECTORIES": str(folder.parent),
    }


async def _feed(process: asyncio.subprocess.Process, stdin: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 -- it was asked for
    with suppress(BrokenPipeError, ConnectionResetError):  # git need not read what it has no use for
        process.stdin.write(stdin)
        await process.stdin.drain()
    process.stdin.close()


async def _read(stream: asyncio.StreamReader | None, limit_bytes: int) -> tuple[bytes, bool]:
    """Read to the end, keep what there is room for, and say whether there was more."""
    assert stream is not None  # noqa: S101 -- it was asked for
    kept, is_cut = bytearray(), False
    while chunk := await stream.read(1 << 18):
        room = limit_bytes - len(kept)
        kept += chunk[:room]
        is_cut = is_cut or len(chunk) > room
    return bytes(kept), is_cut


async def _end(process: asyncio.subprocess.Process) -> None:
    """End git and what it started; a cancellation meanwhile is raised afterwards."""
    interruption: asyncio.CancelledError | None = None
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signum)
        deadline_s = loop.time() + _GRACE_S
        while process.returncode is None and loop.time() < deadline_s:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError as exc:
                interruption = exc
    if interruption is not None:
        raise interruption
