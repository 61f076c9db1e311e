"""Play a scenario: the real orchestrator, executor and lanes on a virtual clock, killed and started again, watched.

The parts know each other here and nowhere else.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from llm_abstractions.prices import cost_usd
from llm_abstractions.types import Usage
from orchestration import clock
from orchestration.agent_registry import AgentRegistry
from orchestration.errors import OrchestrationError, StoreError
from orchestration.events import decode
from orchestration.executor import TaskExecutor
from orchestration.fold import fold
from orchestration.orchestrator import ProjectOrchestrator
from orchestration.run_state import RunState
from orchestration.testing.person import Person
from orchestration.testing.provider import serving
from orchestration.testing.scenario import Scenario, random_scenario
from orchestration.testing.store import Disk, SimulatedStore
from orchestration.testing.transcript import Line, line_of
from orchestration.testing.virtual_loop import EndlessError, KilledError, VirtualLoop
from orchestration.testing.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestration import events as ev
    from orchestration.task import TaskStatus

__all__ = ["Report", "play", "simulate"]

# Far more than any scenario of ours needs; what goes beyond goes on for ever.
_MAX_STEPS = 300_000
_MAX_DAYS = 60
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What came of a scenario. `violations` is empty when everything held that has to hold.

    `runs` are the runs' statuses in order, of all lives of the process; `state` is what the disk says in the end.
    `transcript` is the story, a line per fact. `is_random`: the scenario was the seed's own.
    """

    seed: int
    scenario: Scenario
    violations: tuple[str, ...]
    runs: tuple[str, ...]
    lives: int
    duration_s: float
    state: RunState
    is_random: bool = False
    transcript: tuple[Line, ...] = field(repr=False)

    @property
    def is_ok(self) -> bool:
        """Whether everything held."""
        return not self.violations

    @property
    def statuses(self) -> Mapping[str, TaskStatus]:
        """Return task id -> how it stands in the end."""
        return {known.task.task_id: known.status for known in self.state.ordered()}

    def seconds_of(self, moment: datetime) -> float:
        """Return the virtual time of a fact's moment, in seconds from the start."""
        return (moment - _EPOCH).total_seconds()

    def check(self) -> Report:
        """Return the report itself, for one more question.

        Raises:
            AssertionError: if something did not hold, for a random scenario with the command that plays it again.

        """
        if self.violations:
            raise AssertionError(self.describe())
        return self

    def describe(self) -> str:
        """Return how it ended, in a few lines."""
        calls = sum(len(server.calls) for server in self.scenario.servers)
        lines = [f"seed {self.seed}: {len(self.scenario.tasks)} tasks, {calls} calls, processes: {self.lives}"]
        lines.append(f"  runs: {', '.join(self.runs) or 'none'}; {self.duration_s:,.1f} s")
        lines += [f"  VIOLATED: {violation}" for violation in self.violations]
        if self.violations and self.is_random:
            lines.append(f"  replay: python -m orchestration.testing {self.seed} --verbose")
        return "\n".join(lines)


def simulate(seed: int) -> Report:
    """Play the random scenario of this seed; the same seed plays the same story, step by step."""
    return replace(play(random_scenario(seed), seed=seed), is_random=True)


def play(scenario: Scenario, *, seed: int = 0) -> Report:
    """Play a scenario to its end and say what came of it. Not from inside an event loop: it brings its own.

    The seed decides whatever is left to chance. A scenario can be played once, for its servers remember.
    """
    return _Play(scenario, seed).to_the_end()


class _Play:
    """One story, of one or more lives of a process."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._scenario = scenario
        self._seed = seed
        self._chance = random.Random(f"play {seed}")  # noqa: S311 -- it has to be the same each time
        self._watch = Watch(scenario)
        self._person = Person(scenario, self._watch, self._chance)
        self._disk = Disk()
        self._runs: list[str] = []
        self._transcript: list[Line] = []
        self._lives = 0
        self._now_s = 0.0
        self._told_at = _EPOCH

    def to_the_end(self) -> Report:
        deaths = list(self._scenario.deaths)
        with serving(*self._scenario.servers), clock.kept_by(self._calendar):
            while self._live(deaths.pop(0) if deaths else None):
                pass
        self._watch.at_the_end()
        return Report(
            seed=self._seed,
            scenario=self._scenario,
            violations=tuple(self._watch.violations),
            runs=tuple(self._runs),
            lives=self._lives,
            duration_s=self._now_s,
            state=self._state(),
            transcript=tuple(self._transcript),
        )

    def _live(self, dies_after: int | None) -> bool:
        """Play one life of the process and say whether another one follows."""
        self._lives += 1
        loop = VirtualLoop(
            self._chance.randrange(2**32) if self._scenario.is_shuffled else None,
            start_s=self._now_s,
            max_steps=_MAX_STEPS,
        )
        loop.set_exception_handler(self._on_loop_error)
        store = SimulatedStore(
            self._disk,
            commit_s=self._scenario.commit_s,
            fails_at=self._scenario.disk_full_at if self._lives == 1 else None,
        )
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            try:
                runner.run(self._work(loop, store, dies_after))
                return False
            except KilledError:
                self._tell(loop, "the process is killed")
                store.die(self._chance)
                return True
            except StoreError as exc:
                self._tell(loop, f"the process gives up: {exc}")
                return self._is_disk_full(exc)
            except Exception as exc:  # noqa: BLE001 -- whatever it is, the program should not have ended by it
                self._watch.refuse(f"the program ended by {type(exc).__name__}: {exc}")
                return False
            finally:
                self._watch.leave()
                self._person.leave()
                self._now_s = loop.time()
                loop.bury()

    def _is_disk_full(self, exc: StoreError) -> bool:
        """Tell whether the scenario's disk is full; any other failure of the store is a mistake."""
        is_full = self._scenario.disk_full_at is not None and self._lives == 1
        if not is_full:
            self._watch.refuse(f"the program ended by {type(exc).__name__}: {exc}")
        return is_full

    async def _work(self, loop: VirtualLoop, store: SimulatedStore, dies_after: int | None) -> None:
        """Be the program that a user writes: build the project, run it, and run it again as long as it is worth it."""
        await cost_usd("openai", "gpt-4o", Usage())  # the price list is loaded once per process, which takes a thread
        if dies_after is not None:
            loop.kill_after(dies_after)
        loop.before_jump = self._before_jump
        scenario, registry, found = self._scenario, AgentRegistry(), self._facts()
        for agent in scenario.agents:
            registry.register_agent(agent)
        executor = TaskExecutor(
            registry,
            default_agent=scenario.default_agent,
            root=scenario.root,
            limits=scenario.limits,
            retry=scenario.retry,
            rng=self._chance,
        )
        project = ProjectOrchestrator(
            registry=registry,
            executor=executor,
            store=store,
            variables=scenario.variables,
            budgets=self._person.budgets,
        )
        async with executor, project:
            self._watch.attend(project, executor, store, found)
            project.subscribe(self._on_fact)
            self._person.attend(project, executor)
            for task in scenario.tasks:
                project.add_task(task)
            await self._run(project)
        self._watch.after_life(project.state, self._facts())

    async def _run(self, project: ProjectOrchestrator) -> None:
        while True:
            result = await project.execute_workflow(max_concurrent=self._scenario.max_concurrent)
            self._runs.append(result.status)
            self._watch.after_run(result)
            if not await self._person.wants_more(result):
                return

    def _state(self) -> RunState:
        try:
            return fold(self._facts())
        except OrchestrationError:  # the watch has said so
            return RunState()

    def _facts(self) -> list[ev.Event]:
        return [decode(raw) for raw in self._disk.facts]

    def _calendar(self) -> datetime:
        """Return the virtual moment; never the same twice."""
        at = _EPOCH + timedelta(seconds=asyncio.get_running_loop().time())
        self._told_at = max(at, self._told_at + timedelta(microseconds=1))
        return self._told_at

    def _before_jump(self) -> None:
        self._watch.before_jump()
        if asyncio.get_running_loop().time() > _MAX_DAYS * 86_400:
            raise EndlessError(f"after {_MAX_DAYS} days there is still no end")

    def _on_fact(self, event: ev.Event, state: RunState) -> None:
        line = line_of(event, state, self._lives, asyncio.get_running_loop().time())
        if line is not None:
            self._transcript.append(line)

    def _tell(self, loop: VirtualLoop, text: str) -> None:
        self._transcript.append(Line(life=self._lives, at_s=loop.time(), text=text))

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """Note what asyncio complains about, unless it is about the remains of a dead process."""
        if isinstance(loop, VirtualLoop) and not loop.is_buried:
            self._watch.refuse(f"asyncio says: {context.get('message')}: {context.get('exception')!r}")
