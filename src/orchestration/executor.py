"""One task, executed: who does it, in which mode, how often it is tried, how long it may take.

Knows nothing of other tasks and stores nothing. A failing task is a result; only a caller's mistake is an exception.
"""

from __future__ import annotations

import asyncio
import logging
import random
import traceback
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from orchestration import prompt
from orchestration.agent_registry import AgentType
from orchestration.answer import form_of
from orchestration.attempt import Outcome, Work, current
from orchestration.errors import AttemptError, OrchestrationError, ProviderUnavailableError
from orchestration.events import TaskRetrying
from orchestration.redact import known_secrets, redact
from orchestration.retry import RetryPolicy, decide
from orchestration.runners.llm import LlmRunner
from orchestration.runners.person import PersonRunner
from orchestration.runners.python import PythonRunner
from orchestration.runners.script import STANDIN_SCRIPTS, ScriptRunner, is_file
from orchestration.task import ExecutionResult, ExecutionStatus, FailureKind, check_mode

if TYPE_CHECKING:
    from types import TracebackType

    from orchestration.agent_registry import AgentConfig, AgentRegistry
    from orchestration.answer import AnswerForm
    from orchestration.attempt import AttemptContext
    from orchestration.runners.base import Runner
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


@dataclass(slots=True)
class _Execution:
    """One call of `execute`: what it is about, and how far it has come."""

    task: AgentTask
    agent: AgentConfig
    mode: str
    context: AttemptContext
    secrets: tuple[str, ...]
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    attempts: int = 0
    spent: dict[str, Any] = field(default_factory=dict)  # `usage` and `cost_usd` of the attempts that failed

    def next_context(self) -> AttemptContext:
        """Count an attempt and return its circumstances."""
        self.attempts += 1
        return self.context if self.attempts == 1 else replace(self.context, attempt=self.number)

    @property
    def number(self) -> int:
        """The attempt's number in the life of the task, which earlier runs have begun to count."""
        return self.context.attempt + self.attempts - 1

    def result(
        self, status: ExecutionStatus, metadata: dict[str, Any], *, output: str = "", error: str = ""
    ) -> ExecutionResult:
        """Return the result, fit to be stored and shown."""
        is_over = status is not ExecutionStatus.PENDING
        return ExecutionResult(
            task_id=self.task.task_id,
            agent=self.agent.name,
            status=status,
            started_at=self.started_at,
            completed_at=datetime.now(UTC) if is_over else None,
            output=redact(_storable(output), self.secrets),
            error=redact(_storable(error), self.secrets),
            metadata=redact({"execution_mode": self.mode, "attempts": self.attempts} | metadata, self.secrets),
        )


class TaskExecutor:
    """Executes tasks, as many at once as callers ask for.

    `scripts_dir` holds the scripts that stand in for unavailable providers. `root` is the project's folder: where
    programs run, and what templates and functions can reach. What it opens (clients, threads) is shared by all
    executions and released by `aclose`. `registry` and `default_agent` can be read back.

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
    ) -> None:
        check_mode(execution_mode)
        self.registry = registry
        self.default_agent = default_agent
        self._execution_mode = execution_mode
        self._retry = retry or RetryPolicy()
        self._root = None if root is None else Path(root)
        self._llm = LlmRunner()
        self._script = ScriptRunner(scripts_dir, self._root)
        self._person = PersonRunner()
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

        """
        config, chosen = self.check(task, agent, mode)
        secrets = known_secrets([known.api_key_env for known in self.registry.list_agents()])
        execution = _Execution(task, config, chosen, current.get(), secrets)
        timeout_s = task.timeout_s or config.timeout_s
        try:
            if timeout_s is None:
                outcome = await self._run(execution)
            else:
                async with asyncio.timeout(timeout_s):
                    outcome = await self._run(execution)
        except TimeoutError:  # ours: what a worker raises arrives as an AttemptError
            return _failed(
                execution,
                AttemptError(
                    f"task {task.task_id!r} did not finish within {timeout_s:g} s; raise its timeout_s",
                    kind=FailureKind.TIMEOUT,
                ),
            )
        except AttemptError as exc:
            return _failed(execution, exc)
        return _finished(execution, outcome)

    def check(self, task: AgentTask, agent: str | None = None, mode: str | None = None) -> tuple[AgentConfig, str]:
        """Return the agent and the mode that `execute` would use; nothing is done.

        Raises:
            UnknownAgentError: naming the agent and listing the known ones.
            InvalidTaskError: naming the three modes.

        """
        config = self.registry.require(agent or task.agent or self.default_agent)
        chosen = next(given for given in (mode, task.mode, config.mode, self._execution_mode) if given is not None)
        check_mode(chosen)
        return config, "interactive" if config.agent_type is AgentType.HUMAN else chosen

    async def aclose(self) -> None:
        """Release what executions share; twice is fine."""
        for runner in (self._llm, *self._runners.values()):
            await runner.aclose()

    async def __aenter__(self) -> Self:
        """Return the executor itself."""
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release what executions share."""
        await self.aclose()

    async def _run(self, execution: _Execution) -> Outcome:
        """Return what the worker made, after as many attempts as it takes and the policy allows."""
        task = execution.task
        text = await self._prompt(execution)
        if execution.mode == "interactive":
            return await self._person.run(self._work(execution, execution.context, text))
        form = await form_of(task)
        said = text
        while True:
            work = self._work(execution, execution.next_context(), said)
            try:
                return await self._attempt(work, form, execution)
            except AttemptError as exc:
                execution.spent = _spending(execution.spent, exc.details)
                delay_s = self._delay(execution, exc)
                if delay_s is None:
                    raise
                said = prompt.with_correction(text, str(exc)) if exc.kind is FailureKind.BAD_OUTPUT else text
                _report_retry(execution, exc, delay_s)
            await asyncio.sleep(delay_s)

    async def _prompt(self, execution: _Execution) -> str:
        task, kind = execution.task, execution.agent.agent_type
        text = await prompt.render(task, execution.context, root=self._root)
        if kind not in _ANY_SIZE or execution.mode == "interactive":
            prompt.check_size(task, text)
        return prompt.with_schema(text, task.output_schema) if kind in _TOLD_SCHEMA else text

    def _work(self, execution: _Execution, context: AttemptContext, text: str) -> Work:
        task, agent = execution.task, execution.agent
        return Work(
            task=task,
            agent=agent,
            prompt=text,
            system=agent.system if task.system is None else task.system,
            context=context,
            root=self._root,
        )

    async def _attempt(self, work: Work, form: AnswerForm | None, execution: _Execution) -> Outcome:
        """Have the worker do it once; whatever goes wrong leaves as an `AttemptError`."""
        runner = self._runners.get(work.agent.agent_type)
        try:
            outcome = await (self._ask_model(work) if runner is None else runner.run(work))
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

    def _delay(self, execution: _Execution, exc: AttemptError) -> float | None:
        limit = execution.task.max_attempts or execution.agent.max_attempts
        policy = self._retry if limit is None else replace(self._retry, max_attempts=limit)
        return decide(
            exc.kind,
            execution.attempts,
            policy,
            retry_after_s=exc.retry_after_s,
            jitter=random.random(),  # noqa: S311 -- spreads retries, guards nothing
        )


def _is_cancelled() -> bool:
    """Say whether someone cancelled this very task; a CancelledError can also leak out of a worker's own affairs."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _report_retry(execution: _Execution, exc: AttemptError, delay_s: float) -> None:
    execution.context.report(
        TaskRetrying(
            at=datetime.now(UTC),
            task_id=execution.task.task_id,
            attempt=execution.number + 1,
            kind=exc.kind,
            error=redact(_storable(str(exc)), execution.secrets),
            delay_s=delay_s,
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


def _finished(execution: _Execution, outcome: Outcome) -> ExecutionResult:
    metadata = {**outcome.metadata, **_spending(execution.spent, outcome.metadata)}
    if outcome.data is not None:
        metadata["data"] = outcome.data
    status = ExecutionStatus.SUCCESS if execution.mode == "api" else ExecutionStatus.PENDING
    return execution.result(status, metadata, output=outcome.output)


def _failed(execution: _Execution, exc: AttemptError) -> ExecutionResult:
    metadata = {**exc.details, **execution.spent, "failure_kind": exc.kind.value}
    return execution.result(ExecutionStatus.FAILED, metadata, error=str(exc))


def _spending(earlier: dict[str, Any], later: Any) -> dict[str, Any]:
    """Return the usage and cost of both; a cost that is unknown in part is unknown."""
    if "usage" not in later:
        return earlier
    if not earlier:
        return {"usage": later["usage"], "cost_usd": later["cost_usd"]}
    costs = (earlier["cost_usd"], later["cost_usd"])
    return {
        "usage": {name: count + later["usage"].get(name, 0) for name, count in earlier["usage"].items()},
        "cost_usd": None if None in costs else str(sum(map(Decimal, costs))),
    }


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


def _storable(text: str) -> str:
    """Replace lone surrogates, which no UTF-8 file can hold."""
    if text.isascii():
        return text
    return text.encode(errors="replace").decode()
