"""Three coding agents, killed and resumed: is anything lost, or done twice? How fast is a run of all workers gone?"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.coding_agents_project import live_and_die
from benchmarks.row import Row, emit, within
from benchmarks.stubborn_project import WAYS, cancel

if TYPE_CHECKING:
    from benchmarks.coding_agents_project import Story
    from benchmarks.stubborn_project import Way

__all__ = ["measure"]

REPEATS = 20
SEED = 20261122
CANCELLED_WITHIN_S = 2.0
_AT_ONCE = 2


@dataclass(frozen=True, kw_only=True)
class _Trial:
    story: Story
    wall_s: float


def measure() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        cancelled = [row for number, way in enumerate(WAYS) for row in _cancel(Path(folder) / f"cancel-{number}", way)]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            trials = list(pool.map(lambda number: _live(Path(folder), number), range(REPEATS)))
    return [*_of_trials(trials), *cancelled]


def _live(folder: Path, number: int) -> _Trial:
    """Live one life after the other; every second time a person resolves the conflict, and not an agent."""
    started = time.perf_counter()
    story = live_and_die(folder / f"trial-{number}", SEED + number, "person" if number % 2 else "agent")
    return _Trial(story=story, wall_s=time.perf_counter() - started)


def _of_trials(trials: list[_Trial]) -> list[Row]:
    stories = [trial.story for trial in trials]
    completed = sum(story.ended == "completed" for story in stories)
    name = f"{REPEATS} x 3 coding agents, killed"
    witnessed = sum((story.witnessed for story in stories), Counter[str]())
    lost = [file for story in stories for file in story.lost_files]
    bad = {
        "commits lost": (sum(len(story.lost_commits) for story in stories), f"of {witnessed['commits']}"),
        "uncommitted files lost": (len(lost), " ".join([f"of {witnessed['files']}", *lost])),
        "processes left": (sum(story.orphans for story in stories), f"of {witnessed['processes']}"),
        "completed, yet done again": (sum(len(story.repeated) for story in stories), ""),
        "effects doubled": (sum(len(story.doubled) for story in stories), f"of {2 * REPEATS}"),
        "missing from the merged tree": (sum(len(story.missing) for story in stories), _named(stories, "missing")),
        "worktrees and branches left": (sum(len(story.left) for story in stories), f"of {3 * REPEATS}"),
    }
    happened = {
        "kills": sum(story.kills for story in stories),
        "conflicts resolved by an agent": sum(story.conflicts for story in stories[::2]),
        "conflicts resolved by a person": sum(story.answers["conflict"] for story in stories),
        "effects broken off, and left to a person": sum(story.answers["effect"] for story in stories),
    }
    return [
        Row(
            measure=f"{name}: came to their end",
            figure=str(completed),
            bar=str(REPEATS),
            ratio=f"{statistics.median(trial.wall_s for trial in trials):.1f} s each",
            passed=completed == REPEATS,
        ),
        *(
            Row(measure=f"{name}: {what}", figure=str(n), bar="0", ratio=of, passed=n == 0)
            for what, (n, of) in bad.items()
        ),
        *(Row(measure=f"{name}: {what}", figure=str(n)) for what, n in happened.items()),
    ]


def _named(stories: list[Story], what: str) -> str:
    """Return what was found wrong, with the seed of its story, which tells it once more (chance is not all of it)."""
    return "; ".join(f"seed {SEED + n}: {each}" for n, story in enumerate(stories) for each in getattr(story, what))


def _cancel(root: Path, way: Way) -> list[Row]:
    ended = cancel(root, way)
    name = f"{ended.before} processes of all kinds of workers, {way}"
    return [
        within(f"{name}: gone after", ended.seconds, CANCELLED_WITHIN_S, "s", strictly=True),
        Row(measure=f"{name}: left", figure=str(ended.left), bar="0", passed=ended.left == 0),
    ]


if __name__ == "__main__":
    emit(measure())
