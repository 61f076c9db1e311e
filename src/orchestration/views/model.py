"""What there is to see of a project at a moment: `view(state, now)`, pure, under every view.

Knows nothing of terminals. One linear pass over the tasks; rows are made only for those that are shown.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from heapq import nsmallest
from typing import TYPE_CHECKING

from orchestration import events as ev
from orchestration.fold import apply, broken_off
from orchestration.run_state import RunState, TaskState, blocked_tasks
from orchestration.task import AgentTask, TaskStatus
from orchestration.views.family import folded, placing
from orchestration.views.notes import STOPPED, note
from orchestration.views.tree import grow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from orchestration.ledger import Spend

__all__ = ["ProjectView", "TaskRow", "as_if_interrupted", "stands_for", "view", "with_new_tasks"]

_AT_WORK = (TaskStatus.IN_PROGRESS, TaskStatus.VERIFYING)
# When not all tasks fit: what is going on, then what needs a person, then what went wrong, then the latest news.
_INTEREST = {
    TaskStatus.IN_PROGRESS: 0,
    TaskStatus.VERIFYING: 0,
    TaskStatus.WAITING: 1,
    TaskStatus.NEEDS_REVIEW: 1,
    TaskStatus.FAILED: 2,
    TaskStatus.CANCELLED: 3,
    TaskStatus.COMPLETED: 4,
    TaskStatus.SKIPPED: 4,
    TaskStatus.PENDING: 5,
}


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

    When all fit, or all but the quiet ones of many instances, they come as a tree; else the most interesting ones, in
    the order added.
    """
    tasks = state.unordered()
    blocked = blocked_tasks(state) if any(known.status in STOPPED for known in tasks) else frozenset()
    counts = Counter(known.status for known in tasks)
    if blocked:
        counts[TaskStatus.PENDING] -= len(blocked)
        counts[TaskStatus.BLOCKED] = len(blocked)
    total = len(tasks)
    left_out = frozenset() if rows_max is None else folded(state)
    if rows_max is None or total - len(left_out) <= rows_max:
        shown = _as_tree(state, left_out)
    else:
        chosen = nsmallest(rows_max, tasks, key=partial(_interest, left_out))
        shown = [(known, "") for known in sorted(chosen, key=lambda known: known.position)]
    return ProjectView(
        rows=tuple(_row(state, known, now, guide=guide, blocked=blocked) for known, guide in shown),
        hidden=total - len(shown),
        counts={status: counts[status] for status in TaskStatus if counts[status]},
        spend=state.spend,
        run_status=state.run_status,
        elapsed_s=_seconds(state.run_started_at, state.run_ended_at or now),
        parked=sum(bool(known.parked) for known in tasks),
    )


def as_if_interrupted(state: RunState, now: datetime) -> RunState:
    """Return the state as the next run will find it, when the process that had it open is gone."""
    for known in state.unordered():
        if known.status in _AT_WORK:
            state = apply(state, broken_off(known, now))
    for call_id in state.ledger.reservations:
        state = apply(state, ev.CallLost(at=now, call_id=call_id))
    return state


def with_new_tasks(state: RunState, tasks: Iterable[AgentTask], now: datetime) -> RunState:
    """Return the state with the tasks it does not have yet, as the next run will add them."""
    for task in tasks:
        if task.task_id not in state.tasks:
            state = apply(state, ev.TaskAdded(at=now, task=task))
    return state


def stands_for(known: TaskState) -> tuple[str, ...]:
    """Return the agents that were given up on before the one whose result this is, in order."""
    given_up = known.result.metadata.get("fallback_from") if known.result else None
    return tuple(map(str, given_up)) if isinstance(given_up, list | tuple) else ()


def _as_tree(state: RunState, left_out: AbstractSet[str]) -> list[tuple[TaskState, str]]:
    places = {name: above for name, above in placing(state).items() if name not in left_out}
    return [(state.tasks[branch.task_id], branch.guide) for branch in grow(places)]


def _interest(left_out: AbstractSet[str], known: TaskState) -> tuple[int, float, int]:
    """Return what to sort by; a task with instances at work is worth as much as they, and tells of the quiet ones."""
    latest_first = -known.ended_at.timestamp() if known.ended_at else 0.0
    rank = _INTEREST[known.status]
    if known.instances and known.status is TaskStatus.PENDING:
        rank = _INTEREST[TaskStatus.WAITING]
    elif known.task.task_id in left_out:
        rank = len(_INTEREST)
    return (rank, latest_first, known.position)


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
        note=note(state, known, now, is_blocked=is_blocked),
        guide=guide,
        parked=known.parked,
        parked_until=known.parked_until,
        stands_for=stands_for(known),
    )


def _elapsed(known: TaskState, now: datetime) -> float | None:
    if known.status in _AT_WORK:
        return _seconds(known.started_at, now)
    if known.instances and known.result is not None:  # nobody has worked on it but they
        return known.result.duration_s
    return _seconds(known.started_at, known.ended_at)


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    """Return the seconds between; never below zero, for clocks are set back now and then."""
    return None if start is None or end is None else max((end - start).total_seconds(), 0.0)
