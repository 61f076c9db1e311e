"""Work done by any program that takes a prompt and leaves a result. Knows no tool's ways."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from orchestration.attempt import Outcome
from orchestration.errors import AttemptError, FailureKind, InvalidTaskError
from orchestration.prompt import with_schema
from orchestration.runners.cli_tools.command import RESULT_FILE, invocation, picked
from orchestration.runners.environment import environment, identity, secrets_in
from orchestration.runners.process import STDOUT_MAX_BYTES, run_process
from orchestration.runners.program import attempt_folder, cannot_start, located, refuse_failure, write_files

if TYPE_CHECKING:
    from pathlib import Path

    from orchestration.attempt import Work
    from orchestration.runners.cli_tools.base import Invocation
    from orchestration.runners.process import ProcessEnd

__all__ = ["run_command"]


async def run_command(work: Work, root: Path | None) -> Outcome:
    """Run the agent's command once; its result is its stdout, the file it was told to write, or a part of either.

    Raises:
        InvalidTaskError: if the agent has no command.
        AttemptError: of kind `unavailable` if it cannot be started, `timeout` if it fell silent, `bad_output` if the
            result is not where it should be, else `task_error`.

    """
    agent = work.agent
    if not agent.command:
        raise InvalidTaskError(
            f"agent {agent.name!r} of type {agent.agent_type.value!r} has neither a command nor a tool; expected "
            "the program and its arguments, such as ('./review.sh', '--fast'), or a tool such as 'claude'"
        )
    prompt = with_schema(work.prompt, work.task.output_schema)
    async with attempt_folder() as folder:
        call = invocation(agent.command, f"{work.system}\n\n{prompt}" if work.system else prompt, folder)
        await write_files(folder, call.files)
        end = await _run(work, call, root)
        refuse_failure(agent.command, end, instead="have it write its result to {result_file}")
        text = await _result(work, end, folder)
    output, data = (text, None) if agent.result is None else picked(text, agent.result)
    kept = {} if work.context.artefacts is None else {"artefacts": str(work.context.artefacts)}
    return Outcome(output=output, data=data, metadata=kept)


async def _run(work: Work, call: Invocation, root: Path | None) -> ProcessEnd:
    command = located(call.command, root)
    env = environment(os.environ, work.agent.env, identity(work))
    try:
        return await run_process(
            command,
            stdin=call.stdin.encode(errors="replace"),
            env=env,
            cwd=work.cwd or root,
            raw=work.context.artefacts,
            idle_timeout_s=work.agent.idle_timeout_s,
            owner=work.context.owner,
            secrets=secrets_in(env),
        )
    except (OSError, ValueError) as exc:
        raise cannot_start(command[0], work.task.task_id, exc, cwd=work.cwd or root) from exc


async def _result(work: Work, end: ProcessEnd, folder: Path) -> str:
    """Return what the program left: in the file that it was told to write, or else on stdout.

    Raises:
        AttemptError: of kind `bad_output`, if it wrote no such file, or one that is too large.

    """
    if not any("{result_file}" in argument for argument in work.agent.command):
        return end.stdout.decode(errors="replace").rstrip("\r\n")
    program = work.agent.command[0]
    try:
        raw = await asyncio.to_thread(_read, folder / RESULT_FILE)
    except OSError as exc:
        raise AttemptError(
            f"{program!r} ended well but did not write its {{result_file}}: {exc.strerror or exc}",
            kind=FailureKind.BAD_OUTPUT,
        ) from exc
    if len(raw) > STDOUT_MAX_BYTES:
        raise AttemptError(
            f"the result of {program!r} has more than {STDOUT_MAX_BYTES:,} bytes; "
            "have it keep the rest in a file of the project and name that",
            kind=FailureKind.BAD_OUTPUT,
        )
    return raw.decode(errors="replace").rstrip("\r\n")


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(STDOUT_MAX_BYTES + 1)
