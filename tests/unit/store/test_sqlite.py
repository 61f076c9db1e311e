"""The SQLite store: what it asks of the disk, and what it says when the disk says no."""

import asyncio
import contextlib
import random
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime

import pytest

from orchestration import events as ev
from orchestration.errors import InvalidTaskError, StoreError, StoreVersionError
from orchestration.store import sqlite
from orchestration.store.sqlite import MIGRATIONS, SqliteStore, read_facts
from orchestration.task import AgentTask

AT = datetime(2026, 1, 2, tzinfo=UTC)


def fact(number, text=""):
    return ev.TaskAdded(at=AT, task=AgentTask(f"t{number}", "T", description=text))


def ids(facts):
    return [event.task.task_id for event in facts]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "facts.db"


async def filled(path, count, text=""):
    store = SqliteStore(path)
    store.load()
    for number in range(count):
        store.append(fact(number, text))
    await store.aclose()


def call(*command):
    return subprocess.run(command, capture_output=True, check=False)


@contextlib.contextmanager
def mounted(folder, *options):
    """Mount a small file system of its own; needs the right to."""
    done = call("mount", "-t", "tmpfs", *options, "tmpfs", folder)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        call("umount", "-l", folder)


# -- what it asks of the disk


async def test_it_writes_ahead_and_waits_for_the_disk(path):
    store = SqliteStore(path)
    store.load()
    pragmas = ["journal_mode", "synchronous", "user_version"]
    found = [store._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas]
    await store.aclose()
    assert found == ["wal", 2, len(MIGRATIONS)]


async def test_a_clean_close_leaves_one_file_and_the_lock(path):
    await filled(path, 10)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["facts.db", "facts.lock"]


async def test_what_is_queued_while_a_commit_goes_on_is_committed_together(path, monkeypatch):
    store = SqliteStore(path)
    store.load()
    statements, committing, go = [], threading.Event(), threading.Event()
    store._connection.set_trace_callback(statements.append)
    commit = store._commit

    def slow(batch):
        committing.set()
        go.wait()
        commit(batch)

    monkeypatch.setattr(store, "_commit", slow)
    store.append(fact(0))
    await asyncio.to_thread(committing.wait)
    last = [store.append(fact(number)) for number in range(1, 500)][-1]
    go.set()
    await store.flushed(last)
    store._connection.set_trace_callback(None)
    await store.aclose()
    assert statements.count("COMMIT") == 2
    assert len(read_facts(path)) == 500


async def test_a_burst_of_concurrent_writers_shares_its_commits(path):
    store = SqliteStore(path)
    store.load()
    statements = []
    store._connection.set_trace_callback(statements.append)
    await asyncio.gather(*(store.flushed(store.append(fact(number))) for number in range(1_000)))
    store._connection.set_trace_callback(None)
    await store.aclose()
    assert statements.count("COMMIT") < 100


@pytest.mark.parametrize(("limit", "value"), [("_QUEUE_FACTS", 4), ("_QUEUE_CHARS", 1_000)])
async def test_a_caller_who_runs_ahead_of_the_disk_waits_for_it(path, monkeypatch, limit, value):
    monkeypatch.setattr(sqlite, limit, value)
    store = SqliteStore(path)
    store.load()
    go, deepest = threading.Event(), []
    commit = store._commit

    def watched(batch):
        go.wait()
        deepest.append(len(batch))
        commit(batch)

    monkeypatch.setattr(store, "_commit", watched)
    writer = threading.Thread(target=lambda: [store.append(fact(number, "x" * 100)) for number in range(100)])
    writer.start()
    await asyncio.to_thread(writer.join, 0.2)
    assert writer.is_alive()
    go.set()
    await asyncio.to_thread(writer.join)
    await store.aclose()
    assert max(deepest) <= 5
    assert ids(event for _, event in read_facts(path)) == [f"t{number}" for number in range(100)]


async def test_a_caller_who_waits_for_room_is_told_when_the_disk_fails(path, monkeypatch):
    monkeypatch.setattr(sqlite, "_QUEUE_FACTS", 1)
    store = SqliteStore(path)
    store.load()
    go = threading.Event()

    def broken(batch):
        go.wait()
        raise MemoryError("no more")

    monkeypatch.setattr(store, "_commit", broken)
    errors = []

    def write():
        try:
            for number in range(10):
                store.append(fact(number))
        except StoreError as exc:
            errors.append(str(exc))

    writer = threading.Thread(target=write)
    writer.start()
    await asyncio.to_thread(writer.join, 0.1)
    go.set()
    await asyncio.to_thread(writer.join)
    assert "no more (MemoryError)" in errors[0]
    with pytest.raises(StoreError):
        await store.aclose()


async def test_whatever_breaks_the_writer_all_who_wait_are_told(path, monkeypatch):
    store = SqliteStore(path)
    store.load()
    monkeypatch.setattr(store, "_commit", lambda batch: (_ for _ in ()).throw(ValueError("surprise")))
    waits = [store.flushed(store.append(fact(0))) for _ in range(1)]
    results = await asyncio.gather(*waits, store.flushed(1), store.flushed(1), return_exceptions=True)
    assert [type(result) for result in results] == [StoreError] * 3
    assert len({id(result) for result in results}) == 3  # a shared one would grow a traceback per waiter
    with pytest.raises(StoreError, match="surprise"):
        store.append(fact(1))
    with pytest.raises(StoreError, match="surprise"):
        await store.aclose()
    await store.aclose()
    monkeypatch.undo()
    assert store.load() == []
    await store.flushed(store.append(fact(2)))
    await store.aclose()
    assert ids(event for _, event in read_facts(path)) == ["t2"]


async def test_a_fact_that_could_not_be_read_back_is_refused_and_takes_no_number(path):
    store = SqliteStore(path)
    store.load()
    with pytest.raises(InvalidTaskError, match="cannot store TaskRemoved of 5"):
        store.append(ev.TaskRemoved(at=AT, task_id=5))
    assert store.append(fact(0)) == 1
    await store.aclose()


async def test_a_foreign_row_under_the_next_number_refuses_the_whole_batch_with_nothing_half_written(path, monkeypatch):
    store = SqliteStore(path)
    store.load()
    go = threading.Event()
    commit = store._commit
    monkeypatch.setattr(store, "_commit", lambda batch: (go.wait(), commit(batch)))
    with contextlib.closing(sqlite3.connect(path)) as foreign:
        foreign.execute("INSERT INTO facts VALUES (3, 1, '{}')")
        foreign.commit()
    waits = [store.flushed(store.append(fact(number))) for number in range(5)]
    go.set()
    results = await asyncio.gather(*waits, return_exceptions=True)
    assert "UNIQUE constraint failed: facts.seq" in str(results[-1])
    assert not store._connection.in_transaction
    with pytest.raises(StoreError, match="nothing was half-written"):
        await store.aclose()
    with contextlib.closing(sqlite3.connect(path)) as foreign:
        kept = [seq for (seq,) in foreign.execute("SELECT seq FROM facts ORDER BY seq")]
    assert kept in ([3], [1, 3])  # the first fact may have had a commit of its own


# -- files of all kinds


async def test_an_empty_file_is_a_new_project(path):
    path.touch()
    store = SqliteStore(path)
    assert store.load() == []
    await store.aclose()


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"\0" * 4096, b"SQLite format 3\0" + b"\xff" * 5000])
async def test_a_file_that_is_none_of_ours_is_refused_and_left_as_it_is(path, content):
    path.write_bytes(content)
    store = SqliteStore(path)
    with pytest.raises(StoreError, match=r"facts\.db' is damaged or not a state file .* move it away"):
        store.load()
    assert path.read_bytes() == content
    with pytest.raises(StoreError):
        read_facts(path)
    path.unlink()
    assert store.load() == []  # nothing was left open or locked
    await store.aclose()


@pytest.mark.parametrize("is_replaced", [False, True])
async def test_a_file_that_is_removed_while_it_is_open_is_not_written_to_as_if_nothing_were(path, is_replaced):
    store = SqliteStore(path)
    store.load()
    await store.flushed(store.append(fact(1)))
    path.rename(path.with_name("away"))  # its inode must not come back with the new file
    if is_replaced:
        path.touch()
    with pytest.raises(StoreError, match=r"facts\.db' was removed or replaced while the project was open"):
        await store.flushed(store.append(fact(2)))
    with pytest.raises(StoreError, match="was removed or replaced"):
        await store.aclose()


async def test_a_database_of_another_program_is_refused(path):
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE facts (x)")
        other.commit()
    with pytest.raises(StoreError, match="table facts already exists"):
        SqliteStore(path).load()


async def test_a_folder_in_the_file_s_place_is_named(path):
    path.mkdir()
    with pytest.raises(StoreError, match=r"facts\.db' is a folder; move it away"):
        SqliteStore(path).load()


async def test_a_file_in_the_folder_s_place_is_named(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(StoreError, match=r"cannot make the folder .*taken"):
        SqliteStore(tmp_path / "taken" / "facts.db").load()


@pytest.mark.parametrize("seed", range(12))
async def test_pages_destroyed_in_the_middle_are_an_error_or_all_facts_never_some(path, seed):
    await filled(path, 400, "x" * 200)
    generator = random.Random(seed)
    raw = bytearray(path.read_bytes())
    for _ in range(3):
        start = generator.randrange(1, len(raw) // 4096) * 4096
        raw[start : start + 4096] = generator.randbytes(4096)
    path.write_bytes(raw)
    try:
        facts = [event for _, event in read_facts(path)]
    except StoreError as exc:
        assert "facts.db" in str(exc) or "stored fact" in str(exc)  # noqa: PT017 -- either of two outcomes is right
    else:
        assert len(facts) == 400
    with contextlib.suppress(StoreError):
        store = SqliteStore(path)
        store.load()
        await store.aclose()


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
async def test_a_truncated_file_is_an_error(path, part):
    await filled(path, 400, "x" * 200)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * part)])
    with pytest.raises(StoreError, match="damaged"):
        SqliteStore(path).load()


async def test_a_fact_that_cannot_be_read_is_shown_and_the_file_refused(path):
    await filled(path, 1)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute('INSERT INTO facts VALUES (2, 1, \'{"type":"task_flown"}\')')
        connection.commit()
    with pytest.raises(StoreError, match=r"the stored fact .*task_flown.*restore the file from a backup"):
        SqliteStore(path).load()


# -- versions


async def test_a_newer_file_is_refused_and_left_as_it_is(path):
    await filled(path, 1)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=99")
    expected = "has schema version 99, this release knows versions up to 1: install the newer async-orchestrator"
    with pytest.raises(StoreVersionError, match=expected):
        SqliteStore(path).load()
    with pytest.raises(StoreVersionError, match=expected):
        read_facts(path)


async def test_a_newer_fact_is_refused(path):
    await filled(path, 1)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE facts SET version=99")
        connection.commit()
    with pytest.raises(StoreVersionError, match="a fact of version 99 cannot be read"):
        SqliteStore(path).load()


async def test_an_older_file_is_brought_up_to_date_and_kept_as_it_was_beside_it(path):
    await filled(path, 3)
    newer = SqliteStore(path, migrations=(*MIGRATIONS, "CREATE TABLE other (y)", "CREATE TABLE more (x)"))
    assert ids(newer.load()) == ["t0", "t1", "t2"]
    await newer.aclose()
    backup = path.with_suffix(".v1.bak")
    assert ids(event for _, event in read_facts(backup)) == ["t0", "t1", "t2"]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)


async def test_the_copy_before_a_migration_holds_what_is_still_in_the_log(path):
    await filled(path, 1)
    script = (
        "import os, sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('PRAGMA wal_autocheckpoint=0')\n"
        "c.execute(\"INSERT INTO facts SELECT 2, 1, replace(body, 't0', 't1') FROM facts\")\n"
        "os._exit(9)\n"
    )
    call(sys.executable, "-c", script, path)
    reader = sqlite3.connect(path)  # keeps the log from being folded into the file
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM facts").fetchone()
    try:
        newer = SqliteStore(path, migrations=(*MIGRATIONS, "CREATE TABLE more (x)"))
        assert ids(newer.load()) == ["t0", "t1"]
        await newer.aclose()
    finally:
        reader.close()
    assert ids(event for _, event in read_facts(path.with_suffix(".v1.bak"))) == ["t0", "t1"]


async def test_a_migration_that_fails_changes_nothing_and_the_old_release_still_opens_the_file(path):
    await filled(path, 3)
    broken = SqliteStore(path, migrations=(*MIGRATIONS, "CREATE TABLE more (x)", "THIS IS NOT SQL"))
    with pytest.raises(StoreError, match="nothing was half-written"):
        broken.load()
    store = SqliteStore(path)
    assert ids(store.load()) == ["t0", "t1", "t2"]
    assert store._connection.execute("SELECT name FROM sqlite_master").fetchall() == [("facts",)]
    await store.aclose()


# -- no room, no right


async def test_a_full_file_is_a_clear_error_for_all_who_wait_with_nothing_half_written_and_opens_again(path):
    store = SqliteStore(path)
    store.load()
    store._connection.execute("PRAGMA max_page_count=20")
    durable = store.append(fact(0))
    await store.flushed(durable)

    async def keep(number):  # one that comes when the file is full already is told at once
        await store.flushed(store.append(fact(number, "x" * 5_000)))

    results = await asyncio.gather(*map(keep, range(1, 60)), return_exceptions=True)
    assert all(result is None or isinstance(result, StoreError) for result in results)
    assert any("the disk is full; nothing was half-written" in str(result) for result in results)
    await store.flushed(durable)
    with pytest.raises(StoreError, match="the disk is full"):
        await store.aclose()
    kept = ids(store.load())
    assert kept == [f"t{number}" for number in range(len(kept))]
    assert len(kept) == 1 + sum(result is None for result in results)
    await store.flushed(store.append(fact(99)))
    await store.aclose()


async def test_a_full_disk_is_a_clear_error_and_the_project_opens_again_when_there_is_room(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    with mounted(folder, "-o", "size=512k"):
        path = folder / "facts.db"
        store = SqliteStore(path)
        store.load()
        await store.flushed(store.append(fact(0)))
        with pytest.raises(StoreError, match=r"the disk is full; nothing was half-written\. Free space and run again"):
            await _fill(store)
        with contextlib.suppress(StoreError):
            await store.aclose()
        call("mount", "-o", "remount,size=8m", folder)
        kept = ids(store.load())
        assert kept == [f"t{number}" for number in range(len(kept))]
        await store.flushed(store.append(fact(500)))
        await store.aclose()
        assert ids(event for _, event in read_facts(path)) == [*kept, "t500"]


async def _fill(store):
    for number in range(1, 100):
        await store.flushed(store.append(fact(number, "x" * 20_000)))


async def test_a_disk_that_is_full_before_the_project_opens_leaves_it_unlocked(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    with mounted(folder, "-o", "size=64k"):
        (folder / "ballast").write_bytes(b"x" * 200)
        with contextlib.suppress(OSError), (folder / "ballast").open("ab") as ballast:
            while True:
                ballast.write(b"x" * 4096)
                ballast.flush()
        store = SqliteStore(folder / "facts.db")
        for _ in range(2):
            with pytest.raises(StoreError, match=r"No space left|disk is full"):
                store.load()
        (folder / "ballast").unlink()
        call("mount", "-o", "remount,size=8m", folder)
        assert store.load() == []
        await store.aclose()


async def test_a_folder_that_cannot_be_written_to_is_a_clear_error_and_can_still_be_read(tmp_path):
    folder = tmp_path / "sealed"
    folder.mkdir()
    with mounted(folder):
        await filled(folder / "facts.db", 3)
        call("mount", "-o", "remount,ro", folder)
        with pytest.raises(StoreError, match=r"make the folder writable|check the folder's permissions"):
            SqliteStore(folder / "facts.db").load()
        assert ids(event for _, event in read_facts(folder / "facts.db")) == ["t0", "t1", "t2"]


async def test_a_log_left_behind_in_a_folder_that_is_now_sealed_is_a_clear_error(tmp_path):
    folder = tmp_path / "sealed"
    folder.mkdir()
    with mounted(folder):
        store = SqliteStore(folder / "facts.db")
        store.load()
        await store.flushed(store.append(fact(0)))
        log = (folder / "facts.db-wal").read_bytes()
        await store.aclose()
        (folder / "facts.db-wal").write_bytes(log)
        call("mount", "-o", "remount,ro", folder)
        with pytest.raises(StoreError, match=r"cannot open .*facts\.db.*check the folder's permissions"):
            read_facts(folder / "facts.db")


# -- readers


async def test_reading_leaves_the_file_as_it_is_and_the_next_writer_clears_what_it_needed(path):
    await filled(path, 3)
    before = path.read_bytes()
    assert len(read_facts(path)) == 3
    assert path.read_bytes() == before
    await filled(path, 0)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["facts.db", "facts.lock"]


def test_reading_where_there_is_no_file_is_empty_and_makes_none(path):
    assert read_facts(path) == []
    assert list(path.parent.iterdir()) == []


async def test_reading_begins_after_the_number_asked_for(path):
    await filled(path, 5)
    assert [number for number, _ in read_facts(path, after=3)] == [4, 5]
    assert read_facts(path, after=5) == []


async def test_reading_an_empty_file_is_empty(path):
    path.touch()
    assert read_facts(path) == []


async def test_a_reader_beside_a_live_writer_sees_every_fact_that_is_durable(path):
    store = SqliteStore(path)
    store.load()
    for number in range(50):
        await store.flushed(store.append(fact(number)))
        assert len(read_facts(path, after=number)) == 1
    await store.aclose()


# -- ends of loops and processes


def test_a_loop_that_was_closed_while_facts_were_queued_hurts_nobody(path, monkeypatch):
    store = SqliteStore(path)
    store.load()
    go = threading.Event()
    commit = store._commit
    monkeypatch.setattr(store, "_commit", lambda batch: (go.wait(), commit(batch)))

    async def leave():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(store.flushed(store.append(fact(0))), 0.05)

    asyncio.run(leave())
    go.set()
    asyncio.run(store.flushed(store.append(fact(1))))
    asyncio.run(store.aclose())
    assert len(read_facts(path)) == 2


@pytest.mark.parametrize("end", ["", "raise SystemExit(3)", "1 / 0", "import asyncio; asyncio.run(store.flushed(1))"])
def test_a_program_that_ends_without_closing_keeps_what_it_queued(path, end):
    script = f"""
import sys
from datetime import UTC, datetime
from pathlib import Path
from orchestration import events as ev
from orchestration.store.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
store.load()
for number in range(2000):
    store.append(ev.TaskRemoved(at=datetime.now(UTC), task_id=f"t{{number}}"))
{end}
"""
    subprocess.run([sys.executable, "-c", script, path], check=False, stderr=subprocess.DEVNULL, timeout=30)
    assert len(read_facts(path)) == 2000
    assert not path.with_suffix(".lock").read_text()
