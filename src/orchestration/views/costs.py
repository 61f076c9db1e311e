"""What each model used, from the facts of its calls. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from orchestration import events as ev
from orchestration.ledger import NO_SPEND, Spend

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LOST", "CallBook", "by_model"]

# Of a call that was cut off only its worst case is known, not which model answered.
LOST = "(cut off)"


class CallBook:
    """Goes through facts and says what each one that ends a call adds to the costs."""

    def __init__(self) -> None:
        self._reserved: dict[str, ev.CallReserved] = {}

    def read(self, event: ev.Event) -> tuple[str, str, Spend] | None:
        """Take the next fact; returns task id, model and what was used where the fact books a call."""
        if isinstance(event, ev.CallFinished):
            self._reserved.pop(event.call_id, None)
            return event.task_id, event.model, _used(event)
        if isinstance(event, ev.CallReserved):
            self._reserved[event.call_id] = event
        elif isinstance(event, ev.CallReleased):
            self._reserved.pop(event.call_id, None)
        elif isinstance(event, ev.CallLost) and (lost := self._reserved.pop(event.call_id, None)):
            return lost.task_id, LOST, _worst(lost)
        return None


def by_model(facts: Iterable[ev.Event]) -> dict[str, Spend]:
    """Return what each model used, by its name."""
    book, used = CallBook(), dict[str, Spend]()
    for event in facts:
        if booked := book.read(event):
            _, model, spend = booked
            used[model] = used.get(model, NO_SPEND) + spend
    return used


def _used(event: ev.CallFinished) -> Spend:
    return Spend(
        calls=int(not event.cached),
        input_tokens=event.input_tokens,
        cached_tokens=event.cached_tokens,
        output_tokens=event.output_tokens,
        cost_usd=Decimal(event.cost_usd or 0),
        unpriced_calls=int(event.cost_usd is None),
    )


def _worst(event: ev.CallReserved) -> Spend:
    return Spend(
        calls=1,
        input_tokens=event.input_tokens,
        output_tokens=event.output_tokens,
        cost_usd=Decimal(event.cost_usd or 0),
        unpriced_calls=int(event.cost_usd is None),
        lost_calls=1,
    )
