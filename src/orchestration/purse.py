"""The budgets at work: sets a call's worst case aside before it is made, and says no when it does not fit.

Knows the journal and the budgets; nothing of lanes, providers or what a call is for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import count
from typing import TYPE_CHECKING

from orchestration import events as ev
from orchestration.budget import Budgets, refusal
from orchestration.errors import AttemptError, FailureKind
from orchestration.journal import now
from orchestration.ledger import Reservation

if TYPE_CHECKING:
    from orchestration.attempt import WorstCase
    from orchestration.budget import OnLimit
    from orchestration.journal import Journal
    from orchestration.run_state import RunState

__all__ = ["JournalPurse"]

_SETTLES = (ev.CallFinished, ev.CallReleased, ev.CallLost)


class JournalPurse:
    """The budgets of one project, kept by the facts in its journal. For one event loop at a time."""

    def __init__(self, journal: Journal, budgets: Budgets | None = None) -> None:
        self._journal = journal
        self._budgets = budgets or Budgets()
        self._numbers = count(1)
        # Who waits for calls under way to leave enough, in order; only the first one looks again after a call.
        self._line: deque[asyncio.Future[None]] = deque()
        self._changed: asyncio.Future[None] | None = None
        journal.subscribe(self._on_fact)

    @property
    def on_limit(self) -> OnLimit:
        """What to do when a call does not fit and there is no cheaper agent."""
        return self._budgets.on_limit

    @property
    def budgets(self) -> Budgets:
        """The budgets in force."""
        return self._budgets

    def change(self, budgets: Budgets) -> None:
        """Put other budgets in force; who waits for more looks again."""
        self._budgets = budgets
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
        self._changed = None
        self._wake_next()

    def tags_of(self, task_id: str) -> tuple[str, ...]:
        """Return the tags a task's calls are booked under."""
        return self._budgets.tags_of(task_id)

    def applies_to(self, task_id: str, agent: str) -> bool:
        """Tell whether a budget holds for calls of this task by this agent."""
        return bool(self._budgets.limits(task_id, agent))

    async def reserve(self, task_id: str, agent: str, worst: WorstCase) -> str:
        """Set a call's worst case aside, durably, and return the reservation's id.

        While calls under way hold what is missing, wait for them: most use less than their worst case.

        Raises:
            AttemptError: of kind `budget`, if it does not fit though nothing is under way any more.

        """
        reservation = Reservation(
            task_id=task_id,
            scopes=self._budgets.scopes(task_id, agent),
            input_tokens=worst.input_tokens,
            output_tokens=worst.output_tokens,
            cost_usd=worst.cost_usd,
        )
        if self._line or self._refusal(agent, reservation):
            await self._wait_in_line(agent, reservation)
        call_id = self._record(agent, reservation)
        self._wake_next()
        await self._journal.durable()
        return call_id

    def release(self, call_id: str) -> None:
        """Give back what was set aside for a call that was not made, or not charged."""
        self._journal.record(ev.CallReleased(at=now(), call_id=call_id))

    async def changed(self) -> None:
        """Return when a person has changed the budgets."""
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._changed)

    def _refusal(self, agent: str, reservation: Reservation) -> str:
        return refusal(self._budgets, self._journal.state.ledger, agent, reservation)

    async def _wait_in_line(self, agent: str, reservation: Reservation) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            while self._line[0] is not turn or (why := self._refusal(agent, reservation)):
                if self._line[0] is turn and not self._journal.state.ledger.reservations:
                    raise AttemptError(why, kind=FailureKind.BUDGET)
                await turn
                self._line[self._line.index(turn)] = turn = asyncio.get_running_loop().create_future()
        finally:
            self._line.remove(turn)
            self._wake_next()

    def _record(self, agent: str, reservation: Reservation) -> str:
        call_id = f"{self._journal.state.run_id}/{next(self._numbers)}"
        self._journal.record(
            ev.CallReserved(
                at=now(),
                call_id=call_id,
                task_id=reservation.task_id,
                agent=agent,
                input_tokens=reservation.input_tokens,
                output_tokens=reservation.output_tokens,
                cost_usd=None if reservation.cost_usd is None else str(reservation.cost_usd),
                tags=self._budgets.tags_of(reservation.task_id),
            )
        )
        return call_id

    def _on_fact(self, event: ev.Event, _state: RunState) -> None:
        if isinstance(event, _SETTLES):
            self._wake_next()

    def _wake_next(self) -> None:
        if self._line and not self._line[0].done():
            self._line[0].set_result(None)
