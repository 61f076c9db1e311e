"""The Python functions the measured projects call: `function="benchmarks.agents:noop"`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestration import Work

__all__ = ["Crowd", "crowd", "noop", "payload", "sleep_together"]

PAYLOAD_BYTES = 4096


async def noop(_work: Work) -> None:
    """Do nothing."""


async def payload(work: Work) -> str:
    """Return 4 kB of text that differs from task to task."""
    line = f"{work.task.task_id} says what it found. "
    return (line * (PAYLOAD_BYTES // len(line) + 1))[:PAYLOAD_BYTES]


class Crowd:
    """Lets nobody go on before all are there: proof that so many tasks really ran at once."""

    def __init__(self) -> None:
        self.expected = 1
        self._present = 0
        self._all_here = asyncio.Event()

    async def meet(self) -> None:
        """Wait until `expected` tasks wait."""
        self._present += 1
        if self._present == self.expected:
            self._all_here.set()
        await self._all_here.wait()


crowd = Crowd()


async def sleep_together(_work: Work) -> None:
    """Wait for all the others, then sleep a second."""
    await crowd.meet()
    await asyncio.sleep(1.0)
