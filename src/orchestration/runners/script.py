"""Work done by a program: a script with the task as JSON on stdin, or a command-line tool with the prompt as text.

Knows the script protocol and what goes wrong with programs; processes themselves are `process`'s.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
import sys
import textwrap
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from orchestration.agent_registry import AgentType
from orchestration.attempt import Outcome
from orchestration.errors import AttemptError, InvalidTaskError
from orchestration.runners.process import STDOUT_MAX_BYTES, ProcessEnd, run_process
from orchestration.task import FailureKind

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
    """Runs programs, where the work wants to be done. A program's relative path is relative to the project's folder."""

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
        stdin = _as_text(work) if agent.agent_type is AgentType.CLI else _as_json(work)
        program = agent.command[0]
        if self._root is not None and "/" in program:
            program = str(self._root / program)
        return await self._run([program, *agent.command[1:]], work, stdin)

    def standin_path(self, agent_type: AgentType) -> Path | None:
        """Return where the script that stands in for a provider belongs; None where there is no folder for it."""
        return None if self._scripts_dir is None else self._scripts_dir / STANDIN_SCRIPTS[agent_type]

    async def run_standin(self, work: Work, script: Path) -> Outcome:
        """Run the script that stands in for the agent's provider once.

        Raises:
            AttemptError: as `run`.

        """
        _warn_deprecated(script)
        outcome = await self._run([sys.executable, str(script)], work, _as_json(work))
        return Outcome(output=outcome.output, metadata={"script": script.name})

    async def aclose(self) -> None:
        """Do nothing: each process ends with its attempt."""

    async def _run(self, command: Sequence[str], work: Work, stdin: bytes) -> Outcome:
        context = work.context
        env = os.environ | {
            "ORCHESTRATION_TASK_ID": work.task.task_id,
            "ORCHESTRATION_RUN_ID": context.run_id,
            "ORCHESTRATION_ATTEMPT": str(context.attempt),
            "ORCHESTRATION_IDEMPOTENCY_KEY": work.idempotency_key,
        }
        try:
            end = await run_process(command, stdin=stdin, env=env, cwd=work.cwd or self._root, owner=context.owner)
        except (OSError, ValueError) as exc:
            raise AttemptError(
                f"cannot start {command[0]!r} for task {work.task.task_id!r}: {_why(command[0], exc)}",
                kind=FailureKind.UNAVAILABLE,
            ) from exc
        _refuse_failure(command, end)
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


def _as_text(work: Work) -> bytes:
    text = f"{work.system}\n\n{work.prompt}" if work.system else work.prompt
    return text.encode(errors="replace")


def _refuse_failure(command: Sequence[str], end: ProcessEnd) -> None:
    """Raise what the end of the process means, unless it is a success."""
    shown = textwrap.shorten(" ".join(command), 200)
    if end.is_overlong:
        raise AttemptError(
            f"{shown!r} printed more than {STDOUT_MAX_BYTES:,} bytes and was stopped; "
            "have it write a file and print the file's path",
            kind=FailureKind.TASK_ERROR,
        )
    if end.exit_code == 0:
        return
    how = f"ended with exit code {end.exit_code}" if end.exit_code > 0 else f"was killed by {_signal_name(end)}"
    said = end.stderr_tail.decode(errors="replace").strip()
    raise AttemptError(
        f"{shown!r} {how}; its stderr ends: {said}" if said else f"{shown!r} {how} and said nothing on stderr",
        kind=FailureKind.TASK_ERROR,
        details={"exit_code": end.exit_code},
    )


def _signal_name(end: ProcessEnd) -> str:
    try:
        return f"{signal.Signals(-end.exit_code).name} (signal {-end.exit_code})"
    except ValueError:  # a real-time signal
        return f"signal {-end.exit_code}"


def _why(program: str, exc: OSError | ValueError) -> str:
    """Say why a program did not start, and what to do."""
    if isinstance(exc, FileNotFoundError) and "/" not in program:
        return f"no such program on the PATH; install it, or write './{program}' for a file of the project"
    if isinstance(exc, FileNotFoundError) and Path(program).exists():
        return "the interpreter its first line names, or the project's folder, does not exist"
    if isinstance(exc, FileNotFoundError):
        return "no such file; check the path, which is relative to the project's folder"
    if isinstance(exc, PermissionError):
        return f"it is not executable; run `chmod +x {program}`, or name its interpreter first"
    if isinstance(exc, OSError) and exc.errno == errno.ENOEXEC:
        return "it is neither a program nor a script with a '#!' line; add one, or name its interpreter first"
    return str(exc)


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
