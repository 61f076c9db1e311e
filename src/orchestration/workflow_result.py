"""What a walk through the graph came to, in one record. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from orchestration.ledger import NO_SPEND, Spend
from orchestration.run_state import RunState, blocked_tasks
from orchestration.task import ExecutionResult, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestration import events as ev

__all__ = ["Totals", "WorkflowResult", "results_of", "totals_of"]


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """A run in numbers: tasks by status (all tasks of the project), wall time, and what this run spent."""

    tasks: Mapping[TaskStatus, int]
    duration_s: float
    spend: Spend = NO_SPEND


class WorkflowResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a walk through the graph came to.

    `results` maps a task's id to its outcome, for every task that has one, also from earlier runs. `problems` are
    things that went wrong beside the tasks, such as an output file that could not be written.
    """

    run_id: str
    status: ev.RunStatus
    results: Mapping[str, ExecutionResult]
    totals: Totals
    problems: Sequence[str] = ()


def results_of(state: RunState, returned: Mapping[str, ExecutionResult]) -> dict[str, ExecutionResult]:
    """Return each task's outcome by id, in the order added; a cancelled one's is not kept, so it is `returned`'s."""
    results = {}
    for known in state.ordered():
        result = known.result
        if known.status is TaskStatus.CANCELLED:
            result = returned.get(known.task.task_id)
        if result is not None:
            results[known.task.task_id] = result
    return results


def totals_of(before: RunState, after: RunState, duration_s: float) -> Totals:
    """Count the tasks by status and what was spent between two states."""
    counts = Counter(known.status for known in after.unordered())
    blocked = len(blocked_tasks(after))
    counts[TaskStatus.PENDING] -= blocked
    counts[TaskStatus.BLOCKED] = blocked
    return Totals(
        tasks={status: count for status, count in counts.items() if count},
        duration_s=duration_s,
        spend=after.spend - before.spend,
    )
