"""What each model used, from the facts of its calls. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestration import events as ev
from orchestration.fold import apply
from orchestration.ledger import NO_SPEND, Spend
from orchestration.run_state import RunState

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LOST", "CallBook", "by_model"]

# Of a call that was cut off only its worst case is known, not which model answered.
LOST = "(cut off)"

# What the accounts are made from, and the tasks they speak of.
_ACCOUNTED = (
    ev.TaskAdded,
    ev.TaskRemoved,
    ev.CallReserved,
    ev.CallFinished,
    ev.CallReleased,
    ev.CallLost,
)


class CallBook:
    """Goes through all facts in order and says what each one that ends a call adds to the costs."""

    def __init__(self) -> None:
        self._state = RunState()

    def read(self, event: ev.Event) -> tuple[str, str, Spend] | None:
        """Take the next fact; returns task id, model and what was used where the fact books a call."""
        if not isinstance(event, _ACCOUNTED):
            return None
        before, self._state = self._state, apply(self._state, event)
        used = self._state.spend - before.spend
        if isinstance(event, ev.CallFinished):
            return event.task_id, event.model, used
        lost = before.ledger.reservations.get(event.call_id) if isinstance(event, ev.CallLost) else None
        return None if lost is None else (lost.task_id, LOST, used)


def by_model(facts: Iterable[ev.Event]) -> dict[str, Spend]:
    """Return what each model used, by its name."""
    book, used = CallBook(), dict[str, Spend]()
    for event in facts:
        if booked := book.read(event):
            _, model, spend = booked
            used[model] = used.get(model, NO_SPEND) + spend
    return used
