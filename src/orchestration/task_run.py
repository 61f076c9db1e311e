"""One task through its life: start, execute, record what came of it; the record is there before anyone acts on it.

Knows one task at a time; which one runs when is the workflow's business.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestration import events as ev
from orchestration.attempt import AttemptContext, TaskInput, current
from orchestration.errors import DependencyError, InvalidTaskError, StoreError
from orchestration.journal import now
from orchestration.task import AgentTask, ExecutionResult, ExecutionStatus, FailureKind, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestration.journal import Journal
    from orchestration.run_state import RunState, TaskState

__all__ = ["Executor", "TaskRun", "failure", "read_inputs", "unmet_dependencies", "with_status"]

_log = logging.getLogger("orchestration")

_FINAL = (TaskStatus.COMPLETED, TaskStatus.WAITING)


class Executor(Protocol):
    """What the orchestrator asks of an executor; `TaskExecutor` is the one we ship."""

    async def execute(self, task: AgentTask, *, agent: str | None = None) -> ExecutionResult:
        """Execute the task; a task that fails is a FAILED result, not an exception."""


class TaskRun:
    """Executes tasks of one project and records them. Running tasks can be joined and cancelled by id."""

    def __init__(
        self, journal: Journal, executor: Executor, *, root: Path | None, variables: Mapping[str, str] | None = None
    ) -> None:
        self._journal = journal
        self._executor = executor
        self._root = root
        self._variables = dict(variables or {})
        self._running: dict[str, asyncio.Task[object]] = {}
        self._joined: dict[str, list[asyncio.Future[None]]] = {}
        self._to_cancel: set[str] = set()
        self.problems: list[str] = []

    @property
    def running(self) -> frozenset[str]:
        """The ids of the tasks that are being executed now."""
        return frozenset(self._running)

    async def run(self, task_id: str, agent: str | None = None) -> ExecutionResult:
        """Execute one task and return its outcome when that is durable.

        A completed or waiting task's recorded result is returned as it is; a task that runs already is waited for.

        Raises:
            UnknownTaskError: if there is no such task.
            DependencyError: if a dependency is not completed.
            Exception: what the executor raised, such as UnknownAgentError; it is recorded as the task's failure too.

        """
        if task_id in self._running:
            await self._join(task_id)
        known = self._journal.state.find(task_id)
        if known.status in _FINAL and known.result is not None:
            await self._journal.durable()
            return known.result
        self.start(task_id, agent)
        me = asyncio.current_task()
        assert me is not None  # noqa: S101 -- a coroutine always runs in a task
        self._running[task_id] = me
        try:
            return await self._execute(task_id, agent)
        finally:
            del self._running[task_id]
            self._to_cancel.discard(task_id)
            for future in self._joined.pop(task_id, ()):
                if not future.done():
                    future.set_result(None)

    def start(self, task_id: str, agent: str | None = None) -> None:
        """Record that an attempt begins.

        Raises:
            UnknownTaskError: if there is no such task.
            DependencyError: if a dependency is not completed; names them with their statuses.
            TransitionError: if the task runs, waits or is completed.

        """
        known = self._journal.state.find(task_id)
        if unmet := unmet_dependencies(self._journal.state, known):
            raise DependencyError(f"task {task_id!r} cannot start; it depends on {', '.join(unmet)}")
        self._journal.record(
            ev.TaskStarted(
                at=now(),
                task_id=task_id,
                attempt=known.attempt + 1,
                agent=agent or known.task.agent or "",
                run_id=self._journal.state.run_id,
            )
        )

    def cancel(self, task_id: str) -> None:
        """Stop the task's execution, if it is going on; its outcome is then `cancelled`."""
        running = self._running.get(task_id)
        if running is not None and task_id not in self._to_cancel:
            self._to_cancel.add(task_id)
            running.cancel()

    async def write_output(self, task: AgentTask, output: str) -> None:
        """Write a task's `output_file`, whole or not at all; a failure goes to `problems`, the output is safe."""
        if task.output_file is None or self._root is None:
            return
        try:
            await asyncio.to_thread(_write_atomically, self._root, task.output_file, output)
        except OSError as exc:
            problem = f"task {task.task_id!r}: cannot write output_file {task.output_file!r}: {exc}"
            _log.error(problem, extra={"action": "output_not_written", "task": task.task_id})
            self.problems.append(problem)

    async def _execute(self, task_id: str, agent: str | None) -> ExecutionResult:
        known = self._journal.state.find(task_id)
        token = current.set(self._context(known))
        try:
            # The start is durable before anything is done in its name. The facts before it are then durable too, so a
            # task needs no other wait for the completion of what it depends on.
            await self._journal.durable()
            result = await self._executor.execute(with_status(known.task, known.status), agent=agent)
        except asyncio.CancelledError:
            return await self._cancelled(known)
        except StoreError:
            raise
        except Exception as exc:
            self._settle(known, failure(known.task.task_id, exc, known=known))
            await self._journal.durable()
            raise
        finally:
            current.reset(token)
        self._settle(known, result)
        await self._journal.durable()
        settled = self._journal.state.find(task_id)
        if settled.status is TaskStatus.COMPLETED and settled.result is not None:
            await self.write_output(settled.task, settled.result.output)
        return settled.result or result

    async def _cancelled(self, known: TaskState) -> ExecutionResult:
        """Record an execution that was stopped: by `cancel` it is a result, by anyone else the cancellation goes on."""
        task_id = known.task.task_id
        asked = task_id in self._to_cancel
        if self._is_current(known):
            event = ev.TaskCancelled if asked else ev.TaskInterrupted
            self._journal.record(event(at=now(), task_id=task_id))
        me = asyncio.current_task()
        if not asked or me is None or me.uncancel() > 0:
            raise asyncio.CancelledError
        await self._journal.durable()
        return ExecutionResult(
            task_id,
            agent=known.agent,
            status=ExecutionStatus.CANCELLED,
            started_at=known.started_at,
            completed_at=now(),
            error="cancelled",
        )

    def _settle(self, known: TaskState, result: ExecutionResult) -> None:
        """Record the outcome, unless the task was settled by someone else while it ran."""
        if not self._is_current(known):
            return
        try:
            self._journal.record(_outcome(known.task.task_id, result))
        except InvalidTaskError as exc:  # the result holds what JSON cannot say
            self._journal.record(_outcome(known.task.task_id, failure(known.task.task_id, exc, known=known)))

    def _is_current(self, known: TaskState) -> bool:
        latest = self._journal.state.tasks.get(known.task.task_id)
        return latest is not None and latest.status is TaskStatus.IN_PROGRESS and latest.started_at == known.started_at

    def _context(self, known: TaskState) -> AttemptContext:
        state = self._journal.state
        return AttemptContext(
            run_id=state.run_id,
            attempt=known.attempt,
            inputs=read_inputs(state, known.task),
            variables=self._variables,
            draft=known.draft,
            comment=known.comment,
            report=self._report,
        )

    def _report(self, event: ev.Event) -> None:
        """Take a fact from the executor; one about a task that was settled meanwhile comes too late to matter."""
        known = self._journal.state.tasks.get(getattr(event, "task_id", ""))
        if known is None or (isinstance(event, ev.TaskRetrying) and known.status is not TaskStatus.IN_PROGRESS):
            return
        self._journal.record(event)

    async def _join(self, task_id: str) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._joined.setdefault(task_id, []).append(future)
        await future


def read_inputs(state: RunState, task: AgentTask) -> dict[str, TaskInput]:
    """Return the outcomes of a task's completed dependencies by id, in the order the task names them."""
    inputs = {}
    for name in task.dependencies:
        known = state.tasks.get(name)
        if known is not None and known.result is not None and known.status is TaskStatus.COMPLETED:
            inputs[name] = TaskInput(output=known.result.output, data=known.result.metadata.get("data"))
    return inputs


def unmet_dependencies(state: RunState, known: TaskState) -> list[str]:
    """Return a phrase for each dependency that is not completed, such as `'outline' (failed)`."""
    unmet = []
    for name in known.task.dependencies:
        other = state.tasks.get(name)
        if other is None:
            unmet.append(f"{name!r} (not a task of this project)")
        elif other.status is not TaskStatus.COMPLETED:
            unmet.append(f"{name!r} ({other.status.value})")
    return unmet


def with_status(task: AgentTask, status: TaskStatus) -> AgentTask:
    """Return the task with another status, without checking again what was checked when it was made."""
    if task.status is status:
        return task
    copy = object.__new__(AgentTask)
    copy.__dict__.update(task.__dict__, status=status)
    return copy


def _outcome(task_id: str, result: ExecutionResult) -> ev.Event:
    at = now()
    match result.status:
        case ExecutionStatus.SUCCESS:
            return ev.TaskCompleted(at=at, task_id=task_id, result=result)
        case ExecutionStatus.CANCELLED:
            return ev.TaskCancelled(at=at, task_id=task_id)
        case ExecutionStatus.PENDING:
            is_draft = result.metadata.get("execution_mode") == "hybrid"
            return ev.TaskWaiting(at=at, task_id=task_id, need="approval" if is_draft else "answer", result=result)
        case _:
            return ev.TaskFailed(at=at, task_id=task_id, result=result)


def failure(task_id: str, exc: Exception, *, known: TaskState | None = None) -> ExecutionResult:
    """Turn an exception into the result of the task it ended."""
    return ExecutionResult(
        task_id,
        agent=known.agent if known else "",
        status=ExecutionStatus.FAILED,
        started_at=known.started_at if known else None,
        completed_at=now(),
        error=f"{type(exc).__name__}: {exc}",
        metadata={"failure_kind": FailureKind.TASK_ERROR.value},
    )


def _write_atomically(root: Path, relative: str, text: str) -> None:
    """Write a file inside the root through a temporary one beside it.

    Raises:
        OSError: if it cannot be written, or the path leads out of the root, also through a symbolic link.

    """
    target = root / relative
    folder = target.parent.resolve()
    if not folder.is_relative_to(root.resolve()):
        raise PermissionError(f"it leads out of the project's folder, to {str(folder)!r}")
    folder.mkdir(parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=folder, prefix=f".{target.name}.")
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(folder / target.name)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
