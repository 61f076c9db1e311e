"""One task through its life: start, execute, record what came of it; the record is there before anyone acts on it.

Knows one task at a time; which one runs when is the workflow's business.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import msgspec

from orchestration import events as ev
from orchestration.attempt import AttemptContext, Parking, TaskInput, current, nothing_to_see
from orchestration.errors import (
    AttemptError,
    DependencyError,
    InvalidTaskError,
    OrchestrationError,
    RunStopError,
    StoreError,
)
from orchestration.expansion import ADDED_TASKS_SCHEMA
from orchestration.fold import in_doubt
from orchestration.journal import now
from orchestration.task import SATISFIED, AgentTask, ExecutionResult, ExecutionStatus, FailureKind, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from orchestration.attempt import Purse
    from orchestration.expansion import Expansion
    from orchestration.journal import Journal
    from orchestration.output_files import OutputFiles
    from orchestration.run_state import RunState, TaskState

__all__ = ["Executor", "TaskRun", "failure", "read_inputs", "unmet_dependencies", "with_status"]

# What can be returned as it stands: it is over, or a person has the next word.
_FINAL = (TaskStatus.COMPLETED, TaskStatus.WAITING, TaskStatus.NEEDS_REVIEW)
_AT_WORK = (TaskStatus.IN_PROGRESS, TaskStatus.VERIFYING)
# Facts about an execution; they come too late to matter once its task is settled.
_PASSING = (ev.TaskRetrying, ev.TaskParked, ev.SessionStarted, ev.WorkerReported, ev.TaskVerifying, ev.CheckFinished)


class Executor(Protocol):
    """What the orchestrator asks of an executor; `TaskExecutor` is the one we ship."""

    async def execute(self, task: AgentTask, *, agent: str | None = None) -> ExecutionResult:
        """Execute the task; a task that fails is a FAILED result, not an exception."""


class _Execution(msgspec.Struct):
    """One execution that is going on: who runs it, whether `cancel` was asked for, who else waits for it."""

    runner: asyncio.Task[object]
    is_working: bool = True
    is_cancelled: bool = False
    result: ExecutionResult | None = None
    error: Exception | None = None
    joined: list[asyncio.Future[None]] = msgspec.field(default_factory=list)

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
        expansion: Expansion,
        variables: Mapping[str, str] | None = None,
        state_path: Path | None = None,
    ) -> None:
        self._journal = journal
        self._purse = purse
        self._executor = executor
        self._outputs = outputs
        self._expansion = expansion
        self._variables = dict(variables or {})
        self._project_id = "default" if state_path is None else state_path.stem
        self._owner = "" if state_path is None else str(state_path.absolute())
        self._artefacts = None if state_path is None else state_path.with_suffix(".artefacts").absolute()
        self._running: dict[str, _Execution] = {}
        self.parking = Parking()

    async def run(self, task_id: str, agent: str | None = None) -> ExecutionResult:
        """Execute one task and return its outcome when that is durable.

        A completed or waiting task's recorded result is returned as it is; an execution that is going on is joined. A
        task that is skipped, or becomes instances that are to be executed first, returns a `PENDING` result.

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
        if known.status in _FINAL or known.status is TaskStatus.SKIPPED:
            await self._journal.durable()
            return known.result or _no_result(known)
        me = asyncio.current_task()
        assert me is not None  # noqa: S101 -- a coroutine always runs in a task
        # Known as running before the fact is told, so that a subscriber who cancels it at once finds it.
        execution = self._running[task_id] = _Execution(me)
        try:
            if known.task.when is not None or known.task.for_each is not None:
                instead = await self._instead(execution, known)
                if instead is not None:
                    return instead
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
        self._refuse_unmet(known)
        self._journal.record(
            ev.TaskStarted(
                at=now(),
                task_id=task_id,
                attempt=known.attempt + 1,
                agent=agent or known.task.agent or "",
                run_id=self._journal.state.run_id,
            )
        )

    async def _instead(self, execution: _Execution, known: TaskState) -> ExecutionResult | None:
        """Let a task be skipped, expanded or gathered; None if it is to be carried out as it stands.

        Raises:
            DependencyError: if a dependency is not completed.

        """
        task_id = known.task.task_id
        self._refuse_unmet(known)
        event: ev.Event | None
        try:
            event = await self._before(execution, known)
        except asyncio.CancelledError:
            if not execution.is_cancelled:
                raise
            event = ev.TaskCancelled(at=now(), task_id=task_id)
        except AttemptError as exc:
            event = ev.TaskFailed(at=now(), task_id=task_id, result=failure(task_id, exc, known=known))
        latest = self._journal.state.tasks.get(task_id)
        if latest is None or not self._still_holds(known, latest):
            return (latest and latest.result) or _no_result(latest or known)
        if event is None:
            execution.is_working = True
            return None
        if isinstance(event, ev.TaskFailed):
            self.start(task_id)
        self._journal.record(event)
        if execution.runner.cancelling() > execution.is_cancelled:
            raise asyncio.CancelledError
        await self._journal.durable()
        settled = self._journal.state.find(task_id)
        is_pending = settled.status is TaskStatus.PENDING
        if is_pending and settled.instances and not unmet_dependencies(self._journal.state, settled):
            return await self._instead(execution, settled)  # they all came to an end while that was written
        if settled.status is TaskStatus.COMPLETED:
            await self._outputs.write(settled)
        is_cancelled = settled.status is TaskStatus.CANCELLED
        execution.result = _as_cancelled(settled) if is_cancelled else settled.result or _no_result(settled)
        return execution.result

    def _still_holds(self, known: TaskState, latest: TaskState) -> bool:
        """Tell whether nothing that matters was said of a task while its expressions were evaluated."""
        is_same = (latest.status, latest.task, latest.instances) == (known.status, known.task, known.instances)
        return is_same and not unmet_dependencies(self._journal.state, latest)

    async def _before(self, execution: _Execution, known: TaskState) -> ev.Event | None:
        """Return what happens to a task in place of being carried out; cancelled here and nowhere later."""
        try:
            event = await self._expansion.before(known, self._journal.state, self._context(known))
            if execution.is_cancelled:
                await asyncio.sleep(0)
            return event
        finally:
            execution.is_working = False

    def _refuse_unmet(self, known: TaskState) -> None:
        if unmet := unmet_dependencies(self._journal.state, known):
            raise DependencyError(f"task {known.task.task_id!r} cannot start; it depends on {', '.join(unmet)}")

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
            is_mistake = isinstance(exc, OrchestrationError)  # of the caller, before anything was done
            self._settle(known, failure(task_id, exc, known=known), may_have_acted=not is_mistake)
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
            result = await self._executor.execute(_as_executed(known), agent=agent)
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
            return self._settle(known, result, may_have_acted=True) or result
        if self._is_current(known):
            with contextlib.suppress(StoreError):  # told by whoever waits for the store; the cancellation must go on
                self._journal.record(self._broken_off(execution, self._journal.state.find(task_id)))
        return _as_cancelled(known)

    def _broken_off(self, execution: _Execution, latest: TaskState) -> ev.Event:
        """Say what becomes of a task that was stopped; what must not happen twice may have happened."""
        task_id, has_claim = latest.task.task_id, latest.claim is not None
        if latest.task.effects == "once" and (execution.is_cancelled if has_claim else not latest.parked):
            return in_doubt(latest, f"attempt {latest.attempt} was stopped while it was under way", now())
        event = ev.TaskCancelled if execution.is_cancelled else ev.TaskInterrupted
        return event(at=now(), task_id=task_id)

    def _settle(
        self, known: TaskState, result: ExecutionResult, *, may_have_acted: bool = False
    ) -> ExecutionResult | None:
        """Record the outcome and return it as recorded; None if the task was settled by someone else meanwhile.

        `may_have_acted`: it is a failure after which nobody knows what was done.
        """
        if not self._is_current(known):
            return None
        try:
            event = self._outcome(known, result)
            if not may_have_acted:
                self._journal.record(event)
                return result
        except (InvalidTaskError, AttemptError) as exc:  # the result holds what JSON cannot say, or is no list of tasks
            result = failure(known.task.task_id, exc, known=known)
        if known.task.effects == "once":
            latest = self._journal.state.find(known.task.task_id)
            self._journal.record(in_doubt(latest, f"attempt {latest.attempt} failed ({result.error})", now()))
        else:
            self._journal.record(self._outcome(known, result))
        return result

    def _outcome(self, known: TaskState, result: ExecutionResult) -> ev.Event:
        at, task_id = now(), known.task.task_id
        match result.status:
            case ExecutionStatus.SUCCESS:
                added = self._expansion.added(known, self._journal.state, result.metadata.get("data"))
                return ev.TaskCompleted(at=at, task_id=task_id, result=result, added=added)
            case ExecutionStatus.CANCELLED:
                return ev.TaskCancelled(at=at, task_id=task_id)
            case ExecutionStatus.PENDING:
                review = result.metadata.get("needs_review")
                if review is not None:
                    return ev.TaskNeedsReview(at=at, task_id=task_id, result=result, **review)
                is_draft = result.metadata.get("execution_mode") == "hybrid" or "asks" in result.metadata
                return ev.TaskWaiting(at=at, task_id=task_id, need="approval" if is_draft else "answer", result=result)
            case _:
                return ev.TaskFailed(at=at, task_id=task_id, result=result)

    def _is_current(self, known: TaskState) -> bool:
        latest = self._journal.state.tasks.get(known.task.task_id)
        return latest is not None and latest.status in _AT_WORK and latest.started_at == known.started_at

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
            session=known.session,
            claim=known.claim,
            is_approved=known.is_approved,
            correction=known.correction,
            examine=nothing_to_see if known.task.adds_tasks is None else partial(self._preview, known),
            effect_key=known.effect_key,
            project_id=self._project_id,
            output_files=self._output_files,
            owner=self._owner,
            artefacts=self._artefacts,
            durable=self._journal.durable,
        )

    def _output_files(self) -> tuple[str, ...]:  # of the state as it is then: a context must not keep an old one alive
        return tuple(known.task.output_file for known in self._journal.state.unordered() if known.task.output_file)

    def _preview(self, known: TaskState, data: object) -> str:
        return self._expansion.preview(known, self._journal.state, data)

    def _report(self, event: ev.Event) -> None:
        """Take a fact from the executor; one about a task that was settled meanwhile comes too late to matter.

        What a call used matters whatever became of its task.
        """
        if isinstance(event, _PASSING):
            known = self._journal.state.tasks.get(event.task_id)
            if known is None or known.status not in _AT_WORK:
                return
        self._journal.record(event)


def read_inputs(state: RunState, task: AgentTask) -> dict[str, TaskInput]:
    """Return the outcomes of a task's dependencies by id, in the order the task names them."""
    return {name: given for name in task.dependencies if (given := _input(state, name)) is not None}


def _input(state: RunState, name: str) -> TaskInput | None:
    known = state.tasks.get(name)
    if known is None:
        return None
    result, status = known.result, known.status
    if result is None or status is not TaskStatus.COMPLETED:
        return TaskInput(output="", skipped=True) if status is TaskStatus.SKIPPED else None
    metadata = result.metadata
    if not (known.added or known.instances or "data" in metadata or "files" in metadata):
        return TaskInput(output=result.output)
    added = dict(_added(state, known)) if known.added or known.instances else {}
    return TaskInput(
        output=result.output, data=metadata.get("data"), files=tuple(metadata.get("files", ())), added=added
    )


def _added(state: RunState, known: TaskState) -> Iterator[tuple[str, TaskInput]]:
    """Yield what the tasks came to that a task, or its instances, have added."""
    for name in known.instances:
        if name in state.tasks:
            yield from _added(state, state.tasks[name])
    for name in known.added:
        if (given := _input(state, name)) is not None:
            yield name, given


def unmet_dependencies(state: RunState, known: TaskState) -> list[str]:
    """Return a phrase for each task that is waited for and not done, such as `'outline' (failed)`."""
    unmet = []
    for name in state.edges_of(known):
        other = state.tasks.get(name)
        if other is None:
            unmet.append(f"{name!r} (not a task of this project)")
        elif other.status not in SATISFIED:
            unmet.append(f"{name!r} ({other.status.value})")
    return unmet


def _as_executed(known: TaskState) -> AgentTask:
    """Return the task as the executor gets it: one that adds tasks is told, if by nobody else, in which form."""
    task = with_status(known.task, known.status)
    if task.adds_tasks is None or task.output_schema is not None:
        return task
    return replace(task, output_schema=ADDED_TASKS_SCHEMA)


def _as_cancelled(known: TaskState) -> ExecutionResult:
    return ExecutionResult(
        known.task.task_id,
        agent=known.agent,
        status=ExecutionStatus.CANCELLED,
        started_at=known.started_at,
        completed_at=now(),
        error="cancelled",
    )


def _no_result(known: TaskState) -> ExecutionResult:
    """Return what there is to say of a task without an outcome: it was skipped, or its instances have to be done."""
    return ExecutionResult(known.task.task_id, metadata={"status": known.status.value})


def with_status(task: AgentTask, status: TaskStatus) -> AgentTask:
    """Return the task with another status, without checking again what was checked when it was made."""
    if task.status is status:
        return task
    copy = object.__new__(AgentTask)
    copy.__dict__.update(task.__dict__, status=status)
    return copy


def failure(task_id: str, exc: Exception, *, known: TaskState | None = None) -> ExecutionResult:
    """Turn an exception into the result of the task it ended."""
    ours = exc if isinstance(exc, AttemptError) else None
    error = str(exc) if ours else f"{type(exc).__name__}: {exc}"
    return ExecutionResult(
        task_id,
        agent=known.agent if known else "",
        status=ExecutionStatus.FAILED,
        started_at=known.started_at if known else None,
        completed_at=now(),
        error=error.encode(errors="backslashreplace").decode(),
        metadata={"failure_kind": (ours.kind if ours else FailureKind.TASK_ERROR).value},
    )
