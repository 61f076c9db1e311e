"""What an orchestrator that was killed leaves running is found by the next one, and ended."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from orchestration.runners.process import sweep

pytestmark = pytest.mark.acceptance

HANG = "time.sleep(60)"
ORCHESTRATOR = """
import asyncio, os, sys
from orchestration.runners.process import run_process

async def main(owner, codes):
    async with asyncio.TaskGroup() as group:
        for code in codes:
            command = [sys.executable, "-c", code]
            group.create_task(run_process(command, stdin=b"", env=dict(os.environ), cwd=None, owner=owner))

asyncio.run(main(sys.argv[1], sys.argv[2:]))
"""
# Forks as an orchestrator does; the child becomes a worker only when the gate opens.
BETWEEN_FORK_AND_EXEC = """
import os, sys, time
owner, gate, code, tell = sys.argv[1:]
if os.fork() == 0:
    exec(tell)
    open(gate).read()
    os.execve(sys.executable, [sys.executable, "-c", code], os.environ | {"ORCHESTRATION_OWNER": f"{owner}#1"})
time.sleep(60)
"""


@pytest.fixture
def orchestrate(owner):
    """Return a function that starts a program in a session of its own; the process is ended with the test."""
    started = []

    def orchestrate(program, *arguments):
        process = subprocess.Popen([sys.executable, "-c", program, owner, *arguments], start_new_session=True)
        started.append(process)
        return process

    yield orchestrate
    for process in started:
        kill(process)


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=20)


async def test_what_a_killed_orchestrator_left_behind_is_ended_and_counted(owner, orchestrate, tell, told, count):
    codes = [
        f"import time; {tell}{HANG}",
        f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); {tell}{HANG}",
        f"import os, time; os.fork() and (os.wait(), {HANG}); os.setsid(); os.fork() and os._exit(0); {tell}{HANG}",
        f"import os, time; all(os.fork() for _ in range(20)); {tell}{HANG}",
    ]
    orchestrator = orchestrate(ORCHESTRATOR, *codes)
    pids = await told[1](24)
    kill(orchestrator)
    assert count(pids) == 25  # and the one that waits for its double-forked grandchild

    swept = await sweep(owner)

    assert len(swept) == 25
    assert {int(pid) for pid in pids} < set(swept)
    assert count(pids) == 0
    assert await sweep(owner) == []


@pytest.mark.parametrize("known", [1, 2, 4, 8])
async def test_one_killed_amidst_starting_workers_leaves_none_to_outlive_the_sweep(
    owner, orchestrate, run, tell, told, count, known
):
    orchestrator = orchestrate(ORCHESTRATOR, *[f"import time; {tell}{HANG}"] * 12)
    await told[1](known)
    kill(orchestrator)

    swept = await sweep(owner)

    assert len(swept) >= known
    assert count() == 0
    await run("pass")  # any that was still on its way is there by now
    assert count() == 0


async def test_a_worker_that_was_forked_but_not_yet_started_is_waited_for(
    owner, orchestrate, tell, told, tmp_path, count
):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    orchestrator = orchestrate(BETWEEN_FORK_AND_EXEC, str(gate), f"import time; {tell}{HANG}", tell)
    (pid,) = await told[1]()
    kill(orchestrator)
    assert count() == 0  # nothing shows yet whose it is

    sweeping = asyncio.create_task(sweep(owner))
    done, _ = await asyncio.wait([sweeping], timeout=0.3)
    assert not done
    with gate.open("w"):
        pass

    assert await sweeping == [int(pid)]
    assert count([pid]) == 0


async def test_other_owners_are_spared(owner, orchestrate, tell, told, count):
    orchestrator = orchestrate(ORCHESTRATOR, f"import time; {tell}{HANG}")
    await told[1]()
    kill(orchestrator)

    assert await sweep(owner[:-1]) == []
    assert await sweep(owner[1:]) == []
    assert count() == 1


async def test_a_sweeper_spares_those_it_runs_under_those_it_runs_and_those_beside_it(owner, run, count):
    sweeper = f"""
        import asyncio, os, subprocess, sys
        from orchestration.runners.process import sweep
        mine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
        print(asyncio.run(sweep({owner!r})), mine.poll())
        mine.kill()
    """
    worker = f"""
        import subprocess, sys
        beside = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        subprocess.run([sys.executable, "-c", {textwrap.dedent(sweeper)!r}], check=True)
        print(beside.poll())
    """

    end = await run(textwrap.dedent(worker))

    assert (end.exit_code, end.stdout) == (0, b"[] None\nNone\n")
    assert count() == 0


async def test_the_workers_of_an_orchestrator_that_is_a_worker_itself_end_with_it(owner, run, tell, told, count):
    inner = f"import os, time; os.fork() and (os.wait(), {HANG}); os.setsid(); os.fork() and os._exit(0); {tell}{HANG}"
    outer = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + ORCHESTRATOR.replace(
        "main(sys.argv[1], sys.argv[2:])", f"main({owner + '-inner'!r}, [{inner!r}])"
    )
    running = asyncio.create_task(run(outer))
    pids = await told[1]()

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert count(pids) == 0


async def test_projects_without_an_owner_cannot_be_swept():
    with pytest.raises(ValueError, match="owner ''"):
        await sweep("")
