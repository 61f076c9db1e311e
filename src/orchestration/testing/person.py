"""The person beside a simulated project: answers, approves, rejects, raises budgets, gives orders, runs it again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from llm_abstractions.lane import LaneLimits
from orchestration import events as ev
from orchestration.errors import FailureKind, StoreError, TransitionError
from orchestration.task import TaskStatus

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from decimal import Decimal

    from llm_abstractions.lane import Lane
    from orchestration.budget import Budget, Budgets
    from orchestration.executor import TaskExecutor
    from orchestration.orchestrator import ProjectOrchestrator, WorkflowResult
    from orchestration.run_state import RunState
    from orchestration.testing.scenario import Order, Scenario
    from orchestration.testing.watch import Watch

__all__ = ["Person"]

# How long it takes until somebody looks after a run that has stopped, or after a lane that was turned off.
_LOOKS_AFTER_S = 30.0
_ASKED = (TaskStatus.WAITING, TaskStatus.NEEDS_REVIEW)


class Person:
    """Lives longer than the processes."""

    def __init__(self, scenario: Scenario, watch: Watch, chance: random.Random) -> None:
        self._scenario = scenario
        self._watch = watch
        self._chance = chance
        self._raises_left = scenario.raises
        self._runs_left = scenario.runs
        self._asked: set[str] = set()
        self._answered = asyncio.Event()
        self._failed: StoreError | None = None
        self._is_looking = False  # after calls that wait for a larger budget
        self.budgets: Budgets | None = scenario.budgets
        self._project: ProjectOrchestrator | None = None
        self._executor: TaskExecutor | None = None
        self._timers: list[asyncio.TimerHandle] = []

    def attend(self, project: ProjectOrchestrator, executor: TaskExecutor) -> None:
        """Begin with one life of the process."""
        self._project, self._executor = project, executor
        self._asked, self._answered = set(), asyncio.Event()
        self._failed, self._is_looking = None, False
        loop = asyncio.get_running_loop()
        for order in self._scenario.orders:
            if order.at_s > loop.time():
                self._timers.append(loop.call_at(order.at_s, self._do, partial(self._obey, order)))
        project.subscribe(self._on_fact)
        for known in project.state.ordered():
            if known.status in _ASKED:
                self._ask(known.task.task_id)

    def leave(self) -> None:
        """Stop, with the process."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._project = self._executor = None

    async def wants_more(self, result: WorkflowResult) -> bool:
        """Do what there is to do after a run, and say whether another one is wanted."""
        if result.status == "completed" or self._runs_left <= 0:
            return False
        self._runs_left -= 1
        if result.status == "waiting":
            while self._asked:
                self._answered.clear()
                await self._answered.wait()
            if self._failed is not None:
                raise self._failed
            return True
        await asyncio.sleep(_LOOKS_AFTER_S)
        if result.status == "over_budget" and not self._raise_budgets():
            return False
        for lane in self._lanes():
            lane.reopen()
        return True

    # -- what is asked ---------------------------------------------------------------------------------------------

    def _on_fact(self, event: ev.Event, _state: RunState) -> None:
        if isinstance(event, ev.TaskWaiting | ev.TaskNeedsReview):
            self._ask(event.task_id)
        elif isinstance(event, ev.TaskParked) and event.kind is FailureKind.BUDGET and not self._is_looking:
            self._is_looking = True
            self._later(_LOOKS_AFTER_S, self._allow_more)

    def _ask(self, task_id: str) -> None:
        self._asked.add(task_id)
        self._later(self._chance.uniform(*self._scenario.answer_s), partial(self._answer, task_id))

    def _later(self, seconds: float, deed: Callable[[], None]) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, self._do, deed))

    def _do(self, deed: Callable[[], None]) -> None:
        """Do something that is recorded; where that fails, the program has to end as any would."""
        try:
            deed()
        except StoreError as exc:
            self._failed = exc
            self._asked.clear()
            self._answered.set()

    def _answer(self, task_id: str) -> None:
        project = self._project
        if project is None:
            return
        self._asked.discard(task_id)
        known = project.state.tasks.get(task_id)
        if known is not None and known.status in _ASKED:
            if known.need == "answer":
                project.answer(task_id, f"a person's answer to {task_id}")
            elif self._chance.random() < self._scenario.rejects:
                project.reject(task_id, f"{task_id} once more, and better")
            else:
                project.approve(task_id)
        self._answered.set()

    def _allow_more(self) -> None:
        self._is_looking = False
        if self._project is not None and not self._raise_budgets():
            self._watch.stop_expecting()
            self._project.cancel()

    def _raise_budgets(self) -> bool:
        if self.budgets is None or self._project is None or self._raises_left <= 0:
            return False
        self._raises_left -= 1
        self.budgets = self._project.budgets = _multiplied(self.budgets, self._scenario.raise_factor)
        return True

    # -- what is ordered -------------------------------------------------------------------------------------------

    def _obey(self, order: Order) -> None:
        project = self._project
        if project is None:
            return
        match order.verb:
            case "drain":
                self._watch.stop_expecting()
                project.drain()
            case "cancel":
                self._watch.stop_expecting()
                project.cancel()
            case "cancel_task" | "reset":
                self._obey_about_task(project, order)
            case "reopen_lanes":
                for lane in self._lanes():
                    lane.reopen()
            case "change_limits":
                for lane in self._lanes():
                    lane.change(LaneLimits(concurrency=1))

    def _obey_about_task(self, project: ProjectOrchestrator, order: Order) -> None:
        try:
            if order.verb == "reset":
                project.reset(order.task_id)
            else:
                project.cancel(order.task_id)
        except TransitionError:
            return  # it was running, or settled already: a person is told so

    def _lanes(self) -> list[Lane]:
        return [] if self._executor is None else self._executor.lanes.matching("*")


def _multiplied(budgets: Budgets, factor: Decimal) -> Budgets:
    def more(budget: Budget) -> Budget:
        return replace(
            budget,
            usd=None if budget.usd is None else budget.usd * factor,
            tokens=None if budget.tokens is None else int(budget.tokens * factor),
        )

    return replace(
        budgets,
        project=None if budgets.project is None else more(budgets.project),
        agents={name: more(budget) for name, budget in budgets.agents.items()},
        tasks={name: more(budget) for name, budget in budgets.tasks.items()},
        tags={name: more(budget) for name, budget in budgets.tags.items()},
    )
