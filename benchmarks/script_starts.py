"""Start 20 script tasks together by an executor, and the same 20 programs with bare asyncio: what tasks cost on top.

The script does what the protocol asks, as briefly as it can. `true` is the hard case: it does nothing, so that all
that is measured is starting, feeding, reading and reaping. Both sides feed the same input and give each process a
session of its own (systems share the processor among sessions, too); they take turns.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.row import Row, emit, within
from orchestration import AgentConfig, AgentRegistry, AgentTask, AgentType, TaskExecutor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["measure"]

TASKS = 20
BAR = 1.3

SCRIPT = """\
import json, sys
print(json.load(sys.stdin)["title"])
"""


def measure() -> list[Row]:
    true = shutil.which("true")
    if true is None:
        raise RuntimeError("no program `true` on the PATH; expected that of the system")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.py"
        script.write_text(SCRIPT, encoding="utf-8")
        return [
            *_compare("Python scripts", (sys.executable, str(script)), Path(folder), repeats=15),
            *_compare("`true`", (true,), Path(folder), repeats=100),
        ]


def _compare(name: str, command: Sequence[str], root: Path, *, repeats: int) -> list[Row]:
    walls = asyncio.run(_walls_ms(command, root, repeats))
    bare, ours = (statistics.median(side) for side in walls)
    ratio = statistics.median(mine / theirs for theirs, mine in zip(*walls, strict=True))
    title = f"{TASKS} {name} at once"
    return [
        Row(measure=f"{title}: bare create_subprocess_exec", figure=f"{bare:.1f} ms", ratio="1 x bare"),
        within(f"{title}: script tasks", ratio, BAR, "x bare", ratio=f"{ours:.1f} ms", strictly=True),
    ]


async def _walls_ms(command: Sequence[str], root: Path, repeats: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds that all of them took, each time: bare, as tasks."""
    sent = await _input_of_a_task(root)
    registry = AgentRegistry()
    registry.register_agent(AgentConfig("script", AgentType.SCRIPT, command=tuple(command)))
    bare: list[float] = []
    ours: list[float] = []
    async with TaskExecutor(registry, root=root) as executor:
        for repeat in range(-1, repeats):
            walls = await _wall_ms(lambda _: _run(command, sent)), await _wall_ms(lambda n: _execute(executor, n))
            if repeat >= 0:  # the first time loads modules
                bare.append(walls[0])
                ours.append(walls[1])
    return bare, ours


async def _wall_ms(start: Callable[[int], Awaitable[None]]) -> float:
    started = time.perf_counter()
    await asyncio.gather(*(start(number) for number in range(TASKS)))
    return (time.perf_counter() - started) * 1_000


async def _run(command: Sequence[str], sent: bytes) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
    )
    await process.communicate(sent)
    if process.returncode:
        raise RuntimeError(f"{command} ended with exit code {process.returncode}")


async def _execute(executor: TaskExecutor, number: int) -> None:
    result = await executor.execute(AgentTask(f"task-{number}", "Say this", agent="script"))
    if result.error:
        raise RuntimeError(result.error)


async def _input_of_a_task(root: Path) -> bytes:
    """Return what a script task gets on stdin, as `cat` gives it back."""
    registry = AgentRegistry()
    registry.register_agent(AgentConfig("cat", AgentType.SCRIPT, command=("cat",)))
    async with TaskExecutor(registry, root=root) as executor:
        result = await executor.execute(AgentTask("task-0", "Say this", agent="cat"))
    if result.error:
        raise RuntimeError(result.error)
    return result.output.encode()


if __name__ == "__main__":
    emit(measure())
