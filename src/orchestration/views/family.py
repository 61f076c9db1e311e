"""Tasks that come from others: the instances of a `for_each`, and what results have added.

Where they stand in a tree, how far they are, and a line when they come. Pure; knows nothing of terminals.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from orchestration import events as ev
from orchestration.task import TaskStatus
from orchestration.views import wording

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestration.run_state import RunState, TaskState
    from orchestration.task import AgentTask

__all__ = ["counted", "folded", "growth", "is_instance", "item_label", "placing", "progress"]

# As many instances are listed below their task whatever they are at; of more, only those that are worth a look.
_SHOWN_MAX = 8
_NAMED_MAX = 3
_QUIET = frozenset({TaskStatus.PENDING, TaskStatus.COMPLETED, TaskStatus.SKIPPED})
# How the instances of a task are told, in this order, after those that are done.
_GROUPS = (
    ((TaskStatus.IN_PROGRESS, TaskStatus.VERIFYING), "running"),
    ((TaskStatus.WAITING, TaskStatus.NEEDS_REVIEW), "waiting for you"),
    ((TaskStatus.FAILED,), "failed"),
    ((TaskStatus.CANCELLED,), "cancelled"),
    ((TaskStatus.SKIPPED,), "skipped"),
)


def placing(state: RunState) -> dict[str, Sequence[str]]:
    """Return task id -> the tasks it may stand under in a tree: first what came from others, then in the order added.

    An instance stands under the task it is one of, and a task that was added under the one that has added it, or under
    another of the same. Any other stands under what it depends on.
    """
    tasks = sorted(state.unordered(), key=lambda known: (not known.origin, known.position))
    return {known.task.task_id: _above(state, known) for known in tasks}


def _above(state: RunState, known: TaskState) -> Sequence[str]:
    if known.origin not in state.tasks:
        return known.task.dependencies
    if is_instance(state, known):
        return (known.origin,)
    kin = [name for name in known.task.dependencies if (it := state.tasks.get(name)) and it.origin == known.origin]
    return (known.origin, *kin)


def is_instance(state: RunState, known: TaskState) -> bool:
    """Tell whether a task is one of the instances of another."""
    origin = state.tasks.get(known.origin) if known.origin else None
    # Instances are many and added tasks few, so it is these that are looked through.
    return origin is not None and bool(origin.instances) and known.task.task_id not in origin.added


def counted(state: RunState, known: TaskState) -> Mapping[TaskStatus, int]:
    """Return how many of a task's instances have which status; only what occurs."""
    instances = (state.tasks.get(name) for name in known.instances)
    return Counter(instance.status for instance in instances if instance is not None)


def progress(state: RunState, known: TaskState) -> str:
    """Say how far a task's instances are: `12 of 40 done, 3 running, 1 failed`."""
    counts = counted(state, known)
    parts = [f"{counts.get(TaskStatus.COMPLETED, 0):,} of {len(known.instances):,} done"]
    for statuses, word in _GROUPS:
        if number := sum(counts.get(status, 0) for status in statuses):
            parts.append(f"{number:,} {word}")
    return ", ".join(parts)


def folded(state: RunState) -> frozenset[str]:
    """Return the instances that need no row where there are many: the line of their task tells of them."""
    quiet: set[str] = set()
    for known in state.unordered():
        if len(known.instances) > _SHOWN_MAX:
            instances = (state.tasks.get(name) for name in known.instances)
            # What has added tasks stays, for they stand under it.
            quiet.update(one.task.task_id for one in instances if one and one.status in _QUIET and not one.added)
    return frozenset(quiet)


def item_label(state: RunState, known: TaskState) -> str:
    """Return the words that tell an instance from the others; empty where only its number does, or it is none."""
    if not is_instance(state, known):
        return ""
    label = known.task.title.removeprefix(f"{state.tasks[known.origin].task.title}: ")
    return "" if known.task.task_id.endswith(f".{label}") else wording.one_line(label, 40)


def growth(event: ev.Event) -> str:
    """Say which tasks a fact has brought, and who is to do them, before they run; empty for a fact that brought none.

    `review becomes 40 tasks, one for each item, for ann: review.1, review.2, review.3 and 37 more`.
    """
    if isinstance(event, ev.TaskExpanded):
        several = "one for each item, " if len(event.instances) > 1 else ""
        what = f"becomes {wording.count(len(event.instances), 'task')}, {several}"
        return f"{event.task_id} {what}{_for_whom(event.instances)}: {_named(event.instances)}"
    if isinstance(event, ev.TaskCompleted) and event.added:
        what = f"adds {wording.count(len(event.added), 'task')}, "
        return f"{event.task_id} {what}{_for_whom(event.added)}: {_named(event.added)}"
    return ""


def _for_whom(tasks: Iterable[AgentTask]) -> str:
    shares = Counter(task.agent or "the default agent" for task in tasks)
    if len(shares) == 1:
        return f"for {next(iter(shares))}"
    return ", ".join(f"{number:,} for {agent}" for agent, number in shares.items())


def _named(tasks: Sequence[AgentTask]) -> str:
    names = ", ".join(task.task_id for task in tasks[:_NAMED_MAX])
    return f"{names} and {len(tasks) - _NAMED_MAX:,} more" if len(tasks) > _NAMED_MAX else names
