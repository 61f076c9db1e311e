"""`kill -9` at any moment: nothing completed is lost or done again, and the file opens. Real processes, real SIGKILL.

`benchmarks/kill.py` does the same with more tasks and at moments of time; here the moments are counted.
"""

import contextlib
import itertools
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestration import AgentTask, TaskStatus
from orchestration.events import TaskAdded
from orchestration.fold import fold
from orchestration.orchestrator import state_path
from orchestration.store.sqlite import MIGRATIONS, SqliteStore, read_facts

pytestmark = pytest.mark.acceptance

REPOSITORY = Path(__file__).parents[2]
DYING = Path(__file__).with_name("dying.py")
TASKS = 100

OPENING = """\
import sys
from pathlib import Path
from orchestration.store.sqlite import MIGRATIONS, SqliteStore
SqliteStore(Path(sys.argv[1]), migrations=(*MIGRATIONS, *sys.argv[2:])).load()
"""
NEXT_STEPS = ("CREATE TABLE notes (seq INTEGER)", "CREATE INDEX notes_by_seq ON notes (seq)")


def start(folder, *arguments, dies_at=None):
    """Run a program in the repository's root until it ends or dies; return its exit code and output."""
    dying = [] if dies_at is None else [DYING, dies_at, folder]
    how = [] if dying or str(arguments[0]).endswith(".py") else ["-m"]
    command = [sys.executable, *map(str, (*dying, *how, *arguments))]
    # A killed process saves no coverage: measuring it would only make it slow.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(command, cwd=REPOSITORY, env=env, stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    return done.returncode, done.stdout


def run_project(folder, *, dies_at=None):
    return start(folder, "benchmarks.ledger_project", folder, "--tasks", TASKS, dies_at=dies_at)


def ledger(folder):
    path = folder / "ledger.txt"
    return path.read_text().split() if path.exists() else []


def facts(folder):
    return read_facts(state_path(folder))


def state(folder):
    return fold(event for _, event in facts(folder))


def completed(folder):
    """Task id -> output, by the facts that are on the disk."""
    return {
        name: known.result.output for name, known in state(folder).tasks.items() if known.status is TaskStatus.COMPLETED
    }


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_killed_again_and_again_completes_every_task_and_repeats_none_that_was_completed(tmp_path, seed):
    chance = random.Random(seed)
    kills = []
    # In the midst of adding the tasks, some way after that, then anywhere: so few moments that every life dies of them.
    for dies_at in (chance.randint(20, 110), 150, *(chance.randint(5, 40) for _ in range(6))):
        code, _ = run_project(tmp_path, dies_at=dies_at)
        assert code == -signal.SIGKILL
        kills.append((len(ledger(tmp_path)), completed(tmp_path)))
        dependencies = {name: known.task.dependencies for name, known in state(tmp_path).tasks.items()}
        for task in ledger(tmp_path):
            assert set(dependencies[task]) <= set(kills[-1][1]), f"{task} ran before what it needs was on the disk"
    code, output = run_project(tmp_path)

    assert code == 0
    assert output.splitlines()[-1].startswith("completed")
    ran = ledger(tmp_path)
    assert set(ran) == {f"task-{number:03d}" for number in range(TASKS)}
    assert completed(tmp_path) == {name: f"what {name} found" for name in set(ran)}
    for lines, done in kills:
        assert not set(done) & set(ran[lines:]), "a completed task ran again"
    for (_, before), (_, after) in itertools.pairwise(kills):
        assert before.items() <= after.items(), "a kill lost completed work"
    assert len(kills[-1][1]) >= 5, "the kills came too early to prove anything"


def test_a_project_that_completed_runs_nothing_when_it_is_started_again(tmp_path):
    run_project(tmp_path)
    ran = ledger(tmp_path)
    code, output = run_project(tmp_path)

    assert code == 0
    assert output.splitlines()[-1].startswith("completed")
    assert ledger(tmp_path) == ran


@pytest.fixture(scope="module")
def killed_half_way(tmp_path_factory):
    """A project whose process died in the middle, with a log that was not yet put into its file."""
    folder = tmp_path_factory.mktemp("killed")
    code, _ = run_project(folder, dies_at=300)
    assert code == -signal.SIGKILL
    assert state_path(folder).with_suffix(".db-wal").stat().st_size > 10_000
    return folder


def lose_power(killed, folder):
    """Copy what a machine would find on its disk after it lost power; returns the log's path."""
    shutil.copytree(killed, folder)
    state_path(folder).with_suffix(".db-shm").unlink()  # lives in memory only
    return state_path(folder).with_suffix(".db-wal")


@pytest.mark.parametrize("size_bytes", [1, 23, 24, 4_000, 4_096, 8_240])
def test_half_a_write_at_the_end_of_the_log_changes_no_fact(killed_half_way, tmp_path, size_bytes):
    log = lose_power(killed_half_way, tmp_path / "project")
    with log.open("ab") as file:
        file.write(random.Random(size_bytes).randbytes(size_bytes))

    assert facts(tmp_path / "project") == facts(killed_half_way)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 0.999])
def test_a_log_cut_off_anywhere_leaves_the_facts_before_the_cut_and_the_run_goes_on(killed_half_way, tmp_path, share):
    folder = tmp_path / "project"
    log = lose_power(killed_half_way, folder)
    with log.open("r+b") as file:
        file.truncate(int(log.stat().st_size * share))

    kept, before = facts(folder), facts(killed_half_way)
    assert kept == before[: len(kept)]
    assert len(kept) < len(before)
    code, output = run_project(folder)
    assert code == 0
    assert output.splitlines()[-1].startswith("completed")
    assert len(completed(folder)) == TASKS


def opened(path):
    """Open the file as the next orchestrator would, close it, and return its facts."""
    store = SqliteStore(path)
    try:
        return store.load()
    finally:
        store._close()


def at_every_moment(folder, *arguments):
    """Yield after the program died at its first moment, then after its second, ..., until it lives to its end."""
    for moment in range(1, 100):
        code, _ = start(folder, *arguments, dies_at=moment)
        yield moment
        if code == 0:
            assert moment > 5, "the program was not watched"
            return
        assert code == -signal.SIGKILL
    pytest.fail("the program never came to its end")


def test_a_project_killed_at_any_moment_of_its_first_opening_opens_the_next_time(tmp_path):
    program = tmp_path / "opening.py"
    program.write_text(OPENING)
    folder = tmp_path / "project"
    for _ in at_every_moment(folder, program, folder / "state.db"):
        assert read_facts(folder / "state.db") == []
        assert opened(folder / "state.db") == []
        shutil.rmtree(folder)


def test_a_file_killed_at_any_moment_of_its_migration_is_wholly_old_or_wholly_new_and_has_a_copy(tmp_path):
    program = tmp_path / "opening.py"
    program.write_text(OPENING)
    folder = tmp_path / "project"
    path = folder / "state.db"
    store = SqliteStore(path)
    store.load()
    at = datetime(2026, 1, 1, tzinfo=UTC)
    given = [TaskAdded(at=at, task=AgentTask(f"task-{number}", "a title")) for number in range(3)]
    for event in given:
        store.append(event)
    store._close()
    shutil.copytree(folder, tmp_path / "before")

    versions = set()
    for _ in at_every_moment(folder, program, path, *NEXT_STEPS):
        version, tables = schema(path)
        versions.add(version)
        assert tables == ({"facts", "notes"} if version > len(MIGRATIONS) else {"facts"})

        new = SqliteStore(path, migrations=(*MIGRATIONS, *NEXT_STEPS))
        assert new.load() == given
        new._close()
        assert schema(path) == (len(MIGRATIONS) + 2, {"facts", "notes"})
        assert opened(path.with_suffix(".v1.bak")) == given
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "before", folder)
    assert versions == {len(MIGRATIONS), len(MIGRATIONS) + 2}


def schema(path):
    """The file's version and tables."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return version, {name for (name,) in tables}
