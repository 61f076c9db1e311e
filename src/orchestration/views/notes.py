"""The one thing worth knowing now about a task, by its status. Pure text of one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestration.task import SATISFIED, TaskStatus
from orchestration.views import wording
from orchestration.views.advice import asked, doubt, skip_reason, waited
from orchestration.views.checks import check_progress
from orchestration.views.family import item_label, progress

if TYPE_CHECKING:
    from datetime import datetime

    from orchestration.run_state import RunState, TaskState

__all__ = ["STOPPED", "note", "reason_blocked"]

STOPPED = (TaskStatus.FAILED, TaskStatus.CANCELLED)
_UNMET_SHOWN = 3


def note(state: RunState, known: TaskState, now: datetime, *, is_blocked: bool) -> str:
    """Return what a task's line ends with; an instance is told from the others by its item."""
    said = _blocked_note(state, known) if is_blocked else _NOTES[known.status](state, known, now)
    label = item_label(state, known)
    return f"{label}: {said}" if label and said else label or said


def reason_blocked(state: RunState, task_id: str) -> TaskState | None:
    """Return the nearest task upstream that failed or was cancelled; None when nothing blocks."""
    seen = {task_id}
    queue = [task_id]
    for name in queue:
        for other in state.edges_of(state.tasks[name]):
            known = state.tasks.get(other)
            if known is None or other in seen:
                continue
            if known.status in STOPPED:
                return known
            seen.add(other)
            if known.status is TaskStatus.PENDING:  # others pass on nothing of what is behind them
                queue.append(other)
    return None


def _pending_note(state: RunState, known: TaskState, _now: datetime) -> str:
    unmet = [name for name in state.edges_of(known) if not _is_satisfied(state, name)]
    if not unmet:
        if known.claim is not None:
            return "ready: its result is there and goes on to its checks"
        return "your comment goes into a new draft" if known.comment else "ready"
    if known.instances and not set(unmet).difference(known.instances):
        return progress(state, known)
    own = [name for name in unmet if name in known.task.dependencies]
    added = [name for name in unmet if name not in own and name not in known.instances]
    if own or not added:
        return f"after {_named([*own, *added])}"
    origin = state.tasks[added[0]].origin
    return f"after {_named(added)}, which {origin} has added"


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _UNMET_SHOWN} more" if len(names) > _UNMET_SHOWN else ""
    return f"{', '.join(names[:_UNMET_SHOWN])}{more}"


def _is_satisfied(state: RunState, task_id: str) -> bool:
    known = state.tasks.get(task_id)
    return known is not None and known.status in SATISFIED


def _running_note(_state: RunState, known: TaskState, now: datetime) -> str:
    if known.parked:
        reason = wording.one_line(known.parked)
        if known.parked_until is None:  # only budgets have no moment
            return f"until the budget is raised: {reason}"
        return f"{wording.duration((known.parked_until - now).total_seconds())} more: {reason}"
    if known.retry_at is not None and known.retry_at > now:
        wait = wording.duration((known.retry_at - now).total_seconds())
        return f"attempt {known.attempt} in {wait}: {wording.one_line(known.last_error)}"
    if known.activity:
        return wording.one_line(known.activity)
    return "" if known.retry_at is None else f"attempt {known.attempt}, after: {wording.one_line(known.last_error)}"


def _verifying_note(_state: RunState, known: TaskState, _now: datetime) -> str:
    return check_progress(known)


def _waiting_note(_state: RunState, known: TaskState, now: datetime) -> str:
    return asked(known) + waited(known, now)


def _review_note(_state: RunState, known: TaskState, now: datetime) -> str:
    return f"{doubt(known.cause)}{waited(known, now)}: {wording.one_line(known.last_error)}"


def _failed_note(_state: RunState, known: TaskState, _now: datetime) -> str:
    return wording.one_line(known.result.error if known.result else known.last_error)


def _completed_note(state: RunState, known: TaskState, _now: datetime) -> str:
    if known.instances:
        return progress(state, known)
    return wording.one_line(known.result.output) if known.result else ""


def _skipped_note(_state: RunState, known: TaskState, _now: datetime) -> str:
    return wording.one_line(skip_reason(known))


def _cancelled_note(_state: RunState, _known: TaskState, _now: datetime) -> str:
    return "the next run tries it again"


def _blocked_note(state: RunState, known: TaskState) -> str:
    cause = reason_blocked(state, known.task.task_id)
    stopped = "" if cause is None else f"{cause.task.task_id} {wording.WORDS[cause.status]}"
    return f"{progress(state, known)}: {stopped}" if known.instances else stopped


_NOTES = {
    TaskStatus.PENDING: _pending_note,
    TaskStatus.IN_PROGRESS: _running_note,
    TaskStatus.VERIFYING: _verifying_note,
    TaskStatus.WAITING: _waiting_note,
    TaskStatus.NEEDS_REVIEW: _review_note,
    TaskStatus.FAILED: _failed_note,
    TaskStatus.COMPLETED: _completed_note,
    TaskStatus.SKIPPED: _skipped_note,
    TaskStatus.CANCELLED: _cancelled_note,
}
