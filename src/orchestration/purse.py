"""The budgets at work: sets a call's worst case aside before it is made, and says no when it does not fit.

Knows the journal and the budgets; nothing of lanes, providers or what a call is for.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from orchestration import events as ev
from orchestration.budget import Budgets, refusal
from orchestration.clock import now
from orchestration.errors import AttemptError, FailureKind, StoreError
from orchestration.ledger import PROJECT, Reservation

if TYPE_CHECKING:
    from orchestration.attempt import WorstCase
    from orchestration.budget import OnLimit
    from orchestration.journal import Journal
    from orchestration.run_state import RunState

__all__ = ["JournalPurse"]

_SETTLES = (ev.CallFinished, ev.CallReleased, ev.CallLost)


@dataclass(slots=True, eq=False)
class _Waiter:
    """A call that does not fit as long as others are under way. `turn` gets its reservation's id."""

    agent: str
    reservation: Reservation
    turn: asyncio.Future[str]


class JournalPurse:
    """The budgets of one project, kept by the facts in its journal. For one event loop at a time."""

    def __init__(self, journal: Journal, budgets: Budgets | None = None) -> None:
        self._journal = journal
        self._budgets = budgets or Budgets()
        self._numbers = count(1)
        self._line: dict[_Waiter, None] = {}  # in the order they came
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
        """Put other budgets in force, also for those who wait; calls under way that needed no leave are not in them."""
        self._budgets = budgets
        self._serve()

    def tags_of(self, task_id: str) -> tuple[str, ...]:
        """Return the tags a task's calls are booked under."""
        return self._budgets.tags_of(task_id, *self._journal.state.origins_of(task_id))

    def applies_to(self, task_id: str, agent: str) -> bool:
        """Tell whether a budget holds for calls of this task by this agent."""
        return bool(self._budgets.limits(self._scopes(task_id, agent)))

    async def reserve(self, task_id: str, agent: str, worst: WorstCase) -> str:
        """Set a call's worst case aside, durably, and return the reservation's id.

        While calls under way hold what is missing, wait for them, for most use less than their worst case; nobody
        overtakes who needs a share of the same budget.

        Raises:
            AttemptError: of kind `budget`, if it does not fit, whatever the calls under way come to.

        """
        reservation = Reservation(
            task_id=task_id,
            scopes=self._scopes(task_id, agent),
            input_tokens=worst.input_tokens,
            output_tokens=worst.output_tokens,
            cost_usd=worst.cost_usd,
        )
        waiter = _Waiter(agent, reservation, asyncio.get_running_loop().create_future())
        self._line[waiter] = None
        self._serve()
        call_id = await self._turn_of(waiter)
        try:
            await self._journal.durable()
        except BaseException:
            self._give_back(call_id)
            raise
        return call_id

    def release(self, call_id: str) -> None:
        """Give back what was set aside for a call that was not made, or not charged."""
        self._journal.record(ev.CallReleased(at=now(), call_id=call_id))

    async def _turn_of(self, waiter: _Waiter) -> str:
        try:
            return await waiter.turn
        except asyncio.CancelledError:
            if waiter.turn.cancelled():
                self._line.pop(waiter, None)
                self._serve()  # those behind may fit
            elif waiter.turn.exception() is None:  # its turn came in the very moment of the cancellation
                self._give_back(waiter.turn.result())
            raise

    def _give_back(self, call_id: str) -> None:
        with contextlib.suppress(StoreError):  # told by whoever waits for the store; what happens must go on
            self.release(call_id)

    def _on_fact(self, event: ev.Event, _state: RunState) -> None:
        if isinstance(event, _SETTLES):
            self._serve()

    def _scopes(self, task_id: str, agent: str) -> tuple[str, ...]:
        return self._budgets.scopes(task_id, agent, self._journal.state.origins_of(task_id))

    def _serve(self) -> None:
        """Reserve for those in line who fit, in order; who has to wait keeps what it needs from those behind it."""
        taken: set[str] = set()
        for waiter in tuple(self._line):
            if PROJECT in taken:
                return  # everyone behind needs a share of that
            scopes = {scope for scope, _ in self._budgets.limits(waiter.reservation.scopes)}
            if waiter.turn.done() or (not scopes & taken and self._answer(waiter)):
                self._line.pop(waiter, None)
            else:
                taken |= scopes

    def _answer(self, waiter: _Waiter) -> bool:
        """Reserve for a waiter, or turn it away; False while it has to wait."""
        try:
            found = refusal(self._budgets, self._journal.state.ledger, waiter.reservation)
            if found is None:
                waiter.turn.set_result(self._record(waiter.agent, waiter.reservation))
            elif found.is_final:
                waiter.turn.set_exception(AttemptError(found.reason, kind=FailureKind.BUDGET))
            else:
                return False
        except Exception as exc:  # noqa: BLE001 -- raised by whoever waits; the journal, which asks us, cannot help it
            waiter.turn.set_exception(exc)
        return True

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
                tags=self.tags_of(reservation.task_id),
            )
        )
        return call_id
