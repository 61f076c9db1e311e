"""The one place where facts become state: legal, then kept, then visible.

`record` is synchronous, so that what a caller did is there at once and in order; `durable` waits for the disk. Nothing
else appends to the store. Knows nothing of workers or of why a fact happened.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from typing import TYPE_CHECKING

from orchestration import events as ev
from orchestration.clock import now
from orchestration.fold import apply, broken_off, fold
from orchestration.run_state import RunState
from orchestration.schedule import Schedule
from orchestration.task import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestration.store.base import Store

    Subscriber = Callable[[ev.Event, RunState], None]

__all__ = ["Journal", "now"]

_log = logging.getLogger("orchestration")


# What a task was at whose worker may have been doing something when the process ended.
_AT_WORK = (TaskStatus.IN_PROGRESS, TaskStatus.VERIFYING)


class Journal:
    """A project's facts, their state, and the schedule that follows from them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._is_open = False
        self._is_loaded = False
        self._has_leftovers = False
        self._loading = threading.Lock()
        self._state = RunState()
        self._schedule = Schedule()
        self._subscribers: list[Subscriber] = []
        self._unpublished: deque[tuple[ev.Event, RunState]] = deque()
        self._is_publishing = False
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
        if not self._is_open:
            self._load()
        self._interrupt_leftovers()

    async def open_async(self) -> None:
        """Do the same without blocking the event loop."""
        if not self._is_open:
            await asyncio.to_thread(self._load)
        self._interrupt_leftovers()

    def look(self) -> RunState:
        """Return the state to read from: the present one, or the last known one of a project that was closed."""
        if not self._is_loaded:
            self.open()
        return self._state

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
            self._unpublished.append((event, state))
            if not self._is_publishing:
                self._publish()
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

    def take(
        self,
        has_slot: Callable[[str | None], bool],
        may_write: Callable[[tuple[str, ...]], bool] = lambda _scopes: True,
    ) -> str | None:
        """Take the next ready task that may start off the schedule; None when there is none. See `Schedule.take`."""
        return self._schedule.take(self._state, has_slot, may_write)

    def reschedule(self) -> None:
        """Put tasks that were taken, but did not start, back on the schedule."""
        self._schedule = Schedule()

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Call `subscriber(fact, state)` after each fact; returns the function that ends it.

        Each sees the facts in order, with the state after each; what a subscriber records itself comes next. It must
        return quickly. One that raises is logged and detached: a view's mistake never stops a run.
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

    def _load(self) -> None:
        """Read the facts; on any thread, once, however many ask at the same time."""
        with self._loading:
            if self._is_open:
                return
            self._state = fold(self._store.load())
            self._schedule = Schedule()
            self._has_leftovers = self._is_loaded = self._is_open = True

    def _interrupt_leftovers(self) -> None:
        """Record what the last orchestrator was doing when it ended; on the thread of the callers."""
        if not self._has_leftovers:
            return
        self._has_leftovers = False
        for known in self._state.ordered():
            if known.status in _AT_WORK:
                self.record(broken_off(known, now()))
        for call_id in self._state.ledger.reservations:
            self.record(ev.CallLost(at=now(), call_id=call_id))
        if self._state.run_id and self._state.run_status is None:
            self.record(ev.RunEnded(at=now(), run_id=self._state.run_id, status="interrupted"))

    def _publish(self) -> None:
        self._is_publishing = True
        try:
            while self._unpublished:
                event, state = self._unpublished.popleft()
                for subscriber in tuple(self._subscribers):
                    self._tell(subscriber, event, state)
        finally:
            self._is_publishing = False

    def _tell(self, subscriber: Subscriber, event: ev.Event, state: RunState) -> None:
        try:
            subscriber(event, state)
        except Exception:  # noqa: BLE001 -- any mistake of a view: it is logged with its traceback and detached
            _log.exception("a subscriber failed and was detached", extra={"action": "subscriber_failed"})
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)
