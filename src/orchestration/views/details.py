"""One task with everything known of it: definition, attempts, inputs, output, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
from rich.text import Text

from orchestration import events as ev
from orchestration.journal import now
from orchestration.ledger import NO_SPEND, Spend
from orchestration.run_state import is_blocked
from orchestration.task import TaskStatus
from orchestration.views import table, wording
from orchestration.views.advice import next_step, person_steps
from orchestration.views.costs import CallBook
from orchestration.views.model import reason_blocked, stands_for
from orchestration.views.plain import spend_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from orchestration.run_state import RunState, TaskState

__all__ = ["Attempt", "attempts", "task_document", "task_lines"]

_LABEL_WIDTH = 14


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt at a task: when, by whom, and how it ended. `ended_at` is None while it goes on.

    `model` answered, or failed to, last; `spend` is of all calls of the attempt. `parked` counts how often it waited
    for something outside, `parked_for` says for what, the last time.
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
        elif isinstance(event, ev.TaskParked) and made:
            made[-1] = replace(made[-1], parked=made[-1].parked + 1, parked_for=event.kind.value)
        elif made and made[-1].ended_at is None and (ending := _ENDINGS.get(type(event))):
            result = getattr(event, "result", None)
            error = result.error if result is not None and isinstance(event, ev.TaskFailed) else ""
            agent = result.agent if result is not None else ""
            made[-1] = _ended(made[-1], event.at, ending, error, agent=agent)
    return made


_ENDINGS = {
    ev.TaskCompleted: "done",
    ev.TaskFailed: "failed",
    ev.TaskCancelled: "cancelled",
    ev.TaskInterrupted: "interrupted",
    ev.TaskWaiting: "waits for a person",
}


def _ended(attempt: Attempt, at: datetime, outcome: str, error: str, *, agent: str = "") -> Attempt:
    return replace(attempt, agent=agent or attempt.agent, ended_at=at, outcome=outcome, error=error)


def task_document(state: RunState, facts: Iterable[ev.Event], task_id: str) -> dict[str, Any]:
    """Return the task as plain JSON values."""
    known = state.find(task_id)
    definition = msgspec.to_builtins(known.task)
    del definition["status"]
    return {
        "task_id": task_id,
        "status": _status(state, known).value,
        "definition": definition,
        "need": known.need or None,
        "parked": {"until": known.parked_until, "reason": known.parked} if known.parked else None,
        "fallback_from": list(stands_for(known)),
        "attempts": [
            {
                "number": attempt.number,
                "agent": attempt.agent,
                "started_at": attempt.started_at,
                "duration_s": attempt.duration_s,
                "outcome": attempt.outcome,
                "error": attempt.error,
                "model": attempt.model,
                "spend": spend_document(attempt.spend),
                "parked": attempt.parked,
            }
            for attempt in attempts(facts, task_id)
        ],
        "spend": spend_document(known.spend),
        "inputs": {name: output for name, _, output in _inputs(state, known)},
        "draft": known.draft or None,
        "comment": known.comment or None,
        "result": None if known.result is None else known.result.to_dict(),
        "next_step": next_step(known) or None,
    }


def task_lines(
    state: RunState, facts: Iterable[ev.Event], task_id: str, *, command: Callable[..., str]
) -> list[Text | str]:
    """Return the task as lines for a person."""
    known = state.find(task_id)
    status = _status(state, known)
    lines: list[Text | str] = [
        Text.assemble((task_id, "bold"), "  ", table.standing(status, is_parked=bool(known.parked)))
    ]
    lines += _definition(known)
    made = attempts(facts, task_id)
    if made:
        lines += [_heading("Attempts"), *table.columns([_attempt_cells(attempt) for attempt in made])]
    if known.spend.calls:
        lines += [_heading("Used"), table.totals_line(known.spend, None)]
    lines += _input_lines(state, known)
    lines += _outcome(known)
    lines += [_heading("Next"), *_next(state, known, command)]
    return lines


def _definition(known: TaskState) -> list[Text | str]:
    task = known.task
    fields = {
        "title": "" if task.title == task.task_id else task.title,
        "description": task.description,
        "agent": _agent(known),
        "model": str(task.metadata.get("model", "")),
        "mode": task.mode or "",
        "priority": task.priority.name.lower(),
        "timeout": wording.duration(task.timeout_s),
        "max attempts": str(task.max_attempts or ""),
        "output file": task.output_file or "",
        "schema": msgspec.json.encode(task.output_schema).decode() if task.output_schema else "",
        "prompt": task.prompt or "",
    }
    return [_field(name, value) for name, value in fields.items() if value]


def _agent(known: TaskState) -> str:
    name, given_up = known.agent or known.task.agent or "", stands_for(known)
    return f"{name}, which took over from {', '.join(given_up)}" if given_up else name


def _field(name: str, value: str) -> Text:
    """Return `name  value`; further lines of the value are put under the first."""
    text = wording.printable(value).rstrip().replace("\n", "\n" + " " * _LABEL_WIDTH)
    return Text.assemble((f"{name:<{_LABEL_WIDTH}}", "dim"), text)


def _heading(title: str) -> Text:
    return Text(f"\n{title}", "bold")


def _attempt_cells(attempt: Attempt) -> list[table.Cell]:
    return [
        (f"{attempt.number}", ""),
        (f"{attempt.started_at.astimezone():%Y-%m-%d %H:%M:%S}", "dim"),
        (wording.duration(attempt.duration_s), ""),
        (attempt.agent, "dim"),
        (attempt.model, "dim"),
        (f"{wording.tokens(attempt.spend.tokens)} tok" if attempt.spend.calls else "", ""),
        (wording.money(attempt.spend), ""),
        (attempt.outcome, ""),
        (_parked(attempt), "yellow"),
        (wording.one_line(attempt.error, 300), "red"),
    ]


def _parked(attempt: Attempt) -> str:
    if not attempt.parked:
        return ""
    return f"{wording.PARKED_WORD} {wording.count(attempt.parked, 'time')} ({attempt.parked_for})"


def _input_lines(state: RunState, known: TaskState) -> list[Text | str]:
    rows: list[list[table.Cell]] = [
        [(name, ""), (wording.WORDS[status], wording.STYLES[status]), (wording.one_line(output), "dim")]
        for name, status, output in _inputs(state, known)
    ]
    lines: list[Text | str] = [_heading("Given"), *table.columns(rows)] if rows else []
    if known.comment:
        lines += [_heading("Your comment on the last draft"), wording.printable(known.comment)]
    return lines


def _inputs(state: RunState, known: TaskState) -> list[tuple[str, TaskStatus, str]]:
    """Return each dependency's id, status and output, in the order the task names them."""
    inputs = []
    for name in known.task.dependencies:
        other = state.tasks.get(name)
        if other is not None:
            is_done = other.status is TaskStatus.COMPLETED and other.result is not None
            inputs.append((name, other.status, other.result.output if is_done and other.result else ""))
    return inputs


def _outcome(known: TaskState) -> list[Text | str]:
    if known.result is None:
        return []
    title = "Output"
    if known.status is TaskStatus.WAITING:
        title = "The draft" if known.need == "approval" else "What you are asked"
    lines: list[Text | str] = []
    if known.result.error:
        lines += [_heading("Error"), wording.printable(known.result.error)]
    if known.result.output:
        lines += [_heading(title), wording.printable(known.result.output.rstrip())]
    return lines


def _next(state: RunState, known: TaskState, command: Callable[..., str]) -> list[Text | str]:
    match _status(state, known):
        case TaskStatus.WAITING:
            return list(person_steps(known, command)[1:])
        case TaskStatus.FAILED:
            return [step for step in (next_step(known), f"then: {command('run')}") if step]
        case TaskStatus.BLOCKED:
            cause = reason_blocked(state, known.task.task_id)
            return [command("show", cause.task.task_id) + "  (blocks it)"] if cause else []
        case TaskStatus.COMPLETED:
            return [command("reset", known.task.task_id) + "  (to have it done again)"]
        case TaskStatus.IN_PROGRESS:
            return _running_steps(known, command)
        case _:
            return [command("run")]


def _running_steps(known: TaskState, command: Callable[..., str]) -> list[Text | str]:
    if not known.parked:
        since = wording.duration((now() - known.started_at).total_seconds()) if known.started_at else ""
        return [f"it has been running for {since}; {command('cancel', known.task.task_id)} stops it"]
    reason = wording.one_line(known.parked, 300)
    if known.parked_until is None:
        return [f"it is parked until the budget is raised: {reason}", command("budget", "USD")]
    when = f"{known.parked_until.astimezone():%Y-%m-%d %H:%M:%S}"
    return [f"it is parked and goes on by itself at {when}: {reason}"]


def _status(state: RunState, known: TaskState) -> TaskStatus:
    is_stuck = known.status is TaskStatus.PENDING and is_blocked(state, known.task.task_id)
    return TaskStatus.BLOCKED if is_stuck else known.status
