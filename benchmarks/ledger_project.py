"""A project whose tasks leave a line in a ledger when they run: the program that the kill tests start, kill and resume.

`python -m benchmarks.ledger_project FOLDER --tasks N`. It says on its standard output what it does, a word per line:
`open` when the facts are loaded, a task's id when it runs, and at the end how the run ended.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration import (
    AgentConfig,
    AgentRegistry,
    AgentTask,
    AgentType,
    ProjectOrchestrator,
    TaskExecutor,
    TaskStatus,
)
from orchestration.fold import fold
from orchestration.orchestrator import state_path
from orchestration.store.sqlite import read_facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestration import Work

__all__ = ["completed_tasks", "dependencies_of", "ledger_lines", "output_of", "work"]

CONCURRENT = 4
_WIDTH = 10


async def work(work: Work) -> str:
    """Write the task into the ledger, take a moment, and give its output; insist on what it depends on."""
    wrong = {name: given.output for name, given in work.inputs.items() if given.output != output_of(name)}
    if wrong or set(work.inputs) != set(work.task.dependencies):
        raise ValueError(f"task {work.task.task_id} was given {dict(work.inputs)!r}")
    # One write with O_APPEND each: whole lines, in the order they happened, whenever the process dies.
    line = f"{work.task.task_id}\n".encode()
    ledger = os.open(work.context.variables["ledger"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(ledger, line)
    os.close(ledger)
    os.write(sys.stdout.fileno(), line)
    await asyncio.sleep(0.002)
    return output_of(work.task.task_id)


def dependencies_of(tasks: int) -> dict[str, tuple[str, ...]]:
    """Return id -> dependencies: rows of ten, each task on two of the row before."""
    graph = {}
    for number in range(tasks):
        above = number - number % _WIDTH - _WIDTH
        picks = {above + number % _WIDTH, above + (number * 7 + 3) % _WIDTH} if above >= 0 else set()
        graph[f"task-{number:03d}"] = tuple(f"task-{pick:03d}" for pick in sorted(picks))
    return graph


def output_of(task_id: str) -> str:
    """Return what the task has to come to."""
    return f"what {task_id} found"


def completed_tasks(root: Path) -> Mapping[str, str]:
    """Return id -> output of the tasks that are completed by the durable facts, whether anybody is live or not."""
    state = fold(event for _, event in read_facts(state_path(root)))
    return {
        task_id: known.result.output
        for task_id, known in state.tasks.items()
        if known.status is TaskStatus.COMPLETED and known.result is not None
    }


def ledger_lines(root: Path) -> list[str]:
    """Return the ids of the tasks that ran, in order, repeats included."""
    ledger = _ledger(root)
    return ledger.read_text(encoding="ascii").splitlines() if ledger.exists() else []


def _ledger(root: Path) -> Path:
    return root / "ledger.txt"


async def _run(root: Path, tasks: int) -> str:
    registry = AgentRegistry()
    registry.register_agent(AgentConfig("worker", AgentType.PYTHON, function=f"{__spec__.name}:work"))
    async with (
        TaskExecutor(registry, default_agent="worker") as executor,
        ProjectOrchestrator(
            root, registry=registry, executor=executor, variables={"ledger": str(_ledger(root))}
        ) as project,
    ):
        print("open", flush=True)
        for name, dependencies in dependencies_of(tasks).items():
            project.add_task(AgentTask(name, name, dependencies=dependencies, max_attempts=1))
        result = await project.execute_workflow(max_concurrent=CONCURRENT)
        counts = Counter(outcome.status.value for outcome in result.results.values())
        return f"{result.status}: {', '.join(f'{count} {status}' for status, count in counts.items())}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", type=int, default=100)
    arguments = parser.parse_args()
    print(asyncio.run(_run(arguments.folder, arguments.tasks)), flush=True)
