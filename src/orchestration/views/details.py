"""One task with everything known of it: definition, attempts, inputs, output, and what to do next."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
from rich.text import Text

from orchestration.journal import now
from orchestration.run_state import is_blocked
from orchestration.task import TaskStatus
from orchestration.views import table, wording
from orchestration.views.advice import next_step, person_steps, skip_reason
from orchestration.views.checks import check_progress, verdict_lines
from orchestration.views.history import attempt_document, attempts
from orchestration.views.model import stands_for
from orchestration.views.notes import reason_blocked
from orchestration.views.plain import spend_document
from orchestration.views.traces import (
    diff_lines,
    family_lines,
    file_lines,
    place_lines,
    session_lines,
    trace_document,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from orchestration import events as ev
    from orchestration.run_state import RunState, TaskState
    from orchestration.task import AgentTask, Wait
    from orchestration.views.history import Attempt

__all__ = ["task_document", "task_lines"]

_LABEL_WIDTH = 14
_NO_TOOLS: Mapping[str, str] = MappingProxyType({})


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
        "attempts": [attempt_document(attempt) for attempt in attempts(facts, task_id)],
        "spend": spend_document(known.spend),
        "inputs": {name: output for name, _, output in _inputs(state, known)},
        "draft": known.draft or None,
        "comment": known.comment or None,
        "result": None if known.result is None else known.result.to_dict(),
        "next_step": next_step(known) or None,
    } | trace_document(state, known)


def task_lines(
    state: RunState,
    facts: Iterable[ev.Event],
    task_id: str,
    *,
    command: Callable[..., str],
    tools: Mapping[str, str] = _NO_TOOLS,
) -> list[Text | str]:
    """Return the task as lines for a person. `tools` maps agents to the coding agents they run, such as `claude`."""
    known = state.find(task_id)
    status = _status(state, known)
    lines: list[Text | str] = [
        Text.assemble((task_id, "bold"), "  ", table.standing(status, is_parked=bool(known.parked)))
    ]
    lines += _definition(known)
    made = attempts(facts, task_id)
    if made:
        lines += [_heading("Attempts"), *table.columns([_attempt_cells(attempt) for attempt in made])]
    lines += _section("Session", session_lines(known, tools))
    if known.spend.calls:
        lines += [_heading("Used"), table.totals_line(known.spend, None)]
    lines += _input_lines(state, known)
    lines += _section("One for each item" if known.instances else "Added tasks", family_lines(state, known))
    lines += _checks(made)
    lines += _outcome(known)
    lines += _left(known)
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
    } | _working_conditions(task)
    return [_field(name, value) for name, value in fields.items() if value]


def _working_conditions(task: AgentTask) -> dict[str, str]:
    """Return when it runs, where, what it may do there, and what is checked afterwards; empty where nothing is set."""
    adds = task.adds_tasks
    return {
        "when": task.when or "",
        "for each": task.for_each or "",
        "item": "" if task.item is None else msgspec.json.encode(task.item).decode(),
        "checks": "\n".join(check.label for check in task.checks),
        "effects": "" if task.effects == "none" else task.effects,
        "workspace": task.workspace or "",
        "writes": ", ".join(task.writes),
        "on conflict": task.on_conflict or "",
        "adds tasks": "" if adds is None else f"at most {adds.max_tasks}, approval: {adds.approval}",
        "waits": "" if task.wait is None else _waits(task.wait),
    }


def _waits(wait: Wait) -> str:
    parts = [
        f"at most {wording.duration(wait.deadline_s)}" if wait.deadline_s else "",
        f"reminds every {wording.duration(wait.remind_every_s)}" if wait.remind_every_s else "",
        f"then: {wait.default}" if wait.default is not None else "",
    ]
    return ", ".join(part for part in parts if part)


def _agent(known: TaskState) -> str:
    name, given_up = known.agent or known.task.agent or "", stands_for(known)
    return f"{name}, which took over from {', '.join(given_up)}" if given_up else name


def _field(name: str, value: str) -> Text:
    """Return `name  value`; further lines of the value are put under the first."""
    text = wording.printable(value).rstrip().replace("\n", "\n" + " " * _LABEL_WIDTH)
    return Text.assemble((f"{name:<{_LABEL_WIDTH}}", "dim"), text)


def _heading(title: str) -> Text:
    return Text(f"\n{title}", "bold")


def _section(title: str, lines: Sequence[Text | str]) -> list[Text | str]:
    return [_heading(title), *lines] if lines else []


def _checks(made: Sequence[Attempt]) -> list[Text | str]:
    """Return the verdicts on the last result that was checked, whatever became of it."""
    judged = [attempt for attempt in made if attempt.verdicts]
    if not judged:
        return []
    last = judged[-1]
    whose = "" if last is made[-1] else f" of attempt {last.number}"
    return [_heading(f"Checks{whose}"), *verdict_lines(last.verdicts)]


def _left(known: TaskState) -> list[Text | str]:
    """Return what the work has left behind beside its output."""
    result = known.result or known.claim
    places = [_field(name, value) for name, value in place_lines(result) if value]
    return [
        *_section("Conflict", diff_lines(known.result)),
        *_section("Files", file_lines(result)),
        *_section("Place", places),
    ]


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
        (_error(attempt), "red"),
    ]


def _error(attempt: Attempt) -> str:
    """Say what went wrong; of checks only which, for what they saw follows below."""
    failed = [wording.one_line(verdict.check, 60) for verdict in attempt.verdicts if not verdict.is_passed]
    return ", ".join(failed) if failed else wording.one_line(attempt.error, 300)


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
    lines: list[Text | str] = []
    if known.status is TaskStatus.NEEDS_REVIEW:
        lines += [_heading("To decide"), wording.printable(known.last_error)]
    if known.status is TaskStatus.SKIPPED:
        lines += [_heading("Why it was skipped"), wording.printable(skip_reason(known))]
    if known.result is None:
        claim = known.claim
        return lines if claim is None else [*lines, _heading("What it says it did"), wording.printable(claim.output)]
    title = "Output"
    if known.status is TaskStatus.WAITING:
        title = "The draft" if known.need == "approval" else "What you are asked"
    if asks := known.result.metadata.get("asks") if known.status is TaskStatus.WAITING else None:
        lines += [_heading("What you are asked"), wording.printable(str(asks))]
        title = "The result"
    if known.result.error:
        lines += [_heading("Error"), wording.printable(known.result.error)]
    if known.result.output:
        lines += [_heading(title), wording.printable(known.result.output.rstrip())]
    return lines


def _next(state: RunState, known: TaskState, command: Callable[..., str]) -> list[Text | str]:
    match _status(state, known):
        case TaskStatus.WAITING | TaskStatus.NEEDS_REVIEW:
            return list(person_steps(known, command)[1:])
        case TaskStatus.FAILED:
            return [step for step in (next_step(known), f"then: {command('run')}") if step]
        case TaskStatus.BLOCKED:
            cause = reason_blocked(state, known.task.task_id)
            return [command("show", cause.task.task_id) + "  (blocks it)"] if cause else []
        case TaskStatus.COMPLETED | TaskStatus.SKIPPED as status:
            again = "to have it done again" if status is TaskStatus.COMPLETED else "to look at its condition again"
            return [f"{command('reset', known.task.task_id)}  ({again})"]
        case TaskStatus.IN_PROGRESS | TaskStatus.VERIFYING:
            return _running_steps(known, command)
        case _:
            return [command("run")]


def _running_steps(known: TaskState, command: Callable[..., str]) -> list[Text | str]:
    if not known.parked:
        since = wording.duration((now() - known.started_at).total_seconds()) if known.started_at else ""
        doing = check_progress(known) if known.status is TaskStatus.VERIFYING else wording.one_line(known.activity)
        stop = f"it has been running for {since}; {command('cancel', known.task.task_id)} stops it"
        return [f"now: {doing}", stop] if doing else [stop]
    reason = wording.one_line(known.parked, 300)
    if known.parked_until is None:
        return [f"it is parked until the budget is raised: {reason}", command("budget", "USD")]
    when = f"{known.parked_until.astimezone():%Y-%m-%d %H:%M:%S}"
    return [f"it is parked and goes on by itself at {when}: {reason}"]


def _status(state: RunState, known: TaskState) -> TaskStatus:
    is_stuck = known.status is TaskStatus.PENDING and is_blocked(state, known.task.task_id)
    return TaskStatus.BLOCKED if is_stuck else known.status
