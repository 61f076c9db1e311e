"""Calls that wait at the same time: three tasks of 2 s, and a thousand, against the bare SDK and `gather`."""

from __future__ import annotations

import asyncio
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.canned_server import ANSWER, allow_many_sockets, serving
from benchmarks.row import Row, emit, within
from orchestration import AgentConfig, AgentRegistry, AgentTask, AgentType, ProjectOrchestrator, TaskExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["measure"]

DELAY_S = 2.0
FEW, MANY = 3, 1_000
REPEATS = 3  # of the thousand; of the three, twice as often, for their bar is narrow
_CONNECT_TIMEOUT_S = 30.0

Side = tuple[float, float]


def measure() -> list[Row]:
    allow_many_sockets()
    with serving(DELAY_S) as base_url:
        asyncio.run(_run_project(base_url, 1))  # imports the SDK, as a longer run has done long before
        few = statistics.median(_timed(_run_project, base_url, FEW)[0] for _ in range(2 * REPEATS))
        bare: list[Side] = []
        ours: list[Side] = []
        for _ in range(REPEATS):
            bare.append(_timed(_gather, base_url, MANY))
            ours.append(_timed(_run_project, base_url, MANY))
    ratio = statistics.median(our[0] / their[0] for our, their in zip(ours, bare, strict=True))
    return [
        within(f"{FEW} tasks of {DELAY_S:g} s, wall", few, 2.05, "s", ratio=f"{few / DELAY_S:.3f} x one call"),
        _side(f"{MANY:,} calls of {DELAY_S:g} s: bare SDK and gather", bare),
        _side(f"{MANY:,} tasks of {DELAY_S:g} s: project in memory", ours),
        within(f"{MANY:,} tasks of {DELAY_S:g} s: project against bare SDK", ratio, 1.25, "x", strictly=True),
    ]


def _side(name: str, sides: list[Side]) -> Row:
    wall, cpu = (statistics.median(values) for values in zip(*sides, strict=True))
    return Row(measure=name, figure=f"{wall:.2f} s wall", ratio=f"{cpu:.2f} s CPU")


def _timed(run: Callable[[str, int], Coroutine[None, None, None]], base_url: str, calls: int) -> Side:
    """Return wall and CPU seconds, clients and event loop included."""
    wall, cpu = time.perf_counter(), time.process_time()
    asyncio.run(run(base_url, calls))
    return time.perf_counter() - wall, time.process_time() - cpu


async def _run_project(base_url: str, tasks: int) -> None:
    registry = AgentRegistry()
    registry.register_agent(AgentConfig("model", AgentType.OPENAI_GPT, model="canned", base_url=base_url))
    async with (
        TaskExecutor(registry, default_agent="model") as executor,
        ProjectOrchestrator(registry=registry, executor=executor) as project,
    ):
        for number in range(tasks):
            project.add_task(AgentTask(f"task-{number:04d}", "What is the answer?", max_attempts=1))
        result = await project.execute_workflow()
    wrong = [outcome for outcome in result.results.values() if outcome.output != ANSWER]
    if wrong or len(result.results) != tasks:
        raise RuntimeError(f"{len(wrong)} of {tasks} tasks without the answer, such as {wrong[:1]}")


async def _gather(base_url: str, calls: int) -> None:
    """Make the same calls by hand, with the transport and limits our provider has."""
    import httpx2  # noqa: PLC0415 -- not before it is needed: the first project's start must find it as a user does
    import openai  # noqa: PLC0415

    timeout = httpx2.Timeout(None, connect=_CONNECT_TIMEOUT_S)
    async with openai.AsyncOpenAI(
        api_key="none",
        base_url=base_url,
        max_retries=0,
        timeout=timeout,
        http_client=openai.DefaultAioHttpClient(timeout=timeout),
    ) as client:
        ask = partial(
            client.chat.completions.create,
            model="canned",
            messages=[{"role": "user", "content": "What is the answer?"}],
        )
        answers = await asyncio.gather(*(ask() for _ in range(calls)))
    if any(answer.choices[0].message.content != ANSWER for answer in answers):
        raise RuntimeError("a call came back without the answer")


if __name__ == "__main__":
    emit(measure())
