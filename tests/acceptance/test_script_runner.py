"""Scripts as people write them, run by the executor: good ones, broken ones, and those that will not go away."""

import asyncio
import contextlib
import os
import resource
import sys
import textwrap
from pathlib import Path

import pytest

from orchestration.agent_registry import AgentConfig, AgentRegistry, AgentType
from orchestration.executor import TaskExecutor
from orchestration.parallel_executor import ParallelExecutor
from orchestration.redact import KEY_VARIABLES
from orchestration.task import AgentTask, ExecutionStatus, FailureKind

pytestmark = pytest.mark.acceptance

SCRIPTS = {
    "good.py": """
        import json, sys
        task = json.load(sys.stdin)
        print(f"{task['title']}: done")
        """,
    "exits_3.py": """
        import sys
        print("half an answer")
        print("no such customer: 17", file=sys.stderr)
        sys.exit(3)
        """,
    "prints_200_mb.py": """
        import sys
        for _ in range(200):
            sys.stdout.write("x" * 1_000_000)
        """,
    "hangs.py": """
        import time
        {tell}
        time.sleep(60)
        """,
    "ignores_sigterm.py": """
        import signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        {tell}
        time.sleep(60)
        """,
    "forks_twice.py": """
        import os, signal, time
        if os.fork() == 0:
            if os.fork() == 0:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                {tell}
                time.sleep(60)
            os._exit(0)
        os.wait()
        time.sleep(60)
        """,
    "background.sh": """
        #!/bin/bash
        set -m
        sleep 60 &
        {tell_sh}
        wait
        """,
}


@pytest.fixture
async def project(tmp_path, monkeypatch):
    """Return an executor over a project full of scripts."""
    for name in KEY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    registry = AgentRegistry()
    tell = "import os; open('session', 'w').write(str(os.getsid(0))); open('started', 'w').write('x')"
    tell_sh = "ps -o sid= -p $$ | tr -d ' \\n' > session; echo x > started"
    for name, code in SCRIPTS.items():
        lines = textwrap.dedent(code).lstrip()
        # The placeholders stand at different depths.
        (tmp_path / name).write_text(lines.replace("{tell}", tell).replace("{tell_sh}", tell_sh), encoding="utf-8")
        command = ("bash", name) if name.endswith(".sh") else (sys.executable, name)
        registry.register_agent(AgentConfig(name.partition(".")[0], AgentType.SCRIPT, command=command))
    registry.register_agent(AgentConfig("missing", AgentType.SCRIPT, command=("./missing.py",)))
    os.mkfifo(tmp_path / "started")
    async with TaskExecutor(registry, root=tmp_path) as executor:
        yield executor


@pytest.fixture
async def started(project, tmp_path):
    """Return a function that waits until a script says that it is under way, and returns its session."""
    fifo = os.open(tmp_path / "started", os.O_RDWR | os.O_NONBLOCK)
    told = asyncio.Event()
    asyncio.get_running_loop().add_reader(fifo, told.set)

    async def wait():
        async with asyncio.timeout(20):
            await told.wait()
        return int((tmp_path / "session").read_text(encoding="utf-8"))

    yield wait
    asyncio.get_running_loop().remove_reader(fifo)
    os.close(fifo)


def living(session):
    """Count the live processes of a session, by the system's own records."""
    count = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, its_session = stat.read_text("utf-8", "replace").rpartition(")")[2].split()[:4]
            count += its_session == str(session) and state != "Z"
    return count


def task(agent, **fields):
    return AgentTask("t1", "Look up", agent=agent, **fields)


async def test_a_good_script_s_answer_is_its_standard_output(project):
    result = await project.execute(task("good"))

    assert (result.status, result.output) == (ExecutionStatus.SUCCESS, "Look up: done")


async def test_a_script_that_exits_3_fails_with_the_code_and_its_words(project):
    result = await project.execute(task("exits_3"))

    assert result.status is ExecutionStatus.FAILED
    assert result.failure_kind is FailureKind.TASK_ERROR
    assert "exit code 3" in result.error
    assert "no such customer: 17" in result.error
    assert result.output == ""


async def test_a_script_that_prints_200_mb_is_stopped_and_costs_little_memory(project):
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    result = await project.execute(task("prints_200_mb"))

    assert "printed more than 10,000,000 bytes" in result.error
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 60_000


async def test_a_missing_script_is_told_by_its_path(project, tmp_path):
    result = await project.execute(task("missing"))

    assert result.failure_kind is FailureKind.UNAVAILABLE
    assert f"cannot start '{tmp_path}/missing.py' for task 't1': no such file" in result.error


@pytest.mark.parametrize("script", ["hangs", "ignores_sigterm", "forks_twice", "background"])
async def test_a_cancelled_script_leaves_nothing_behind(project, started, script):
    running = asyncio.create_task(project.execute(task(script)))
    session = await started()
    assert living(session) >= 1

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert living(session) == 0


async def test_a_script_out_of_time_leaves_nothing_behind(project, started):
    running = asyncio.create_task(project.execute(task("ignores_sigterm", timeout_s=3)))
    session = await started()

    result = await running

    assert result.failure_kind is FailureKind.TIMEOUT
    assert living(session) == 0


async def test_scripts_run_side_by_side(project, tmp_path):
    """Each of three scripts waits for the other two: one after the other, they would never end."""
    (tmp_path / "meet.py").write_text(
        "import pathlib, sys, time\n"
        "pathlib.Path(sys.stdin.read().split('\"')[3]).touch()\n"
        "while len(list(pathlib.Path().glob('meet-*'))) < 3: time.sleep(0.01)\n",
        encoding="utf-8",
    )
    project.registry.register_agent(AgentConfig("meet", AgentType.SCRIPT, command=(sys.executable, "meet.py")))

    results = await ParallelExecutor(project).execute(
        [AgentTask(f"meet-{number}", "Meet", agent="meet", timeout_s=30) for number in range(3)]
    )

    assert {result.status for result in results} == {ExecutionStatus.SUCCESS}
