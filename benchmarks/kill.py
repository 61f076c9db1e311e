"""`kill -9` at random moments of a run that is resumed each time: is anything lost, is anything done again?"""

from __future__ import annotations

import contextlib
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.ledger_project import completed_tasks, dependencies_of, ledger_lines, output_of
from benchmarks.row import Row, emit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["measure"]

TASKS, KILLS = 300, 50
SEED = 20261122
# One kill in five falls before the first task runs: while the process starts, opens the file, or folds the facts.
_EARLY_SHARE = 0.2
_LATE_S = 0.005


@dataclass(kw_only=True)
class Kill:
    """What was there after one kill: the ledger's length, and id -> output of the durably completed tasks."""

    lines: int
    completed: Mapping[str, str]


@dataclass
class Story:
    """A run of many lives."""

    root: Path
    kills: list[Kill] = field(default_factory=list)
    starts_s: list[float] = field(default_factory=list)
    end: str = ""


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        story = _live_and_die(Path(folder), random.Random(SEED))
        ledger, final = ledger_lines(story.root), completed_tasks(story.root)
    name = f"{KILLS} x kill -9 of {TASKS} tasks"
    wrong = {
        "not completed, or with a wrong output": sum(final.get(task) != output_of(task) for task in _GRAPH),
        "completed, yet ran again": len(_repeats(story, ledger)),
        "completed, then lost": sum(len(set(a.completed) - set(b.completed)) for a, b in _pairs(story)),
        "ran before what they need was durable": len(_too_early(story, ledger)),
    }
    return [
        Row(
            measure=f"{name}: kills",
            figure=str(len(story.kills)),
            bar=str(KILLS),
            ratio=story.end,
            passed=len(story.kills) == KILLS and story.end.startswith("completed"),
        ),
        *(
            Row(measure=f"{name}: {what}", figure=str(count), bar="0", passed=count == 0)
            for what, count in wrong.items()
        ),
        Row(
            measure=f"{name}: attempts cut short and repeated",
            figure=str(len(ledger) - TASKS),
            ratio=f"{len(ledger) / TASKS:.2f} x",
        ),
        Row(
            measure=f"{name}: process start to first task, wall",
            figure=f"{statistics.median(story.starts_s):.2f} s",
        ),
    ]


_GRAPH = dependencies_of(TASKS)


def _live_and_die(root: Path, chance: random.Random) -> Story:
    """Start, kill at a random moment, look, and again; then let it come to its end."""
    story = Story(root)
    while len(story.kills) < KILLS:
        before = story.kills[-1].completed if story.kills else {}
        with _process(root) as process:
            if _wait_for_moment(process, story, chance, left=TASKS - len(before)):
                process.kill()
            if process.wait() >= 0:
                story.end = f"ended with {process.returncode} before it was killed"
                return story
        story.kills.append(Kill(lines=len(ledger_lines(root)), completed=completed_tasks(root)))
    with _process(root) as process:
        output, _ = process.communicate()
    story.end = output.splitlines()[-1] if output else f"exit code {process.returncode}"
    return story


@contextlib.contextmanager
def _process(root: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.ledger_project", str(root), "--tasks", str(TASKS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _wait_for_moment(process: subprocess.Popen[str], story: Story, chance: random.Random, *, left: int) -> bool:
    """Return when the moment to kill has come; False if the process ended first.

    The moment is a stretch of the start-up, or a number of tasks and some milliseconds more: few enough tasks that the
    run lasts for all the kills.
    """
    if story.starts_s and chance.random() < _EARLY_SHARE:
        time.sleep(chance.uniform(0, statistics.median(story.starts_s)))
        return process.poll() is None
    tasks = 1 + chance.randint(0, max(0, int(1.5 * left / (KILLS + 1 - len(story.kills))) - 3))
    started = time.perf_counter()
    seen = 0
    for line in process.stdout or ():
        if line.startswith("task-"):
            seen += 1
            if seen == 1:
                story.starts_s.append(time.perf_counter() - started)
        if seen == tasks:
            time.sleep(chance.uniform(0, _LATE_S))
            return True
    return False


def _pairs(story: Story) -> Iterator[tuple[Kill, Kill]]:
    return zip(story.kills, story.kills[1:], strict=False)


def _repeats(story: Story, ledger: list[str]) -> list[str]:
    """Return what ran after a kill although it was completed by then."""
    ends = [kill.lines for kill in story.kills[1:]] + [len(ledger)]
    return [
        task
        for kill, end in zip(story.kills, ends, strict=False)
        for task in ledger[kill.lines : end]
        if task in kill.completed
    ]


def _too_early(story: Story, ledger: list[str]) -> list[str]:
    """Return what had run when its process was killed, without all its dependencies' outcomes on the disk."""
    return [
        task for kill in story.kills for task in ledger[: kill.lines] if not set(_GRAPH[task]) <= set(kill.completed)
    ]


if __name__ == "__main__":
    emit(measure())
