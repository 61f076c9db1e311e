"""The one place where facts become state: legal, then kept, then visible.

`record` is synchronous, so that what a caller did is there at once and in order; `durable` waits for the disk. Nothing
else appends to the store. Knows nothing of workers or of why a fact happened.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from orchestration import events as ev
from orchestration.run_state import RunState, apply, fold
from orchestration.schedule import Schedule
from orchestration.task import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestration.store.base import Store

    Subscriber = Callable[[ev.Event, RunState], None]

__all__ = ["Journal", "now"]

_log = logging.getLogger("orchestration")


def now() -> datetime:
    """Return this moment, aware, in UTC."""
    return datetime.now(UTC)


class Journal:
    """A project's facts, their state, and the schedule that follows from them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._is_open = False
        self._state = RunState()
        self._schedule = Schedule()
        self._subscribers: list[Subscriber] = []
        self._last = 0

    @property
    def state(self) -> RunState:
        """The state after the last fact; an immutable value that may be kept."""
        return self._state

    @property
    def is_open(self) -> bool:
        """Whether the facts have been loaded and can be added to."""
        return self._is_open

    def open(self) -> None:
        """Load the facts; what was running when the last orchestrator ended is recorded as interrupted. May block.

        Raises:
            StoreError: if the store cannot be opened or read.

        """
        if self._is_open:
            return
        self._state = fold(self._store.load())
        self._schedule = Schedule()
        self._is_open = True
        for known in self._state.ordered():
            if known.status is TaskStatus.IN_PROGRESS:
                self.record(ev.TaskInterrupted(at=now(), task_id=known.task.task_id))

    async def open_async(self) -> None:
        """Do the same without blocking the event loop."""
        if not self._is_open:
            await asyncio.to_thread(self.open)

    def record(self, event: ev.Event) -> int:
        """Add one fact: refuse it if illegal, queue it to be written, make it visible. Returns its number.

        Raises:
            TransitionError: if the fact cannot follow what happened before; nothing is changed then.
            StoreError: if the store failed.

        """
        state = apply(self._state, event)
        self._last = self._store.append(event)
        self._state = state
        self._schedule.update(state, event)
        if self._subscribers:
            self._publish(event)
        return self._last

    async def durable(self, seq: int | None = None) -> None:
        """Return when fact `seq` (default: the last one) is on the disk.

        Raises:
            StoreError: if writing failed.

        """
        await self._store.flushed(self._last if seq is None else seq)

    def ready(self) -> list[str]:
        """Return the ids of the tasks that may start, the first to start first."""
        return self._schedule.ready(self._state)

    def take(self, has_slot: Callable[[str | None], bool]) -> str | None:
        """Take the next ready task whose agent has a slot off the schedule; None when there is none."""
        return self._schedule.take(self._state, has_slot)

    def reschedule(self) -> None:
        """Put tasks that were taken, but did not start, back on the schedule."""
        self._schedule = Schedule()

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber(fact, state)` after each fact; returns the function that ends it.

        Subscribers must return quickly. One that raises is logged and detached: a view's mistake never stops a run.
        """
        self._subscribers.append(subscriber)

        def unsubscribe() -> None:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

        return unsubscribe

    async def aclose(self) -> None:
        """Write what is queued and close the store; calling it twice is fine."""
        self._is_open = False
        await self._store.aclose()

    def _publish(self, event: ev.Event) -> None:
        for subscriber in list(self._subscribers):
            try:
                subscriber(event, self._state)
            except Exception:  # noqa: BLE001 -- any mistake of a view: it is logged with its traceback and detached
                _log.exception("a subscriber failed and was detached", extra={"action": "subscriber_failed"})
                self._subscribers.remove(subscriber)
