"""One task, executed: who does it, in which mode, how often it is tried, how long it may take.

Knows nothing of other tasks and stores nothing. A failing task is a result; only a caller's mistake is an exception.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from orchestration import prompt
from orchestration.agent_registry import AgentType
from orchestration.answer import form_of, formed
from orchestration.attempt import AttemptContext, Deadline, Outcome, Work, current
from orchestration.clock import now
from orchestration.delivery import Delivered, Delivery, Site, workspace_of
from orchestration.errors import AttemptError, OrchestrationError, RunStopError, UnknownAgentError
from orchestration.events import SessionStarted, TaskParked, TaskRetrying
from orchestration.execution import Execution, Step, Successor, storable
from orchestration.redact import known_secrets, redact
from orchestration.retry import RetryPolicy
from orchestration.runners.preface import Prefaces
from orchestration.task import AgentTask, ExecutionResult, ExecutionStatus, FailureKind, check_mode
from orchestration.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

    from orchestration.agent_registry import AgentConfig, AgentRegistry
    from orchestration.answer import AnswerForm
    from orchestration.delivery import Errand
    from orchestration.events import Event
    from orchestration.runners.llm import LaneLimits, Lanes

__all__ = ["ExecutionResult", "ExecutionStatus", "TaskExecutor"]

# Workers that nobody can hold to a schema are told of it in the prompt; the runner of programs knows what each can do.
_TOLD_SCHEMA = frozenset({AgentType.SCRIPT})
# Functions and scripts read their inputs as data and can take any size.
_ANY_SIZE = frozenset({AgentType.SCRIPT, AgentType.PYTHON})
# Failures of the work itself, which the next attempt can learn from.
_CORRECTABLE = frozenset({FailureKind.BAD_OUTPUT, FailureKind.CHECK_FAILED})
# What a kept claim says of the execution it came from, not of the work.
_OF_EXECUTION = frozenset({"execution_mode", "attempts", "needs_review", "asks", "diff", "data", "fallback_from"})
_SECRETS_FOR_S = 0.02
_NOWHERE = Site(path=None)


class TaskExecutor:
    """Executes tasks, as many at once as callers ask for.

    `scripts_dir` holds the scripts that stand in for unavailable providers. `root` is the project's folder: where
    programs run, and what templates and functions can reach. What it opens (clients, threads) is shared by all
    executions and released by `aclose`. `limits` are ceilings of the lanes that model calls go through, by the name
    of a lane or its beginning ("anthropic", "anthropic/claude-sonnet"). `registry` and `default_agent` can be read
    back. `sandbox` says what keeps agents with full permissions from doing harm; without it they are refused.

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
        sandbox: str | None = None,
    ) -> None:
        check_mode(execution_mode)
        self.registry = registry
        self.default_agent = default_agent
        self._execution_mode = execution_mode
        self._retry = retry or RetryPolicy()
        self._root = None if root is None else Path(root)
        self._random = rng or random.Random()  # noqa: S311 -- spreads calls in time, guards nothing
        self._sandbox = sandbox
        self._prefaces = Prefaces(self._root)
        self._workers = Workers(self._root, scripts_dir=scripts_dir, limits=limits, rng=self._random)
        self._delivery = Delivery(self._root, self._send)
        self._here = Site(path=self._root)
        self._secrets: tuple[str, ...] = ()
        self._secrets_at_s = -math.inf

    async def execute(self, task: AgentTask, agent: str | None = None, mode: str | None = None) -> ExecutionResult:
        """Do the task, and return what came of it, also if that is a failure.

        `PENDING` means that a person has the next word (modes `interactive` and `hybrid`). The timeout of the task,
        else of the agent, spans all attempts. Cancelled, it stops what it started before it lets the cancellation pass.

        Raises:
            UnknownAgentError, InvalidTaskError: for a caller's mistake, before anything is done.
            RunStopError: if the budgets or a policy that does not park leave nothing to do before a person has acted.

        """
        execution = self._begin(task, agent, mode)
        if (claim := _as_outcome(execution.context.claim)) is not None:
            execution.keep(claim)
        timeout_s = task.timeout_s or execution.agent.timeout_s
        try:
            if timeout_s is None:
                delivered = await self._carry_out(execution)
            else:
                async with asyncio.timeout(timeout_s) as timeout:
                    execution.deadline = Deadline(timeout)
                    delivered = await self._carry_out(execution)
        except TimeoutError:  # ours: what a worker raises arrives as an AttemptError
            return execution.failed(
                AttemptError(
                    f"task {task.task_id!r} did not finish within {timeout_s:g} s; raise its timeout_s",
                    kind=FailureKind.TIMEOUT,
                )
            )
        except AttemptError as exc:
            return execution.failed(exc)
        return execution.finished(delivered.outcome, delivered.asks)

    def check(self, task: AgentTask, agent: str | None = None, mode: str | None = None) -> tuple[AgentConfig, str]:
        """Return the agent and the mode that `execute` would use; nothing is done.

        Raises:
            UnknownAgentError: naming the agent and listing the known ones.
            InvalidTaskError: naming the three modes.

        """
        config = self.registry.require(agent or task.agent or self.default_agent)
        return config, self._mode(task, config, mode)

    @property
    def lanes(self) -> Lanes:
        """The lanes that model calls go through, to be looked at and changed."""
        return self._workers.llm.lanes

    def reopen(self) -> None:
        """Try again to call models wherever failures, such as an account without money, ended that."""
        self._workers.reopen()

    async def aclose(self) -> None:
        """Release what executions share; twice is fine."""
        await self._workers.aclose()

    async def __aenter__(self) -> Self:
        """Return the executor itself."""
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release what executions share."""
        await self.aclose()

    async def _carry_out(self, execution: Execution) -> Delivered:
        """Have the task done where it wants to be done."""
        self._refuse_full(execution.agent)
        if execution.mode == "interactive" or workspace_of(execution.task, execution.agent) == "shared":
            return await self._run(execution, self._here, partial(self._delivery.deliver, execution, self._here))
        async with self._delivery.site(execution) as site:
            return await self._run(execution, site, partial(self._delivery.deliver, execution, site))

    async def _run(
        self, execution: Execution, site: Site, deliver: Callable[[Outcome], Awaitable[Delivered]]
    ) -> Delivered:
        """Return what was delivered, after as many attempts as it takes and the policy allows."""
        self._choose_agent(execution)
        text = await self._prompt(execution)
        form = await form_of(execution.task)
        said = prompt.with_correction(text, execution.context.correction) if execution.context.correction else text
        claim = _as_outcome(execution.context.claim)
        while claim is not None or execution.mode != "interactive":
            work = self._work(execution, execution.next_context(), said, site)
            try:
                claim = await self._claim(execution, work, claim, form)
                return await deliver(claim)
            except AttemptError as exc:
                failure = exc
            claim = _learn(execution, failure, claim, site)
            if execution.mode == "interactive":
                break
            step = self._next_step(execution, work, failure)
            if step is None:
                raise failure
            _report_step(execution, step, failure)
            text, said = await self._go_on(execution, step, failure, (text, said))
            await self._delivery.restore(execution, site)
        outcome = await self._workers.ask_person(self._work(execution, execution.context, text, site))
        return Delivered(outcome=outcome)

    async def _claim(self, execution: Execution, work: Work, kept: Outcome | None, form: AnswerForm | None) -> Outcome:
        """Return what the worker says it did, in its form; what is kept of an earlier attempt goes before asking it."""
        made = kept
        if made is None:
            execution.begin()
            made = await self._workers.attempt(work, is_guest=execution.is_handed_over, secrets=execution.secrets)
            execution.note_session(made.metadata, str(work.cwd or ""))
        return made if form is None else formed(made, form)

    async def _go_on(
        self, execution: Execution, step: Step, failure: AttemptError, told: tuple[str, str]
    ) -> tuple[str, str]:
        """Do what a step asks for; return the prompt of the task, and what the next attempt is told."""
        text, said = told
        if step.successor is not None:
            execution.hand_over(step.successor, failure.kind)
            said = text = await self._prompt(execution)
        if failure.kind in _CORRECTABLE:
            said = prompt.with_correction(text, str(failure))
        await _wait(execution, step, failure)
        if step.is_parked and execution.task.effects == "once":
            await _tell_going_on(execution, failure)
        if step.is_parked and not step.is_paced and execution.is_handed_over:
            self._choose_agent(execution, failure.kind)
            said = text = await self._prompt(execution)
        return text, said

    async def _send(self, execution: Execution, errand: Errand) -> Outcome:
        """Have another agent do something on behalf of a task; its calls are booked under that task.

        Raises:
            AttemptError: if it does not come to a result.

        """
        task = AgentTask(
            execution.task.task_id,
            errand.title,
            errand.description,
            agent=errand.agent,
            mode="api",
            output_schema=errand.output_schema,
        )
        try:
            sent = self._begin(task, None, "api")
        except OrchestrationError as exc:
            raise AttemptError(f"{errand.title!r}: {exc}", kind=FailureKind.BAD_REQUEST) from exc
        if sent.mode == "interactive":
            raise AttemptError(
                f"agent {errand.agent!r} is a person and cannot be sent for {errand.title!r}; name another agent",
                kind=FailureKind.BAD_REQUEST,
            )
        self._refuse_full(sent.agent)
        sent.deadline = execution.deadline
        sent.context = _on_behalf_of(execution)
        return (await self._run(sent, errand.site, _as_it_is)).outcome

    def _refuse_full(self, agent: AgentConfig) -> None:
        if agent.permissions == "full" and not self._sandbox:
            raise AttemptError(
                f"agent {agent.name!r} has full permissions, and no sandbox is declared; say what keeps it from doing "
                "harm (`sandbox:` in the project file), or give it `permissions: edit`",
                kind=FailureKind.BAD_REQUEST,
            )

    def _next_step(self, execution: Execution, work: Work, failure: AttemptError) -> Step | None:
        now_s = asyncio.get_running_loop().time()
        step = execution.after(failure, now_s=now_s, jitter=self._random.random())
        if step is None or not step.is_retry or self._workers.may_retry(work):
            return step
        return execution.later(step, jitter=self._random.random())

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
        work = self._work(execution, execution.context, "", _NOWHERE)
        return self._workers.closed_by(msgspec.structs.replace(work, agent=agent))

    def _begin(self, task: AgentTask, agent: str | None, mode: str | None) -> Execution:
        config, chosen = self.check(task, agent, mode)
        return Execution(
            task=task,
            agent=config,
            mode=chosen,
            context=current.get(),
            policy=self._retry,
            secrets=self._known_secrets(),
            chain=tuple(
                Successor(agent=taker, mode=self._mode(task, taker, mode), on=fallback.on)
                for fallback in config.successors
                for taker in (self._successor(config, fallback.agent),)
            ),
        )

    def _known_secrets(self) -> tuple[str, ...]:
        """Return what must not be kept, as it was at most some milliseconds ago: asking takes a while."""
        now_s = time.monotonic()
        if now_s - self._secrets_at_s > _SECRETS_FOR_S:
            self._secrets = known_secrets([known.api_key_env for known in self.registry.list_agents()])
            self._secrets_at_s = now_s
        return self._secrets

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

    def _work(self, execution: Execution, context: AttemptContext, text: str, site: Site) -> Work:
        task, agent = execution.task, execution.agent
        return Work(
            task=task,
            agent=agent,
            prompt=text,
            preface=execution.preface,
            system=agent.system if task.system is None else task.system,
            context=context,
            root=self._root,
            cwd=site.path,
            deadline=execution.deadline,
            leave_on=execution.leave_on,
            is_first_try=execution.is_first_try,
        )


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


async def _tell_going_on(execution: Execution, failure: AttemptError) -> None:
    """Say, durably, that a task is no longer parked: whoever finds it so must not believe that nothing was done."""
    _report_retry(execution, failure, number=execution.number)
    await execution.context.durable()


def _report_retry(
    execution: Execution, failure: AttemptError, *, number: int | None = None, delay_s: float = 0.0, agent: str = ""
) -> None:
    execution.context.report(
        TaskRetrying(
            at=now(),
            task_id=execution.task.task_id,
            attempt=execution.number + 1 if number is None else number,
            kind=failure.kind,
            error=redact(storable(str(failure)), execution.secrets),
            delay_s=delay_s,
            agent=agent,
        )
    )


def _learn(execution: Execution, failure: AttemptError, claim: Outcome | None, site: Site) -> Outcome | None:
    """Take in a failure; return the claim if it stands, and has only to be verified again.

    Raises:
        AttemptError: the failure itself, if a person's claim cannot be verified.

    """
    facts = failure.details if claim is None else claim.metadata
    execution.note_session(facts, str(site.path or ""))
    if failure.kind in _CORRECTABLE:
        execution.correct(str(failure))
        claim = None
    elif execution.mode == "interactive":
        raise failure
    if claim is None:
        execution.book(facts)
    return claim


def _as_outcome(claim: ExecutionResult | None) -> Outcome | None:
    """Return what an earlier attempt, or a person, says the outcome is."""
    if claim is None:
        return None
    metadata = {name: value for name, value in claim.metadata.items() if name not in _OF_EXECUTION}
    return Outcome(output=claim.output, data=claim.metadata.get("data"), metadata=metadata)


async def _as_it_is(outcome: Outcome) -> Delivered:
    return Delivered(outcome=outcome)


def _on_behalf_of(execution: Execution) -> AttemptContext:
    """Return the circumstances of an errand: the task's own, without what concerns its own worker alone."""
    context = execution.context

    def report(event: Event) -> None:
        if not isinstance(event, TaskRetrying | SessionStarted):
            context.report(event)

    return AttemptContext(
        run_id=context.run_id,
        attempt=execution.number,
        variables=context.variables,
        report=report,
        purse=context.purse,
        parking=context.parking,
        effect_key=context.effect_key,
        owner=context.owner,
        artefacts=context.artefacts,
        durable=context.durable,
    )
