"""The SQLite store alone: how long one fact takes to be durable, and how many per second 100 writers get through."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.row import Row, emit
from orchestration.events import TaskStarted
from orchestration.store.sqlite import SqliteStore

__all__ = ["measure"]

LONE = 300
WRITERS, EACH = 100, 300
REPEATS = 3

FACT = TaskStarted(at=datetime(2026, 1, 1, tzinfo=UTC), task_id="task-000", attempt=1, agent="worker", run_id="run")


def measure() -> list[Row]:
    lone, rates = zip(*(asyncio.run(_measure_once()) for _ in range(REPEATS)), strict=True)
    rate = statistics.median(rates)
    return [
        Row(measure="store: one fact durable, alone, wall", figure=f"{statistics.median(lone):.2f} ms"),
        Row(
            measure=f"store: durable facts at {WRITERS} concurrent writers",
            figure=f"{rate:,.0f} per s",
            ratio=f"{rate * statistics.median(lone) / 1_000:.0f} x one after the other",
        ),
    ]


async def _measure_once() -> tuple[float, float]:
    """Return milliseconds per lone fact (median) and facts per second of all writers."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "bench.db")
        store.load()
        lone = statistics.median([await _write(store) for _ in range(LONE)])
        started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(WRITERS):
                group.create_task(_write_many(store))
        rate = WRITERS * EACH / (time.perf_counter() - started)
        await store.aclose()
        return lone, rate


async def _write_many(store: SqliteStore) -> None:
    for _ in range(EACH):
        await _write(store)


async def _write(store: SqliteStore) -> float:
    """Return the milliseconds until the fact was durable."""
    started = time.perf_counter()
    await store.flushed(store.append(FACT))
    return (time.perf_counter() - started) * 1_000


if __name__ == "__main__":
    emit(measure())
