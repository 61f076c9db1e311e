"""A project without a project file: built, run and resumed by a Python program.

Usage: python main.py [FOLDER]. Counts the words of every text file in FOLDER (default: its own), one task per file.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from orchestration import AgentConfig, AgentRegistry, AgentTask, AgentType, ProjectOrchestrator

HERE = Path(__file__).parent


def build(project: ProjectOrchestrator, folder: Path) -> None:
    """Add one task per file, and one that waits for all of them."""
    files = sorted(path for path in folder.iterdir() if path.suffix in {".md", ".py", ".txt"})
    for path in files:
        project.add_task(AgentTask(path.name, f"Count {path.name}", agent="counter", metadata={"path": str(path)}))
    project.add_task(
        AgentTask(
            "table", "Put the counts together", agent="tabulator", dependencies=tuple(path.name for path in files)
        )
    )


async def main(folder: Path) -> None:
    """Build the project and run what is left of it."""
    registry = AgentRegistry()
    registry.register_agent(AgentConfig("counter", AgentType.PYTHON, function="words:count", max_concurrent=4))
    registry.register_agent(AgentConfig("tabulator", AgentType.PYTHON, function="words:tabulate"))

    async with ProjectOrchestrator(HERE, registry=registry) as project:
        build(project, folder)
        project.subscribe(lambda fact, _state: print(type(fact).__name__, getattr(fact, "task_id", "")))
        run = await project.execute_workflow()

    print(f"\n{run.status} in {run.totals.duration_s:.1f} s\n\n{run.results['table'].output}")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE))
