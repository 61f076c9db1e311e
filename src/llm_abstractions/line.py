"""Keep those who wait for admission in order of rank. Knows nothing of why they wait."""

import asyncio
from collections.abc import Callable, Collection
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

from llm_abstractions.cost import Cost
from llm_abstractions.errors import FailureKind, LlmError
from llm_abstractions.quotas import Amounts

__all__ = ["Line", "Waiter"]

# A step in priority is worth this much waiting: a low one that waited longer goes first, so nothing starves.
PRIORITY_STEP_S = 30.0
_MIN_TO_CLEAR = 64

_Grant = TypeVar("_Grant")


class Waiter(Generic[_Grant]):
    """One call in line. `future` gets what admits it, or the error that turns it away.

    `leave_on` are the kinds of failure at which it would rather go elsewhere than wait.
    """

    __slots__ = ("amounts", "cost", "future", "leave_on", "model")

    def __init__(self, cost: Cost, model: str, leave_on: Collection[FailureKind] = ()) -> None:
        self.cost = cost
        self.amounts = cost.amounts()
        self.model = model
        self.leave_on = leave_on
        self.future: asyncio.Future[_Grant] = asyncio.get_running_loop().create_future()


class Line(Generic[_Grant]):
    """A priority queue whose members may leave at any time, in O(log n) each; `len` is how many wait."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Waiter[_Grant]]] = []
        self._arrivals = 0
        self._waiting = 0
        self._left = 0  # cancelled, but still in the heap
        self.total: Amounts = (0.0, 0.0, 0.0, 0.0)  # what all who wait need together

    def __len__(self) -> int:
        return self._waiting

    def join(self, waiter: Waiter[_Grant], *, priority: float, now: float) -> bool:
        """Add a waiter by priority, then age; say whether it is the first now."""
        self._arrivals += 1
        heappush(self._heap, (now - priority * PRIORITY_STEP_S, self._arrivals, waiter))
        self._waiting += 1
        self._add(waiter.amounts, 1)
        return self._heap[0][2] is waiter

    def first(self) -> Waiter[_Grant] | None:
        """Return who is next, None when nobody waits."""
        while self._heap and self._heap[0][2].future.done():  # cancelled while it waited
            heappop(self._heap)
            self._left -= 1
        return self._heap[0][2] if self._heap else None

    def admit(self, grant: _Grant) -> None:
        """Let the first go with what it waited for."""
        waiter = heappop(self._heap)[2]
        self._gone(waiter)
        waiter.future.set_result(grant)

    def leave(self, waiter: Waiter[_Grant]) -> None:
        """Take out a waiter whose future was cancelled."""
        self._gone(waiter)
        self._left += 1
        if self._left > _MIN_TO_CLEAR and 2 * self._left > len(self._heap):
            self._keep(lambda other: not other.future.done())

    def turn_away(self, error_for: Callable[[Waiter[_Grant]], LlmError | None]) -> None:
        """Fail those for whom `error_for` returns an error."""
        for _, _, waiter in self._heap:
            if not waiter.future.done() and (error := error_for(waiter)) is not None:
                self._gone(waiter)
                self._left += 1
                waiter.future.set_exception(error)
        self._keep(lambda waiter: not waiter.future.done())

    def _keep(self, is_kept: Callable[[Waiter[_Grant]], bool]) -> None:
        kept = [entry for entry in self._heap if is_kept(entry[2])]
        self._left -= len(self._heap) - len(kept)
        self._heap = kept
        heapify(kept)

    def _gone(self, waiter: Waiter[_Grant]) -> None:
        self._waiting -= 1
        self._add(waiter.amounts, -1)

    def _add(self, amounts: Amounts, sign: int) -> None:
        requests, tokens, inputs, outputs = self.total
        self.total = (
            requests + sign * amounts[0],
            tokens + sign * amounts[1],
            inputs + sign * amounts[2],
            outputs + sign * amounts[3],
        )
