"""How calls of models change the books: reserved at their worst, settled by what they used, or lost. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from orchestration.ledger import Reservation, Spend, scopes_of

if TYPE_CHECKING:
    from orchestration import events as ev
    from orchestration.run_state import RunState, TaskState

__all__ = ["GOING_ON", "call_finished", "call_lost", "call_released", "call_reserved"]

# A task that waits for no moment: neither for its next attempt nor parked.
GOING_ON: dict[str, Any] = {"retry_at": None, "parked": "", "parked_until": None}

_replace = msgspec.structs.replace


def call_reserved(state: RunState, event: ev.CallReserved) -> RunState:
    """Set the worst case of a call aside; its task goes on."""
    known = state.find(event.task_id)
    reservation = Reservation(
        task_id=event.task_id,
        scopes=scopes_of(event.task_id, event.agent, event.tags, state.origins_of(event.task_id)),
        input_tokens=event.input_tokens,
        output_tokens=event.output_tokens,
        cost_usd=None if event.cost_usd is None else Decimal(event.cost_usd),
    )
    reserved = _replace(state, ledger=state.ledger.reserve(event.call_id, reservation))
    return _put(reserved, _replace(known, **GOING_ON))


def call_finished(state: RunState, event: ev.CallFinished) -> RunState:
    """Book what a call has used, in place of what was set aside for it."""
    spend = Spend(
        calls=int(not event.cached),
        input_tokens=event.input_tokens,
        cached_tokens=event.cached_tokens,
        output_tokens=event.output_tokens,
        cost_usd=Decimal(event.cost_usd or 0),
        unpriced_calls=int(event.cost_usd is None),
    )
    worst = state.ledger.reservations.get(event.call_id)
    if worst is not None:
        spend = _at_worst(spend, worst, event)
    scopes = scopes_of(event.task_id, event.agent, event.tags, state.origins_of(event.task_id))
    return _book(state, event.task_id, event.call_id, scopes, spend)


def call_released(state: RunState, event: ev.CallReleased) -> RunState:
    """Give back what was set aside for a call that was not made, or not charged."""
    return _replace(state, ledger=state.ledger.release(event.call_id))


def call_lost(state: RunState, event: ev.CallLost) -> RunState:
    """Book a call at its worst case: nobody knows how it ended."""
    lost = state.ledger.reservations.get(event.call_id)
    return state if lost is None else _book(state, lost.task_id, event.call_id, lost.scopes, lost.as_spend)


def _at_worst(spend: Spend, worst: Reservation, event: ev.CallFinished) -> Spend:
    """Where an answer does not say what it used or cost, book the worst case: a budget must hold for it too."""
    if event.cost_usd is None and worst.cost_usd is not None:
        spend = _replace(spend, cost_usd=worst.cost_usd)
    if spend.tokens == 0:
        spend = _replace(spend, input_tokens=worst.input_tokens, output_tokens=worst.output_tokens)
    return spend


def _book(state: RunState, task_id: str, call_id: str, scopes: tuple[str, ...], spend: Spend) -> RunState:
    """Settle a call: its reservation is let go, what it used is on the accounts and with its task, if that still is."""
    booked = _replace(state, ledger=state.ledger.release(call_id).spend(scopes, spend))
    known = state.tasks.get(task_id)
    if known is None:
        return booked
    return _put(booked, _replace(known, spend=known.spend + spend, **GOING_ON))


def _put(state: RunState, known: TaskState) -> RunState:
    return _replace(state, tasks=state.tasks.insert(known.task.task_id, known))
