"""What must hold in every run, whatever happens: checked at each fact, at each call that reaches a server, whenever
time passes, and at the end of each run and each life of the process.

It believes nobody: the servers' own count is compared with the orchestrator's, the disk's content with its state.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from math import inf
from typing import TYPE_CHECKING

from orchestration import events as ev
from orchestration.errors import FailureKind, OrchestrationError
from orchestration.fold import fold
from orchestration.ledger import PROJECT
from orchestration.task import SATISFIED, ExecutionStatus, TaskStatus
from orchestration.workspace.scopes import overlap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestration.executor import TaskExecutor
    from orchestration.ledger import Ledger
    from orchestration.orchestrator import ProjectOrchestrator, WorkflowResult
    from orchestration.run_state import RunState, TaskState
    from orchestration.task import AgentTask
    from orchestration.testing.scenario import Scenario
    from orchestration.testing.server import ServerCall, SimulatedServer
    from orchestration.testing.store import SimulatedStore

__all__ = ["Watch"]

_COUNTED = frozenset({FailureKind.CONNECTION, FailureKind.TIMEOUT, FailureKind.BAD_OUTPUT})
_UNFINISHED = frozenset({"interrupted", "over_budget", "cancelled"})
_ENDS = (
    ev.TaskCompleted,
    ev.TaskFailed,
    ev.TaskCancelled,
    ev.TaskInterrupted,
    ev.TaskWaiting,
    ev.TaskNeedsReview,
)
_ROUNDING_S = 1e-3
_SHOWN = 20


@dataclass(kw_only=True)
class _Life:
    """What one process is made of, and which facts of it have which number (`seen` is the last one's)."""

    project: ProjectOrchestrator
    executor: TaskExecutor
    store: SimulatedStore
    seen: int
    running: dict[str, AgentTask] = field(default_factory=dict)
    started: dict[str, int] = field(default_factory=dict)
    completed: dict[str, int] = field(default_factory=dict)
    reserved: dict[str, int] = field(default_factory=dict)
    started_at_s: dict[str, float] = field(default_factory=dict)
    delayed_s: dict[str, float] = field(default_factory=dict)
    tries: Counter[tuple[str, str]] = field(default_factory=Counter)
    is_working: bool = False  # a run is going on, and nobody said that it should stop

    def take_in(self, event: ev.Event) -> None:
        """Note what later checks have to know."""
        if isinstance(event, _ENDS):
            self.running.pop(event.task_id, None)
        match event:
            case ev.RunStarted():
                self.is_working = True
            case ev.RunEnded():
                self.is_working = False
            case ev.TaskInterrupted() if event.reason:
                self.is_working = False  # the run stops, for it needs a person's word
            case ev.TaskCompleted():
                self.completed[event.task_id] = self.seen
            case ev.TaskReset():
                for task_id in event.task_ids:
                    self.completed.pop(task_id, None)
            case _:
                pass


class Watch:
    """Holds the invariants; `violations` says in words what did not hold, once each."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._life: _Life | None = None
        self._calls: defaultdict[str, list[ServerCall]] = defaultdict(list)
        self.violations: list[str] = []
        for server in scenario.servers:
            server.on_call = self._on_call

    # -- what happens ----------------------------------------------------------------------------------------------

    def attend(
        self, project: ProjectOrchestrator, executor: TaskExecutor, store: SimulatedStore, before: Sequence[ev.Event]
    ) -> None:
        """Begin with one life of the process; `before` are the facts it found on the disk."""
        self._life = _Life(project=project, executor=executor, store=store, seen=store.last)
        self._life.completed = {
            known.task.task_id: 0 for known in fold(before).unordered() if known.status is TaskStatus.COMPLETED
        }
        project.subscribe(self._on_fact)

    def leave(self) -> None:
        """Look away: the process is dead, and what its remains do is of no interest."""
        self._life = None

    def stop_expecting(self) -> None:
        """Somebody told the run to stop: from now on, what is ready need not start."""
        if self._life is not None:
            self._life.is_working = False

    def refuse(self, what: str) -> None:
        """Note a violation."""
        if what not in self.violations and len(self.violations) < _SHOWN:
            self.violations.append(what)

    def before_jump(self) -> None:
        """Time is about to pass: nothing that could be done now may be left undone."""
        life = self._life
        if life is None:
            return
        most = self._scenario.max_concurrent
        has_slot = most is None or len(life.running) < most
        if life.is_working and has_slot and (ready := life.project.get_ready_tasks()):
            self._check_idleness(life, ready)
        for lane in life.executor.lanes.status():
            if lane.waiting and lane.wait_s <= 0:
                self.refuse(f"lane {lane.name}: {lane.waiting} calls wait for nothing ({lane.reason!r})")
            if lane.waiting and lane.wait_s == inf and not lane.under_way:
                self.refuse(f"lane {lane.name}: {lane.waiting} calls wait for ever ({lane.reason!r})")

    # -- ends ------------------------------------------------------------------------------------------------------

    def after_run(self, result: WorkflowResult) -> None:
        """A run has ended: nothing is held any more, and every task's end can be explained."""
        life = self._life
        assert life is not None  # noqa: S101 -- a run is part of a life
        state = life.project.state
        self._check_leaks(life, state.ledger)
        for known in state.ordered():
            self._check_end(known, state, result)
        statuses = Counter(known.status for known in state.unordered())
        if (result.status == "completed") != (set(statuses) <= SATISFIED):
            self.refuse(f"the run is {result.status}, its tasks are {dict(statuses)}")
        for task_id, outcome in result.results.items():
            if (known_result := state.tasks[task_id].result) is not None and outcome != known_result:
                self.refuse(f"{task_id}: the run returned another result than is kept")

    def after_life(self, state: RunState, facts: Sequence[ev.Event]) -> None:
        """A process has ended in good order: what is on the disk is what it believed."""
        try:
            kept = fold(facts)
        except OrchestrationError as exc:
            self.refuse(f"the facts on the disk do not follow from each other: {exc}")
        else:
            if kept != state:
                self.refuse("what is on the disk is not what the project says")

    def at_the_end(self) -> None:
        """The story is over: a server whose limits the lanes were told has never had to enforce them."""
        scenario = self._scenario
        if scenario.deaths or scenario.disk_full_at is not None:
            return  # a new process does not know what the old one has used
        for server in scenario.servers:
            told, own = scenario.limits.get(server.agent_type.value), server.requests_per_minute
            is_pure = server.tokens_per_minute is None and all(
                trouble.kind != FailureKind.RATE_LIMIT for trouble in server.troubles
            )
            asked = None if told is None else told.requests_per_minute
            if is_pure and own and asked and asked <= own and (refused := server.count(FailureKind.RATE_LIMIT)):
                self.refuse(f"{server.name} refused {refused} calls, though its limit of {own} a minute was known")

    # -- facts -----------------------------------------------------------------------------------------------------

    def _on_fact(self, event: ev.Event, state: RunState) -> None:
        life = self._life
        if life is None:
            return
        life.seen += 1
        match event:
            case ev.TaskStarted():
                self._on_start(life, event, state)
            case ev.TaskRetrying():
                self._on_retry(life, event, state)
            case ev.CallReserved() | ev.CallFinished() | ev.CallLost():
                if isinstance(event, ev.CallReserved):
                    life.reserved[event.task_id] = life.seen
                self._check_budgets(life, state)
            case _:
                life.take_in(event)

    def _on_start(self, life: _Life, event: ev.TaskStarted, state: RunState) -> None:
        task_id = event.task_id
        task = state.tasks[task_id].task
        if task_id in life.completed:
            self.refuse(f"{task_id} runs again, though it was completed")
        life.started[task_id] = life.seen
        life.started_at_s[task_id] = asyncio.get_running_loop().time()
        life.delayed_s[task_id] = 0.0
        for key in [key for key in life.tries if key[0] == task_id]:
            del life.tries[key]
        for name in task.dependencies:
            if state.tasks[name].status not in SATISFIED:
                self.refuse(f"{task_id} started while {name}, which it depends on, is {state.tasks[name].status}")
        for name, other in life.running.items():
            if overlap(task.writes, other.writes):
                self.refuse(f"{task_id} runs beside {name}, which may write the same")
        life.running[task_id] = task
        most = self._scenario.max_concurrent
        if most is not None and len(life.running) > most:
            self.refuse(f"{len(life.running)} tasks run, with max_concurrent={most}")
        config = life.project.registry.get_agent(task.agent or "")
        limit = None if config is None else config.concurrency_limit
        if limit is None:
            return
        own = sum(other.agent == task.agent for other in life.running.values())
        if own > limit:
            self.refuse(f"{own} tasks of {task.agent} run, whose limit is {limit}")

    def _on_retry(self, life: _Life, event: ev.TaskRetrying, state: RunState) -> None:
        known = state.tasks[event.task_id]
        life.delayed_s[event.task_id] = life.delayed_s.get(event.task_id, 0.0) + event.delay_s
        if event.agent or event.kind not in _COUNTED:
            return
        life.tries[event.task_id, known.agent] += 1
        config = life.project.registry.get_agent(known.agent)
        most = known.task.max_attempts or (config and config.max_attempts) or self._scenario.retry.max_attempts
        if life.tries[event.task_id, known.agent] >= most:
            self.refuse(f"{event.task_id} is tried more than {most} times by {known.agent}")

    def _check_budgets(self, life: _Life, state: RunState) -> None:
        budgets = life.project.budgets
        limits = [(PROJECT, budgets.project)]
        limits += [(f"agent:{name}", budget) for name, budget in budgets.agents.items()]
        limits += [(f"task:{name}", budget) for name, budget in budgets.tasks.items()]
        limits += [(f"tag:{name}", budget) for name, budget in budgets.tags.items()]
        for scope, budget in limits:
            account = state.ledger.account(scope)
            if budget is None:
                continue
            if budget.usd is not None and account.spend.cost_usd + account.reserved_usd > budget.usd:
                self.refuse(f"{scope}: ${account.spend.cost_usd} and ${account.reserved_usd} exceed ${budget.usd}")
            if budget.tokens is not None and account.spend.tokens + account.reserved_tokens > budget.tokens:
                self.refuse(f"{scope}: more than {budget.tokens:,} tokens are used or set aside")
        if budgets.project is not None and budgets.project.usd is not None:
            self._check_books(state, budgets.project.usd)

    def _check_books(self, state: RunState, limit_usd: Decimal) -> None:
        """Compare with what the servers charged: nothing may be missing from the books."""
        account = state.ledger.account(PROJECT)
        booked = account.spend.cost_usd + account.reserved_usd
        billed = sum((server.billed_usd for server in self._scenario.servers), Decimal(0))
        if billed > booked or billed > limit_usd:
            self.refuse(f"the servers charged ${billed}; ${booked} is in the books, ${limit_usd} was allowed")

    # -- calls -----------------------------------------------------------------------------------------------------

    def _on_call(self, server: SimulatedServer, call: ServerCall) -> None:
        life = self._life
        if life is None or not call.task_id:
            return
        self._calls[call.task_id].append(call)
        state, durable = life.project.state, life.store.durable
        known = state.tasks[call.task_id]
        if known.status is not TaskStatus.IN_PROGRESS:
            self.refuse(f"{call.task_id} calls {server.name}, though it is {known.status}")
        if life.started.get(call.task_id, inf) > durable:
            self.refuse(f"{call.task_id} calls {server.name} before its start is durable")
        if life.reserved.get(call.task_id, 0) > durable:
            self.refuse(f"{call.task_id} calls {server.name} before its reservation is durable")
        for name in known.task.dependencies:
            if life.completed.get(name, 0) > durable:
                self.refuse(f"{call.task_id} calls {server.name} before the outcome of {name} is durable")
            result = state.tasks[name].result
            if known.task.prompt is None and result is not None and result.output not in call.request.prompt:
                self.refuse(f"{call.task_id} does not hand over the output of {name}")
        self._check_ceiling(life, server)

    def _check_ceiling(self, life: _Life, server: SimulatedServer) -> None:
        """Hold each server's own count against the ceilings of the lanes that lead to it."""
        if any(order.verb == "change_limits" for order in self._scenario.orders):
            return  # what was admitted before may arrive after
        ceilings = [
            lane.limits.concurrency
            for lane in life.executor.lanes.status()
            if lane.name.startswith(f"{server.agent_type.value}/")
        ]
        if ceilings and None not in ceilings and server.under_way > sum(filter(None, ceilings)):
            self.refuse(f"{server.under_way} calls under way at {server.name}, whose lanes allow {ceilings}")

    # -- ends, in detail -------------------------------------------------------------------------------------------

    def _check_idleness(self, life: _Life, ready: Sequence[str]) -> None:
        """Refuse a moment in which a task is ready, its agent and the run have a slot, and it does not start."""
        named = {task.get_name().removeprefix("task ") for task in asyncio.all_tasks()}
        tasks = life.project.state.tasks
        at_work = Counter(tasks[name].task.agent for name in named if name in tasks)
        most = self._scenario.max_concurrent
        if most is not None and at_work.total() >= most:
            return
        written = [tasks[name].task.writes for name in named if name in tasks]
        for task_id in ready:
            agent = tasks[task_id].task.agent
            if any(overlap(tasks[task_id].task.writes, scopes) for scopes in written):
                continue
            config = life.project.registry.get_agent(agent or "")
            limit = None if config is None else config.concurrency_limit
            if limit is None or at_work[agent] < limit:
                self.refuse(f"{task_id} could start, and time passes")

    def _check_leaks(self, life: _Life, ledger: Ledger) -> None:
        for lane in life.executor.lanes.status():
            if lane.under_way or lane.waiting:
                self.refuse(f"lane {lane.name}: {lane.under_way} permits and {lane.waiting} waiters are left over")
        if len(ledger.reservations):
            self.refuse(f"{len(ledger.reservations)} reservations are left over")
        for scope in sorted(ledger.accounts):
            account = ledger.account(scope)
            if account.reserved_usd or account.reserved_tokens:
                self.refuse(f"{scope}: ${account.reserved_usd}, {account.reserved_tokens} tokens stay set aside")
        for server in self._scenario.servers:
            if server.under_way:
                self.refuse(f"{server.under_way} calls are still under way at {server.name}")

    def _check_end(self, known: TaskState, state: RunState, run: WorkflowResult) -> None:
        task_id, result = known.task.task_id, known.result
        match known.status:
            case TaskStatus.COMPLETED:
                is_explained = result is not None and result.status is ExecutionStatus.SUCCESS
            case TaskStatus.FAILED:
                is_explained = result is not None and self._is_failure(known)
            case TaskStatus.WAITING | TaskStatus.NEEDS_REVIEW:
                is_explained = bool(known.need)
            case TaskStatus.SKIPPED:
                is_explained = known.task.when is not None or known.task.for_each is not None
            case TaskStatus.CANCELLED:
                is_explained = any(order.verb in {"cancel", "cancel_task"} for order in self._scenario.orders)
                is_explained = is_explained or run.status == "cancelled"
            case TaskStatus.PENDING:
                is_stuck = any(state.tasks[name].status not in SATISFIED for name in state.edges_of(known))
                is_explained = is_stuck or run.status in _UNFINISHED
            case _:
                is_explained = False
        if not is_explained:
            error = "" if result is None else result.error
            self.refuse(f"{task_id} is {known.status} at the end of a run that is {run.status}: {error or 'no reason'}")

    def _is_failure(self, known: TaskState) -> bool:
        """Tell whether a failure names its kind, was no exception of ours, and its time was really over."""
        result = known.result
        assert result is not None  # noqa: S101 -- asked for failed tasks
        kind = result.metadata.get("failure_kind")
        if not result.error or kind not in set(FailureKind) - {FailureKind.TASK_ERROR}:
            return False
        if kind != FailureKind.TIMEOUT or "did not finish within" not in result.error:
            return True
        # Reservations and claims have to be durable before it goes on, which takes its time, too.
        commits_s = 3 * int(result.metadata.get("attempts", 1)) * self._scenario.commit_s
        limit_s = float(result.error.split(" within ")[1].split(" s")[0])
        return self._took_s(known) >= limit_s - commits_s - _ROUNDING_S

    def _took_s(self, known: TaskState) -> float:
        """Return how long the latest execution worked: its calls, and what it waited for between its own attempts."""
        life = self._life
        if life is None or known.task.task_id not in life.started_at_s:
            return inf
        began_s = life.started_at_s[known.task.task_id]
        calls = [call for call in self._calls[known.task.task_id] if call.arrived_at_s >= began_s]
        return sum(call.ended_at_s - call.arrived_at_s for call in calls) + life.delayed_s[known.task.task_id]
