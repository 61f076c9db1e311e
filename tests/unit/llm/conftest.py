"""Shared by the tests of lanes: the loop's time, and calls that wait in line."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from llm_abstractions.cost import NO_COST
from llm_abstractions.lane import Lane, Permit


class Callers:
    """Calls that ask a lane for admission; `admitted` holds (name, moment) in the order they were let go."""

    def __init__(self) -> None:
        self.admitted: list[tuple[str, float]] = []
        self.permits: dict[str, Permit] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def names(self) -> str:
        return "".join(name for name, _ in self.admitted)

    async def ask(self, lane: Lane, names: str, cost=NO_COST, **options) -> None:
        """Let a call of each name ask, one after the other, and give them a moment."""
        for name in names:
            self.tasks[name] = asyncio.create_task(self._ask(lane, name, cost, options))
            await settle()

    async def _ask(self, lane: Lane, name: str, cost, options) -> None:
        self.permits[name] = await lane.acquire(cost, **options)
        self.admitted.append((name, asyncio.get_running_loop().time()))


async def settle() -> None:
    """Let everything happen that can happen now."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def callers() -> AsyncIterator[Callers]:
    callers = Callers()
    yield callers
    for task in callers.tasks.values():
        task.cancel()
    await asyncio.gather(*callers.tasks.values(), return_exceptions=True)
