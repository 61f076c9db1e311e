"""How a project is put together and opened: the only place that knows all the parts. And the only `asyncio.run`."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from orchestration.agent_registry import AgentRegistry
from orchestration.cli.controls import Controls, lane_limits, with_project_budget
from orchestration.errors import CycleError
from orchestration.executor import TaskExecutor
from orchestration.orchestrator import ProjectOrchestrator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
    from decimal import Decimal
    from pathlib import Path

    from orchestration.project_file import ProjectFile
    from orchestration.task import AgentTask
    from orchestration.waiting import Teller

__all__ = ["open_project", "open_state", "reconcile", "run_async"]

T = TypeVar("T")


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run the program's one event loop."""
    return asyncio.run(main)


@asynccontextmanager
async def open_project(
    project: ProjectFile,
    *,
    variables: Mapping[str, str] | None = None,
    mode: str | None = None,
    budget_usd: Decimal | None = None,
    park: bool = True,
    teller: Teller | None = None,
) -> AsyncIterator[tuple[ProjectOrchestrator, Controls]]:
    """Open a project's state and workers; both are closed at the end, and everything recorded is then durable.

    `budget_usd` replaces what the file says the project may cost; `park` False goes before the file, too. `teller`
    tells people that a task waits for them; it stays the caller's to close.

    Raises:
        ProjectLockedError: if another orchestrator has it open.
        StoreError: if its state cannot be read.

    """
    registry = _registered(project)
    executor = TaskExecutor(
        registry,
        scripts_dir=project.scripts_dir,
        default_agent=project.default_agent,
        execution_mode=mode or project.mode,
        root=project.root,
        retry=project.retry if park else replace(project.retry, park=False),
        limits={name: lane_limits(ceilings) for name, ceilings in project.limits.items()},
        sandbox=project.sandbox,
    )
    orchestrator = ProjectOrchestrator(
        project.root,
        project_id=project.project_id,
        registry=registry,
        executor=executor,
        variables=variables,
        budgets=project.budgets if budget_usd is None else with_project_budget(project.budgets, budget_usd),
        teller=teller,
    )
    async with executor, orchestrator:
        yield orchestrator, Controls(orchestrator, executor.lanes, project.limits)


@asynccontextmanager
async def open_state(
    root: Path, project_id: str, project: ProjectFile | None = None
) -> AsyncIterator[ProjectOrchestrator]:
    """Open a project's state alone, to record a person's word; works while its file has mistakes (None).

    Raises:
        ProjectLockedError: if another orchestrator has it open.
        StoreError: if its state cannot be read.

    """
    default_agent = None if project is None else project.default_agent
    executor = TaskExecutor(_registered(project), default_agent=default_agent, root=root)
    async with executor, ProjectOrchestrator(root, project_id=project_id, executor=executor) as orchestrator:
        yield orchestrator


def _registered(project: ProjectFile | None) -> AgentRegistry:
    registry = AgentRegistry()
    for agent in project.agents if project else ():
        registry.register_agent(agent)
    return registry


def reconcile(orchestrator: ProjectOrchestrator, tasks: Sequence[AgentTask]) -> list[str]:
    """Make the stored project the file's: add, replace, remove. Returns the ids that were removed.

    Raises:
        CycleError: if the tasks depend on each other in a circle.

    """
    wanted = {task.task_id for task in tasks}
    removed = [
        known.task.task_id
        for known in orchestrator.state.ordered()
        if known.task.task_id not in wanted and not known.origin  # the others go with the one that has added them
    ]
    for task_id in removed:
        orchestrator.remove_task(task_id)
    left = list(tasks)
    while left:
        later = [task for task in left if not _fits(orchestrator, task)]
        if len(later) == len(left):
            orchestrator.add_task(later[0])  # says which circle
        left = later
    return removed


def _fits(orchestrator: ProjectOrchestrator, task: AgentTask) -> bool:
    """Add a task, unless it closes a circle with a definition of an earlier run that is yet to be replaced."""
    try:
        orchestrator.add_task(task)
    except CycleError:
        return False
    return True
