"""Work done by a coding agent on the command line: one conversation, gone on with where it was broken off.

Knows sessions, permissions and what a success is; each tool's own ways are `cli_tools`', processes are `process`'s.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from orchestration.attempt import WorstCase
from orchestration.errors import InvalidTaskError
from orchestration.prompt import with_correction, with_schema
from orchestration.runners.cli_command import run_command
from orchestration.runners.cli_listener import Listener, StopListening, model_of
from orchestration.runners.cli_tools import TOOLS
from orchestration.runners.cli_tools.base import Job
from orchestration.runners.cli_verdict import IDLE_TIMEOUT_S, Ending, SessionLostError, outcome_of
from orchestration.runners.environment import environment, identity, secrets_in
from orchestration.runners.process import run_process
from orchestration.runners.program import attempt_folder, cannot_start, located, swept, write_files

if TYPE_CHECKING:
    from orchestration.agent_registry import AgentConfig
    from orchestration.attempt import Outcome, Work
    from orchestration.runners.cli_tools.base import CliTool, Invocation
    from orchestration.runners.process import ProcessEnd

__all__ = ["CliAgentRunner"]

_LEAST_USD = Decimal("0.01")  # a session that could not cost as much is not worth beginning
_INTERRUPTED = (
    "You were interrupted while you worked on this task. Look at what is done already, do what is missing, "
    "and then answer as you were asked to."
)
_CORRECTION = with_correction("", "|").partition("|")[0]


class CliAgentRunner:
    """Runs coding agents, and other programs that take a prompt. `root` is the project's folder."""

    def __init__(self, root: Path | None = None) -> None:
        self._root = root

    async def run(self, work: Work) -> Outcome:
        """Have the agent do the work once; a conversation that was broken off is gone on with.

        Raises:
            InvalidTaskError: if the agent's options do not go together.
            AttemptError: with the kind of what went wrong.

        """
        if work.agent.tool is None:
            return await run_command(work, self._root)
        tool = TOOLS[work.agent.tool]
        attempt = _Attempt(work=work, tool=tool, root=self._root, args=_args(work.agent, tool))
        try:
            return await attempt.make(attempt.session_to_resume())
        except SessionLostError:
            return await attempt.make("")

    async def aclose(self) -> None:
        """Do nothing: each process ends with its attempt."""


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """One attempt at a task with a tool."""

    work: Work
    tool: CliTool
    root: Path | None
    args: tuple[str, ...]

    @property
    def cwd(self) -> Path | None:
        """Where the agent works."""
        return self.work.cwd or self.root

    def session_to_resume(self) -> str:
        """Return the conversation that an earlier attempt of this agent has left; empty where there is none."""
        session = self.work.context.session
        if session is None or session.agent != self.work.agent.name or not self.tool.resumes:
            return ""
        is_elsewhere = session.workspace != str(self.cwd or "")
        return "" if self.tool.resumes_in_place and is_elsewhere else session.session_id

    async def make(self, resumed: str) -> Outcome:
        """Run the tool once, going on with a conversation where one is named.

        Raises:
            AttemptError: if it did not come to a success.
            SessionLostError: if the tool does not know the conversation.

        """
        await self._refuse_spent()
        async with attempt_folder() as folder, swept(self.cwd or Path(), self.tool.litter):
            job = self._job(folder, resumed)
            call = self.tool.invocation(job)
            await write_files(folder, call.files)
            env = environment(os.environ, (*self.tool.variables, *self.work.agent.env), call.env, identity(self.work))
            secrets = secrets_in(env)
            listener = Listener(self.work, self.tool, str(self.cwd or ""), secrets)
            if job.session_id:  # on the disk before money is spent on it
                listener.begin(job.session_id)
                await self.work.context.durable()
            try:
                end = await self._run(call, env, listener)
            finally:
                listener.settle()
        ending = Ending(work=self.work, tool=self.tool, seen=listener.seen, end=end, is_resumed=job.is_resumed)
        return outcome_of(ending, secrets)

    async def _refuse_spent(self) -> None:
        """Begin nothing under a budget that is used up. What a session will cost nobody knows, so it may overshoot.

        Raises:
            AttemptError: of kind `budget`; also for a tool that does not say what it costs, unless that is allowed.

        """
        work, purse = self.work, self.work.context.purse
        if purse is None or not purse.applies_to(work.task.task_id, work.agent.name):
            return
        least = WorstCase(input_tokens=1, output_tokens=0, cost_usd=_LEAST_USD if self.tool.states_cost else None)
        with work.deadline.held():
            call_id = await purse.reserve(work.task.task_id, work.agent.name, least)
        purse.release(call_id)

    def _job(self, folder: Path, resumed: str) -> Job:
        work, tool = self.work, self.tool
        schema = work.task.output_schema
        is_told = schema is not None and not tool.takes_schema(schema)
        prompt = _resuming(work) if resumed else work.prompt
        return Job(
            program=tuple(located(work.agent.command or (tool.program,), self.root)),
            prompt=with_schema(prompt, schema) if is_told else prompt,
            folder=folder,
            permissions=work.agent.permissions,
            system=work.system,
            model=model_of(work) or None,
            schema=None if is_told else schema,
            session_id=resumed or (str(uuid4()) if tool.starts_named else ""),
            is_resumed=bool(resumed),
            args=self.args,
        )

    async def _run(self, call: Invocation, env: dict[str, str], listener: Listener) -> ProcessEnd | None:
        """Return how the process ended; None where there was no use in letting it go on."""
        work = self.work
        try:
            return await run_process(
                call.command,
                stdin=call.stdin.encode(errors="replace"),
                env=env,
                cwd=self.cwd,
                on_line=listener.hear,
                raw=work.context.artefacts,
                idle_timeout_s=work.agent.idle_timeout_s or IDLE_TIMEOUT_S,
                owner=work.context.owner,
                secrets=secrets_in(env),
            )
        except StopListening:
            return None
        except (OSError, ValueError) as exc:
            raise cannot_start(
                call.command[0], work.task.task_id, exc, cwd=self.cwd, install=self.tool.install
            ) from exc


def _resuming(work: Work) -> str:
    """Return what to say in a conversation that knows the task already."""
    _, found, correction = work.prompt.rpartition(_CORRECTION)
    if found:
        return f"{found.lstrip()}{correction}"
    if work.context.draft or work.context.comment:  # a person's words on an earlier draft are in the prompt
        return work.prompt
    return _INTERRUPTED


def _args(agent: AgentConfig, tool: CliTool) -> tuple[str, ...]:
    """Return the user's own arguments for the tool.

    Raises:
        InvalidTaskError: if they are not words, or would take away the limits that `permissions` sets.

    """
    unknown = sorted(set(agent.extras) - {"args"})
    given = agent.extras.get("args", ())
    if unknown or isinstance(given, str) or not isinstance(given, list | tuple):
        raise InvalidTaskError(
            f"agent {agent.name!r}: extras is {dict(agent.extras)!r}; expected `args`, a list of words for "
            f"{tool.program!r}"
        )
    for word in (*agent.command[1:], *given):
        if not isinstance(word, str) or "\0" in word:
            raise InvalidTaskError(
                f"agent {agent.name!r}: {word!r} in the arguments for {tool.program!r} is not a word"
            )
        if agent.permissions != "full" and any(_is_bypass(word, bypass) for bypass in tool.bypasses):
            raise InvalidTaskError(
                f"agent {agent.name!r}: {word!r} takes away the limits that `permissions: {agent.permissions}` sets; "
                "remove it, or say `permissions: full` in a project that declares its sandbox"
            )
    return tuple(given)


def _is_bypass(word: str, bypass: str) -> bool:
    return word == bypass if bypass.startswith("-") else bypass in word
