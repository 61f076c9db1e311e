"""CPU per no-op task on a layered graph: a project, durable and in memory, against bare asyncio."""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.project import add_tasks, layered_graph, open_project
from benchmarks.row import Row, emit, within

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["measure"]

LAYERS, WIDTH, DEPENDENCIES = 100, 100, 3
TASKS = LAYERS * WIDTH
REPEATS = 5

Graph = dict[str, tuple[str, ...]]


def measure() -> list[Row]:
    graph = layered_graph(LAYERS, WIDTH, DEPENDENCIES)
    bare: list[float] = []
    memory: list[float] = []
    durable: list[float] = []
    for _ in range(REPEATS):
        bare.append(_cpu_ms(_gather(graph)))
        memory.append(_cpu_ms(_run_project(graph, None)))
        with tempfile.TemporaryDirectory() as folder:
            durable.append(_cpu_ms(_run_project(graph, Path(folder))))
    times = statistics.median(ours / theirs for ours, theirs in zip(memory, bare, strict=True))
    base = statistics.median(bare)
    name = f"{TASKS:,} no-op tasks in layers, CPU each"
    return [
        Row(measure=f"{name}: bare gather", figure=f"{base:.4f} ms", ratio="1 x gather"),
        within(f"{name}: in memory", times, 5, "x gather", ratio=f"{statistics.median(memory):.3f} ms"),
        within(
            f"{name}: durable",
            statistics.median(durable),
            0.15,
            "ms",
            ratio=f"{statistics.median(durable) / base:.1f} x gather",
        ),
    ]


def _cpu_ms(work: Coroutine[None, None, None]) -> float:
    """Return milliseconds of CPU per task, of all threads."""
    gc.collect()
    before = time.process_time()
    asyncio.run(work)
    return (time.process_time() - before) * 1_000 / TASKS


async def _gather(graph: Graph) -> None:
    """Run the graph as one would by hand: a task per node that awaits its dependencies' tasks."""
    running: dict[str, asyncio.Task[None]] = {}

    async def node(names: tuple[str, ...]) -> None:
        await asyncio.gather(*(running[name] for name in names))

    for name, names in graph.items():
        running[name] = asyncio.create_task(node(names))
    await asyncio.gather(*running.values())


async def _run_project(graph: Graph, root: Path | None) -> None:
    """Build the project, run it and close it: all of it counts."""
    async with open_project(root, "benchmarks.agents:noop") as project:
        add_tasks(project, graph)
        result = await project.execute_workflow()
    if result.status != "completed" or len(result.results) != TASKS:
        raise RuntimeError(f"the run ended {result.status!r} with {len(result.results)} of {TASKS} results")


if __name__ == "__main__":
    emit(measure())
