"""A disk that survives the process, and a store on it that forgets what was not durable when the process died."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestration.errors import StoreError
from orchestration.events import decode, encode

if TYPE_CHECKING:
    import random

    from orchestration.events import Event

__all__ = ["Disk", "SimulatedStore"]


@dataclass
class Disk:
    """Facts as bytes, in order: what a process finds that starts after another one died."""

    facts: list[bytes] = field(default_factory=list)


class SimulatedStore:
    """A store for one life of a process. A commit takes `commit_s` and holds all that was queued when it began.

    `fails_at` is the number of the fact whose commit fails, as on a full disk: nothing is written from then on.
    """

    def __init__(self, disk: Disk, *, commit_s: float = 0.0, fails_at: int | None = None) -> None:
        self._disk = disk
        self._commit_s = commit_s
        self._fails_at = fails_at
        self._queued: list[bytes] = []
        self._failed: StoreError | None = None
        self._is_open = False
        self._committing: asyncio.Future[None] | None = None

    @property
    def durable(self) -> int:
        """The number of the last fact that is on the disk."""
        return len(self._disk.facts)

    @property
    def last(self) -> int:
        """The number of the last fact, durable or not."""
        return self.durable + len(self._queued)

    def load(self) -> list[Event]:
        """Return what is on the disk."""
        self._is_open = True
        return [decode(raw) for raw in self._disk.facts]

    def append(self, event: Event) -> int:
        """Queue one fact and begin a commit unless one is going on."""
        self._check()
        self._queued.append(encode(event))
        if self._committing is None:
            self._begin()
        return self.durable + len(self._queued)

    async def flushed(self, seq: int) -> None:
        """Return when fact `seq` is on the disk."""
        while self.durable < seq:
            self._check()
            assert self._committing is not None  # noqa: S101 -- append has begun one, and each begins the next
            await asyncio.shield(self._committing)
        self._check()

    async def aclose(self) -> None:
        """Write what is queued."""
        if self._is_open and self._failed is None and self._queued:
            await self.flushed(self.durable + len(self._queued))
        self._is_open = False
        if self._failed is not None:
            raise self._failed

    def die(self, chance: random.Random) -> None:
        """End with the process: of what was queued, the disk may have got the beginning."""
        if self._failed is None:
            self._disk.facts += self._queued[: chance.randint(0, len(self._queued))]
        self._failed = StoreError("the process has died")
        self._queued.clear()

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed
        if not self._is_open:
            raise StoreError("this store is not open")

    def _begin(self) -> None:
        if self._commit_s == 0 and self._fails_at is None:
            self._disk.facts += self._queued
            self._queued.clear()
            return
        loop = asyncio.get_running_loop()
        self._committing = loop.create_future()
        loop.call_later(self._commit_s, self._commit, len(self._queued))

    def _commit(self, count: int) -> None:
        """End a commit: the facts that were queued when it began are on the disk, or none of them."""
        done, self._committing = self._committing, None
        if self._failed is None and self._fails_at is not None and self.durable + count >= self._fails_at:
            self._failed = StoreError("cannot write the state: the disk is full, as simulated; run again to resume")
            self._queued.clear()
        if self._failed is None:
            self._disk.facts += self._queued[:count]
            del self._queued[:count]
            if self._queued:
                self._begin()
        if done is not None and not done.done():
            done.set_result(None)
