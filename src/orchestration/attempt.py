"""What an attempt may know beyond its task: its number, its dependencies' outputs, where to report.

The orchestrator sets `current` around `TaskExecutor.execute`, whose signature the contract fixes; outside an
orchestrator the default stands. Runners receive the same as part of `Work`.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path  # noqa: TC003 -- part of a public record
from typing import TYPE_CHECKING, Any, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from decimal import Decimal

    from orchestration.agent_registry import AgentConfig
    from orchestration.errors import FailureKind
    from orchestration.events import Event, Reporter
    from orchestration.task import AgentTask, ExecutionResult

__all__ = [
    "AttemptContext",
    "Deadline",
    "Outcome",
    "Parking",
    "Purse",
    "Session",
    "TaskInput",
    "Work",
    "WorstCase",
    "current",
    "nothing_to_see",
]


class TaskInput(msgspec.Struct, frozen=True, kw_only=True):
    """What a dependency came to: its output as text and, where it is JSON, as `data`; the files it produced.

    `files` are mappings with `path`, `sha256` and more. `skipped`: its condition did not hold, so there is no output.
    `added` are the outcomes of the tasks that its result has added, by id.
    """

    output: str
    data: Any = None
    files: tuple[Mapping[str, Any], ...] = ()
    skipped: bool = False
    added: Mapping[str, TaskInput] = {}


class WorstCase(msgspec.Struct, frozen=True, kw_only=True):
    """The most a call can use. `cost_usd` None: the price is unknown."""

    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A coding agent's conversation that an earlier attempt has left: whose, under which id, in which folder."""

    agent: str
    session_id: str
    workspace: str = ""


class Purse(Protocol):
    """The budgets, as those who make calls see them."""

    @property
    def on_limit(self) -> Literal["stop", "wait"]:
        """What to do when a call does not fit and there is no cheaper agent."""

    def tags_of(self, task_id: str) -> tuple[str, ...]:
        """Return the tags a task's calls are booked under."""

    def applies_to(self, task_id: str, agent: str) -> bool:
        """Tell whether calls of this task by this agent have to be reserved."""

    async def reserve(self, task_id: str, agent: str, worst: WorstCase) -> str:
        """Set a call's worst case aside, durably, and return the reservation's id.

        Waits while calls under way may still leave enough.

        Raises:
            AttemptError: of kind `budget`, if it does not fit.

        """

    def release(self, call_id: str) -> None:
        """Give back what was set aside for a call that was not made, or not charged."""


class Deadline:
    """A task's time limit, which is held while the task waits for something that is not its own work."""

    def __init__(self, timeout: asyncio.Timeout | None = None) -> None:
        self._timeout = timeout

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no time pass inside the block."""
        timeout = self._timeout
        ends_at = None if timeout is None else timeout.when()
        if timeout is None or ends_at is None:
            yield
            return
        clock = asyncio.get_running_loop().time
        left_s = ends_at - clock()
        timeout.reschedule(None)
        try:
            yield
        finally:
            timeout.reschedule(clock() + left_s)


class Parking:
    """Where tasks wait that can do nothing for long: for their moment, for a person's word, or for the end of the run.

    For one event loop at a time.
    """

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[bool], bool] = {}  # to whether it is for a person's word
        self._is_closed = False

    async def wait(self, seconds: float | None) -> bool:
        """Return true after so many seconds, or with None after `wake`; false as soon as there is no time to wait."""
        if self._is_closed:
            return False
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        timer = None if seconds is None else loop.call_later(seconds, _answer, future, True)
        self._waiting[future] = seconds is None
        try:
            return await future
        finally:
            del self._waiting[future]
            if timer is not None:
                timer.cancel()

    def wake(self) -> None:
        """Let those go on who wait for a person's word."""
        for future, is_for_word in self._waiting.items():
            if is_for_word:
                _answer(future, True)

    def close(self) -> None:
        """Send all away, and those who come from now on: the run stops."""
        self._is_closed = True
        for future in self._waiting:
            _answer(future, False)

    def open(self) -> None:
        """Let tasks wait again."""
        self._is_closed = False


def _answer(future: asyncio.Future[bool], answer: bool) -> None:  # noqa: FBT001
    if not future.done():
        future.set_result(answer)


def _ignore(_event: Event) -> None:
    """Drop a report: nobody listens outside an orchestrator."""


def nothing_to_see(_data: object) -> str:
    """Return nothing: this result may count without anybody seeing it."""
    return ""


async def _at_once() -> None:
    """Return: outside an orchestrator nothing is kept."""


class AttemptContext(msgspec.Struct, frozen=True, kw_only=True):
    """The circumstances of one execution.

    `inputs` maps each dependency's id to its outcome, in the order the task names them. `draft` and `comment` are set
    when a person rejected an earlier draft. `parking` is shared by all executions of a project.

    `session` is what an attempt that was broken off has left, to be gone on with; `claim` is what it had come to, to be
    verified instead of working again, and `is_approved` if that is a person's word; `correction` says what was wrong
    with the attempt before. `examine(data)` says what a person has to see before a result counts, nothing if that is
    not needed. `effect_key` stays the same until the work is done. `output_files` gives the paths that outputs of the
    project are written to, `owner` marks the project's processes. `artefacts` is the folder for what the project's
    attempts leave to be looked at; a worker that leaves some is given one of its own in
    there. `durable` returns when all that was reported is on the disk.
    """

    run_id: str = ""
    attempt: int = 1
    inputs: Mapping[str, TaskInput] = {}
    variables: Mapping[str, str] = {}
    draft: str = ""
    comment: str = ""
    report: Reporter = _ignore
    purse: Purse | None = None
    parking: Parking = msgspec.field(default_factory=Parking)
    session: Session | None = None
    claim: ExecutionResult | None = None
    is_approved: bool = False
    correction: str = ""
    examine: Callable[[Any], str] = nothing_to_see
    effect_key: str = ""
    project_id: str = "default"
    output_files: Callable[[], tuple[str, ...]] = tuple
    owner: str = ""
    artefacts: Path | None = None
    durable: Callable[[], Awaitable[None]] = _at_once


current: ContextVar[AttemptContext] = ContextVar("orchestration_attempt", default=AttemptContext())  # noqa: B039 -- frozen


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt's task as a worker gets it: who, what, with which inputs.

    `prompt` is rendered. It begins with `preface`, the same for all tasks of the agent, where there is one. `root` is
    the project's folder, None for a project in memory; `cwd` is where the worker works: that folder, unless the task
    has a workspace of its own. The executor cancels the worker when its time is over; one that
    waits for its turn holds the `deadline` meanwhile.
    """

    task: AgentTask
    agent: AgentConfig
    prompt: str
    preface: str = ""
    system: str | None = None
    context: AttemptContext = msgspec.field(default_factory=AttemptContext)
    root: Path | None = None
    cwd: Path | None = None
    deadline: Deadline = msgspec.field(default_factory=Deadline)
    leave_on: frozenset[FailureKind] = frozenset()
    is_first_try: bool = True

    @property
    def inputs(self) -> Mapping[str, TaskInput]:
        """The dependencies' outcomes by task id."""
        return self.context.inputs

    @property
    def item(self) -> Any:
        """The element that this instance of a `for_each` task is for; None otherwise."""
        return self.task.item

    @property
    def idempotency_key(self) -> str:
        """The same for all attempts at this work, so that whoever keeps it can tell a repetition."""
        return self.context.effect_key or f"{self.context.run_id}/{self.task.task_id}/{self.context.attempt}"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker made: text, the same as JSON where it has that form, and facts worth keeping (JSON)."""

    output: str
    data: Any = None
    metadata: Mapping[str, Any] = msgspec.field(default_factory=dict)
