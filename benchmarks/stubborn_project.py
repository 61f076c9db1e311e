"""A project with a worker of every kind, none of which ends by itself; how long it takes until all of them are gone."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.coding_agents_project import living, marked
from orchestration.agent_registry import Tool
from orchestration.orchestrator import state_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["WAYS", "Cancelled", "Way", "cancel", "owner_of"]

Way = Literal["SIGINT twice", "SIGTERM", "orchestrate cancel"]
WAYS: tuple[Way, ...] = ("SIGINT twice", "SIGTERM", "orchestrate cancel")

_PATIENCE_S = 30.0
_POLL_S = 0.01

_HANG = "import time; time.sleep(3600)"
_DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGINT, signal.SIG_IGN)"
_TELL = "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()"
_FORK_TWICE = "import os, time; os.fork() and time.sleep(3600); os.setsid(); os.fork() and os._exit(0)"

FUNCTIONS = """\
import asyncio, threading

async def wait(work):
    (work.root / "function.began").touch()
    await asyncio.Event().wait()

def block(work):
    (work.root / "thread.began").touch()
    threading.Event().wait()
"""


@dataclass(frozen=True, kw_only=True)
class Cancelled:
    """How a run ended: after how many seconds no process was left, if ever, and how many there had been."""

    exit_code: int
    seconds: float
    before: int
    left: int
    statuses: dict[str, str]


def cancel(root: Path, way: Way) -> Cancelled:
    """Start the project in the folder, wait until every worker is at work, and stop it all."""
    root.mkdir(exist_ok=True)
    tasks = _write(root)
    owner = owner_of(root)
    with _run(root) as process:
        _until(lambda: all((root / f"{task}.began").exists() for task in tasks if task != "person"))
        _until(lambda: _statuses(root)["person"] == "waiting")
        before = {process.pid, *marked(owner)}
        started = time.perf_counter()
        _stop(root, process, way)
        _until(lambda: process.poll() is not None and not living(before) and not marked(owner))
        seconds = time.perf_counter() - started
    return Cancelled(
        exit_code=process.returncode,
        seconds=seconds,
        before=len(before) - 1,
        left=len(marked(owner) | living(before)),
        statuses=_statuses(root),
    )


def owner_of(root: Path) -> str:
    """Return whose mark the workers' processes carry."""
    return str(state_path(root, "stubborn").absolute())


def _stop(root: Path, process: subprocess.Popen[str], way: Way) -> None:
    match way:
        case "SIGINT twice":
            process.send_signal(signal.SIGINT)
            for line in process.stderr or ():
                if line.startswith("stopping"):
                    break
            process.send_signal(signal.SIGINT)
        case "SIGTERM":
            process.send_signal(signal.SIGTERM)
        case "orchestrate cancel":
            subprocess.run([_program(), "cancel"], cwd=root, check=True, stdout=subprocess.DEVNULL)


def _write(root: Path) -> list[str]:
    """Write the project's files; return its tasks."""
    agents, tasks, plays = _agents(root)
    document = {"project": "stubborn", "agents": agents, "tasks": tasks}
    (root / "orchestrate.yaml").write_text(json.dumps(document, indent=1))
    (root / "plays.json").write_text(json.dumps(plays, indent=1))
    (root / "functions.py").write_text(FUNCTIONS)
    return list(tasks)


def _agents(root: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return agents, tasks, and what the made-up coding agents do."""

    def program(task: str, *code: str) -> list[str]:
        return [sys.executable, "-c", "\n".join((*code, _TELL, _HANG)), str(root / f"{task}.began")]

    agents: dict[str, Any] = {
        "script": {"type": "script", "command": program("script")},
        "script-once": {"type": "script", "command": program("script-once")},
        "script-forked": {"type": "script", "command": program("script-forked", _DEAF, _FORK_TWICE)},
        "command": {"type": "cli", "command": program("command")},
        "command-deaf": {"type": "cli", "command": program("command-deaf", _DEAF)},
        "function": {"type": "python", "function": "functions:wait"},
        "thread": {"type": "python", "function": "functions:block"},
        "person": {"type": "human"},
        "checked": {"type": "cli", "command": ["echo", "done"]},
    }
    tasks: dict[str, Any] = {name: {"agent": name} for name in agents}
    tasks["script-once"]["effects"] = "once"
    tasks["checked"]["checks"] = [{"command": program("checked", _DEAF)}]
    plays: dict[str, Any] = {}
    for name, act in [*((f"{tool.value}-deaf", "deaf") for tool in Tool), ("claude-forked", "fork")]:
        tool = name.partition("-")[0]
        command = [sys.executable, "-m", "orchestration.testing.cli_agents", tool, "--script", str(root / "plays.json")]
        agents[name] = {"type": "cli", "tool": tool, "command": command}
        tasks[name] = {"agent": name}
        plays[name] = [[{act: 3600}, {"write": {str(root / f"{name}.began"): ""}}, {"hang": True}]]
    return agents, tasks, plays


@contextlib.contextmanager
def _run(root: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [_program(), "run"],
        cwd=root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _statuses(root: Path) -> dict[str, str]:
    done = subprocess.run(
        [_program(), "status", "--json"], cwd=root, capture_output=True, text=True, check=True, timeout=_PATIENCE_S
    )
    return {task["task_id"]: task["status"] for task in json.loads(done.stdout)["tasks"]}


def _program() -> str:
    return str(Path(sys.executable).with_name("orchestrate"))


def _until(condition: Callable[[], bool]) -> None:
    """Wait, but not for ever."""
    give_up_at = time.monotonic() + _PATIENCE_S
    while not condition() and time.monotonic() < give_up_at:
        time.sleep(_POLL_S)
