"""The made-up coding agents' one program: finds its script and its play, and keeps what it was asked."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.testing.cli_agents.acts import Done
from orchestration.testing.cli_agents.tools import TOOLS, VERSIONS

if TYPE_CHECKING:
    from orchestration.testing.cli_agents.acts import FakeTool

__all__ = ["calls_of", "main"]


def calls_of(script: Path) -> list[dict[str, Any]]:
    """Return what was asked of the script's agents so far: `tool`, `task_id`, `args`, `prompt`, `env`, `cwd`, `pid`."""
    log = _state_of(script) / "calls.jsonl"
    if not log.exists():
        return []
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def main(arguments: list[str] | None = None) -> int:
    """Be the agent that the first argument names; return its exit code."""
    name, *rest = sys.argv[1:] if arguments is None else arguments
    if "--version" in rest:
        sys.stdout.write(f"{VERSIONS[name]}\n")
        return 0
    if rest[:1] != ["--script"]:
        sys.stderr.write("usage: python -m orchestration.testing.cli_agents TOOL --script FILE FLAGS...\n")
        return 2
    script = Path(rest[1])
    state = _state_of(script)
    state.mkdir(exist_ok=True)
    tool = TOOLS[name](state=state)
    try:
        tool.parse(rest[2:])
        tool.asked = tool.prompt()
        _note(tool, rest[2:])
        tool.begin()
        tool.remember()
        tool.play(_play_of(script, state))
    except Done as end:
        sys.stdout.flush()
        return end.code
    return 0


def _play_of(script: Path, state: Path) -> list[dict[str, Any]]:
    plays = json.loads(script.read_text(encoding="utf-8"))
    task_id = os.environ.get("ORCHESTRATION_TASK_ID", "")
    mine = plays.get(task_id) or plays["*"]
    counter = state / f"plays-{task_id}"
    played = len(counter.read_text(encoding="utf-8")) if counter.exists() else 0
    with counter.open("a", encoding="utf-8") as file:
        file.write(".")
    return list(mine[min(played, len(mine) - 1)])


def _note(tool: FakeTool, arguments: list[str]) -> None:
    call = {
        "tool": tool.name,
        "task_id": os.environ.get("ORCHESTRATION_TASK_ID", ""),
        "args": arguments,
        "prompt": tool.asked,
        "env": dict(os.environ),
        "cwd": str(Path.cwd()),
        "pid": os.getpid(),
    }
    with (tool.state / "calls.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(call) + "\n")


def _state_of(script: Path) -> Path:
    return script.with_name(f"{script.name}.state")
