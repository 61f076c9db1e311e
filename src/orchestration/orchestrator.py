"""The project: the facade that callers use. It puts the parts together and decides nothing that a part can decide."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

from orchestration import events as ev
from orchestration import graph
from orchestration import workspace as trees
from orchestration.agent_registry import AgentRegistry
from orchestration.by_hand import ByHand
from orchestration.definition import Definition
from orchestration.errors import InvalidTaskError, OrchestrationError, StoreError
from orchestration.executor import TaskExecutor
from orchestration.expansion import Expansion
from orchestration.journal import Journal, now
from orchestration.output_files import OutputFiles
from orchestration.purse import JournalPurse
from orchestration.run_state import RunState, is_blocked
from orchestration.runners.process_tree import sweep
from orchestration.store.memory import MemoryStore
from orchestration.store.sqlite import SqliteStore
from orchestration.task import AgentTask, ExecutionResult, TaskStatus, check_name
from orchestration.task_run import TaskRun, failure, with_status
from orchestration.waiting import WaitingRoom
from orchestration.workflow import Workflow, first_error
from orchestration.workflow_result import Totals, WorkflowResult, results_of, totals_of
from orchestration.workspace.scopes import LANDING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from orchestration.budget import Budgets
    from orchestration.store.base import Store
    from orchestration.task_run import Executor
    from orchestration.waiting import Teller

__all__ = ["ProjectOrchestrator", "Totals", "WorkflowResult", "state_path"]

_log = logging.getLogger("orchestration")


def state_path(project_root: Path, project_id: str = "default") -> Path:
    """Return where a project's facts are kept."""
    return project_root / ".orchestration" / f"{project_id}.db"


class ProjectOrchestrator:
    """A project of tasks: built, run, resumed, steered.

    With a `project_root` the state is durable under `<project_root>/.orchestration/` and another live orchestrator on
    the same project is refused; without one it is in memory. The file is opened on first use. An executor that is
    given stays the caller's to close; the default one is closed with the project. `teller` tells people that a task
    waits for them. Use it from one event loop.

    Raises:
        ProjectLockedError: on first use, if another orchestrator has the project open.
        StoreError: on first use, if the state cannot be read.

    """

    def __init__(
        self,
        project_root: str | os.PathLike[str] | None = None,
        *,
        project_id: str = "default",
        registry: AgentRegistry | None = None,
        executor: Executor | None = None,
        store: Store | None = None,
        variables: Mapping[str, str] | None = None,
        budgets: Budgets | None = None,
        teller: Teller | None = None,
    ) -> None:
        check_name("project id", project_id)
        self.project_id = project_id
        self.project_root = None if project_root is None else Path(project_root)
        if registry is None:  # the executor's agents are the ones whose limits have to be kept
            known = getattr(executor, "registry", None)
            registry = known if isinstance(known, AgentRegistry) else AgentRegistry()
        self.registry = registry
        self._own_executor: TaskExecutor | None = None
        if executor is None:
            executor = self._own_executor = TaskExecutor(self.registry, root=self.project_root)
        self.executor: Executor = executor
        self._journal = Journal(store if store is not None else self._default_store())
        self._outputs = OutputFiles(self.project_root)
        self._purse = JournalPurse(self._journal, budgets)
        default = getattr(executor, "default_agent", None)
        self._default_agent = default if isinstance(default, str) else None
        self._expansion = Expansion(self.registry, self.project_root, self._default_agent)
        self._task_run = TaskRun(
            self._journal,
            self.executor,
            outputs=self._outputs,
            purse=self._purse,
            expansion=self._expansion,
            variables=variables,
            state_path=None if self.project_root is None else state_path(self.project_root, project_id),
        )
        self._by_hand = ByHand(self._journal, self._expansion)
        self._definition = Definition(self._journal)
        self._workflow: Workflow | None = None
        self._is_swept = False
        self._teller = teller

    # -- building ------------------------------------------------------------------------------------------------

    def add_task(self, task: AgentTask) -> None:
        """Add a task; adding an equal one again changes nothing.

        A definition that differs from an earlier run's replaces it; if that task had completed, it and its dependents
        run again, which is logged and stands in the facts as `TaskReset`.

        Raises:
            DuplicateError: if this program added a different task under the same id.
            CycleError: if the task closes a circle.
            InvalidTaskError: if it cannot be kept.

        """
        self._open()
        if task.output_file is not None and self.project_root is None:
            raise InvalidTaskError(
                f"task {task.task_id!r} has output_file {task.output_file!r}, but the project is in memory; "
                "give ProjectOrchestrator a project_root"
            )
        if task.checks and not isinstance(self.executor, TaskExecutor):
            _log.warning(
                "task %r has checks, which are made by TaskExecutor; the executor of this project is a %s, and has to "
                "see to them itself",
                task.task_id,
                type(self.executor).__name__,
                extra={"action": "checks_not_ours", "task": task.task_id},
            )
        self._definition.add(task)

    def remove_task(self, task_id: str) -> None:
        """Take a task out of the project; what it came to stays among the facts.

        Raises:
            UnknownTaskError: if there is no such task.
            TransitionError: if it is running.

        """
        self._open()
        self._definition.remove(task_id)

    # -- looking -------------------------------------------------------------------------------------------------

    @property
    def state(self) -> RunState:
        """Everything known of the project: an immutable value."""
        return self._journal.look()

    def get_task(self, task_id: str) -> AgentTask | None:
        """Return the task with its current status; None where there is none."""
        state = self._journal.look()
        known = state.tasks.get(task_id)
        if known is None:
            return None
        is_stuck = known.status is TaskStatus.PENDING and is_blocked(state, task_id)
        return with_status(known.task, TaskStatus.BLOCKED if is_stuck else known.status)

    def get_ready_tasks(self) -> list[str]:
        """Return the ids whose dependencies have completed and that have not started; by priority, then order added."""
        self._journal.look()
        return self._journal.ready()

    def subscribe(self, subscriber: Callable[[ev.Event, RunState], None]) -> Callable[[], None]:
        """Call `subscriber(fact, state)` after each fact; returns the function that ends it."""
        return self._journal.subscribe(subscriber)

    @property
    def budgets(self) -> Budgets:
        """The budgets in force; setting others counts at once, also for calls that wait."""
        return self._purse.budgets

    @budgets.setter
    def budgets(self, budgets: Budgets) -> None:
        self._purse.change(budgets)
        self._task_run.parking.wake()

    # -- recording by hand ---------------------------------------------------------------------------------------

    def start_task(self, task_id: str) -> None:
        """Mark a task started.

        Raises:
            UnknownTaskError: if there is no such task.
            DependencyError: while a dependency is not completed.
            TransitionError: if it runs, waits or is completed.

        """
        self._open()
        self._task_run.start(task_id)

    def complete_task(self, task_id: str, output: object = None) -> None:
        """Record that a task is done; for a completed task this changes nothing.

        `output` is text, None, or JSON-able data, which is kept as text and as `metadata["data"]`.

        Raises:
            UnknownTaskError: if there is no such task.

        """
        self._open()
        self._by_hand.complete(task_id, output)

    def fail_task(self, task_id: str, error: str) -> None:
        """Record that a task failed; one that was begun, and must not happen twice, needs a person's review instead.

        Raises:
            UnknownTaskError: if there is no such task.
            TransitionError: if it is completed, or needs that review.

        """
        self._open()
        self._by_hand.fail(task_id, error)

    def answer(self, task_id: str, output: object) -> None:
        """Give a task that waits for a person the answer, or the edited draft.

        One that needs review is completed with it: what was to happen has happened. A task with checks, or with work
        that is to be merged, is verified first, by the run that goes on or the next one.

        Raises:
            UnknownTaskError: if there is no such task.
            TransitionError: if it does not wait for a person.

        """
        self._open()
        self._by_hand.answer(task_id, output)

    def approve(self, task_id: str) -> None:
        """Accept a draft as the task's output, or what a task that needs review came to as it stands.

        What is to be checked or merged is, by the run that goes on or the next one.

        Raises:
            UnknownTaskError: if there is no such task.
            TransitionError: if it has no draft that waits for approval, and needs no review.

        """
        self._open()
        self._by_hand.approve(task_id)

    def reject(self, task_id: str, comment: str) -> None:
        """Refuse a draft, or have what needs review done again; the comment goes into the next prompt.

        Raises:
            UnknownTaskError: if there is no such task.
            TransitionError: if it does not wait for a person.

        """
        self._open()
        self._by_hand.reject(task_id, comment)

    def reset(self, task_id: str) -> list[str]:
        """Forget an outcome, so that the task and its dependents run again; returns their ids.

        Raises:
            UnknownTaskError: if there is no such task.
            TransitionError: if one of them is running.

        """
        self._open()
        return self._definition.reset(task_id, reason="reset")

    # -- running -------------------------------------------------------------------------------------------------

    async def execute_task(self, task_id: str, agent: str | None = None) -> ExecutionResult:
        """Execute one task and record what came of it; returns when that is durable.

        A completed task's recorded result is returned without running it; a failed one gets a new attempt.

        Raises:
            UnknownTaskError: (a ValueError) naming an unknown id.
            UnknownAgentError: (a ValueError) if the agent is unknown or disabled.
            DependencyError: if a dependency is not completed, or an instance of a `for_each` task did not succeed.
            RunStopError: if the budgets do not allow it; the task is pending, not failed.

        """
        await self._open_async()
        result = await self._task_run.run(task_id, agent)
        known = self._journal.state.tasks.get(task_id)
        if known is None or not known.instances or known.status is not TaskStatus.PENDING:
            return result
        await self._execute_together(known.instances, agent)
        return await self._task_run.run(task_id, agent)

    async def execute_parallel_tasks(self, task_ids: Sequence[str]) -> list[ExecutionResult]:
        """Execute the tasks all together; results in the order of `task_ids`.

        An exception becomes that task's FAILED result and the others go on.

        Raises:
            StoreError: if an outcome could not be kept.

        """
        return await self._execute_together(task_ids)

    async def _execute_together(self, task_ids: Sequence[str], agent: str | None = None) -> list[ExecutionResult]:
        async def run(task_id: str) -> ExecutionResult:
            try:
                return await self.execute_task(task_id, agent)
            except StoreError:
                raise
            except Exception as exc:  # noqa: BLE001 -- the contract: any exception is that task's result
                _log.warning("task %r failed: %s", task_id, exc, extra={"action": "task_raised", "task": task_id})
                return failure(task_id, exc)

        await self._open_async()
        try:
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(run(task_id)) for task_id in task_ids]
        except ExceptionGroup as errors:
            raise first_error(errors) from errors
        return [task.result() for task in running]

    async def execute_workflow(self, *, max_concurrent: int | None = None) -> WorkflowResult:
        """Work through the whole graph until nothing can run; returns when every outcome is durable.

        What failed or was cancelled in an earlier run is tried again. Tasks that wait for a person do not hold
        the rest. `max_concurrent` None: no limit beyond those of the agents.

        Raises:
            DependencyError: if a dependency is unknown, or (CycleError) there is a circle; nothing has run then.
            StoreError: if a fact could not be kept.
            OrchestrationError: if a workflow of this project is going on already.

        """
        if max_concurrent is not None and max_concurrent < 1:
            raise ValueError(f"max_concurrent is {max_concurrent!r}, expected a number above 0, or None for no limit")
        await self._open_async()
        if self._workflow is not None:
            raise OrchestrationError("this project's workflow is running already; wait for it, or cancel() it")
        before = self._journal.state
        graph.check(self._definition.edges())
        self._workflow = Workflow(
            self._journal,
            self._task_run,
            limit_of=self._limit_of,
            default_agent=self._default_agent,
            max_concurrent=max_concurrent,
        )
        try:
            return await self._walk(self._workflow, before)
        finally:
            self._workflow = None

    def drain(self) -> None:
        """Start no further task of the workflow; those that run may finish. The run ends `interrupted`, resumable."""
        if self._workflow is not None:
            self._workflow.drain()

    def cancel(self, task_id: str | None = None) -> None:
        """Stop starting tasks, cancel what runs, and record it; with an id: cancel that task only.

        What was begun, and must not happen twice, is not cancelled then but needs a person's review.

        Raises:
            UnknownTaskError: if there is no such task.
            TransitionError: if the task is settled already, or needs that review.

        """
        if task_id is not None:
            self._open().find(task_id)
            if not self._task_run.cancel(task_id):
                self._by_hand.cancel(task_id)
            return
        if self._workflow is not None:
            self._workflow.cancel()
        self._task_run.cancel_all()

    async def durable(self) -> None:
        """Return when everything recorded so far is on the disk.

        Raises:
            StoreError: if it could not be written.

        """
        await self._journal.durable()

    async def aclose(self) -> None:
        """Write what is queued and close everything the project owns; calling it twice is fine."""
        try:
            if self._journal.is_open:  # a person's answer may have come after the last run
                await self._outputs.restore(self._journal.state.unordered())
            if self._own_executor is not None:
                await self._own_executor.aclose()
        finally:
            await self._journal.aclose()

    async def __aenter__(self) -> Self:
        await self._journal.open_async()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # -- inside --------------------------------------------------------------------------------------------------

    def _default_store(self) -> Store:
        return (
            MemoryStore() if self.project_root is None else SqliteStore(state_path(self.project_root, self.project_id))
        )

    def _open(self) -> RunState:
        self._journal.open()
        return self._journal.state

    async def _open_async(self) -> None:
        """Open the project; first thing, end what processes of a dead predecessor are at, and finish its merge."""
        await self._journal.open_async()
        if self._is_swept or self.project_root is None:
            return
        self._is_swept = True
        if not self._journal.state.run_id:
            return
        left = await sweep(str(state_path(self.project_root, self.project_id).absolute()))
        if left:
            noun = "process" if len(left) == 1 else "processes"
            _log.warning("ended %d %s that an earlier run had left behind", len(left), noun, extra={"action": "swept"})
        if not await asyncio.to_thread((self.project_root / LANDING).exists):  # git's modules take 40 ms to load
            return
        try:
            await trees.recover(self.project_root)
        except trees.WorkspaceError as exc:  # told again by whichever task needs the repository; others do not
            _log.warning("a merge is half done: %s", exc, extra={"action": "not_recovered"})

    async def _walk(self, workflow: Workflow, before: RunState) -> WorkflowResult:
        started_at = now()
        run_id = f"{started_at:%Y%m%dT%H%M%S}-{os.urandom(3).hex()}"
        self._journal.record(ev.RunStarted(at=started_at, run_id=run_id))
        self._outputs.problems.clear()
        try:
            if isinstance(self.executor, TaskExecutor):
                self.executor.reopen()
            self._retry_stopped()
            await self._outputs.restore(self._journal.state.unordered())
            status = await self._work_and_wait(workflow)
            await self._outputs.restore(self._journal.state.unordered())  # of what was completed by hand meanwhile
        except asyncio.CancelledError:
            with contextlib.suppress(StoreError):  # the cancellation must go on; closing tells what is not stored
                self._journal.record(ev.RunEnded(at=now(), run_id=run_id, status="interrupted"))
            raise
        self._journal.record(ev.RunEnded(at=now(), run_id=run_id, status=status))
        await self._journal.durable()
        state = self._journal.state
        return WorkflowResult(
            run_id=run_id,
            status=status,
            results=results_of(state, workflow.results),
            totals=totals_of(before, state, (now() - started_at).total_seconds()),
            problems=(*self._outputs.problems, *((str(workflow.stopped_by),) if workflow.stopped_by else ())),
        )

    async def _work_and_wait(self, workflow: Workflow) -> ev.RunStatus:
        """Work through the graph, and keep an eye on those tasks that wait for people meanwhile."""
        room = WaitingRoom(self._journal, self._teller)
        await room.make_up()
        is_over = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(room.run(is_over))
                try:
                    return await workflow.run()
                finally:
                    is_over.set()
        except ExceptionGroup as errors:
            raise first_error(errors) from errors

    def _retry_stopped(self) -> None:
        """Give what failed or was cancelled in an earlier run another try."""
        stopped = tuple(
            known.task.task_id
            for known in self._journal.state.ordered()
            if known.status in {TaskStatus.FAILED, TaskStatus.CANCELLED}
        )
        if stopped:
            reason = "tried again by a new run"
            self._journal.record(ev.TaskReset(at=now(), task_ids=stopped, reason=reason, keeps_claims=True))

    def _limit_of(self, agent: str | None) -> int | None:
        config = self.registry.get_agent(agent) if agent is not None else None
        return None if config is None else config.concurrency_limit
