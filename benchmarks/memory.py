"""Peak memory of a process in which 10,000 durable tasks sleep at the same time."""

from __future__ import annotations

import asyncio
import resource
import tempfile
import time
from pathlib import Path

from benchmarks.agents import crowd
from benchmarks.project import add_tasks, open_project
from benchmarks.row import Row, emit, within

__all__ = ["measure"]

TASKS = 10_000


def measure() -> list[Row]:
    idle = _peak_mb()
    with tempfile.TemporaryDirectory() as folder:
        wall = asyncio.run(_run(Path(folder)))
    peak = _peak_mb()
    return [
        within(
            f"peak memory, {TASKS:,} durable tasks sleeping at once",
            peak,
            150,
            "MB",
            ratio=f"{(peak - idle) * 1_000 / TASKS:.1f} kB per task over {idle:.0f} MB of imports",
            strictly=True,
        ),
        Row(measure=f"{TASKS:,} durable tasks of 1 s, all at once, wall", figure=f"{wall:.2f} s"),
    ]


async def _run(root: Path) -> float:
    """Return the wall seconds of the run; it ends only if all tasks were there at the same time."""
    crowd.expected = TASKS
    async with open_project(root, "benchmarks.agents:sleep_together") as project:
        add_tasks(project, {f"task-{number:05d}": () for number in range(TASKS)})
        started = time.perf_counter()
        result = await project.execute_workflow()
        wall = time.perf_counter() - started
    if result.status != "completed":
        raise RuntimeError(f"the run ended {result.status!r}")
    return wall


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    emit(measure())
