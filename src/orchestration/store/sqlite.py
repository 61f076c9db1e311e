"""Facts in a SQLite file: WAL, `synchronous=FULL`, one writer thread, group commit.

All facts that are queued when the writer comes round go into one transaction: a lone fact costs one commit, a thousand
at once cost one too. Readers elsewhere (`read_facts`) open the file read-only; a WAL bug of SQLite before 3.51.3 needs
two writers, so there is never a second one. Knows nothing of what the facts mean.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import sqlite3
import threading
from collections import deque
from typing import TYPE_CHECKING

from orchestration.errors import StoreError, StoreVersionError
from orchestration.events import EVENT_VERSION, decode, encode
from orchestration.store.lock import ProjectLock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from orchestration.events import Event

__all__ = ["MIGRATIONS", "SqliteStore", "read_facts"]

# Step n brings a file from `user_version` n to n + 1. Never change one that was released; add the next.
MIGRATIONS = ("CREATE TABLE facts (seq INTEGER PRIMARY KEY, version INTEGER NOT NULL, body TEXT NOT NULL)",)

_QUEUE_FACTS = 65_536
_QUEUE_CHARS = 64 * 1024 * 1024
# Checkpoint about every 2 MB, so that the log beside the file stays small even while a run is going.
_WAL_PAGES = 512

_Row = tuple[int, int, str]


class _LostError(Exception):
    """The file is not the one any more that was opened: what is written would be found by nobody."""


class SqliteStore:
    """The facts of one project in one file, with a lock file beside it."""

    def __init__(self, path: Path, *, migrations: Sequence[str] = MIGRATIONS) -> None:
        self._path = path
        self._migrations = migrations
        self._lock: ProjectLock | None = None
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._queue: deque[_Row] = deque()
        self._queued_chars = 0
        self._last = 0
        self._durable = 0
        self._error: Exception | None = None
        self._closing = threading.Lock()
        self._is_closing = False
        # The loop whose tasks wait in `flushed`, oldest first. Touched on that loop's thread only.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def load(self) -> list[Event]:
        """Take the lock, open or create the file, bring its schema up to date, and return all facts in order."""
        if self._lock is not None:
            raise StoreError(
                f"the state file {str(self._path)!r} is open already; open a project once per orchestrator"
            )
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _hide_from_git(self._path.parent)
        except OSError as exc:
            raise StoreError(
                f"cannot make the folder {str(self._path.parent)!r} for the project's state: {exc}"
            ) from exc
        self._lock = ProjectLock(self._path.with_suffix(".lock"))
        try:
            self._connection = _open_for_writing(self._path, self._migrations)
            self._identity = _identity(self._path)
            with _clear_errors(self._path):
                facts = _read(self._connection, after=0)
        except BaseException:
            self._let_go()
            raise
        self._last = self._durable = facts[-1][0] if facts else 0
        self._queue.clear()
        self._queued_chars = 0
        self._error, self._is_closing = None, False
        self._thread = threading.Thread(target=self._write_until_closed, name=f"store {self._path.name}", daemon=True)
        self._thread.start()
        # A program that ends without `aclose` still gets written what its synchronous calls queued.
        atexit.register(self._close)
        return [event for _, event in facts]

    def append(self, event: Event) -> int:
        """Queue one fact; waits for a commit only when 65,536 facts or 64 MB are queued already."""
        body = encode(event).decode()
        with self._changed:
            self._check_usable()
            while len(self._queue) >= _QUEUE_FACTS or self._queued_chars >= _QUEUE_CHARS:
                self._changed.wait()
                self._check_usable()
            self._last += 1
            self._queue.append((self._last, EVENT_VERSION, body))
            self._queued_chars += len(body)
            if len(self._queue) == 1:
                self._changed.notify_all()
            return self._last

    async def flushed(self, seq: int) -> None:
        """Return when the commit that holds fact `seq` is on the disk."""
        if seq > self._durable and self._error is None:
            loop = asyncio.get_running_loop()
            if self._loop is not loop:
                self._loop = loop
                self._waiting.clear()
            # Looked at again: the writer may have committed before it could see whom to wake.
            if seq > self._durable and self._error is None:
                future = loop.create_future()
                self._waiting.append((seq, future))
                await future
        if self._error is not None and seq > self._durable:
            raise StoreError(_describe(self._path, self._error)) from self._error

    async def aclose(self) -> None:
        """Write what is queued, close the file, release the lock."""
        if self._lock is None:
            return
        await asyncio.shield(asyncio.to_thread(self._close))
        if self._error is not None and self._last > self._durable:
            raise StoreError(_describe(self._path, self._error)) from self._error

    def _close(self) -> None:
        atexit.unregister(self._close)
        with self._closing:
            with self._changed:
                self._is_closing = True
                self._changed.notify_all()
            if self._thread is not None:
                self._thread.join()
            self._let_go()

    def _let_go(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):  # it may be what failed; what counts is reported by `aclose`
                self._connection.close()
            self._connection = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self._thread = None

    def _check_usable(self) -> None:
        if self._error is not None:
            raise StoreError(_describe(self._path, self._error)) from self._error
        if self._lock is None or self._is_closing:
            raise StoreError(f"the state file {str(self._path)!r} is closed; open the project again")

    def _write_until_closed(self) -> None:
        """Run on the writer thread: commit batch after batch until closing, then what is left."""
        while batch := self._next_batch():
            try:
                self._commit(batch)
            except Exception as exc:  # noqa: BLE001 -- whatever it is: those who wait must be told, not left hanging
                with self._changed:
                    self._error = exc
                    self._queue.clear()
                    self._changed.notify_all()
                self._wake_waiting()
                return
            self._durable = batch[-1][0]
            self._wake_waiting()

    def _next_batch(self) -> list[_Row]:
        with self._changed:
            while not self._queue and not self._is_closing:
                self._changed.wait()
            batch = list(self._queue)
            self._queue.clear()
            self._queued_chars = 0
            self._changed.notify_all()
            return batch

    def _commit(self, batch: list[_Row]) -> None:
        connection = self._connection
        assert connection is not None  # noqa: S101 -- set before this thread starts, cleared after it ends
        if _identity(self._path) != self._identity:  # `git clean -dfx`, for instance, which no write would notice
            raise _LostError
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany("INSERT INTO facts VALUES (?, ?, ?)", batch)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _wake_waiting(self) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # that loop is closed: nobody waits on it any more
                loop.call_soon_threadsafe(self._settle_waiting)

    def _settle_waiting(self) -> None:
        """Wake those whose fact is durable, or all after a failure: `flushed` looks for itself which it was."""
        waiting = self._waiting
        while waiting and (waiting[0][0] <= self._durable or self._error is not None):
            _, future = waiting.popleft()
            if not future.done():
                future.set_result(None)


def read_facts(path: Path, *, after: int = 0) -> list[tuple[int, Event]]:
    """Return the facts after number `after` with their numbers, without locking or changing anything.

    Works beside a live orchestrator. Blocking. Empty when there is no file.

    Raises:
        StoreError: if the file cannot be read; StoreVersionError if a newer release wrote it.

    """
    if not path.exists():
        return []
    with _clear_errors(path), contextlib.closing(sqlite3.connect(_read_only_uri(path), uri=True)) as ro:
        version = _check_version(ro, path, len(MIGRATIONS))
        return _read(ro, after=after) if version else []


def _read_only_uri(path: Path) -> str:
    """Return how to open the file for reading only.

    Even a reader makes a file beside it, for the log's index. Where it cannot, and no log is there, nobody writes.
    """
    is_sealed = not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()
    return f"{path.absolute().as_uri()}?mode=ro" + ("&immutable=1" if is_sealed else "")


def _open_for_writing(path: Path, migrations: Sequence[str]) -> sqlite3.Connection:
    with _clear_errors(path):
        # Made by the thread that loads, then used by the writer thread only: never by two at once.
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute(f"PRAGMA wal_autocheckpoint={_WAL_PAGES}")
            _migrate(connection, path, migrations)
        except BaseException:
            connection.close()
            raise
        return connection


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    """Bring the schema up to date in one transaction; a file that holds something is copied first."""
    version = _check_version(connection, path, len(migrations))
    if version == len(migrations):
        return
    if version > 0:
        # Not a copy of the file: what is still in the log beside it would be missing.
        with contextlib.closing(sqlite3.connect(path.with_suffix(f".v{version}.bak"))) as backup:
            connection.backup(backup)
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in migrations[version:]:
            connection.execute(step)
        connection.execute(f"PRAGMA user_version={len(migrations)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _check_version(connection: sqlite3.Connection, path: Path, known: int) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > known:
        raise StoreVersionError(
            f"the state file {str(path)!r} has schema version {version}, this release knows versions up to {known}: "
            "install the newer async-orchestrator that wrote it"
        )
    return version


def _read(connection: sqlite3.Connection, *, after: int) -> list[tuple[int, Event]]:
    rows = connection.execute("SELECT seq, version, body FROM facts WHERE seq > ? ORDER BY seq", (after,))
    return [(seq, decode(body, version)) for seq, version, body in rows]


@contextlib.contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        raise StoreError(_describe(path, exc)) from exc


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells the file from another of its name; None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _describe(path: Path, exc: Exception) -> str:
    """Say what failed in words a person can act on; the transaction it was in has been rolled back."""
    name = str(path)
    if isinstance(exc, _LostError):
        return (
            f"the state file {name!r} was removed or replaced while the project was open; find out by what (such as "
            "`git clean -dfx`), put it back from a backup if there is one, and run again"
        )
    code = getattr(exc, "sqlite_errorname", None) or type(exc).__name__
    if code.startswith("SQLITE_FULL"):
        return f"cannot write {name!r}: the disk is full; nothing was half-written. Free space and run again to resume"
    if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return (
            f"the state file {name!r} is damaged or not a state file ({exc}); move it away, or restore it from a backup"
        )
    if path.is_dir():
        return f"the state file {name!r} is a folder; move it away"
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return f"cannot open {name!r} ({exc}); check the folder's permissions"
    return f"cannot use the state file {name!r}: {exc} ({code}); nothing was half-written"


def _hide_from_git(folder: Path) -> None:
    """Keep our own folder out of the user's commits: it holds prompts and answers, and changes all the time."""
    ignore = folder / ".gitignore"
    if folder.name == ".orchestration" and not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
