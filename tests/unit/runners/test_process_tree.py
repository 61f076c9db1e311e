"""How processes are found and ended. Real ones."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from orchestration.runners import process_tree
from orchestration.runners.process_tree import MARK_VARIABLE, ProcessTree, end_all

HANG = "import time; print('x', flush=True); time.sleep(60)"


@pytest.fixture
def start():
    """Return a function that starts Python code and waits for its first word; what it started ends with the test."""
    started = []

    def start(code, **environment):
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            env=os.environ | environment,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout.readline()
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(timeout=20)
        process.stdout.close()


def test_a_process_is_known_by_more_than_its_number(start):
    process = start(HANG)

    found = process_tree._look(process.pid)

    assert (found.pid, found.parent, found.group, found.session) == (process.pid, os.getpid(), process.pid, process.pid)
    assert process_tree._is_living(found)
    assert not process_tree._is_living(found._replace(started=found.started - 1))


def test_a_zombie_is_not_living_but_one_whose_threads_go_on_is(start):
    dead = start("print('x', flush=True)")
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the table
    # The main thread ends by the system's own call, which Python has no name for: 60 on x86-64, 93 on arm64.
    headless = start(
        "import ctypes, os, platform, threading, time\n"
        "exit_thread = {'x86_64': 60, 'aarch64': 93}[platform.machine()]\n"
        "main = threading.get_native_id()\n"
        "def go_on():\n"
        "    while open(f'/proc/self/task/{main}/stat').read().rpartition(')')[2].split()[0] != 'Z': pass\n"
        "    print('x', flush=True)\n"
        "    time.sleep(60)\n"
        "threading.Thread(target=go_on).start()\n"
        "ctypes.CDLL(None).syscall(exit_thread, 0)\n"
    )

    assert process_tree._look(dead.pid) is None
    assert process_tree._look(headless.pid) is not None


def test_one_that_is_gone_is_not_found():
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait(timeout=20)

    assert process_tree._look(process.pid) is None
    assert process_tree._environment(process.pid) == b""
    assert process_tree._program(process.pid) is None


def test_a_tree_is_marked_by_each_orchestrator_it_grows_under(monkeypatch, start):
    monkeypatch.delenv(MARK_VARIABLE, raising=False)
    outer = ProcessTree("outer")
    monkeypatch.setenv(MARK_VARIABLE, outer.mark)
    inner = ProcessTree("in#ner")
    process = start(HANG, **{MARK_VARIABLE: inner.mark})

    assert list(process_tree._owners(process.pid)) == ["outer", "in#ner"]
    assert [each.pid for each in outer.living(-1)] == [process.pid]
    assert [each.pid for each in inner.living(-1)] == [process.pid]
    assert ProcessTree("inner").living(-1) == []


async def test_nothing_found_once_is_not_yet_nothing(start):
    process = start(HANG)
    looks = iter([[], [process_tree._look(process.pid)], [], []])

    survivors = await end_all(lambda: next(looks))

    assert list(survivors) == []
    assert process.wait(timeout=20) == -signal.SIGTERM


async def test_those_forked_meanwhile_are_told_to_end_in_their_turn(start):
    first, second = start(HANG), start(HANG)
    pids = [first.pid, second.pid]

    def find():
        """See the second one only when the first is gone."""
        return [each for each in map(process_tree._look, pids) if each][:1]

    waiting = [asyncio.to_thread(each.wait, 20) for each in (first, second)]
    assert list(await end_all(find)) == []

    assert await asyncio.gather(*waiting) == [-signal.SIGTERM, -signal.SIGTERM]


async def test_without_proc_a_living_group_is_one_process(monkeypatch, tmp_path, start):
    process = start(HANG)
    monkeypatch.setattr(process_tree, "_PROC", tmp_path / "no-proc")

    (found,) = ProcessTree("").living(process.pid)

    assert found.pid == process.pid
    assert process_tree._is_living(found)
    assert not process_tree._is_living(found._replace(pid=2**22 + 1))
