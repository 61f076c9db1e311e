"""The port to the place where facts are kept. Four methods; one contract suite runs over every adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from orchestration.events import Event

__all__ = ["Store"]


class Store(Protocol):
    """An append-only list of facts, numbered from 1.

    Only one live orchestrator owns a store. Once a write failed, every later call raises: what the caller believes and
    what is kept may differ, so the store has to be opened again.
    """

    def load(self) -> list[Event]:
        """Open the store and return all its facts in order. May block; called once, before anything else.

        Raises:
            StoreError: if it cannot be opened or read; ProjectLockedError if another orchestrator has it open.

        """

    def append(self, event: Event) -> int:
        """Queue one fact to be written, in order, and return its number.

        The queue is bounded: a caller who runs ahead of the disk by more than it holds waits for one commit.

        Raises:
            StoreError: if an earlier write failed, or the store is closed.
            InvalidTaskError: if the fact cannot be stored; nothing is queued then.

        """

    async def flushed(self, seq: int) -> None:
        """Return when every fact up to number `seq` is durable.

        Raises:
            StoreError: if writing failed.

        """

    async def aclose(self) -> None:
        """Write what is queued and let go of everything; calling it twice is fine.

        Raises:
            StoreError: if what is queued cannot be written.

        """
