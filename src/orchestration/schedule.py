"""Which tasks may start now, kept up to date fact by fact instead of looked for.

Pure: fed with states and facts, it answers; it starts nothing and knows no clock. One fact costs O(dependents · log n).
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from orchestration import events as ev
from orchestration import graph
from orchestration.task import SATISFIED, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestration.run_state import RunState, TaskState

__all__ = ["Schedule"]

# Facts that change the graph itself or many tasks at once; they are rare, so the schedule is built anew.
_REBUILD = (ev.TaskAdded, ev.TaskChanged, ev.TaskRemoved, ev.TaskReset, ev.TaskExpanded)
_Rank = tuple[int, int]  # the smaller one first
_Need = tuple[str | None, tuple[str, ...]]  # an agent's slot, and what is written
_BACK_TO_PENDING = (ev.TaskInterrupted, ev.TaskRejected, ev.TaskReopened)


class Schedule:
    """The ready tasks of one project, by priority, then in the order added."""

    def __init__(self) -> None:
        self._is_stale = True
        self._dependents: dict[str, list[str]] = {}
        self._missing: dict[str, int] = {}
        self._ready: dict[str, _Rank] = {}
        # One heap for those that the same slots and files are needed for, so that an agent at its limit, or a folder
        # that is written to, does not hide the tasks of the others. Entries whose task is no longer ready are dropped
        # when they come up.
        self._heaps: dict[_Need, list[tuple[_Rank, str]]] = {}

    def update(self, state: RunState, event: ev.Event) -> None:
        """Take in one fact; `state` is the state after it."""
        if self._is_stale:
            return
        if isinstance(event, _REBUILD) or (isinstance(event, ev.TaskCompleted) and event.added):
            self._is_stale = True
        elif isinstance(event, ev.TaskCompleted | ev.TaskSkipped):
            self._ready.pop(event.task_id, None)
            self._release(state, event.task_id)
        elif isinstance(event, _BACK_TO_PENDING):
            self._add(state.tasks[event.task_id])
        elif isinstance(event, ev.TaskStarted | ev.TaskFailed | ev.TaskCancelled):
            self._ready.pop(event.task_id, None)

    def ready(self, state: RunState) -> list[str]:
        """Return the ids that may start, the first to start first."""
        if self._is_stale:
            self._build(state)
        return sorted(self._ready, key=self._ready.__getitem__)

    def take(
        self,
        state: RunState,
        has_slot: Callable[[str | None], bool],
        may_write: Callable[[tuple[str, ...]], bool] = lambda _scopes: True,
    ) -> str | None:
        """Remove and return the next task whose agent has a slot; None when there is none.

        `has_slot` is asked of agents with ready tasks; None stands for tasks that name no agent. `may_write` is asked
        of the scopes of tasks that have some; those that may not start now stay ready.
        """
        if self._is_stale:
            self._build(state)
        best: tuple[_Rank, str] | None = None
        chosen: list[tuple[_Rank, str]] = []
        used_up = []
        for (agent, writes), heap in self._heaps.items():
            while heap and self._ready.get(heap[0][1]) != heap[0][0]:
                heappop(heap)
            if not heap:
                used_up.append((agent, writes))
            elif (best is None or heap[0] < best) and has_slot(agent) and (not writes or may_write(writes)):
                best, chosen = heap[0], heap
        for need in used_up:
            del self._heaps[need]
        if best is None:
            return None
        heappop(chosen)
        del self._ready[best[1]]
        return best[1]

    def _build(self, state: RunState) -> None:
        self._is_stale = False
        self._ready, self._heaps, self._missing = {}, {}, {}
        tasks = state.ordered()
        edges = {known.task.task_id: state.edges_of(known) for known in tasks}
        self._dependents = graph.dependents(edges)
        for known in tasks:
            missing = sum(not _is_satisfied(state, name) for name in edges[known.task.task_id])
            self._missing[known.task.task_id] = missing
            if missing == 0 and known.status is TaskStatus.PENDING:
                self._add(known)

    def _release(self, state: RunState, completed: str) -> None:
        for task_id in self._dependents[completed]:
            self._missing[task_id] -= 1
            if self._missing[task_id] == 0 and state.tasks[task_id].status is TaskStatus.PENDING:
                self._add(state.tasks[task_id])

    def _add(self, known: TaskState) -> None:
        if self._missing[known.task.task_id] > 0:
            return
        rank = (-known.task.priority, known.position)
        self._ready[known.task.task_id] = rank
        heappush(self._heaps.setdefault((known.task.agent, known.task.writes), []), (rank, known.task.task_id))


def _is_satisfied(state: RunState, task_id: str) -> bool:
    known = state.tasks.get(task_id)
    return known is not None and known.status in SATISFIED
