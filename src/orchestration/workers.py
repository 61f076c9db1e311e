"""Who carries out an attempt: each kind of worker behind one door, and the script that stands in for a model.

Knows the runners; nothing of retries, checks or what becomes of a result.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
import weakref
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from orchestration import prompt, runners
from orchestration.agent_registry import LLM_TYPES, AgentType
from orchestration.errors import AttemptError, OrchestrationError, ProviderUnavailableError
from orchestration.redact import redact
from orchestration.runners.person import PersonRunner
from orchestration.runners.python import PythonRunner
from orchestration.runners.script import STANDIN_SCRIPTS, ScriptRunner, is_file
from orchestration.task import FailureKind

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from orchestration.attempt import Outcome, Work
    from orchestration.runners.base import Runner
    from orchestration.runners.cli_agent import CliAgentRunner
    from orchestration.runners.llm import LaneLimits, LlmRunner

__all__ = ["Workers"]

_log = logging.getLogger(__name__)

_KEY_VARIABLES = {
    AgentType.ANTHROPIC_CLAUDE: "ANTHROPIC_API_KEY",
    AgentType.OPENAI_GPT: "OPENAI_API_KEY",
    AgentType.GOOGLE_GEMINI: "GEMINI_API_KEY",
}


class Workers:
    """The runners of one executor. What they share (clients, threads) is released by `aclose`."""

    def __init__(
        self,
        root: Path | None,
        *,
        scripts_dir: str | Path | None,
        limits: Mapping[str, LaneLimits] | None,
        rng: random.Random,
    ) -> None:
        self._root = root
        self._limits = limits
        self._random = rng
        self._script = ScriptRunner(scripts_dir, root)
        self._person = PersonRunner()
        self._guests = _Guests()
        self._runners: dict[AgentType, Runner] = {
            AgentType.SCRIPT: self._script,
            AgentType.PYTHON: PythonRunner(root),
        }

    @cached_property
    def llm(self) -> LlmRunner:
        """The runner of models, made for the first task that wants one: its imports are half of this package's."""
        return runners.LlmRunner(self._limits, root=self._root, rng=self._random)

    @cached_property
    def cli(self) -> CliAgentRunner:
        """The runner of coding agents and other programs that take a prompt, made for the first such task."""
        return runners.CliAgentRunner(self._root)

    def reopen(self) -> None:
        """Try again to call models wherever failures, such as an account without money, ended that."""
        if "llm" in vars(self):
            self.llm.reopen()

    async def aclose(self) -> None:
        """Release what executions share; twice is fine."""
        made = [getattr(self, name) for name in ("llm", "cli") if name in vars(self)]
        for runner in (*made, *self._runners.values()):
            await runner.aclose()

    def may_retry(self, work: Work) -> bool:
        """Tell whether the lane of the work's model allows another try now."""
        if work.agent.agent_type not in LLM_TYPES:
            return True
        try:
            return self.llm.may_retry(work)
        except ProviderUnavailableError:  # its script stands in
            return True

    def closed_by(self, work: Work) -> FailureKind | None:
        """Return the kind of failure for which the work's model takes no calls now, if it does not."""
        if work.agent.agent_type not in LLM_TYPES:
            return None
        try:
            return self.llm.closed_by(work)
        except ProviderUnavailableError:
            return None  # found out, and told, by the attempt itself

    async def ask_person(self, work: Work) -> Outcome:
        """Return what a person needs to do the work."""
        return await self._person.run(work)

    async def attempt(self, work: Work, *, is_guest: bool, secrets: tuple[str, ...]) -> Outcome:
        """Have the worker do it once; whatever goes wrong leaves as an `AttemptError`.

        `is_guest`: the task was handed over to this agent, and takes one of the places it has for such.

        Raises:
            AttemptError: if it failed; or another error of this package, as it is.

        """
        do = self._door(work.agent.agent_type)
        try:
            return await (self._guests.run(do, work) if is_guest else do(work))
        except OrchestrationError:
            raise
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            raise AttemptError(
                f"the worker of task {work.task.task_id!r} was cancelled from within", kind=FailureKind.TASK_ERROR
            ) from None
        except Exception as exc:
            trace = redact(traceback.format_exc(), secrets)
            _log.error("task %r: unexpected error\n%s", work.task.task_id, trace)
            raise AttemptError(f"{type(exc).__name__}: {exc}", kind=FailureKind.TASK_ERROR) from exc

    def _door(self, kind: AgentType) -> Callable[[Work], Awaitable[Outcome]]:
        if kind is AgentType.CLI:
            return self.cli.run
        runner = self._runners.get(kind)
        return self._ask_model if runner is None else runner.run

    async def _ask_model(self, work: Work) -> Outcome:
        """Call the model or, where that is not possible or not wanted, the script that stands in for it."""
        if not work.task.metadata.get("use_direct_llm", True):
            return await self._ask_standin(work, "direct_llm_disabled", "use_direct_llm is false")
        try:
            return await self.llm.run(work)
        except ProviderUnavailableError as exc:
            return await self._ask_standin(work, exc.reason, str(exc))

    async def _ask_standin(self, work: Work, reason: str, why: str) -> Outcome:
        script = self._script.standin_path(work.agent.agent_type)
        if script is None or not await is_file(script):
            raise AttemptError(
                _ways_out(work, why, script), kind=FailureKind.UNAVAILABLE, details={"fallback_reason": reason}
            )
        _log.warning("task %r: %s; running %s in place of the provider", work.task.task_id, why, script)
        told = msgspec.structs.replace(work, prompt=prompt.with_schema(work.prompt, work.task.output_schema))
        try:
            outcome = await self._script.run_standin(told, script)
        except AttemptError as exc:
            exc.details["fallback_reason"] = reason
            raise
        return msgspec.structs.replace(outcome, metadata={**outcome.metadata, "fallback_reason": reason})


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
