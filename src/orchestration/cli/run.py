"""`orchestrate run`: open the project, show it, work through it, say what came of it."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import click

from orchestration import inbox
from orchestration.cli.amounts import usd_amount
from orchestration.cli.compose import open_project, reconcile, run_async
from orchestration.cli.interrupts import Interrupts
from orchestration.cli.logs import logs_shown_by
from orchestration.cli.output import (
    console_for,
    is_ascii_only,
    is_live_terminal,
    print_json,
    print_lines,
    width_of,
)
from orchestration.cli.place import Place, json_option, load, project_options
from orchestration.cli.telling import messenger_of
from orchestration.orchestrator import state_path
from orchestration.project_file import resolve_variables
from orchestration.store.sqlite import read_facts
from orchestration.task import EXECUTION_MODES, TaskStatus
from orchestration.views.budgets import project_line
from orchestration.views.costs import by_model
from orchestration.views.lanes import LaneNews, waiting_lines
from orchestration.views.lines import Lines
from orchestration.views.live import LiveTable
from orchestration.views.plain import run_document
from orchestration.views.screen import Screen
from orchestration.views.summary import Ending, summary_lines
from orchestration.views.wording import count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from decimal import Decimal

    from orchestration.cli.controls import Controls
    from orchestration.orchestrator import ProjectOrchestrator
    from orchestration.project_file import ProjectFile
    from orchestration.run_state import RunState
    from orchestration.views.lanes import LaneView
    from orchestration.views.screen import Canvas

__all__ = ["run", "run_project"]

_WATCH_S = 0.25

_AT_WORK = (TaskStatus.IN_PROGRESS, TaskStatus.VERIFYING)
_EXIT_CODES = {"completed": 0, "waiting": 0, "failed": 1, "over_budget": 1, "interrupted": 130, "cancelled": 130}


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run, as typed."""

    max_concurrent: int | None = None
    variables: Sequence[str] = ()
    budget_usd: Decimal | None = None
    park: bool = True
    mode: str | None = None
    as_json: bool = False
    verbosity: int = 0


@click.command
@project_options
@click.option("--max-concurrent", type=click.IntRange(min=1), metavar="N", help="Run at most N tasks at once.")
@click.option("--var", "variables", multiple=True, metavar="NAME=VALUE", help="Give a variable of the project a value.")
@click.option("--mode", type=click.Choice(EXECUTION_MODES), help="The mode of agents and tasks that name none.")
@click.option(
    "--budget",
    "budget_usd",
    type=usd_amount,
    metavar="USD",
    help="What the project may cost in all, instead of the file's.",
)
@click.option("--no-park", is_flag=True, help="End the run where tasks would wait for an overloaded provider or quota.")
@click.option("-v", "--verbose", "verbosity", count=True, help="Say more about what goes on; -vv says all.")
@json_option
def run(
    place: Place,
    *,
    max_concurrent: int | None,
    variables: tuple[str, ...],
    mode: str | None,
    budget_usd: Decimal | None,
    no_park: bool,
    verbosity: int,
    as_json: bool,
) -> int:
    """Run the project; run again to resume.

    Every task starts as soon as what it depends on is done. What was completed before is not done again; what failed is
    tried again. Tasks that wait for a person do not hold the others. Everything is on the disk at once: a run that is
    killed goes on where it was.

    A run that a budget stopped goes on with more by --budget; what was spent before counts.

    Ctrl-C lets the running tasks finish and then stops; pressed twice, it stops them now. SIGTERM stops them now.

    On a terminal a table shows how things stand, elsewhere there is one line per change. With --json the lines go to
    stderr, and stdout gets one document at the end. When whoever reads the output goes away, the run goes on.
    """
    options = RunOptions(
        max_concurrent=max_concurrent,
        variables=variables,
        mode=mode,
        budget_usd=budget_usd,
        park=not no_park,
        as_json=as_json,
        verbosity=verbosity,
    )
    return run_project(place, options)


def run_project(place: Place, options: RunOptions) -> int:
    """Run a project and return the exit code.

    Raises:
        ProjectFileError: if the file or a variable is wrong.
        StoreError: if the project is open elsewhere, or its state cannot be used.

    """
    project = load(place)
    values = resolve_variables(project, _split(options.variables))
    return run_async(_Run(place, project, options).main(values))


class _Run:
    """One run from the first line printed to the last."""

    def __init__(self, place: Place, project: ProjectFile, options: RunOptions) -> None:
        self._place = place
        self._project = project
        self._options = options
        self._out = sys.stderr if options.as_json else sys.stdout
        self._hint = "Ctrl-C: let what runs finish, then stop. Everything is kept; run again to go on."
        self._is_walking = False
        self._is_stopped = False
        self._lanes: Sequence[LaneView] = ()

    async def main(self, variables: dict[str, str]) -> int:
        options = self._options
        async with (
            messenger_of(self._project, self._place.command) as messenger,
            open_project(
                self._project,
                variables=variables,
                mode=options.mode,
                budget_usd=options.budget_usd,
                park=options.park,
                teller=messenger,
            ) as (orchestrator, controls),
        ):
            with self._screen(orchestrator) as screen, logs_shown_by(screen, self._options.verbosity):
                for task_id in reconcile(orchestrator, self._project.tasks):
                    screen.say(f"task {task_id!r} is no longer in {self._place.file}; it was removed")
                ending = await self._work(orchestrator, controls, screen)
            state = orchestrator.state
        return self._finish(state, ending)

    async def _work(self, orchestrator: ProjectOrchestrator, controls: Controls, screen: Screen) -> Ending:
        """Walk through the graph; answer requests and look at the lanes meanwhile."""
        requests = inbox.Inbox(inbox.inbox_path(self._project.root, self._project.project_id))
        for request in await asyncio.to_thread(requests.discard_stale, time.time()):
            screen.say(f"warning: nobody was there to take an earlier `{request}`; it was dropped, give it again")
        walk_is_over = asyncio.Event()
        ending: Ending | Exception
        async with asyncio.TaskGroup() as group:
            group.create_task(inbox.serve(requests, controls.answer, walk_is_over))
            group.create_task(self._watch(controls, screen, walk_is_over))
            try:
                ending = await self._walk(orchestrator, screen)
            except Exception as exc:  # noqa: BLE001 -- raised below, as it is: the group would wrap it
                ending = exc
            finally:
                walk_is_over.set()
        if isinstance(ending, Exception):
            raise ending
        return replace(ending, budgets=orchestrator.budgets)

    async def _watch(self, controls: Controls, screen: Screen, walk_is_over: asyncio.Event) -> None:
        """Keep what the lanes wait for at hand: they may be asked on the event loop only, and views are elsewhere."""
        news = LaneNews()
        while not walk_is_over.is_set():
            self._lanes = controls.lanes()
            if not self._is_live:
                for line in news.lines(self._lanes):
                    screen.say(line)
            with suppress(TimeoutError):
                async with asyncio.timeout(_WATCH_S):
                    await walk_is_over.wait()

    def _notes(self, orchestrator: ProjectOrchestrator, state: RunState) -> list[str]:
        """Return what is worth a line below the table: who waits for which lane, and the budget."""
        budgets = orchestrator.budgets
        notes = [*waiting_lines(self._lanes), project_line(state, budgets)]
        if any(lane.is_stopped for lane in self._lanes):
            notes.append(f"when that is mended: {self._place.command('limits', 'LANE', '--reopen')}")
        if budgets.on_limit == "wait" and any(known.parked and not known.parked_until for known in state.unordered()):
            notes.append(f"to go on: {self._place.command('budget', 'USD')}")
        return notes

    @property
    def _is_live(self) -> bool:
        return is_live_terminal(self._out)

    async def _walk(self, orchestrator: ProjectOrchestrator, screen: Screen) -> Ending:
        me = asyncio.current_task()
        assert me is not None  # noqa: S101 -- a coroutine always runs in a task

        def drain() -> None:
            screen.say(self._drain_message(orchestrator.state))
            self._hint = "Ctrl-C again: stop now; what is running runs again next time."
            orchestrator.drain()

        def stop(why: str) -> None:
            if self._is_walking and not self._is_stopped:
                self._is_stopped = True
                screen.say(f"{why}: stopping now; what was running runs again next time")
                me.cancel()

        with Interrupts(drain=drain, stop=stop):
            self._is_walking = True
            try:
                result = await orchestrator.execute_workflow(max_concurrent=self._limit)
            except asyncio.CancelledError:
                if not self._is_stopped or me.uncancel():
                    raise
                return Ending(status="interrupted")
            finally:
                self._is_walking = False
        return Ending(status=result.status, totals=result.totals, problems=tuple(result.problems))

    @property
    def _limit(self) -> int | None:
        return self._options.max_concurrent or self._project.max_concurrent

    @contextmanager
    def _screen(self, orchestrator: ProjectOrchestrator) -> Iterator[Screen]:
        canvas: Canvas
        prints: AbstractContextManager[object]
        if self._is_live:
            notes = partial(self._notes, orchestrator)
            canvas = LiveTable(console_for(self._out), hint=lambda: self._hint, notes=notes)
            prints = nullcontext()
        else:
            canvas = Lines(
                self._out,
                messages=sys.stderr,
                command=self._place.command,
                is_verbose=self._options.verbosity > 0,
            )
            # What the project's functions print must not end up among the results, nor fail with them.
            prints = redirect_stdout(sys.stderr)
        with prints, Screen(canvas) as screen:
            unsubscribe = orchestrator.subscribe(screen.on_fact)
            try:
                yield screen
            finally:
                unsubscribe()

    def _drain_message(self, state: RunState) -> str:
        running = sum(known.status in _AT_WORK for known in state.unordered())
        if not running:
            return "stopping"
        parked = sum(bool(known.parked) for known in state.unordered())
        waits = f" ({parked:,} of them parked)" if parked else ""
        return (
            f"stopping: {count(running, 'running task')}{waits} may finish, no other starts. Ctrl-C again stops "
            f"{'it' if running == 1 else 'them'} now. Go on later with: {self._place.command('run')}"
        )

    def _finish(self, state: RunState, ending: Ending) -> int:
        code = _EXIT_CODES.get(ending.status, 1)
        if ending.problems and code == 0:
            code = 1
        if self._options.as_json:
            facts = (event for _, event in read_facts(state_path(self._project.root, self._project.project_id)))
            print_json(run_document(state, ending, by_model(facts), exit_code=code))
        else:
            lines = summary_lines(
                state,
                ending,
                command=self._place.command,
                width=width_of(sys.stdout),
                ascii_only=is_ascii_only(sys.stdout),
            )
            print_lines(lines)
        return code


def _split(variables: Sequence[str]) -> dict[str, str]:
    """Read `NAME=VALUE` pairs.

    Raises:
        click.UsageError: if one is not such a pair, or a name is given twice.

    """
    given: dict[str, str] = {}
    for pair in variables:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--var is {pair!r}, expected NAME=VALUE, such as --var audience=developers")
        if name in given:
            raise click.UsageError(f"--var {name!r} is given twice; give each variable once")
        given[name] = value
    return given
