"""The example `coding-agents`, killed at moments of chance by `kill -9` and resumed until it is done; what was lost?

Drives the real command. What a person has to say in between is said as the example's README tells them to.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from orchestration import TaskStatus
from orchestration.events import TaskCompleted, TaskStarted
from orchestration.fold import fold
from orchestration.orchestrator import state_path
from orchestration.store.sqlite import read_facts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestration.run_state import RunState, TaskState

__all__ = ["Reviewer", "Story", "live_and_die", "living", "marked"]

Reviewer = Literal["agent", "person"]

EXAMPLE = Path(__file__).parent.parent / "examples" / "coding-agents"
PROJECT = "shop"
CODERS = ("discount", "tax", "shipping")
EXPECTED = ("shop/discount.py", "shop/tax.py", "shop/shipping.py", *(f"notes/{name}.md" for name in CODERS))
# What the run prints; it is killed a little after some of these. None: while it starts.
MOMENTS = (
    None,
    *((name, "running") for name in CODERS),
    *((name, "checking") for name in CODERS),
    ("discount", "check failed"),
    ("tax", "done"),
    ("shipping", "done"),
    ("discount", "done"),
    ("release", "running"),
    ("announce", "becomes"),
    ("announce.1", "running"),
    ("announce.2", "running"),
)
MOST_LIVES = 25
_START_S, _LATE_S = 0.8, 0.5
_LIFE_S = 60
_RULES_OF_BOTH = """\
from shop.shipping import add_shipping
from shop.tax import add_tax

RULES: tuple[Callable[[int], int], ...] = (add_shipping, add_tax)
"""


@dataclass
class Story:
    """A run of many lives: how it went, and what there should be none of."""

    lives: int = 0
    kills: int = 0
    ended: str = ""
    answers: Counter[str] = field(default_factory=Counter)  # a person's, by what was asked
    witnessed: Counter[str] = field(default_factory=Counter)  # what the kills left, which is looked for afterwards
    conflicts: int = 0  # that were resolved in a merge
    orphans: int = 0  # of an earlier life, seen when the next one was at work, or at the end
    lost_commits: list[str] = field(default_factory=list)
    lost_files: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)  # tasks that were started again after they were completed
    doubled: list[str] = field(default_factory=list)  # effects that happened twice, or without a person's word again
    missing: list[str] = field(default_factory=list)  # what the merged tree, or the outbox, should hold
    left: list[str] = field(default_factory=list)  # worktrees and branches

    @property
    def wrong(self) -> dict[str, object]:
        """Return what should not be, by its name; empty if all is well."""
        names = ("orphans", "lost_commits", "lost_files", "repeated", "doubled", "missing", "left")
        return {name: value for name, value in asdict(self).items() if name in names and value}


@dataclass
class _Seen:
    """What was there after kills, and has to be there at the end."""

    pids: set[int] = field(default_factory=set)
    commits: dict[str, str] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    allowed: Counter[str] = field(default_factory=Counter)  # task -> how often a person had it done again


def live_and_die(root: Path, seed: int, reviewer: Reviewer = "agent", *, env: dict[str, str] | None = None) -> Story:
    """Set up the project in `root`, a new folder; run, kill and resume it until it is done; return what came of it."""
    life = _Lives(root, random.Random(f"{seed}-{reviewer}"), reviewer, {**os.environ, **(env or {})})
    life.live()
    return life.story


def marked(owner: str) -> set[int]:
    """Return the processes of a project that are alive: by the mark in their environment."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{owner}#".encode() in (folder / "environ").read_bytes():
                found.add(int(folder.name))
    return living(found)


def living(pids: set[int]) -> set[int]:
    """Return those of the processes that are neither gone nor dead and waiting to be reaped."""
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] not in "ZX":
                found.add(pid)
    return found


class _Lives:
    """One project and its processes."""

    def __init__(self, root: Path, chance: random.Random, reviewer: Reviewer, env: dict[str, str]) -> None:
        self.story = Story()
        self._root = root
        self._chance = chance
        self._seen = _Seen()
        self._moments: list[tuple[str, str] | None] = []
        self._env = {**env, "PATH": f"{Path(sys.executable).parent}:{env['PATH']}"}
        self._owner = str(state_path(root, PROJECT).absolute())
        subprocess.run([str(EXAMPLE / "set-up.sh"), str(root)], check=True, env=self._env)
        self._git("config", "user.name", "You")
        self._git("config", "user.email", "you@example.org")
        if reviewer == "person":
            file = root / "orchestrate.yaml"
            lines = file.read_text().splitlines(keepends=True)
            file.write_text("".join(line for line in lines if "on_conflict:" not in line))
            self._git("commit", "--quiet", "--all", "--message", "Resolve conflicts by hand")
        (root / "scribbles.txt").write_text("mine\n")

    def live(self) -> None:
        """Live and die as often as chance has it, then until all is done."""
        self._moments = self._chance.sample(MOMENTS, self._chance.randint(1, 4))
        while self.story.ended != "completed" and self.story.lives < MOST_LIVES:
            self.story.lives += 1
            self._live()
            if self.story.ended == "killed":
                self._look()
            else:
                self._answer()
        self._count()

    def _live(self) -> None:
        """Run, and die a little after a moment of those that are left; else live to the end."""
        with self._process() as process:
            if None in self._moments:
                self._moments.remove(None)
                self._kill(process, self._chance.uniform(0, _START_S))
            elif self._wait_for_moment(process):
                self._kill(process, self._chance.uniform(0, _LATE_S))
            code = process.wait(_LIFE_S)
        if code == -signal.SIGKILL:
            self.story.kills += 1
            self.story.ended = "killed"
        else:
            self._settle(code)

    def _kill(self, process: subprocess.Popen[str], after_s: float) -> None:
        """Kill it alone, or with the git programs that it runs."""
        time.sleep(after_s)
        kill = self._chance.choice([os.kill, os.killpg])
        with contextlib.suppress(ProcessLookupError):
            kill(process.pid, signal.SIGKILL)

    @contextlib.contextmanager
    def _process(self) -> Iterator[subprocess.Popen[str]]:
        command = ["orchestrate", "run"]
        with subprocess.Popen(
            command,
            cwd=self._root,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def _wait_for_moment(self, process: subprocess.Popen[str]) -> bool:
        """Read what is printed until it tells of a moment; False if none comes.

        At the first task that runs, nothing of an earlier life may be there any more.
        """
        for line in process.stdout or ():
            _, task, what = (*line.rstrip().split("  ", 2), "", "")[:3]
            if what.startswith("running") and self._seen.pids:
                self.story.orphans += len(living(self._seen.pids))
                self._seen.pids.clear()
            for moment in self._moments:
                if moment is not None and task == moment[0] and what.startswith(moment[1]):
                    self._moments.remove(moment)
                    return True
        return False

    def _look(self) -> None:
        """Take in what a kill has left: processes, commits, and files that are in no commit."""
        left = marked(self._owner)
        self.story.witnessed["processes"] += len(left - self._seen.pids)
        self._seen.pids |= left
        self._seen.commits |= _commits(self._state())
        for tree in sorted((self._root / ".orchestration" / "worktrees").glob("*/*/.git")):
            with contextlib.suppress(FileNotFoundError):  # a git that outlived the orchestrator has just removed it
                status = self._git("status", "--porcelain", "-z", "--no-renames", "-uall", cwd=tree.parent, check=False)
                # In a worktree that is half removed, `.gitignore` goes first, and compiled modules show.
                self._seen.files |= {e[3:] for e in status.split("\0") if e and "__pycache__" not in e}

    def _settle(self, code: int) -> None:
        statuses = {known.status for known in self._state().unordered()}
        is_done = code == 0 and statuses == {TaskStatus.COMPLETED}
        self.story.ended = "completed" if is_done else f"exit code {code}: {', '.join(sorted(statuses))}"
        self.story.orphans += len(marked(self._owner))

    def _answer(self) -> None:
        """Say what a person says who looks before they do."""
        for known in self._state().unordered():
            if known.status is not TaskStatus.NEEDS_REVIEW:
                continue
            task_id = known.task.task_id
            self.story.answers[known.cause] += 1
            if known.cause == "conflict":
                self._resolve(known)
                self._orchestrate("approve", task_id)
            elif self._outbox()["sent", task_id, known.effect_key]:
                self._orchestrate("approve", task_id)
            else:
                self._seen.allowed[task_id] += 1
                self._orchestrate("reset", task_id)

    def _resolve(self, known: TaskState) -> None:
        assert known.result is not None
        self._git("merge", "--quiet", known.result.metadata["workspace"]["branch"], check=False)
        file = self._root / "shop" / "__init__.py"
        head, _, rest = file.read_text().partition("<<<<<<<")
        rest = rest.rpartition(">>>>>>>")[2].partition("\n")[2]
        file.write_text(head + _RULES_OF_BOTH + rest[rest.index("\n\ndef total") :])
        self._git("commit", "--quiet", "--all", "--no-edit")

    def _count(self) -> None:
        """Compare what there is with what there should be."""
        story, state = self.story, self._state()
        story.conflicts = self._git("log", "--merges", "--format=%H", "--", "shop/__init__.py").count("\n")
        self._seen.commits |= _commits(state)
        story.lost_commits = [
            f"{task_id}: {commit}"
            for task_id, commit in self._seen.commits.items()
            if self._returncode("merge-base", "--is-ancestor", commit, "HEAD")
        ]
        story.witnessed["files"] = len(self._seen.files)
        story.witnessed["commits"] = len(self._seen.commits)
        kept = set(self._git("ls-files", "-z").split("\0"))
        story.lost_files = sorted(self._seen.files - kept)
        story.repeated = self._repeated()
        self._count_effects()
        story.missing += [name for name in EXPECTED if name not in kept]
        released = subprocess.run(
            ["python3", "release.py"], cwd=self._root, env=self._env, capture_output=True, text=True, check=False
        )
        if released.returncode:
            story.missing.append(f"a tree that works: {released.stderr[-500:]}")
        if changes := self._git("status", "--porcelain").replace("?? scribbles.txt\n", ""):
            story.missing.append(f"a clean tree: {changes}")
        if (self._root / "scribbles.txt").read_text() != "mine\n":
            story.missing.append("the user's own file")
        if self._returncode("fsck", "--strict", "--no-dangling"):
            story.missing.append("a sound repository")
        story.left = self._git("branch", "--list", "orchestrate/*").split()
        story.left += self._git("worktree", "list", "--porcelain").split("\n\n")[1:-1]

    def _count_effects(self) -> None:
        story, outbox = self.story, self._outbox()
        for task_id in ("announce.1", "announce.2"):
            mine = {line: number for line, number in outbox.items() if line[1] == task_id}
            began = sum(number for line, number in mine.items() if line[0] == "sending")
            sent = {line[2]: number for line, number in mine.items() if line[0] == "sent"}
            if sum(sent.values()) > 1:
                story.doubled.append(f"{task_id} was sent {sum(sent.values())} times: {sent}")
            if began > 1 + self._seen.allowed[task_id]:
                story.doubled.append(
                    f"{task_id} was begun {began} times; a person said so {self._seen.allowed[task_id]} times"
                )
            if not sent:
                story.missing.append(f"{task_id} was never sent")

    def _repeated(self) -> list[str]:
        done: set[str] = set()
        found = []
        for _, event in read_facts(state_path(self._root, PROJECT)):
            if isinstance(event, TaskCompleted):
                done.add(event.task_id)
            elif isinstance(event, TaskStarted) and event.task_id in done:
                found.append(f"{event.task_id}, attempt {event.attempt}")
        return found

    def _outbox(self) -> Counter[tuple[str, ...]]:
        """Return how often each line, in words, is in the outbox."""
        file = self._root / "outbox.log"
        return Counter(tuple(line.split()) for line in file.read_text().splitlines()) if file.exists() else Counter()

    def _state(self) -> RunState:
        file = state_path(self._root, PROJECT)
        return fold(event for _, event in read_facts(file)) if file.exists() else fold(())

    def _orchestrate(self, *words: str) -> None:
        subprocess.run(["orchestrate", *words], cwd=self._root, env=self._env, stdout=subprocess.DEVNULL, check=True)

    def _git(self, *words: str, cwd: Path | None = None, check: bool = True) -> str:
        command = ["git", "--no-optional-locks", *words]
        done = subprocess.run(
            command,
            cwd=cwd or self._root,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=None if check else subprocess.DEVNULL,
            text=True,
            check=check,
        )
        return done.stdout

    def _returncode(self, *words: str) -> int:
        return subprocess.run(["git", *words], cwd=self._root, capture_output=True, check=False).returncode


def _commits(state: RunState) -> dict[str, str]:
    """Return task -> the commit of its work, for those that are completed."""
    return {
        known.task.task_id: known.result.metadata["workspace"]["commit"]
        for known in state.unordered()
        if known.status is TaskStatus.COMPLETED and known.result is not None and "workspace" in known.result.metadata
    }
