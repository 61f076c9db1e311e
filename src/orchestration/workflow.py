"""One walk through the whole graph: each task starts when its own dependencies are done and a slot is free.

There are no waves and no polling: a fact that may free a task, and a slot let go, are occasions to start what can.
Knows tasks and slots; what an execution is and how it is recorded is the business of `TaskRun`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from orchestration import events as ev
from orchestration.errors import FailureKind, RunStopError, StoreError
from orchestration.task import TaskStatus
from orchestration.task_run import TaskRun, failure, unmet_dependencies
from orchestration.workspace.scopes import overlap

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestration.journal import Journal
    from orchestration.run_state import RunState
    from orchestration.task import ExecutionResult

__all__ = ["Workflow", "first_error"]

_log = logging.getLogger("orchestration")

# The most frequent facts, after which there is nothing new to start.
_FREES_NOTHING = (
    ev.TaskStarted,
    ev.TaskRetrying,
    ev.TaskParked,
    ev.SessionStarted,
    ev.WorkerReported,
    ev.TaskVerifying,
    ev.CheckFinished,
    ev.CallReserved,
    ev.CallFinished,
    ev.CallReleased,
)


_OTHERS_TURN = (TaskStatus.WAITING, TaskStatus.NEEDS_REVIEW, TaskStatus.IN_PROGRESS, TaskStatus.VERIFYING)


class Workflow:
    """Runs what can run, until nothing can. Use once.

    `limit_of` gives an agent's own limit (None: no limit). Tasks that name no agent are `default_agent`'s.
    """

    def __init__(
        self,
        journal: Journal,
        task_run: TaskRun,
        *,
        limit_of: Callable[[str | None], int | None],
        default_agent: str | None = None,
        max_concurrent: int | None = None,
    ) -> None:
        self._journal = journal
        self._task_run = task_run
        self._limit_of = limit_of
        self._default_agent = default_agent
        self._max_concurrent = max_concurrent
        self._group: asyncio.TaskGroup | None = None
        self._idle = asyncio.Event()
        self._per_agent: Counter[str | None] = Counter()
        self._running = 0
        self._writing: dict[str, tuple[str, ...]] = {}  # the scopes of running tasks that have some
        self._may_be_written: dict[tuple[str, ...], bool] = {}  # what was found out since those last changed
        self._is_stopping = False
        self._is_cancelled = False
        self.results: dict[str, ExecutionResult] = {}
        self.stopped_by: RunStopError | None = None

    async def run(self) -> ev.RunStatus:
        """Work through the graph and return how it ended.

        Raises:
            StoreError: if a fact could not be kept; running tasks are cancelled then.

        """
        unsubscribe = self._journal.subscribe(self._on_fact)
        self._task_run.parking.open()
        try:
            async with asyncio.TaskGroup() as self._group:
                self._start_ready()
                await self._until_idle()
        except ExceptionGroup as group:
            raise first_error(group) from group
        finally:
            unsubscribe()
            self._group = None
            self._task_run.parking.open()
            self._journal.reschedule()
        return self._status(self._journal.state)

    def drain(self) -> None:
        """Start nothing more; what runs may finish, what is parked is pending again."""
        self._is_stopping = True
        self._task_run.parking.close()

    def cancel(self) -> None:
        """Start nothing more; stopping what runs is the caller's part."""
        self._is_stopping = self._is_cancelled = True

    async def _until_idle(self) -> None:
        try:
            while self._running:
                self._idle.clear()
                await self._idle.wait()
        except asyncio.CancelledError:
            # Said before the group stops its tasks: an interrupted task is ready again, and must not start anew.
            self._is_stopping = True
            raise

    def _on_fact(self, event: ev.Event, _state: RunState) -> None:
        if isinstance(event, ev.TaskInterrupted) and event.reason:
            self.drain()  # before it is looked for what can start: that task could, and would stop again
        if not isinstance(event, _FREES_NOTHING):
            self._start_ready()

    def _start_ready(self) -> None:
        """Start tasks while there are ready ones and slots. Never awaits, so nothing can come between."""
        if self._group is None:
            return
        while not self._is_stopping and (self._max_concurrent is None or self._running < self._max_concurrent):
            task_id = self._journal.take(self._has_slot, self._may_write)
            if task_id is None:
                return
            definition = self._journal.state.tasks[task_id].task
            if definition.writes:
                self._writing[task_id] = definition.writes
                self._may_be_written.clear()
            agent = definition.agent or self._default_agent
            self._running += 1
            self._per_agent[agent] += 1
            task = self._group.create_task(self._run_one(task_id), name=f"task {task_id}")
            task.add_done_callback(partial(self._free, agent, task_id))

    def _free(self, agent: str | None, task_id: str, _task: asyncio.Task[None]) -> None:
        self._running -= 1
        if self._writing.pop(task_id, None) is not None:
            self._may_be_written.clear()
        self._per_agent[agent] -= 1
        self._start_ready()
        if not self._running:
            self._idle.set()

    def _has_slot(self, agent: str | None) -> bool:
        name = agent or self._default_agent
        limit = self._limit_of(name)
        return limit is None or self._per_agent[name] < limit

    def _may_write(self, scopes: tuple[str, ...]) -> bool:
        """Tell whether no running task may write what is in these scopes."""
        answer = self._may_be_written.get(scopes)
        if answer is None:
            answer = not any(overlap(scopes, others) for others in self._writing.values())
            self._may_be_written[scopes] = answer
        return answer

    def _is_startable(self, task_id: str) -> bool:
        """Tell whether a task that was taken is still to be started: until it got its turn, much may have been said.

        If not, nothing is lost: what makes it ready again puts it on the schedule again.
        """
        state = self._journal.state
        known = state.tasks.get(task_id)
        if self._is_stopping or known is None or known.status is not TaskStatus.PENDING:
            return False
        return not unmet_dependencies(state, known)

    async def _run_one(self, task_id: str) -> None:
        if not self._is_startable(task_id):
            return
        try:
            result = await self._task_run.run(task_id)
            if "status" not in result.metadata:  # else it was skipped, or its instances are to be done first
                self.results[task_id] = result
        except StoreError:
            self._is_stopping = True
            raise
        except RunStopError as exc:
            self._is_stopping = True
            self.stopped_by = self.stopped_by or exc
        except Exception as exc:  # noqa: BLE001 -- see below
            # It is recorded as the task's failure already. The others go on: one bad task must not stop a night's work.
            _log.exception("task %r failed", task_id, extra={"action": "task_raised", "task": task_id})
            self.results[task_id] = failure(task_id, exc)

    def _status(self, state: RunState) -> ev.RunStatus:
        if self._is_cancelled:
            return "cancelled"
        counts = Counter(known.status for known in state.unordered())
        if self.stopped_by is not None and self.stopped_by.kind is FailureKind.BUDGET:
            return "over_budget"
        if self._is_stopping and self._journal.ready():
            return "interrupted"
        if counts[TaskStatus.FAILED] or counts[TaskStatus.CANCELLED]:
            return "failed"
        # What is in progress now was started by hand; whoever did that has the next word, like a person.
        if any(counts[status] for status in _OTHERS_TURN):
            return "waiting"
        return "failed" if counts[TaskStatus.PENDING] else "completed"


def first_error(group: ExceptionGroup[Exception]) -> Exception:
    """Return one error of a group whose errors follow from each other: the first one there is."""
    error: Exception = group
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
