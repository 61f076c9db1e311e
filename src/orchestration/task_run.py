"""One task through its life: start, execute, record what came of it; the record is there before anyone acts on it.

Knows one task at a time; which one runs when is the workflow's business.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from orchestration import events as ev
from orchestration.attempt import AttemptContext, Parking, TaskInput, current
from orchestration.errors import DependencyError, InvalidTaskError, RunStopError, StoreError
from orchestration.journal import now
from orchestration.task import AgentTask, ExecutionResult, ExecutionStatus, FailureKind, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestration.attempt import Purse
    from orchestration.journal import Journal
    from orchestration.output_files import OutputFiles
    from orchestration.run_state import RunState, TaskState

__all__ = ["Executor", "TaskRun", "failure", "read_inputs", "unmet_dependencies", "with_status"]

_FINAL = (TaskStatus.COMPLETED, TaskStatus.WAITING)


class Executor(Protocol):
    """What the orchestrator asks of an executor; `TaskExecutor` is the one we ship."""

    async def execute(self, task: AgentTask, *, agent: str | None = None) -> ExecutionResult:
        """Execute the task; a task that fails is a FAILED result, not an exception."""


@dataclass(slots=True)
class _Execution:
    """One execution that is going on: who runs it, whether `cancel` was asked for, who else waits for it."""

    runner: asyncio.Task[object]
    is_working: bool = True
    is_cancelled: bool = False
    result: ExecutionResult | None = None
    error: Exception | None = None
    joined: list[asyncio.Future[None]] = field(default_factory=list)

    async def join(self) -> ExecutionResult | None:
        """Wait until it is over and share what came of it; None if it was interrupted or set aside."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.joined.append(future)
        await future
        if self.error is not None:
            raise self.error
        return self.result

    def end(self) -> None:
        """Wake those who joined."""
        for future in self.joined:
            if not future.done():
                future.set_result(None)
        if self.is_cancelled:
            self.runner.uncancel()  # takes back what `cancel` did; the caller's own cancellations stay


class TaskRun:
    """Executes tasks of one project and records them. Running tasks can be joined and cancelled by id."""

    def __init__(
        self,
        journal: Journal,
        executor: Executor,
        *,
        outputs: OutputFiles,
        purse: Purse,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self._journal = journal
        self._purse = purse
        self._executor = executor
        self._outputs = outputs
        self._variables = dict(variables or {})
        self._running: dict[str, _Execution] = {}
        self.parking = Parking()

    async def run(self, task_id: str, agent: str | None = None) -> ExecutionResult:
        """Execute one task and return its outcome when that is durable.

        A completed or waiting task's recorded result is returned as it is; an execution that is going on is joined.

        Raises:
            UnknownTaskError: if there is no such task.
            DependencyError: if a dependency is not completed.
            RunStopError: if it can go on only after a person has changed something; it is not failed, but pending.
            Exception: what the executor raised, such as UnknownAgentError; it is recorded as the task's failure too.

        """
        while (going_on := self._running.get(task_id)) is not None:
            if (result := await going_on.join()) is not None:
                return result
        known = self._journal.state.find(task_id)
        if known.status in _FINAL and known.result is not None:
            await self._journal.durable()
            return known.result
        me = asyncio.current_task()
        assert me is not None  # noqa: S101 -- a coroutine always runs in a task
        # Known as running before the fact is told, so that a subscriber who cancels it at once finds it.
        execution = self._running[task_id] = _Execution(me)
        try:
            self.start(task_id, agent)
            return await self._execute(execution, self._journal.state.find(task_id), agent)
        except Exception as exc:
            execution.error = exc
            raise
        finally:
            del self._running[task_id]
            execution.end()

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

    def cancel(self, task_id: str) -> bool:
        """Stop the task's execution, so that it comes to `cancelled`; False if there is none going on."""
        execution = self._running.get(task_id)
        if execution is None or not execution.is_working:
            return False
        if not execution.is_cancelled:
            execution.is_cancelled = True
            execution.runner.cancel()
        return True

    def cancel_all(self) -> None:
        """Stop every execution that is going on."""
        for task_id in tuple(self._running):
            self.cancel(task_id)

    async def _execute(self, execution: _Execution, known: TaskState, agent: str | None) -> ExecutionResult:
        task_id = known.task.task_id
        try:
            result = await self._work(execution, known, agent)
        except asyncio.CancelledError:
            result = self._stopped(execution, known)
            if execution.runner.cancelling() > execution.is_cancelled:  # by someone else, too: that goes on
                raise
        except StoreError:
            raise
        except RunStopError as exc:
            if self._is_current(known):
                self._journal.record(ev.TaskInterrupted(at=now(), task_id=task_id, reason=str(exc)))
            await self._journal.durable()
            raise
        except Exception as exc:
            self._settle(known, failure(task_id, exc, known=known))
            await self._journal.durable()
            raise
        else:
            result = self._settle(known, result) or result
        await self._journal.durable()
        settled = self._journal.state.tasks.get(task_id)
        if settled is not None and settled.status is TaskStatus.COMPLETED:
            await self._outputs.write(settled)
        execution.result = settled.result if settled else None
        if execution.result is None and settled is not None and settled.status is TaskStatus.CANCELLED:
            execution.result = result
        return execution.result or result

    async def _work(self, execution: _Execution, known: TaskState, agent: str | None) -> ExecutionResult:
        """Have the executor do it; cancelled here and nowhere later.

        Raises:
            TypeError, ValueError: if what it returned is not the outcome of an execution.

        """
        token = current.set(self._context(known))
        try:
            # The start is durable before anything is done in its name. The facts before it are then durable too, so a
            # task needs no other wait for the completion of what it depends on.
            await self._journal.durable()
            result = await self._executor.execute(with_status(known.task, known.status), agent=agent)
            if execution.is_cancelled:
                await asyncio.sleep(0)  # a cancellation still on its way arrives here, not in the caller's own code
        finally:
            execution.is_working = False
            current.reset(token)
        if not isinstance(result, ExecutionResult):
            raise TypeError(f"the executor returned {result!r}, expected an ExecutionResult")
        if result.status is ExecutionStatus.IN_PROGRESS:
            raise ValueError("the executor returned a result that is still in_progress; expected one that is over")
        return result

    def _stopped(self, execution: _Execution, known: TaskState) -> ExecutionResult:
        """Record an execution that was stopped: on request, from outside, or by its own worker's mistake."""
        task_id = known.task.task_id
        if not execution.runner.cancelling():
            leak = RuntimeError("the worker raised CancelledError, though nobody cancelled the task")
            result = failure(task_id, leak, known=known)
            return self._settle(known, result) or result
        if self._is_current(known):
            event = ev.TaskCancelled if execution.is_cancelled else ev.TaskInterrupted
            with contextlib.suppress(StoreError):  # told by whoever waits for the store; the cancellation must go on
                self._journal.record(event(at=now(), task_id=task_id))
        return ExecutionResult(
            task_id,
            agent=known.agent,
            status=ExecutionStatus.CANCELLED,
            started_at=known.started_at,
            completed_at=now(),
            error="cancelled",
        )

    def _settle(self, known: TaskState, result: ExecutionResult) -> ExecutionResult | None:
        """Record the outcome and return it as recorded; None if the task was settled by someone else meanwhile."""
        if not self._is_current(known):
            return None
        try:
            self._journal.record(_outcome(known.task.task_id, result))
        except InvalidTaskError as exc:  # the result holds what JSON cannot say
            result = failure(known.task.task_id, exc, known=known)
            self._journal.record(_outcome(known.task.task_id, result))
        return result

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
            purse=self._purse,
            parking=self.parking,
        )

    def _report(self, event: ev.Event) -> None:
        """Take a fact from the executor; one about a task that was settled meanwhile comes too late to matter.

        What a call used matters whatever became of its task.
        """
        if isinstance(event, ev.TaskRetrying | ev.TaskParked):
            known = self._journal.state.tasks.get(event.task_id)
            if known is None or known.status is not TaskStatus.IN_PROGRESS:
                return
        self._journal.record(event)


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
        error=f"{type(exc).__name__}: {exc}".encode(errors="backslashreplace").decode(),
        metadata={"failure_kind": FailureKind.TASK_ERROR.value},
    )
