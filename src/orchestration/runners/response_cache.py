"""Answers kept by the request they answered, in a file of their own in the project's state folder.

Knows requests by their keys only; nothing of models, nor of what makes an answer worth keeping. A cache is never the
reason why a task fails: what is wrong with its file is logged once, and the project goes on without it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple, Unpack

import msgspec

from orchestration.clock import now
from orchestration.errors import StoreError
from orchestration.store.lock import ProjectLock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from orchestration.attempt import Deadline

__all__ = ["MAX_BYTES", "CacheTurn", "CachedAnswer", "ResponseCache", "responses_path"]

MAX_BYTES = 64 * 1024 * 1024

# The table's name holds the version of its form: a release with another form leaves this one alone. A file, and not the
# facts' one, for it may be deleted at any time.
_TABLE = """
CREATE TABLE IF NOT EXISTS answers_1 (
    key TEXT PRIMARY KEY, body BLOB NOT NULL, size INTEGER NOT NULL, made_at REAL NOT NULL, used_at REAL NOT NULL
)"""
_INDEX = "CREATE INDEX IF NOT EXISTS answers_1_by_use ON answers_1 (used_at, size)"
_PUT = "INSERT OR REPLACE INTO answers_1 VALUES (?, ?, ?, ?, ?)"
# The latest used ones stay as far as they fit, whatever their number.
_EVICT = """
DELETE FROM answers_1 WHERE rowid IN (
    SELECT rowid FROM (
        SELECT rowid, SUM(size) OVER (ORDER BY used_at DESC, rowid DESC) AS size_so_far FROM answers_1
    ) WHERE size_so_far > ?
)"""

_log = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class CachedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, and who gave it."""

    text: str
    provider: str = ""
    model: str = ""
    finish_reason: str = ""


class CacheTurn:
    """One request's turn: `answer` is there already, or it is asked for now and kept with `keep`."""

    def __init__(self) -> None:
        self.answer: CachedAnswer | None = None
        self.is_new = False
        self.over = asyncio.Event()

    def keep(self, answer: CachedAnswer) -> None:
        """Keep a new answer, for those who wait for the same and for later."""
        self.answer, self.is_new = answer, True


class ResponseCache:
    """The answers of one executor's requests; for one event loop after the other.

    Without a `path` they are in memory, for as long as the executor is open. `max_bytes` bounds what is kept: the least
    recently used answers go first.
    """

    def __init__(self, path: Path | None, *, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._turns: dict[tuple[str, float], CacheTurn] = {}
        self._thread: ThreadPoolExecutor | None = None
        self._connection: sqlite3.Connection | None = None  # this and the lock are touched in the thread only
        self._lock: ProjectLock | None = None
        self._is_broken = False

    @asynccontextmanager
    async def turn(self, key: str, max_age_s: float, deadline: Deadline) -> AsyncIterator[CacheTurn]:
        """Return the answer to the request of this key, or leave to ask for it.

        Of equal requests at once one asks, while the others wait, their time standing still. If it keeps an answer, it
        is theirs as well; if not, because it failed, the next one asks.
        """
        name = (key, max_age_s)
        while (other := self._turns.get(name)) is not None:
            with deadline.held():
                await other.over.wait()
            if other.answer is not None:
                shared = CacheTurn()
                shared.answer = other.answer
                yield shared
                return
        turn = self._turns[name] = CacheTurn()
        try:
            turn.answer = await self._attempt(self._find, key, now().timestamp(), max_age_s)
            yield turn
            if turn.is_new and turn.answer is not None:
                await self._attempt(self._put, key, now().timestamp(), turn.answer)
        finally:
            del self._turns[name]
            turn.over.set()

    async def aclose(self) -> None:
        """Close the file; twice is fine."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(thread, self._close))
            thread.shutdown()

    async def _attempt(self, act: Callable[[Unpack[Ts]], T], *args: *Ts) -> T | None:
        """Do it in the cache's thread; None if the cache cannot be used."""
        if self._is_broken:
            return None
        if self._thread is None:
            self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="answers")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, act, *args)
        except (sqlite3.Error, OSError, StoreError, msgspec.MsgspecError) as exc:
            self._is_broken = True
            _log.warning(
                "the cache of answers in %r cannot be used, so each request is asked anew: %s; delete the file if it "
                "is damaged",
                str(self._path or "memory"),
                exc,
            )
            return None

    # -- in the thread ---------------------------------------------------------------------------------------------

    def _find(self, key: str, at: float, max_age_s: float) -> CachedAnswer | None:
        connection = self._open()
        row = connection.execute("SELECT body, made_at FROM answers_1 WHERE key = ?", (key,)).fetchone()
        if row is None or at - row[1] > max_age_s:
            return None
        connection.execute("UPDATE answers_1 SET used_at = ? WHERE key = ?", (at, key))
        return msgspec.json.decode(row[0], type=CachedAnswer)

    def _put(self, key: str, at: float, answer: CachedAnswer) -> None:
        body = msgspec.json.encode(answer)
        size = len(key) + len(body)
        if size > self._max_bytes:
            return
        connection = self._open()
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            connection.execute(_PUT, (key, body, size, at, at))
            if connection.execute("SELECT SUM(size) FROM answers_1").fetchone()[0] > self._max_bytes:
                connection.execute(_EVICT, (self._max_bytes,))

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            if self._path is not None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                # Two writers can damage a file in WAL mode, before SQLite 3.51.3.
                self._lock = self._lock or ProjectLock(self._path.with_suffix(".lock"))
            connection = sqlite3.connect(self._path or ":memory:", isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")  # a power cut may cost the last answers, not the file
                connection.execute(_TABLE)
                connection.execute(_INDEX)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def responses_path(root: Path) -> Path:
    """Return where a project's answers are kept. Not a `.db`, by which states are told."""
    return root / ".orchestration" / "answers.cache"
