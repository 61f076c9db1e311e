"""A task's attempts, read from the facts of all runs: when, by whom, what they cost, and how they ended."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestration import events as ev
from orchestration.ledger import NO_SPEND, Spend
from orchestration.views.checks import verdict_document
from orchestration.views.costs import CallBook
from orchestration.views.plain import spend_document

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

__all__ = ["Attempt", "attempt_document", "attempts"]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt at a task: when, by whom, and how it ended. `ended_at` is None while it goes on.

    `model` answered, or failed to, last; `spend` is of all calls of the attempt. `parked` counts how often it waited
    for something outside, `parked_for` says for what, the last time. `session_id` is the coding agent's own
    conversation. `verdicts` are those of the checks on what it claimed last.
    """

    number: int
    agent: str
    started_at: datetime
    ended_at: datetime | None = None
    outcome: str = "running"
    error: str = ""
    model: str = ""
    spend: Spend = NO_SPEND
    parked: int = 0
    parked_for: str = ""
    session_id: str = ""
    verdicts: tuple[ev.CheckFinished, ...] = ()

    @property
    def duration_s(self) -> float | None:
        """Seconds it took, where it has ended."""
        return None if self.ended_at is None else max((self.ended_at - self.started_at).total_seconds(), 0.0)


def attempts(facts: Iterable[ev.Event], task_id: str) -> list[Attempt]:
    """Return a task's attempts in order, also those of earlier runs."""
    made: list[Attempt] = []
    book = CallBook()
    for event in facts:
        if (booked := book.read(event)) and booked[0] == task_id and made:
            made[-1] = replace(made[-1], model=booked[1], spend=made[-1].spend + booked[2])
        if getattr(event, "task_id", None) != task_id:
            continue
        if isinstance(event, ev.TaskStarted):
            made.append(Attempt(number=event.attempt, agent=event.agent, started_at=event.at))
        elif isinstance(event, ev.TaskRetrying) and made:
            made[-1] = _ended(made[-1], event.at, f"failed ({event.kind.value})", event.error)
            agent = event.agent or made[-1].agent
            made.append(Attempt(number=event.attempt, agent=agent, started_at=event.at))
        elif made and (noted := _noted(made[-1], event)):
            made[-1] = noted
        elif made and made[-1].ended_at is None and (ending := _ENDINGS.get(type(event))):
            result = getattr(event, "result", None)
            error = result.error if result is not None and isinstance(event, ev.TaskFailed) else ""
            agent = result.agent if result is not None else ""
            made[-1] = _ended(made[-1], event.at, ending, error, agent=agent)
    return made


def _noted(attempt: Attempt, event: ev.Event) -> Attempt | None:
    """Return the attempt with what a fact in its course tells of it; None for other facts."""
    match event:
        case ev.TaskParked():
            return replace(attempt, parked=attempt.parked + 1, parked_for=event.kind.value)
        case ev.SessionStarted():
            return replace(attempt, session_id=event.session_id)
        case ev.TaskVerifying():
            return replace(attempt, verdicts=())
        case ev.CheckFinished():
            return replace(attempt, verdicts=(*attempt.verdicts, event))
        case _:
            return None


_ENDINGS = {
    ev.TaskCompleted: "done",
    ev.TaskFailed: "failed",
    ev.TaskCancelled: "cancelled",
    ev.TaskInterrupted: "interrupted",
    ev.TaskWaiting: "waits for a person",
    ev.TaskNeedsReview: "needs review",
}


def _ended(attempt: Attempt, at: datetime, outcome: str, error: str, *, agent: str = "") -> Attempt:
    return replace(attempt, agent=agent or attempt.agent, ended_at=at, outcome=outcome, error=error)


def attempt_document(attempt: Attempt) -> dict[str, Any]:
    """Return an attempt as plain JSON values."""
    return {
        "number": attempt.number,
        "agent": attempt.agent,
        "started_at": attempt.started_at,
        "duration_s": attempt.duration_s,
        "outcome": attempt.outcome,
        "error": attempt.error,
        "model": attempt.model,
        "spend": spend_document(attempt.spend),
        "parked": attempt.parked,
        "session_id": attempt.session_id or None,
        "checks": [verdict_document(verdict) for verdict in attempt.verdicts],
    }
