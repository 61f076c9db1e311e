"""What a process says, taken in within bounds: as a whole, as lines, as raw logs. Knows no signal and no task."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from orchestration.runners.raw_output import RawLog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["LINE_MAX_BYTES", "STDERR_TAIL_BYTES", "STDOUT_MAX_BYTES", "Lines", "Output"]

STDOUT_MAX_BYTES = 10_000_000
STDERR_TAIL_BYTES = 4_000
LINE_MAX_BYTES = 10_000_000

_STDOUT, _STDERR = 1, 2
_QUIET_S = 0.2
_FLUSH_S = 5.0


class Output(asyncio.SubprocessProtocol):
    """Takes in what the process says, and notes its end.

    `ended` is settled when it exited, said too much (`is_overlong`), said nothing for too long (`is_idle`), or when
    `on_line` raised (`error`).
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        on_line: Callable[[bytes, bool], None] | None = None,
        raw: Path | None = None,
        idle_timeout_s: float | None = None,
        secrets: Sequence[str] = (),
    ) -> None:
        self.stdout = bytearray()
        self.stderr_tail = bytearray()
        self.is_overlong = False
        self.is_idle = False
        self.error: Exception | None = None
        self.ended: asyncio.Future[None] = loop.create_future()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.drained: asyncio.Future[None] = loop.create_future()  # nobody can write any more
        self.released: asyncio.Future[None] = loop.create_future()  # the loop has let go of it
        self._loop = loop
        self._lines = None if on_line is None else Lines(on_line)
        self._secrets = tuple(secrets)
        self._logs = {} if raw is None else {_STDOUT: self._log(raw, "stdout"), _STDERR: self._log(raw, "stderr")}
        self._idle_timeout_s = idle_timeout_s
        self._timer: asyncio.TimerHandle | None = None
        self._heard_at_s = 0.0
        self._open = {_STDOUT, _STDERR}
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to listen."""
        self._transport = cast("asyncio.SubprocessTransport", transport)
        if self._idle_timeout_s is not None:
            self._heard_at_s = self._loop.time()
            self._timer = self._loop.call_later(self._idle_timeout_s, self._watch)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Keep it, as far as there is room."""
        self._heard_at_s = self._loop.time()
        if self._logs:
            self._logs[fd].write(data)
        if fd == _STDERR:
            self.stderr_tail += data
            del self.stderr_tail[:-STDERR_TAIL_BYTES]
        elif self._lines is not None:
            self._hand_over(self._lines, data)
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

    def stop_watching(self) -> None:
        """Forget the idle timeout: the process has ended, or is being ended."""
        if self._timer is not None:
            self._timer.cancel()

    async def flush(self) -> None:
        """Wait for what was said before all who could say something were ended; 5 s at most."""
        deadline_s = self._loop.time() + _FLUSH_S
        while not self.drained.done() and self._loop.time() < deadline_s:
            await asyncio.wait([self.drained], timeout=_QUIET_S)
            if self._loop.time() - self._heard_at_s >= _QUIET_S and not self._is_paused():
                return

    def end_lines(self) -> None:
        """Hand over a last line that has no end; raise what `on_line` raises."""
        if self.error is not None:
            raise self.error
        if self._lines is not None:
            self._lines.end()

    async def aclose(self) -> None:
        """Close the logs. Not to be cancelled."""
        for log in self._logs.values():
            await log.aclose()

    def _hand_over(self, lines: Lines, data: bytes) -> None:
        if self.error is not None:
            return
        try:
            lines.feed(data)
        except Exception as exc:  # noqa: BLE001 -- leaves run_process; raised here, the event loop would swallow it
            self.error = exc
            _settle(self.ended)

    def _watch(self) -> None:
        """Look whether the time is over, which each byte starts anew, or whether it is us who do not listen."""
        assert self._idle_timeout_s is not None  # noqa: S101 -- else nobody calls this
        if self._is_paused():
            self._heard_at_s = self._loop.time()
        ends_at_s = self._heard_at_s + self._idle_timeout_s
        if self._loop.time() < ends_at_s:
            self._timer = self._loop.call_at(ends_at_s, self._watch)
        else:
            self.is_idle = True
            _settle(self.ended)

    def _is_paused(self) -> bool:
        return any(log.is_paused for log in self._logs.values())

    def _log(self, raw: Path, name: str) -> RawLog:
        fd = {"stdout": _STDOUT, "stderr": _STDERR}[name]
        return RawLog(
            raw / f"{name}.log",
            pause=lambda: self._pipe(fd).pause_reading(),
            resume=lambda: self._pipe(fd).resume_reading(),
            secrets=self._secrets,
        )

    def _pipe(self, fd: int) -> asyncio.ReadTransport:
        assert self._transport is not None  # noqa: S101 -- it made the connection before it said anything
        return cast("asyncio.ReadTransport", self._transport.get_pipe_transport(fd))


class Lines:
    """Cuts a stream into lines, and the lines at 10 MB; what is beyond that is dropped."""

    def __init__(self, on_line: Callable[[bytes, bool], None]) -> None:
        self._on_line = on_line
        self._begun = bytearray()
        self._is_cut = False

    def feed(self, data: bytes) -> None:
        """Take more of the stream."""
        *ended, begun = data.split(b"\n")
        for part in ended:
            if not self._begun and not self._is_cut and len(part) <= LINE_MAX_BYTES:
                self._on_line(part, False)
            else:
                self._extend(part)
                self.end(is_whole=True)
        self._extend(begun)

    def end(self, *, is_whole: bool = False) -> None:
        """Hand over what there is of a line; nothing is one only where it `is_whole`."""
        if not self._is_cut and (self._begun or is_whole):
            line = bytes(self._begun)
            self._begun.clear()
            self._on_line(line, False)
        self._is_cut = False

    def _extend(self, part: bytes) -> None:
        if self._is_cut:
            return
        room = LINE_MAX_BYTES - len(self._begun)
        self._begun += part[:room]
        if len(part) > room:
            self._is_cut = True
            line = bytes(self._begun)
            self._begun.clear()
            self._on_line(line, True)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
