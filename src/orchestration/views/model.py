"""What there is to see of a project at a moment: `view(state, now)`, pure, under every view.

Knows nothing of terminals. One linear pass over the tasks; rows are made only for those that are shown.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from heapq import nsmallest
from typing import TYPE_CHECKING

from orchestration import events as ev
from orchestration.fold import apply
from orchestration.run_state import RunState, TaskState, blocked_tasks
from orchestration.task import AgentTask, TaskStatus
from orchestration.views import wording
from orchestration.views.tree import grow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from orchestration.ledger import Spend

__all__ = ["ProjectView", "TaskRow", "as_if_interrupted", "reason_blocked", "stands_for", "view", "with_new_tasks"]

_STOPPED = (TaskStatus.FAILED, TaskStatus.CANCELLED)
# When not all tasks fit: what is going on, then what needs a person, then what went wrong, then the latest news.
_INTEREST = {
    TaskStatus.IN_PROGRESS: 0,
    TaskStatus.WAITING: 1,
    TaskStatus.FAILED: 2,
    TaskStatus.CANCELLED: 3,
    TaskStatus.COMPLETED: 4,
    TaskStatus.PENDING: 5,
}
_UNMET_SHOWN = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskRow:
    """One task as it is shown. `note` says the one thing worth knowing now; `guide` is its place in the tree.

    `parked` is why it waits for something outside, until a moment where one is known. `stands_for` are the agents of
    the fallback chain that were given up on before this one took over.
    """

    task_id: str
    title: str
    status: TaskStatus
    agent: str
    attempt: int
    elapsed_s: float | None
    spend: Spend
    note: str
    guide: str = ""
    parked: str = ""
    parked_until: datetime | None = None
    stands_for: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectView:
    """A project as it is shown: the rows, how many tasks are `hidden`, and the totals over all tasks.

    `counts` has the derived status `blocked`, and only what occurs; `parked` tells how many of those in progress are.
    `elapsed_s` is the last or current run's.
    """

    rows: tuple[TaskRow, ...]
    hidden: int
    counts: Mapping[TaskStatus, int]
    spend: Spend
    run_status: ev.RunStatus | None
    elapsed_s: float | None
    parked: int = 0


def view(state: RunState, now: datetime, *, rows_max: int | None = None) -> ProjectView:
    """Return what there is to see at `now`, at most `rows_max` tasks of it.

    When all fit, they come as a tree; else the most interesting ones, in the order added.
    """
    blocked = _blocked(state)
    counts = Counter(known.status for known in state.unordered())
    if blocked:
        counts[TaskStatus.PENDING] -= len(blocked)
        counts[TaskStatus.BLOCKED] = len(blocked)
    total = len(state.tasks)
    if rows_max is None or total <= rows_max:
        shown = _as_tree(state)
    else:
        chosen = nsmallest(rows_max, state.unordered(), key=_interest)
        shown = [(known, "") for known in sorted(chosen, key=lambda known: known.position)]
    return ProjectView(
        rows=tuple(_row(state, known, now, guide=guide, blocked=blocked) for known, guide in shown),
        hidden=total - len(shown),
        counts={status: counts[status] for status in TaskStatus if counts[status]},
        spend=state.spend,
        run_status=state.run_status,
        elapsed_s=_seconds(state.run_started_at, state.run_ended_at or now),
        parked=sum(bool(known.parked) for known in state.unordered()),
    )


def as_if_interrupted(state: RunState, now: datetime) -> RunState:
    """Return the state as the next run will find it, when the process that had it open is gone."""
    for known in state.unordered():
        if known.status is TaskStatus.IN_PROGRESS:
            state = apply(state, ev.TaskInterrupted(at=now, task_id=known.task.task_id))
    for call_id in state.ledger.reservations:
        state = apply(state, ev.CallLost(at=now, call_id=call_id))
    return state


def with_new_tasks(state: RunState, tasks: Iterable[AgentTask], now: datetime) -> RunState:
    """Return the state with the tasks it does not have yet, as the next run will add them."""
    for task in tasks:
        if task.task_id not in state.tasks:
            state = apply(state, ev.TaskAdded(at=now, task=task))
    return state


def reason_blocked(state: RunState, task_id: str) -> TaskState | None:
    """Return the nearest task upstream that failed or was cancelled; None when nothing blocks."""
    seen = {task_id}
    queue = [task_id]
    for name in queue:
        for other in state.tasks[name].task.dependencies:
            known = state.tasks.get(other)
            if known is None or other in seen:
                continue
            if known.status in _STOPPED:
                return known
            seen.add(other)
            if known.status is TaskStatus.PENDING:  # others pass on nothing of what is behind them
                queue.append(other)
    return None


def stands_for(known: TaskState) -> tuple[str, ...]:
    """Return the agents that were given up on before the one whose result this is, in order."""
    given_up = known.result.metadata.get("fallback_from") if known.result else None
    return tuple(map(str, given_up)) if isinstance(given_up, list | tuple) else ()


def _blocked(state: RunState) -> frozenset[str]:
    if any(known.status in _STOPPED for known in state.unordered()):
        return blocked_tasks(state)
    return frozenset()


def _as_tree(state: RunState) -> list[tuple[TaskState, str]]:
    branches = grow({known.task.task_id: known.task.dependencies for known in state.ordered()})
    return [(state.tasks[branch.task_id], branch.guide) for branch in branches]


def _interest(known: TaskState) -> tuple[int, float, int]:
    latest_first = -known.ended_at.timestamp() if known.ended_at else 0.0
    return (_INTEREST[known.status], latest_first, known.position)


def _row(state: RunState, known: TaskState, now: datetime, *, guide: str, blocked: frozenset[str]) -> TaskRow:
    is_blocked = known.task.task_id in blocked
    return TaskRow(
        task_id=known.task.task_id,
        title=known.task.title,
        status=TaskStatus.BLOCKED if is_blocked else known.status,
        agent=known.agent or known.task.agent or "",
        attempt=known.attempt,
        elapsed_s=_elapsed(known, now),
        spend=known.spend,
        note=_blocked_note(state, known) if is_blocked else _NOTES[known.status](state, known, now),
        guide=guide,
        parked=known.parked,
        parked_until=known.parked_until,
        stands_for=stands_for(known),
    )


def _elapsed(known: TaskState, now: datetime) -> float | None:
    if known.status is TaskStatus.IN_PROGRESS:
        return _seconds(known.started_at, now)
    return _seconds(known.started_at, known.ended_at)


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    """Return the seconds between; never below zero, for clocks are set back now and then."""
    return None if start is None or end is None else max((end - start).total_seconds(), 0.0)


def _pending_note(state: RunState, known: TaskState, _now: datetime) -> str:
    unmet = [name for name in known.task.dependencies if not _is_completed(state, name)]
    if not unmet:
        return "your comment goes into a new draft" if known.comment else "ready"
    more = f" and {len(unmet) - _UNMET_SHOWN} more" if len(unmet) > _UNMET_SHOWN else ""
    return f"after {', '.join(unmet[:_UNMET_SHOWN])}{more}"


def _is_completed(state: RunState, task_id: str) -> bool:
    known = state.tasks.get(task_id)
    return known is not None and known.status is TaskStatus.COMPLETED


def _running_note(_state: RunState, known: TaskState, now: datetime) -> str:
    if known.parked:
        reason = wording.one_line(known.parked)
        if known.parked_until is None:  # only budgets have no moment
            return f"until the budget is raised: {reason}"
        return f"{wording.duration((known.parked_until - now).total_seconds())} more: {reason}"
    if known.retry_at is None:
        return ""
    error = wording.one_line(known.last_error)
    if known.retry_at > now:
        return f"attempt {known.attempt} in {wording.duration((known.retry_at - now).total_seconds())}: {error}"
    return f"attempt {known.attempt}, after: {error}"


def _waiting_note(_state: RunState, known: TaskState, _now: datetime) -> str:
    return "your approval of its draft" if known.need == "approval" else "your answer"


def _failed_note(_state: RunState, known: TaskState, _now: datetime) -> str:
    return wording.one_line(known.result.error if known.result else known.last_error)


def _completed_note(_state: RunState, known: TaskState, _now: datetime) -> str:
    return wording.one_line(known.result.output) if known.result else ""


def _cancelled_note(_state: RunState, _known: TaskState, _now: datetime) -> str:
    return "the next run tries it again"


def _blocked_note(state: RunState, known: TaskState) -> str:
    cause = reason_blocked(state, known.task.task_id)
    return "" if cause is None else f"{cause.task.task_id} {wording.WORDS[cause.status]}"


_NOTES = {
    TaskStatus.PENDING: _pending_note,
    TaskStatus.IN_PROGRESS: _running_note,
    TaskStatus.WAITING: _waiting_note,
    TaskStatus.FAILED: _failed_note,
    TaskStatus.COMPLETED: _completed_note,
    TaskStatus.CANCELLED: _cancelled_note,
}
