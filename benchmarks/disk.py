"""Bytes on the disk per byte of payload: tasks in a chain that each add 4 kB, for growing n."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from benchmarks.agents import PAYLOAD_BYTES
from benchmarks.project import add_tasks, open_project
from benchmarks.row import Row, emit, within

__all__ = ["measure"]

SIZES = (100, 200, 400)


def measure() -> list[Row]:
    rows = []
    per_task = {}
    for tasks in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            closed, peak = asyncio.run(_run(Path(folder), tasks))
        payload = tasks * PAYLOAD_BYTES
        per_task[tasks] = closed / tasks
        name = f"state of {tasks} tasks adding 4 kB each"
        rows.append(
            within(
                f"{name}: closed",
                closed / payload,
                2.5,
                "bytes/byte",
                ratio=f"{closed / 1e6:.2f} MB of {payload / 1e6:.2f}",
                strictly=True,
            )
        )
        rows.append(Row(measure=f"{name}: peak while running", figure=f"{peak / payload:.2f} bytes/byte"))
    growth = per_task[SIZES[-1]] / per_task[SIZES[0]]
    rows.append(within(f"bytes per task, {SIZES[-1]} against {SIZES[0]} tasks", growth, 1.1, "x", ratio="linear is 1"))
    return rows


async def _run(root: Path, tasks: int) -> tuple[int, int]:
    """Return the bytes under the project's state folder after closing, and the most there were while it ran."""
    names = [f"task-{number:03d}" for number in range(tasks)]
    peak = 0

    def look(*_fact_and_state: object) -> None:
        nonlocal peak
        peak = max(peak, _size_bytes(root))

    async with open_project(root, "benchmarks.agents:payload") as project:
        add_tasks(
            project, {name: (before,) if before else () for before, name in zip(["", *names], names, strict=False)}
        )
        project.subscribe(look)
        result = await project.execute_workflow()
    if sum(len(result.results[name].output) for name in names) != tasks * PAYLOAD_BYTES:
        raise RuntimeError(f"the run ended {result.status!r} without all outputs")
    return _size_bytes(root), peak


def _size_bytes(root: Path) -> int:
    return sum(file.stat().st_size for file in (root / ".orchestration").iterdir())


if __name__ == "__main__":
    emit(measure())
