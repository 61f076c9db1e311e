"""How processes start and end. Real ones throughout; what they leave behind is counted by session."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from asyncio.base_subprocess import BaseSubprocessTransport
from pathlib import Path

import pytest

from orchestration.runners import process_output, process_tree
from orchestration.runners.process import run_process, sweep

HANG = "import time; time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {HANG}"


def run(code, stdin=b"", cwd=None, **options):
    return run_process([sys.executable, "-c", code], stdin=stdin, env=dict(os.environ), cwd=cwd, **options)


@pytest.fixture
async def started(tmp_path):
    """Return a FIFO's path and a function that waits until something is written to it, and returns that."""
    path = tmp_path / "started"
    os.mkfifo(path)
    fifo = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    told = asyncio.Event()
    asyncio.get_running_loop().add_reader(fifo, told.set)

    async def wait():
        async with asyncio.timeout(20):
            await told.wait()
        return os.read(fifo, 100).split()[0]

    yield path, wait
    asyncio.get_running_loop().remove_reader(fifo)
    os.close(fifo)


def tell(path):
    """Return code that writes its process's session to the FIFO."""
    return f"import os; f = open({str(path)!r}, 'w'); f.write(str(os.getsid(0)) + ' '); f.close(); "


def members(session):
    """Return the living processes of a session, by the system's own records."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, its_session = stat.read_text("utf-8", "replace").rpartition(")")[2].split()[:4]
            if its_session == str(session) and state != "Z":
                found.append(int(stat.parent.name))
    return found


async def test_a_process_gets_its_input_and_gives_its_output():
    end = await run("import sys; print(sys.stdin.read()[::-1]); print('aside', file=sys.stderr)", b"abc")

    assert (end.exit_code, end.stdout, end.stderr_tail, end.is_overlong) == (0, b"cba\n", b"aside\n", False)


async def test_megabytes_pass_through_in_both_directions():
    text = b"x" * 5_000_000

    assert (await run("import sys; sys.stdout.write(sys.stdin.read())", text)).stdout == text


async def test_a_process_need_not_read_its_input():
    assert (await run("print('done')", b"x" * 5_000_000)).stdout == b"done\n"
    assert (await run("import os; os.close(0); print('done')", b"x" * 5_000_000)).stdout == b"done\n"


async def test_only_the_end_of_stderr_is_kept():
    end = await run("import sys; sys.stderr.write('x' * 100_000 + 'the end')")

    assert end.stderr_tail == b"x" * 3_993 + b"the end"


async def test_a_process_that_says_too_much_is_killed():
    end = await run("import sys\nwhile True: sys.stdout.write('x' * 1_000_000)")

    assert end.is_overlong
    assert end.stdout == b""
    assert end.exit_code == -signal.SIGTERM


@pytest.mark.parametrize("code", [HANG, STUBBORN])
async def test_cancelling_ends_the_process_polite_or_not(started, code):
    fifo, wait = started
    # A stubborn one says so only after it ignores the signal.
    code = code.replace("import time", tell(fifo) + "import time")
    task = asyncio.create_task(run(code))
    session = int(await wait())

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert task.cancelled()
    assert members(session) == []


async def test_cancelling_while_the_process_starts_reaches_its_descendants_too(started, monkeypatch):
    fifo, wait = started
    code = (
        f"import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork(); {tell(fifo)}time.sleep(60)"
    )
    loop, is_starting = asyncio.get_running_loop(), asyncio.Event()
    start, sessions = loop.subprocess_exec, []

    async def start_slowly(*arguments, **options):
        made = await start(*arguments, **options)
        is_starting.set()
        sessions.append(int(await wait()))  # by now it has descendants
        return made

    monkeypatch.setattr(loop, "subprocess_exec", start_slowly)
    task = asyncio.create_task(run(code))
    await is_starting.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert [members(session) for session in sessions] == [[]]


async def test_cancelling_before_a_start_that_fails_stays_a_cancellation(monkeypatch):
    loop, is_starting, go_on = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    async def fail_slowly(*_arguments, **_options):
        is_starting.set()
        await go_on.wait()
        raise FileNotFoundError

    monkeypatch.setattr(loop, "subprocess_exec", fail_slowly)
    task = asyncio.create_task(run("pass"))
    await is_starting.wait()
    task.cancel()
    go_on.set()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_second_cancellation_does_not_leave_the_process_behind(started):
    fifo, wait = started
    task = asyncio.create_task(run(STUBBORN.replace("import time", tell(fifo) + "import time")))
    session = int(await wait())

    task.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert members(session)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert members(session) == []


async def test_a_deadline_ends_the_process_and_stays_a_deadline(started):
    fifo, wait = started

    async def run_until(deadline):
        async with deadline:
            await run(tell(fifo) + HANG)

    deadline = asyncio.timeout(None)
    task = asyncio.create_task(run_until(deadline))
    session = int(await wait())
    deadline.reschedule(asyncio.get_running_loop().time())
    with pytest.raises(TimeoutError):
        await task

    assert members(session) == []


@pytest.mark.parametrize("own_group", ["", "os.setpgid(0, 0); "])
async def test_grandchildren_forked_twice_are_reached(started, own_group):
    fifo, wait = started
    code = (
        "import os, signal, time\n"
        "if os.fork() == 0:\n"
        "    if os.fork() == 0:\n"
        f"        {own_group}signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"        {tell(fifo)}\n"
        "        time.sleep(60)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "time.sleep(60)\n"
    )
    task = asyncio.create_task(run(code))
    session = int(await wait())
    assert len(members(session)) >= 2

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert members(session) == []


async def test_what_a_process_leaves_behind_ends_with_it_and_does_not_hold_its_answer(started):
    fifo, wait = started
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {(tell(fifo) + HANG)!r}]); print('done')"
    waiting = asyncio.create_task(wait())

    end = await run(code)

    assert (end.exit_code, end.stdout) == (0, b"done\n")
    assert members(int(await waiting)) == []


async def test_cancelling_while_leftovers_are_ended_is_not_lost(started):
    fifo, wait = started
    # The child says so once its parent is gone and the rest of the session is being ended.
    code = (
        "import os, signal, time\n"
        "ready, tell = os.pipe()\n"
        "if os.fork() == 0:\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    parent = os.getppid()\n"
        "    os.write(tell, b'x')\n"
        "    while os.getppid() == parent: time.sleep(0.01)\n"
        f"    {tell(fifo)}\n"
        "    time.sleep(60)\n"
        "os.read(ready, 1)\n"
    )
    task = asyncio.create_task(run(code))
    session = int(await wait())

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert members(session) == []


async def test_cancelling_at_the_very_end_is_not_lost(monkeypatch):
    letting_go, close = asyncio.Event(), BaseSubprocessTransport.close

    def close_and_tell(transport):
        letting_go.set()
        close(transport)

    monkeypatch.setattr(process_output.Output, "connection_lost", lambda *_: None)  # the loop takes its time
    monkeypatch.setattr(BaseSubprocessTransport, "close", close_and_tell)
    task = asyncio.create_task(run("pass"))
    await letting_go.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_where_there_is_no_proc_the_group_is_enough(started, monkeypatch, tmp_path):
    fifo, wait = started
    monkeypatch.setattr(process_tree, "_PROC", tmp_path / "no-proc")
    task = asyncio.create_task(run(STUBBORN.replace("import time", tell(fifo) + "import time")))
    session = int(await wait())

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert members(session) == []
    assert await sweep("someone") == []


async def test_a_process_that_survives_everything_is_told_and_not_waited_for(started, monkeypatch, caplog):
    fifo, wait = started
    monkeypatch.setattr(process_tree, "_signal", lambda *_: None)  # as if it were stuck in the kernel
    monkeypatch.setattr(process_tree, "_GRACE_S", 0.01)
    monkeypatch.setattr(process_tree, "_KILL_S", 0.01)
    monkeypatch.setattr(process_output, "_FLUSH_S", 0.01)
    task = asyncio.create_task(run(tell(fifo) + HANG))
    session = int(await wait())

    task.cancel()
    with caplog.at_level(logging.WARNING), pytest.raises(asyncio.CancelledError):
        await task

    assert f"processes {session} survived" in caplog.text
    assert members(session) == []  # letting go of it kills it once more


async def test_one_that_survives_its_idle_timeout_counts_as_killed(monkeypatch):
    monkeypatch.setattr(process_tree, "_signal", lambda *_: None)  # as if it were stuck in the kernel
    for module, name in ((process_tree, "_GRACE_S"), (process_tree, "_KILL_S"), (process_output, "_FLUSH_S")):
        monkeypatch.setattr(module, name, 0.01)
    monkeypatch.setattr(BaseSubprocessTransport, "get_returncode", lambda _: None)

    end = await run(HANG, idle_timeout_s=0.01)

    assert (end.is_idle, end.exit_code) == (True, -signal.SIGKILL)


async def test_an_owner_of_two_lines_is_refused():
    with pytest.raises(ValueError, match="one line"):
        await run("pass", owner="one\ntwo")


@pytest.mark.parametrize("command", [["no-such-program"], [Path("/")]])
async def test_what_cannot_be_started_raises_what_the_system_says(command):
    with pytest.raises((FileNotFoundError, PermissionError)):
        await run_process(command, stdin=b"", env={}, cwd=None)
