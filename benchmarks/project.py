"""Build the projects that are measured."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from orchestration import AgentConfig, AgentRegistry, AgentTask, AgentType, ProjectOrchestrator, TaskExecutor

if TYPE_CHECKING:
    from pathlib import Path

    from orchestration.store.base import Store

__all__ = ["add_tasks", "layered_graph", "open_project"]

AGENT = "worker"


def layered_graph(layers: int, width: int, dependencies: int, *, seed: int = 20261122) -> dict[str, tuple[str, ...]]:
    """Return id -> the ids it depends on: each task on some of the layer before, by chance."""
    chance = random.Random(seed)
    graph: dict[str, tuple[str, ...]] = {}
    before: list[str] = []
    for layer in range(layers):
        names = [f"task-{layer:03d}-{place:03d}" for place in range(width)]
        graph.update({name: tuple(chance.sample(before, dependencies)) if before else () for name in names})
        before = names
    return graph


def open_project(root: Path | None, function: str, *, store: Store | None = None) -> ProjectOrchestrator:
    """Return a project whose one agent calls the function, put together as a program would do it."""
    registry = AgentRegistry()
    registry.register_agent(AgentConfig(AGENT, AgentType.PYTHON, function=function))
    executor = TaskExecutor(registry, default_agent=AGENT)
    return ProjectOrchestrator(root, registry=registry, executor=executor, store=store)


def add_tasks(project: ProjectOrchestrator, graph: dict[str, tuple[str, ...]]) -> None:
    """Add a task per id of the graph."""
    for name, dependencies in graph.items():
        project.add_task(AgentTask(name, name, dependencies=dependencies))
