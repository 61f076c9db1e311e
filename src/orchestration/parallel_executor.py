"""Many tasks, a bounded number at once. Knows nothing of dependencies between them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack, aclosing
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from orchestration.errors import InvalidTaskError
from orchestration.executor import TaskExecutor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator

    from orchestration.executor import ExecutionResult
    from orchestration.task import AgentTask

__all__ = ["ParallelExecutor"]


class _Executor(Protocol):
    """What `TaskExecutor` is to this module."""

    async def execute(self, task: AgentTask) -> ExecutionResult:
        """Return what came of the task."""


_Numbered = tuple[int, "AgentTask"]
_Done = tuple[int, "ExecutionResult"]


class ParallelExecutor:
    """Executes tasks, at most `max_concurrent` at once; a slot that gets free is used at once.

    A task that fails is a result among the others. A caller's mistake, such as an unknown agent, raises: before
    anything starts where the tasks are a list, otherwise when its turn comes, after the running ones were cancelled.

    Raises:
        InvalidTaskError: if `max_concurrent` is below 1.

    """

    def __init__(self, executor: _Executor, max_concurrent: int = 10) -> None:
        if not max_concurrent >= 1:
            raise InvalidTaskError(f"max_concurrent is {max_concurrent!r}, expected 1 or more")
        self._executor = executor
        self._max_concurrent = max_concurrent

    async def execute(self, tasks: Iterable[AgentTask]) -> list[ExecutionResult]:
        """Return all results in the order of the tasks.

        Raises:
            ValueError: for a caller's mistake.

        """
        async with aclosing(self._run(tasks)) as finished:
            results = {index: result async for index, result in finished}
        return [results[index] for index in sorted(results)]

    async def as_completed(self, tasks: Iterable[AgentTask]) -> AsyncGenerator[ExecutionResult]:
        """Yield results as the tasks finish.

        Tasks are taken from the iterable as slots get free. Leaving the loop early cancels the rest and waits for them
        to end, at once within `contextlib.aclosing`, else when the event loop collects the iterator.

        Raises:
            ValueError: for a caller's mistake.

        """
        async with aclosing(self._run(tasks)) as finished:
            async for _, result in finished:
                yield result

    async def _run(self, tasks: Iterable[AgentTask]) -> AsyncGenerator[_Done]:
        """Yield results, with their tasks' places, as the tasks finish."""
        self._check(tasks)
        waiting = enumerate(tasks)
        # Unbounded on purpose: a slot must not wait for a slow consumer. It holds one result per task at most.
        events: asyncio.Queue[_Done | Exception | None] = asyncio.Queue()
        # Not `async with`: an iterator left early ends by GeneratorExit, maybe in another task, and a TaskGroup's scope
        # can deal with neither. The slots never raise, so that all the group has to do is to wait for them.
        stack = AsyncExitStack()
        group = await stack.enter_async_context(asyncio.TaskGroup())
        slots = [
            group.create_task(self._serve(first, waiting, events)) for first in islice(waiting, self._max_concurrent)
        ]
        left = len(slots)
        try:
            while left:
                event = await events.get()
                if event is None:
                    left -= 1
                elif isinstance(event, Exception):
                    raise event
                else:
                    yield event
        finally:
            for slot in slots:
                slot.cancel()
            await stack.aclose()

    def _check(self, tasks: Iterable[AgentTask]) -> None:
        """Find the caller's mistakes before anything starts, where the tasks can be looked at twice."""
        if isinstance(self._executor, TaskExecutor) and isinstance(tasks, Sequence):
            for task in tasks:
                self._executor.check(task)

    async def _serve(
        self, first: _Numbered, waiting: Iterator[_Numbered], events: asyncio.Queue[_Done | Exception | None]
    ) -> None:
        """Be one slot: do a task, then the next one that waits."""
        numbered: _Numbered | None = first
        try:
            while numbered is not None:
                index, task = numbered
                events.put_nowait((index, await self._executor.execute(task)))
                numbered = next(waiting, None)
        except Exception as exc:  # noqa: BLE001 -- raised by whoever reads the events
            events.put_nowait(exc)
        finally:
            events.put_nowait(None)
