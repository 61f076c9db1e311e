"""The workers: plain functions of the work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestration import Work


def count(work: Work) -> dict[str, int]:
    """Count the lines and words of the task's file. It may block: such functions run in a thread."""
    text = Path(work.task.metadata["path"]).read_text("utf-8")
    return {"lines": text.count("\n"), "words": len(text.split())}


async def tabulate(work: Work) -> str:
    """Put the counts into a table, the largest first. An asynchronous function runs on the event loop."""
    counts = {name: given.data for name, given in work.inputs.items()}
    largest_first = sorted(counts, key=lambda name: -counts[name]["words"])
    rows = [f"{counts[name]['words']:6} words  {counts[name]['lines']:5} lines  {name}" for name in largest_first]
    return "\n".join(rows)
