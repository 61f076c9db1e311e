"""Work done by a script: a program with the task as one JSON object on stdin, and its answer on stdout.

Knows the script protocol; what goes wrong with programs is `program`'s, processes themselves are `process`'s.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from orchestration.agent_registry import AgentType
from orchestration.attempt import Outcome
from orchestration.errors import InvalidTaskError
from orchestration.runners.environment import identity
from orchestration.runners.process import run_process
from orchestration.runners.program import cannot_start, located, refuse_failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestration.attempt import Work

__all__ = ["STANDIN_SCRIPTS", "ScriptRunner"]

# The scripts of the synchronous system that this one replaces; they stand in for a provider that is not available.
STANDIN_SCRIPTS = {
    AgentType.ANTHROPIC_CLAUDE: "execute_claude.py",
    AgentType.OPENAI_GPT: "execute_gpt.py",
    AgentType.GOOGLE_GEMINI: "execute_gemini.py",
    AgentType.LOCAL: "execute_local.py",
}

# Fields that say how the orchestrator deals with a task, not what is to be done.
_NOT_THE_WORK = (
    "checks",
    "effects",
    "workspace",
    "on_conflict",
    "when",
    "for_each",
    "max_items",
    "adds_tasks",
    "wait",
)

_log = logging.getLogger(__name__)
_warned = False


class ScriptRunner:
    """Runs scripts, where the work wants to be done. A program's relative path is relative to the project's folder."""

    def __init__(self, scripts_dir: str | Path | None = None, root: Path | None = None) -> None:
        self._root = root
        self._scripts_dir = None if scripts_dir is None else ((root or Path()) / scripts_dir).absolute()

    async def run(self, work: Work) -> Outcome:
        """Run the agent's command once.

        Raises:
            InvalidTaskError: if the agent has no command.
            AttemptError: of kind `unavailable` if it cannot be started, `task_error` if it failed.

        """
        agent = work.agent
        if not agent.command:
            raise InvalidTaskError(
                f"agent {agent.name!r} of type {agent.agent_type.value!r} has no command; "
                "expected the program and its arguments, such as ('./review.sh', '--fast')"
            )
        return await self._run(located(agent.command, self._root), work)

    def standin_path(self, agent_type: AgentType) -> Path | None:
        """Return where the script that stands in for a provider belongs; None where there is no folder for it."""
        return None if self._scripts_dir is None else self._scripts_dir / STANDIN_SCRIPTS[agent_type]

    async def run_standin(self, work: Work, script: Path) -> Outcome:
        """Run the script that stands in for the agent's provider once.

        Raises:
            AttemptError: as `run`.

        """
        _warn_deprecated(script)
        outcome = await self._run([sys.executable, str(script)], work)
        return Outcome(output=outcome.output, metadata={"script": script.name})

    async def aclose(self) -> None:
        """Do nothing: each process ends with its attempt."""

    async def _run(self, command: Sequence[str], work: Work) -> Outcome:
        env = os.environ | identity(work)
        cwd = work.cwd or self._root
        try:
            end = await run_process(command, stdin=_as_json(work), env=env, cwd=cwd, owner=work.context.owner)
        except (OSError, ValueError) as exc:
            raise cannot_start(command[0], work.task.task_id, exc, cwd=cwd) from exc
        refuse_failure(command, end, instead="have it write a file and print the file's path")
        return Outcome(output=end.stdout.decode(errors="replace").rstrip("\r\n"))


def _as_json(work: Work) -> bytes:
    """Return the script protocol's one JSON object: the task's fields, and what this attempt adds to them."""
    task: dict[str, Any] = msgspec.to_builtins(work.task)
    for name in _NOT_THE_WORK:
        del task[name]
    for name in ("item", "writes"):  # of those tasks alone that have them, so that older scripts see what they know
        if not task[name]:
            del task[name]
    context = work.context
    return msgspec.json.encode(
        task
        | {
            "prompt": work.prompt,
            "system": work.system,
            "agent": work.agent.name,
            "model": work.task.metadata.get("model") or work.agent.model,
            "max_tokens": work.task.max_tokens or work.agent.max_tokens,
            "inputs": dict(context.inputs),
            "variables": dict(context.variables),
            "run_id": context.run_id,
            "attempt": context.attempt,
            "idempotency_key": work.idempotency_key,
        }
    )


def _warn_deprecated(script: Path) -> None:
    """Warn once per process that scripts standing in for providers are on their way out."""
    global _warned  # noqa: PLW0603 -- once per process is what it says
    if _warned:
        return
    _warned = True
    try:
        warnings.warn(
            f"running {script.name} in place of a provider is deprecated; install its extra and set its key, "
            "or make the script an agent of type 'script' (see the migration guide)",
            DeprecationWarning,
            stacklevel=2,
        )
    except DeprecationWarning as exc:  # `-W error` must not fail whichever task happens to come first
        _log.warning("%s", exc)


async def is_file(path: Path) -> bool:
    """Say whether there is such a file, without blocking the event loop."""
    return await asyncio.to_thread(path.is_file)
