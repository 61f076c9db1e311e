"""A project on a real SQLite file, driven at random and compared with a model of a few lines after every step."""

import asyncio
import contextlib
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from orchestration.errors import CycleError, DependencyError, DuplicateError, TransitionError, UnknownTaskError
from orchestration.fold import fold
from orchestration.orchestrator import ProjectOrchestrator, state_path
from orchestration.store.sqlite import read_facts
from orchestration.task import AgentTask, ExecutionResult, ExecutionStatus

IDS = "abcde"
OPEN = {"pending", "in_progress", "waiting"}
STOPPED = {"failed", "cancelled"}
ids = st.sampled_from(IDS)


@dataclass
class Known:
    """What the model knows of a task."""

    needs: tuple[str, ...]
    text: str
    status: str = "pending"
    need: str = ""
    output: str = ""


@dataclass
class Model:
    """The rules of a project, without facts, files or concurrency."""

    tasks: dict[str, Known] = field(default_factory=dict)
    added: set[str] = field(default_factory=set)

    def downstream(self, start):
        reached, last = {start}, None
        while reached != last:
            last = set(reached)
            reached |= {name for name, known in self.tasks.items() if reached.intersection(known.needs)}
        return reached - {start}

    def closes_circle(self, task_id, needs):
        changed = {name: known.needs for name, known in self.tasks.items()} | {task_id: needs}
        seen, unseen = set(), list(needs)
        while unseen:
            name = unseen.pop()
            if name not in seen:
                seen.add(name)
                unseen.extend(changed.get(name, ()))
        return task_id in seen

    def is_met(self, task_id):
        return all(need in self.tasks and self.tasks[need].status == "completed" for need in self.tasks[task_id].needs)

    def ready(self):
        return [name for name, known in self.tasks.items() if known.status == "pending" and self.is_met(name)]

    def blocked(self):
        stopped = {name for name, known in self.tasks.items() if known.status in STOPPED}
        blocked, last = set(), None
        while blocked != last:
            last = set(blocked)
            blocked |= {
                name
                for name, known in self.tasks.items()
                if known.status == "pending" and (stopped | blocked).intersection(known.needs)
            }
        return blocked

    def settle(self, task_id, status, need="", output=""):
        known = self.tasks[task_id]
        known.status, known.need, known.output = status, need, output

    def refuses_reset(self, task_id):
        affected = {task_id} | self.downstream(task_id)
        return any(self.tasks[name].status == "in_progress" for name in affected)

    def reset(self, task_id):
        for name in {task_id} | self.downstream(task_id):
            self.settle(name, "pending")


class Fate:
    """An executor that gives each task the fate that was drawn for it, and counts."""

    def __init__(self):
        self.of = {}
        self.ran = []

    async def execute(self, task, *, agent=None):
        self.ran.append(task.task_id)
        await asyncio.sleep(0)
        match self.of.get(task.task_id, "completed"):
            case "completed":
                return ExecutionResult(task.task_id, status=ExecutionStatus.SUCCESS, output=task.description)
            case "failed":
                return ExecutionResult(task.task_id, status=ExecutionStatus.FAILED, error="no luck")
            case "cancelled":
                return ExecutionResult(task.task_id, status=ExecutionStatus.CANCELLED)
            case "answer":
                return ExecutionResult(task.task_id, output="prompt", metadata={"execution_mode": "interactive"})
            case _:
                return ExecutionResult(task.task_id, output="draft", metadata={"execution_mode": "hybrid"})


fates = st.dictionaries(ids, st.sampled_from(["failed", "cancelled", "answer", "approval"]), max_size=3)


class Driven(RuleBasedStateMachine):
    """Each rule does one thing to the project and the same to the model; each refusal has to be the model's."""

    # A project to begin with: without one, most of what is drawn speaks of tasks that do not exist.
    @initialize(needs=st.lists(st.integers(0, 7), min_size=len(IDS), max_size=len(IDS)))
    def begin(self, needs):
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.model = Model()
        self.root = self.folder / "0"
        self.facts = []
        self.open(Fate())
        for index, bits in enumerate(needs):
            self.add(IDS[index], tuple(name for bit, name in enumerate(IDS[:index]) if bits >> bit & 1), "")

    def open(self, fate):
        self.fate = fate
        self.project = ProjectOrchestrator(self.root, executor=fate)
        self.project.subscribe(lambda event, state: self.facts.append(event))
        self.model.added.clear()
        self.interrupt()

    def interrupt(self):
        for known in self.model.tasks.values():
            if known.status == "in_progress":
                known.status = "pending"

    def teardown(self):
        if hasattr(self, "project"):
            self.runner.run(self.project.aclose())
            self.runner.close()
            shutil.rmtree(self.folder)

    @contextlib.contextmanager
    def refused(self, *reasons):
        """Expect the first refusal whose condition holds, and that nothing has changed then; else none."""
        error = next((error for condition, error in reasons if condition), None)
        before = self.project.state
        if error is None:
            yield True
            return
        try:
            yield False
        except error:
            assert self.project.state == before
        else:
            raise AssertionError(f"expected {error.__name__}")

    # -- building

    @rule(task_id=ids, needs=st.lists(ids, max_size=2, unique=True).map(tuple), text=st.sampled_from(["", "x"]))
    def add(self, task_id, needs, text):
        known = self.model.tasks.get(task_id)
        is_same = known is not None and (known.needs, known.text) == (needs, text)
        with self.refused(
            (not is_same and known and task_id in self.model.added, DuplicateError),
            (not is_same and self.model.closes_circle(task_id, needs), CycleError),
            (not is_same and known and known.status == "in_progress", TransitionError),
            (
                not is_same and known and known.status == "completed" and self.model.refuses_reset(task_id),
                TransitionError,
            ),
        ) as is_fine:
            self.project.add_task(AgentTask(task_id, "T", text, dependencies=needs))
        if is_fine:
            self.model.added.add(task_id)
            if known is None:
                self.model.tasks[task_id] = Known(needs, text)
            elif not is_same:
                if known.status == "completed":
                    self.model.reset(task_id)
                self.model.settle(task_id, "pending")
                known.needs, known.text = needs, text

    @rule(task_id=ids)
    def remove(self, task_id):
        known = self.model.tasks.get(task_id)
        with self.refused(
            (known is None, UnknownTaskError), (known and known.status == "in_progress", TransitionError)
        ) as is_fine:
            self.project.remove_task(task_id)
        if is_fine:
            del self.model.tasks[task_id]
            self.model.added.discard(task_id)

    # -- by hand

    @rule(task_id=ids)
    def start(self, task_id):
        known = self.model.tasks.get(task_id)
        with self.refused(
            (known is None, UnknownTaskError),
            (known and not self.model.is_met(task_id), DependencyError),
            (known and known.status not in {"pending", *STOPPED}, TransitionError),
        ) as is_fine:
            self.project.start_task(task_id)
        if is_fine:
            self.model.settle(task_id, "in_progress")

    @rule(task_id=ids)
    def complete(self, task_id):
        known = self.model.tasks.get(task_id)
        with self.refused((known is None, UnknownTaskError)) as is_fine:
            self.project.complete_task(task_id, "by hand")
        if is_fine and known.status != "completed":
            self.model.settle(task_id, "completed", output="by hand")

    @rule(task_id=ids)
    def fail(self, task_id):
        known = self.model.tasks.get(task_id)
        with self.refused(
            (known is None, UnknownTaskError), (known and known.status not in OPEN, TransitionError)
        ) as is_fine:
            self.project.fail_task(task_id, "no")
        if is_fine:
            self.model.settle(task_id, "failed")

    @rule(task_id=ids)
    def cancel(self, task_id):
        known = self.model.tasks.get(task_id)
        with self.refused(
            (known is None, UnknownTaskError), (known and known.status not in OPEN, TransitionError)
        ) as is_fine:
            self.project.cancel(task_id)
        if is_fine:
            self.model.settle(task_id, "cancelled")

    @rule(task_id=ids)
    def reset(self, task_id):
        known = self.model.tasks.get(task_id)
        with self.refused(
            (known is None, UnknownTaskError), (known and self.model.refuses_reset(task_id), TransitionError)
        ) as is_fine:
            self.project.reset(task_id)
        if is_fine:
            self.model.reset(task_id)

    # -- a person

    @rule(task_id=ids, word=st.sampled_from(["answer", "approve", "reject"]))
    def say(self, task_id, word):
        known = self.model.tasks.get(task_id)
        with self.refused(
            (known is None, UnknownTaskError),
            (known and known.status != "waiting", TransitionError),
            (known and word == "approve" and known.need != "approval", TransitionError),
        ) as is_fine:
            call = getattr(self.project, word)
            call(task_id) if word == "approve" else call(task_id, "said")
        if is_fine and word == "reject":
            self.model.settle(task_id, "pending")
        elif is_fine:
            self.model.settle(task_id, "completed", output="draft" if word == "approve" else "said")

    # -- running

    def outcome(self, task_id):
        """Give a task of the model the fate that was drawn for it."""
        fate = self.fate.of.get(task_id, "completed")
        if fate in {"answer", "approval"}:
            self.model.settle(task_id, "waiting", need=fate)
        else:
            output = self.model.tasks[task_id].text if fate == "completed" else ""
            self.model.settle(task_id, fate, output=output)

    @rule(task_id=ids, of=fates)
    def execute(self, task_id, of):
        known = self.model.tasks.get(task_id)
        self.fate.of, self.fate.ran = of, []
        with self.refused(
            (known is None, UnknownTaskError),
            (
                known and known.status not in {"completed", "waiting"} and not self.model.is_met(task_id),
                DependencyError,
            ),
            (known and known.status == "in_progress", TransitionError),
        ) as is_fine:
            result = self.runner.run(self.project.execute_task(task_id))
        if is_fine and known.status in {"completed", "waiting"}:
            assert self.fate.ran == []
            assert result == self.project.state.tasks[task_id].result
        elif is_fine:
            assert self.fate.ran == [task_id]
            self.outcome(task_id)

    @rule(of=fates, limit=st.none() | st.integers(1, 3))
    def run(self, of, limit):
        tasks = self.model.tasks
        self.fate.of, self.fate.ran = of, []
        is_dangling = any(need not in tasks for known in tasks.values() for need in known.needs)
        with self.refused((is_dangling, DependencyError)) as is_fine:
            result = self.runner.run(self.project.execute_workflow(max_concurrent=limit))
        if not is_fine:
            return
        for task_id, known in tasks.items():
            if known.status in STOPPED:
                self.model.settle(task_id, "pending")
        ran = []
        while ready := self.model.ready():
            ran.append(ready[0])
            self.outcome(ready[0])
        assert sorted(self.fate.ran) == sorted(ran)
        statuses = {known.status for known in tasks.values()}
        expected = (
            "failed" if statuses & STOPPED else "waiting" if statuses & {"waiting", "in_progress"} else "completed"
        )
        assert result.status == expected
        assert sum(result.totals.tasks.values()) == len(tasks)

    # -- ends

    @rule()
    def close_and_reopen(self):
        self.runner.run(self.project.aclose())
        self.open(self.fate)

    @rule()
    def look_after_closing_and_go_on(self):
        before = self.project.state
        self.runner.run(self.project.aclose())
        self.the_project_is_as_the_model_says()
        assert self.project.state == before
        self.runner.run(self.project.__aenter__())
        self.interrupt()

    @rule()
    def crash(self):
        """Go on from a copy of the files as they are on the disk now, the log not folded in and the lock not let go."""
        self.runner.run(self.project.durable())
        crashed, self.root = self.root, self.folder / str(int(self.root.name) + 1)
        if crashed.exists():
            shutil.copytree(crashed, self.root)
        self.runner.run(self.project.aclose())
        self.open(self.fate)

    # -- always

    @invariant()
    def the_project_is_as_the_model_says(self):
        if not hasattr(self, "project"):
            return
        blocked = self.model.blocked()
        expected = {name: "blocked" if name in blocked else known.status for name, known in self.model.tasks.items()}
        state = self.project.state
        assert {name: self.project.get_task(name).status.value for name in state.tasks} == expected
        assert [known.task.task_id for known in state.ordered()] == list(self.model.tasks)
        assert self.project.get_ready_tasks() == self.model.ready()
        for name, known in self.model.tasks.items():
            if known.status == "completed":
                assert state.tasks[name].result.output == known.output

    @invariant()
    def the_file_folds_to_the_state(self):
        if not hasattr(self, "project"):
            return
        state = self.project.state
        self.runner.run(self.project.durable())
        assert fold(event for _, event in read_facts(state_path(self.root))) == state


Driven.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestAProjectDrivenAtRandom = Driven.TestCase
