"""A process that opens workspaces, works in them and merges, round after round, until it is killed.

Prints one line per fact that is safe by then: `committed TASK COMMIT`, `merged TASK COMMIT`.
"""

import asyncio
import sys
from pathlib import Path

from orchestration.workspace import Merged, Workspaces


async def main(root, start, files):
    workspaces = Workspaces(Path(root), "demo")
    for number in range(start, start + 1000):
        async with asyncio.TaskGroup() as group:
            for letter in "ab":
                group.create_task(one(workspaces, f"{letter}{number}", files))


async def one(workspaces, task_id, files):
    workspace = await workspaces.open(task_id)
    for index in range(files):
        path = workspace.path / task_id / f"{index}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{task_id} {index}\n" * 200)
    say("committed", task_id, await workspace.commit(f"Do {task_id}"))
    merged = await workspace.merge(f"Merge {task_id}")
    assert isinstance(merged, Merged)
    say("merged", task_id, merged.commit)
    assert await workspace.remove() is None


def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
