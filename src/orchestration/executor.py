"""One task, executed: who does it, in which mode, how often it is tried, how long it may take.

Knows nothing of other tasks and stores nothing. A failing task is a result; only a caller's mistake is an exception.
"""

from __future__ import annotations

import asyncio
import logging
import random
import traceback
import weakref
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from orchestration import prompt, runners
from orchestration.agent_registry import LLM_TYPES, AgentType
from orchestration.answer import form_of
from orchestration.attempt import Deadline, Outcome, Work, current
from orchestration.clock import now
from orchestration.errors import (
    AttemptError,
    OrchestrationError,
    ProviderUnavailableError,
    RunStopError,
    UnknownAgentError,
)
from orchestration.events import TaskParked, TaskRetrying
from orchestration.execution import Execution, Step, Successor, storable
from orchestration.redact import known_secrets, redact
from orchestration.retry import RetryPolicy
from orchestration.runners.person import PersonRunner
from orchestration.runners.preface import Prefaces
from orchestration.runners.python import PythonRunner
from orchestration.runners.script import STANDIN_SCRIPTS, ScriptRunner, is_file
from orchestration.task import ExecutionResult, ExecutionStatus, FailureKind, check_mode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

    from orchestration.agent_registry import AgentConfig, AgentRegistry
    from orchestration.answer import AnswerForm
    from orchestration.attempt import AttemptContext
    from orchestration.runners.base import Runner
    from orchestration.runners.llm import LaneLimits, Lanes, LlmRunner
    from orchestration.task import AgentTask

__all__ = ["ExecutionResult", "ExecutionStatus", "TaskExecutor"]

_log = logging.getLogger(__name__)

# Workers that cannot be held to a schema by their provider are told of it in the prompt.
_TOLD_SCHEMA = frozenset({AgentType.SCRIPT, AgentType.CLI})
# Functions and scripts read their inputs as data and can take any size.
_ANY_SIZE = frozenset({AgentType.SCRIPT, AgentType.PYTHON})

_KEY_VARIABLES = {
    AgentType.ANTHROPIC_CLAUDE: "ANTHROPIC_API_KEY",
    AgentType.OPENAI_GPT: "OPENAI_API_KEY",
    AgentType.GOOGLE_GEMINI: "GEMINI_API_KEY",
}


class TaskExecutor:
    """Executes tasks, as many at once as callers ask for.

    `scripts_dir` holds the scripts that stand in for unavailable providers. `root` is the project's folder: where
    programs run, and what templates and functions can reach. What it opens (clients, threads) is shared by all
    executions and released by `aclose`. `limits` are ceilings of the lanes that model calls go through, by the name
    of a lane or its beginning ("anthropic", "anthropic/claude-sonnet"). `registry` and `default_agent` can be read
    back.

    Raises:
        InvalidTaskError: if `execution_mode` is none of the three.

    """

    def __init__(
        self,
        registry: AgentRegistry,
        *,
        scripts_dir: str | Path | None = None,
        default_agent: str | None = None,
        execution_mode: str = "api",
        retry: RetryPolicy | None = None,
        root: str | Path | None = None,
        limits: Mapping[str, LaneLimits] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        check_mode(execution_mode)
        self.registry = registry
        self.default_agent = default_agent
        self._execution_mode = execution_mode
        self._retry = retry or RetryPolicy()
        self._root = None if root is None else Path(root)
        self._random = rng or random.Random()  # noqa: S311 -- spreads calls in time, guards nothing
        self._limits = limits
        self._script = ScriptRunner(scripts_dir, self._root)
        self._person = PersonRunner()
        self._guests = _Guests()
        self._prefaces = Prefaces(self._root)
        self._runners: dict[AgentType, Runner] = {
            AgentType.SCRIPT: self._script,
            AgentType.CLI: self._script,
            AgentType.PYTHON: PythonRunner(self._root),
        }

    async def execute(self, task: AgentTask, agent: str | None = None, mode: str | None = None) -> ExecutionResult:
        """Do the task, and return what came of it, also if that is a failure.

        `PENDING` means that a person has the next word (modes `interactive` and `hybrid`). The timeout of the task,
        else of the agent, spans all attempts. Cancelled, it stops what it started before it lets the cancellation pass.

        Raises:
            UnknownAgentError, InvalidTaskError: for a caller's mistake, before anything is done.
            RunStopError: if the budgets or a policy that does not park leave nothing to do before a person has acted.

        """
        execution = self._begin(task, agent, mode)
        timeout_s = task.timeout_s or execution.agent.timeout_s
        try:
            if timeout_s is None:
                outcome = await self._run(execution)
            else:
                async with asyncio.timeout(timeout_s) as timeout:
                    execution.deadline = Deadline(timeout)
                    outcome = await self._run(execution)
        except TimeoutError:  # ours: what a worker raises arrives as an AttemptError
            return execution.failed(
                AttemptError(
                    f"task {task.task_id!r} did not finish within {timeout_s:g} s; raise its timeout_s",
                    kind=FailureKind.TIMEOUT,
                )
            )
        except AttemptError as exc:
            return execution.failed(exc)
        return execution.finished(outcome.output, outcome.data, outcome.metadata)

    def check(self, task: AgentTask, agent: str | None = None, mode: str | None = None) -> tuple[AgentConfig, str]:
        """Return the agent and the mode that `execute` would use; nothing is done.

        Raises:
            UnknownAgentError: naming the agent and listing the known ones.
            InvalidTaskError: naming the three modes.

        """
        config = self.registry.require(agent or task.agent or self.default_agent)
        return config, self._mode(task, config, mode)

    @cached_property
    def _llm(self) -> LlmRunner:
        """Made for the first task that wants a model: half of the time this package takes to load is its imports."""
        return runners.LlmRunner(self._limits, root=self._root, rng=self._random)

    @property
    def lanes(self) -> Lanes:
        """The lanes that model calls go through, to be looked at and changed."""
        return self._llm.lanes

    def reopen(self) -> None:
        """Try again to call models wherever failures, such as an account without money, ended that."""
        if "_llm" in vars(self):
            self._llm.reopen()

    async def aclose(self) -> None:
        """Release what executions share; twice is fine."""
        made = [self._llm] if "_llm" in vars(self) else []
        for runner in (*made, *self._runners.values()):
            await runner.aclose()

    async def __aenter__(self) -> Self:
        """Return the executor itself."""
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release what executions share."""
        await self.aclose()

    async def _run(self, execution: Execution) -> Outcome:
        """Return what the worker made, after as many attempts as it takes and the policy allows."""
        self._choose_agent(execution)
        text = await self._prompt(execution)
        form = await form_of(execution.task)
        said = text
        while execution.mode != "interactive":
            work = self._work(execution, execution.next_context(), said)
            try:
                return await self._attempt(work, form, execution)
            except AttemptError as exc:
                failure = exc
            execution.book(failure.details)
            step = self._next_step(execution, work, failure)
            if step is None:
                raise failure
            _report_step(execution, step, failure)
            if step.successor is not None:
                execution.hand_over(step.successor, failure.kind)
                said = text = await self._prompt(execution)
            if failure.kind is FailureKind.BAD_OUTPUT:
                said = prompt.with_correction(text, str(failure))
            await _wait(execution, step, failure)
            if step.is_parked and not step.is_paced and execution.is_handed_over:
                self._choose_agent(execution, failure.kind)
                said = text = await self._prompt(execution)
        return await self._person.run(self._work(execution, execution.context, text))

    def _next_step(self, execution: Execution, work: Work, failure: AttemptError) -> Step | None:
        now_s = asyncio.get_running_loop().time()
        step = execution.after(failure, now_s=now_s, jitter=self._random.random())
        if step is None or not step.is_retry or self._may_retry(work):
            return step
        return execution.later(step, jitter=self._random.random())

    def _may_retry(self, work: Work) -> bool:
        if work.agent.agent_type not in LLM_TYPES:
            return True
        try:
            return self._llm.may_retry(work)
        except ProviderUnavailableError:  # its script stands in
            return True

    def _choose_agent(self, execution: Execution, kind: FailureKind | None = None) -> None:
        """Go on with the first agent of the chain whose provider takes calls now; with the first if none does.

        `kind` is the failure that the task was parked for, if it was.
        """
        before = execution.agent
        execution.start_over()
        closed_by = self._closed_by(execution, execution.agent) if execution.chain else None
        if closed_by is not None:
            for position, successor in enumerate(execution.chain):
                if closed_by in successor.on and self._closed_by(execution, successor.agent) is None:
                    execution.hand_over(position, closed_by)
                    break
        reason = closed_by or kind
        if execution.agent is not before and reason is not None:
            why = f"agent {before.name!r} cannot go on now; {execution.agent.name!r} takes calls"
            _report_retry(execution, AttemptError(why, kind=reason), agent=execution.agent.name)

    def _closed_by(self, execution: Execution, agent: AgentConfig) -> FailureKind | None:
        if agent.agent_type not in LLM_TYPES:
            return None
        try:
            return self._llm.closed_by(replace(self._work(execution, execution.context, ""), agent=agent))
        except ProviderUnavailableError:
            return None  # found out, and told, by the attempt itself

    def _begin(self, task: AgentTask, agent: str | None, mode: str | None) -> Execution:
        config, chosen = self.check(task, agent, mode)
        return Execution(
            task=task,
            agent=config,
            mode=chosen,
            context=current.get(),
            policy=self._retry,
            secrets=known_secrets([known.api_key_env for known in self.registry.list_agents()]),
            chain=tuple(
                Successor(agent=taker, mode=self._mode(task, taker, mode), on=fallback.on)
                for fallback in config.successors
                for taker in (self._successor(config, fallback.agent),)
            ),
        )

    def _successor(self, agent: AgentConfig, name: str) -> AgentConfig:
        try:
            return self.registry.require(name)
        except UnknownAgentError as exc:
            raise UnknownAgentError(f"fallback of agent {agent.name!r}: {exc}") from None

    def _mode(self, task: AgentTask, agent: AgentConfig, mode: str | None) -> str:
        chosen = next(given for given in (mode, task.mode, agent.mode, self._execution_mode) if given is not None)
        check_mode(chosen)
        return "interactive" if agent.agent_type is AgentType.HUMAN else chosen

    async def _prompt(self, execution: Execution) -> str:
        task, kind = execution.task, execution.agent.agent_type
        execution.preface = await self._prefaces.of(execution.agent)
        text = execution.preface + await prompt.render(task, execution.context, root=self._root)
        if kind not in _ANY_SIZE or execution.mode == "interactive":
            prompt.check_size(task, text)
        return prompt.with_schema(text, task.output_schema) if kind in _TOLD_SCHEMA else text

    def _work(self, execution: Execution, context: AttemptContext, text: str) -> Work:
        task, agent = execution.task, execution.agent
        return Work(
            task=task,
            agent=agent,
            prompt=text,
            preface=execution.preface,
            system=agent.system if task.system is None else task.system,
            context=context,
            root=self._root,
            deadline=execution.deadline,
            leave_on=execution.leave_on,
            is_first_try=execution.is_first_try,
        )

    async def _attempt(self, work: Work, form: AnswerForm | None, execution: Execution) -> Outcome:
        """Have the worker do it once; whatever goes wrong leaves as an `AttemptError`."""
        runner = self._runners.get(work.agent.agent_type)
        do = self._ask_model if runner is None else runner.run
        try:
            outcome = await (self._guests.run(do, work) if execution.is_handed_over else do(work))
        except OrchestrationError:
            raise
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            raise AttemptError(
                f"the worker of task {work.task.task_id!r} was cancelled from within", kind=FailureKind.TASK_ERROR
            ) from None
        except Exception as exc:
            trace = redact(traceback.format_exc(), execution.secrets)
            _log.error("task %r: unexpected error\n%s", work.task.task_id, trace)
            raise AttemptError(f"{type(exc).__name__}: {exc}", kind=FailureKind.TASK_ERROR) from exc
        return outcome if form is None else _formed(outcome, form)

    async def _ask_model(self, work: Work) -> Outcome:
        """Call the model or, where that is not possible or not wanted, the script that stands in for it."""
        if not work.task.metadata.get("use_direct_llm", True):
            return await self._ask_standin(work, "direct_llm_disabled", "use_direct_llm is false")
        try:
            return await self._llm.run(work)
        except ProviderUnavailableError as exc:
            return await self._ask_standin(work, exc.reason, str(exc))

    async def _ask_standin(self, work: Work, reason: str, why: str) -> Outcome:
        script = self._script.standin_path(work.agent.agent_type)
        if script is None or not await is_file(script):
            raise AttemptError(
                _ways_out(work, why, script), kind=FailureKind.UNAVAILABLE, details={"fallback_reason": reason}
            )
        _log.warning("task %r: %s; running %s in place of the provider", work.task.task_id, why, script)
        told = replace(work, prompt=prompt.with_schema(work.prompt, work.task.output_schema))
        try:
            outcome = await self._script.run_standin(told, script)
        except AttemptError as exc:
            exc.details["fallback_reason"] = reason
            raise
        return replace(outcome, metadata={**outcome.metadata, "fallback_reason": reason})


class _Guests:
    """Places for tasks that are handed over: an agent does as many of them at once as it may do of its own.

    Those of its own are counted by whoever starts them, which cannot know who will take over.
    """

    def __init__(self) -> None:
        self._loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
        self._places: dict[str, asyncio.Semaphore] = {}

    async def run(self, do: Callable[[Work], Awaitable[Outcome]], work: Work) -> Outcome:
        """Do the work when there is a place for it; the task's own time stands still until then."""
        limit = work.agent.concurrency_limit
        if limit is None:
            return await do(work)
        loop = asyncio.get_running_loop()
        if self._loop is None or self._loop() is not loop:  # who waited in an earlier loop is gone with it
            self._loop, self._places = weakref.ref(loop), {}
        places = self._places.setdefault(work.agent.name, asyncio.Semaphore(limit))
        with work.deadline.held():
            await places.acquire()
        try:
            return await do(work)
        finally:
            places.release()


def _is_cancelled() -> bool:
    """Say whether someone cancelled this very task; a CancelledError can also leak out of a worker's own affairs."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


async def _wait(execution: Execution, step: Step, failure: AttemptError) -> None:
    """Let the time pass that a step asks for; a parked task's own time stands still meanwhile.

    Raises:
        RunStopError: if the run is being stopped, which has no time for parked tasks.

    """
    if step.is_paced:
        return
    if not step.is_parked:
        await asyncio.sleep(step.delay_s)
        return
    with execution.deadline.held():
        has_time = await execution.context.parking.wait(None if step.is_for_budget else step.delay_s)
    if not has_time:
        raise RunStopError(f"task {execution.task.task_id!r} was parked: {failure}", kind=failure.kind) from failure


def _report_step(execution: Execution, step: Step, failure: AttemptError) -> None:
    """Tell what follows a failure, before it is done."""
    if not step.is_parked:
        agent = "" if step.successor is None else execution.chain[step.successor].agent.name
        _report_retry(execution, failure, delay_s=step.delay_s, agent=agent)
        return
    at = now()
    execution.context.report(
        TaskParked(
            at=at,
            task_id=execution.task.task_id,
            kind=failure.kind,
            reason=redact(storable(str(failure)), execution.secrets),
            until=None if step.is_for_budget else at + timedelta(seconds=step.delay_s),
        )
    )


def _report_retry(execution: Execution, failure: AttemptError, *, delay_s: float = 0.0, agent: str = "") -> None:
    execution.context.report(
        TaskRetrying(
            at=now(),
            task_id=execution.task.task_id,
            attempt=execution.number + 1,
            kind=failure.kind,
            error=redact(storable(str(failure)), execution.secrets),
            delay_s=delay_s,
            agent=agent,
        )
    )


def _formed(outcome: Outcome, form: AnswerForm) -> Outcome:
    """Return the outcome with its answer read and checked; what it cost is known also if it is refused."""
    try:
        if outcome.data is not None:
            form.check(outcome.data, outcome.output)
            return outcome
        text, value = form.read(outcome.output)
    except AttemptError as exc:
        exc.details.update(outcome.metadata)
        raise
    return replace(outcome, output=text, data=value)


def _ways_out(work: Work, why: str, script: Path | None) -> str:
    """Say what is missing for a model's task and what can be done about it."""
    kind = work.agent.agent_type
    place = "" if script is None else f"{script.parent}/"
    ways = [f"install the extra: pip install 'async-orchestrator[{kind.value}]'"]
    variable = work.agent.api_key_env or _KEY_VARIABLES.get(kind)
    if variable:
        ways.append(f"set the variable {variable}")
    ways.append(
        f"add the script {place}{STANDIN_SCRIPTS[kind]}" + ("" if script else " to a folder given as scripts_dir")
    )
    return (
        f"nothing can do task {work.task.task_id!r} of agent {work.agent.name!r}: {why}. Ways out: {'; or '.join(ways)}"
    )
