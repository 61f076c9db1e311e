"""One live orchestrator per project, in this process and others, however its process ends."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestration import events as ev
from orchestration.errors import ProjectLockedError, StoreError
from orchestration.store.lock import ProjectLock, owner_pid
from orchestration.store.sqlite import SqliteStore, read_facts

HOLDER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
import asyncio
from orchestration import events as ev
from orchestration.store.sqlite import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
store.load()
for number in range(100):
    asyncio.run(store.flushed(store.append(ev.TaskRemoved(at=datetime.now(UTC), task_id=f"t{number}"))))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".orchestration" / "default.db"


@pytest.fixture
def holder(path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def test_another_process_is_refused_and_told_the_owner_s_pid(path, holder):
    with pytest.raises(
        ProjectLockedError, match=rf"is open in another orchestrator \(process {holder.pid}\)"
    ) as caught:
        SqliteStore(path).load()
    assert caught.value.pid == holder.pid
    assert owner_pid(path.with_suffix(".lock")) == holder.pid


async def test_the_lock_is_free_after_a_kill_and_the_log_left_behind_is_read(path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert path.with_name("default.db-wal").stat().st_size > 0
    assert owner_pid(path.with_suffix(".lock")) is None
    assert len(read_facts(path)) == 100
    store = SqliteStore(path)
    assert len(store.load()) == 100
    assert store.append(ev.TaskRemoved(at=datetime.now(UTC), task_id="x")) == 101
    await store.aclose()


async def test_a_reader_beside_a_live_writer_in_another_process_sees_its_facts(path, holder):
    assert len(read_facts(path)) == 100
    assert owner_pid(path.with_suffix(".lock")) == holder.pid


def test_the_same_process_is_refused_too(tmp_path):
    lock = ProjectLock(tmp_path / "x.lock")
    with pytest.raises(ProjectLockedError) as caught:
        ProjectLock(tmp_path / "x.lock")
    assert caught.value.pid == os.getpid()
    lock.release()
    lock.release()
    ProjectLock(tmp_path / "x.lock").release()


def test_nobody_owns_what_does_not_exist_was_released_or_makes_no_sense(tmp_path):
    path = tmp_path / "x.lock"
    assert owner_pid(path) is None
    ProjectLock(path).release()
    assert owner_pid(path) is None
    path.write_text("not a number")
    assert owner_pid(path) is None


def test_an_owner_that_has_not_said_its_pid_yet_is_unknown(tmp_path):
    path = tmp_path / "x.lock"
    lock = ProjectLock(path)
    path.write_text("")
    with pytest.raises(ProjectLockedError, match="process unknown") as caught:
        ProjectLock(path)
    assert caught.value.pid is None
    lock.release()


def test_a_lock_file_that_cannot_be_made_is_a_clear_error(tmp_path):
    with pytest.raises(StoreError, match="cannot open the lock file"):
        ProjectLock(tmp_path)


def test_a_disk_that_cannot_lock_is_a_clear_error_and_nothing_stays_open(tmp_path, monkeypatch):
    def refuse(fd, operation):
        raise OSError(37, "No locks available")

    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(StoreError, match=r"cannot lock the project with .*No locks available.*local disk"):
        ProjectLock(tmp_path / "x.lock")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
