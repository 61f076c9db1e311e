"""Facts in a list: for projects without a folder, and for tests. Durable means remembered by this process."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from orchestration.errors import StoreError

if TYPE_CHECKING:
    from orchestration.events import Event

__all__ = ["MemoryStore"]


class MemoryStore:
    """Keeps the facts of one project in memory. Can be opened again after `aclose`, like a file."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._is_open = False
        self._lock = threading.Lock()  # a fact and its number belong together, whichever thread brings it

    def load(self) -> list[Event]:
        """Return all facts so far."""
        if self._is_open:
            raise StoreError("this memory store is open already; give each orchestrator a store of its own")
        self._is_open = True
        return list(self._events)

    def append(self, event: Event) -> int:
        """Remember one fact."""
        if not self._is_open:
            raise StoreError("this memory store is not open; an orchestrator opens it with load()")
        with self._lock:
            self._events.append(event)
            return len(self._events)

    async def flushed(self, seq: int) -> None:
        """Return at once: what is remembered is as durable as it gets."""

    async def aclose(self) -> None:
        """Let another orchestrator open it."""
        self._is_open = False
