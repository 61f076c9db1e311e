"""What a process says, kept in files as it was said: the beginning and the end of it, whatever its length.

Knows bytes and files; no process. The event loop only hands over: files are written by threads.
"""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["MASK", "RAW_HEAD_BYTES", "RAW_TAIL_BYTES", "BoundedFile", "RawLog"]

RAW_HEAD_BYTES = 10_000_000
RAW_TAIL_BYTES = 10_000_000

_PENDING_MAX_BYTES = 1_000_000
_COPY_BYTES = 1_000_000
_CLOSE_S = 5.0

MASK = b"***"

_log = logging.getLogger(__name__)


class RawLog:
    """One stream's file, written behind the event loop's back.

    When the disk is slower than the stream, `pause` is called at 1 MB that wait, `resume` when they are on their way.
    `secrets` do not get there. A disk that takes no more costs the log, told by a warning, and nothing else.
    """

    def __init__(
        self, path: Path, *, pause: Callable[[], None], resume: Callable[[], None], secrets: Sequence[str] = ()
    ) -> None:
        self._path = path
        self._file = BoundedFile(path, secrets)
        self._pause = pause
        self._resume = resume
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._writing: asyncio.Future[None] | None = None
        self._is_broken = False
        self._is_closing = False
        self._is_closed = False
        self.is_paused = False

    def write(self, data: bytes) -> None:
        """Take it; it is written soon."""
        if self._is_broken:
            return
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._writing is None:
            self._go_on()
        elif self._pending_bytes >= _PENDING_MAX_BYTES and not self.is_paused:
            self.is_paused = True
            self._pause()

    async def aclose(self) -> None:
        """Write what is left, and put beginning and end together. A disk that takes longer than 5 s is given up on."""
        self._is_closing = True
        if self._writing is None:
            self._go_on()
        try:
            async with asyncio.timeout(_CLOSE_S):
                while self._writing is not None:
                    await asyncio.wait([self._writing])
        except TimeoutError:
            self._give_up("the disk does not answer")

    def _go_on(self) -> None:
        """Write what has gathered; when there is nothing more to come, close the file."""
        if self._pending:
            batch, self._pending, self._pending_bytes = self._pending, [], 0
            self._start(self._file.append, batch)
        elif self._is_closing and not self._is_closed:
            self._is_closed = True
            self._start(self._file.close)

    def _start(self, call: Callable[..., None], *arguments: Sequence[bytes]) -> None:
        self._writing = asyncio.get_running_loop().run_in_executor(None, call, *arguments)
        self._writing.add_done_callback(self._written)

    def _written(self, writing: asyncio.Future[None]) -> None:
        self._writing = None
        if (error := writing.exception()) is not None:
            self._give_up(error)
        self._go_on()
        if self.is_paused:
            self.is_paused = False
            self._resume()

    def _give_up(self, why: object) -> None:
        if not self._is_broken:
            self._is_broken = True
            _log.warning("cannot keep what the process says in %s: %s; it goes on without", self._path, why)
        self._pending.clear()


class BoundedFile:
    """Keeps the first and the last 10 MB of what is appended, with a line between them that says how much is missing.

    Until it is closed, the end is in a second file, `<name>.tail`, which is written over from its beginning when it is
    full. Blocks; one caller at a time.
    """

    def __init__(self, path: Path, secrets: Sequence[str] = ()) -> None:
        self._path = path
        self._mask = _Mask(secrets)
        self._tail_path = path.with_name(f"{path.name}.tail")
        self._head: IO[bytes] | None = None
        self._tail: IO[bytes] | None = None
        self._size_bytes = 0

    def append(self, chunks: Sequence[bytes]) -> None:
        """Add the chunks."""
        self._write(self._mask.clean(b"".join(chunks)))

    def _write(self, chunk: bytes) -> None:
        head = self._head or self._open_head()
        if chunk:
            room = max(0, RAW_HEAD_BYTES - self._size_bytes)
            if room:
                head.write(chunk[:room])
            if len(chunk) > room:
                self._append_to_tail(memoryview(chunk)[room:], max(0, self._size_bytes - RAW_HEAD_BYTES))
            self._size_bytes += len(chunk)
        head.flush()

    def close(self) -> None:
        """Put the end behind the beginning. A process that said nothing leaves an empty file."""
        self._write(self._mask.rest())
        with ExitStack() as stack:
            stack.callback(self._tail_path.unlink, missing_ok=True)
            for file in filter(None, (self._head, self._tail)):
                stack.enter_context(file)
            self._join()

    def _open_head(self) -> IO[bytes]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._head = self._path.open("wb")
        return self._head

    def _append_to_tail(self, data: memoryview, position: int) -> None:
        if self._tail is None:
            self._tail = self._tail_path.open("w+b")
        while data:
            offset = position % RAW_TAIL_BYTES
            part = data[: RAW_TAIL_BYTES - offset]
            self._tail.seek(offset)
            self._tail.write(part)
            position += len(part)
            data = data[len(part) :]

    def _join(self) -> None:
        if self._head is None or self._tail is None:
            return
        tail_bytes = self._size_bytes - RAW_HEAD_BYTES
        if tail_bytes <= RAW_TAIL_BYTES:
            self._copy(0, tail_bytes)
            return
        self._head.write(f"\n[... {tail_bytes - RAW_TAIL_BYTES:,} bytes are left out here ...]\n".encode())
        seam = tail_bytes % RAW_TAIL_BYTES
        self._copy(seam, RAW_TAIL_BYTES)
        self._copy(0, seam)

    def _copy(self, start: int, end: int) -> None:
        """Copy a part of the tail behind the head."""
        assert self._head is not None  # noqa: S101 -- `_join` has looked
        assert self._tail is not None  # noqa: S101
        self._tail.seek(start)
        while start < end and (part := self._tail.read(min(_COPY_BYTES, end - start))):
            self._head.write(part)
            start += len(part)


class _Mask:
    """Takes known values out of a stream, also where one is said in two parts."""

    def __init__(self, secrets: Sequence[str]) -> None:
        values = sorted((secret.encode() for secret in secrets if secret), key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, values))) if values else None
        self._held_bytes = len(values[0]) - 1 if values else 0
        self._held = b""

    def clean(self, data: bytes) -> bytes:
        """Return what can be written by now; what may be the beginning of a secret is held until that is known."""
        if self._pattern is None:
            return data
        data = self._held + data
        limit = len(data) - self._held_bytes  # what begins before it is there as a whole
        parts, at = [], 0
        for found in self._pattern.finditer(data):
            if found.start() >= limit:
                break
            parts += [data[at : found.start()], MASK]
            at = found.end()
        parts.append(data[at : max(at, limit)])
        self._held = data[max(at, limit, 0) :]
        return b"".join(parts)

    def rest(self) -> bytes:
        """Return what was held."""
        held, self._held = self._held, b""
        return held if self._pattern is None else self._pattern.sub(MASK, held)
