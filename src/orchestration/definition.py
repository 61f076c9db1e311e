"""A project's definition: adding, replacing, removing and resetting tasks, so that resuming knows what still holds.

Knows the journal; knows nothing of execution.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from orchestration import events as ev
from orchestration import graph
from orchestration.errors import DuplicateError, TransitionError
from orchestration.journal import now
from orchestration.task import AgentTask, TaskStatus

if TYPE_CHECKING:
    from orchestration.journal import Journal
    from orchestration.run_state import TaskState

__all__ = ["Definition"]

_log = logging.getLogger("orchestration")


class Definition:
    """The tasks of one project, as the program that runs now defines them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._added: set[str] = set()
        # Every id that some task depends on: a new task can close a circle only if it is among them.
        self._wanted: set[str] | None = None

    def add(self, task: AgentTask) -> None:
        """Add a task, or replace an earlier run's definition; an equal one changes nothing.

        Raises:
            DuplicateError: if this program added a different task under the same id.
            CycleError: if the task closes a circle.

        """
        known = self._journal.state.tasks.get(task.task_id)
        if known is None:
            self._refuse_cycle(task)
            self._journal.record(ev.TaskAdded(at=now(), task=_as_new(task)))
        elif not _is_same(known, task):
            self._replace(known, task)
        self._added.add(task.task_id)

    def remove(self, task_id: str) -> None:
        """Take a task out of the project.

        Raises:
            UnknownTaskError: if there is no such task.
            TransitionError: if it is running.

        """
        self._journal.record(ev.TaskRemoved(at=now(), task_id=task_id))
        self._added.discard(task_id)

    def reset(self, task_id: str, *, reason: str) -> list[str]:
        """Forget what a task and everything after it came to; returns the ids, the task itself first.

        What comes after it and may have happened, but must not twice, stays with the person who is to find that out.

        Raises:
            UnknownTaskError: if there is no such task.
            TransitionError: if one of them is running.

        """
        state = self._journal.state
        state.find(task_id)
        later = graph.downstream([task_id], graph.dependents(self.edges()))
        affected = [task_id, *(name for name in later if name in state.tasks and not _is_kept(state.tasks[name]))]
        for name in affected:
            if (status := state.tasks[name].status) in (TaskStatus.IN_PROGRESS, TaskStatus.VERIFYING):
                raise TransitionError(
                    f"task {name!r} is {status.value}: {task_id!r} cannot be reset meanwhile; cancel {name!r}, or wait"
                )
        self._journal.record(ev.TaskReset(at=now(), task_ids=tuple(affected), reason=reason))
        return affected

    def edges(self) -> dict[str, tuple[str, ...]]:
        """Return id -> the ids it waits for, for every task."""
        state = self._journal.state
        return {known.task.task_id: state.edges_of(known) for known in state.unordered()}

    def _replace(self, known: TaskState, task: AgentTask) -> None:
        task_id = task.task_id
        if task_id in self._added:
            raise DuplicateError(
                f"task {task_id!r} was added already with a different definition; give one of the two another id"
            )
        if not set(task.dependencies) <= set(known.task.dependencies):
            self._refuse_cycle(task)
        # Before the change: a crash between the two facts must not leave the dependents with what the old one came to.
        again = self.reset(task_id, reason="definition changed") if known.status is TaskStatus.COMPLETED else []
        self._journal.record(ev.TaskChanged(at=now(), task=_as_new(task)))
        _log.warning(
            "task %r changed since the last run; tasks that run again: %s",
            task_id,
            ", ".join(again) or "none, it had not completed",
            extra={"action": "task_changed", "task": task_id},
        )

    def _refuse_cycle(self, task: AgentTask) -> None:
        if self._wanted is None:
            self._wanted = {name for names in self.edges().values() for name in names}
        self._wanted.update(task.dependencies)
        if task.task_id not in self._wanted:
            return
        tasks = self._journal.state.tasks
        around = {task.task_id: task.dependencies}
        unseen = list(task.dependencies)
        while unseen:
            name = unseen.pop()
            if name not in around:
                known = tasks.get(name)
                around[name] = known.task.dependencies if known else ()
                unseen.extend(around[name])
        graph.topological_order(around)


def _is_kept(known: TaskState) -> bool:
    """Tell whether there is nothing to forget of a task, or what a person has to find out first."""
    is_untouched = known.status is TaskStatus.PENDING and not known.instances and known.claim is None
    return is_untouched or known.cause == "effect"


def _as_new(task: AgentTask) -> AgentTask:
    return task if task.status is TaskStatus.PENDING else replace(task, status=TaskStatus.PENDING)


def _is_same(known: TaskState, task: AgentTask) -> bool:
    """Compare as stored: JSON knows no tuples, so a program's tuple and the file's list are the same definition.

    Whether an answer may be used again is no reason to ask again for one that is there.
    """
    earlier = known.task
    if known.status is TaskStatus.COMPLETED:
        earlier, task = _without_cache(earlier), _without_cache(task)
    if earlier == task:
        return True
    try:
        return _plain(earlier) == _plain(task)
    except (TypeError, ValueError, RecursionError):  # kept in memory, metadata may be what JSON cannot say
        return False


def _without_cache(task: AgentTask) -> AgentTask:
    if "cache" not in task.metadata:
        return task
    return replace(task, metadata={name: value for name, value in task.metadata.items() if name != "cache"})


def _plain(task: AgentTask) -> bytes:
    return msgspec.json.encode(_as_new(task), order="deterministic")
