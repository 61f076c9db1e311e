"""Sends word to the user, one at a time: by a command of theirs, and by a webhook. Knows no store and no schedule.

Nothing that goes wrong here is raised: it is returned as the reason why nobody was told.
"""

from __future__ import annotations

import asyncio
import os
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

import msgspec

from orchestration.errors import InvalidTaskError
from orchestration.notice import check_address, document
from orchestration.redact import known_secrets, redact
from orchestration.runners.process import run_process
from orchestration.runners.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from orchestration.notice import Call, Notice
    from orchestration.run_state import TaskState

__all__ = ["COMMAND_TIMEOUT_S", "WEBHOOK_TIMEOUT_S", "Messenger"]

COMMAND_TIMEOUT_S = 30.0
WEBHOOK_TIMEOUT_S = 10.0
_SAID_CHARS = 300


class Messenger:
    """The messenger of one project.

    `commands_of` returns what a person can type about a task. `secrets` returns what must never be sent or kept;
    `owner` marks the processes, so that none outlives an orchestrator that was killed.
    """

    def __init__(
        self,
        notice: Notice,
        *,
        project: str,
        root: Path | None = None,
        commands_of: Callable[[TaskState], Sequence[str]] = lambda _known: (),
        secrets: Callable[[], tuple[str, ...]] = known_secrets,
        owner: str = "",
    ) -> None:
        self._notice = notice
        self._project = project
        self._root = root
        self._commands_of = commands_of
        self._secrets = secrets
        self._owner = owner
        # Daemons, unlike those of `asyncio.to_thread`: a server that never ends its answer must not hold the program.
        self._threads = Threads(limit=1)

    async def tell(self, call: Call) -> str:
        """Tell the user; returns what went wrong, empty if nothing did."""
        notice = self._notice
        address = os.environ.get(notice.webhook_env, "") if notice.webhook_env else notice.webhook
        secrets = (*filter(None, [address]), *self._secrets())
        commands = self._commands_of(call.known)
        said = document(call, project=self._project, commands=commands, include_prompt=notice.include_prompt)
        said = redact(said, secrets)
        problems = []
        if notice.command:
            problems.append(await self._run(notice.command, said))
        if notice.webhook or notice.webhook_env:
            problems.append(await self._post(address, msgspec.json.encode(said)))
        return redact("; ".join(filter(None, problems)), secrets)

    async def aclose(self) -> None:
        """Let go of the thread; calling it twice is fine."""
        self._threads.close()

    async def _run(self, command: Sequence[str], said: dict[str, Any]) -> str:
        """Run the user's command; it gets what is said on stdin, and the most needed of it in its environment."""
        program = command[0]
        if self._root is not None and "/" in program:
            program = str(self._root / program)
        env = os.environ | {
            "ORCHESTRATION_PROJECT": self._project,
            "ORCHESTRATION_TASK_ID": said["task_id"],
            "ORCHESTRATION_OCCASION": said["occasion"],
            "ORCHESTRATION_NEED": said["need"] or "",
        }
        stdin = msgspec.json.encode(said)
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                end = await run_process(
                    [program, *command[1:]], stdin=stdin, env=env, cwd=self._root, owner=self._owner
                )
        except TimeoutError:
            return f"the command {command[0]!r} was still running after {COMMAND_TIMEOUT_S:g} s and was ended"
        except (OSError, ValueError) as exc:
            return f"the command {command[0]!r} cannot be started: {exc}; correct `command` under notify"
        if end.exit_code == 0 and not end.is_overlong:
            return ""
        stderr = _in_one_line(end.stderr_tail)
        said_there = f"; its stderr ends: {stderr[-_SAID_CHARS:]}" if stderr else ""
        return f"the command {command[0]!r} ended with exit code {end.exit_code}{said_there}"

    async def _post(self, address: str, body: bytes) -> str:
        """Send the body to the webhook."""
        if not address:
            return f"the variable {self._notice.webhook_env!r} is not set; set it to the webhook's address"
        try:
            check_address(address, f"the webhook in {self._notice.webhook_env!r}")
        except InvalidTaskError as exc:
            return str(exc)
        host = urlsplit(address).hostname
        try:
            async with asyncio.timeout(WEBHOOK_TIMEOUT_S):
                problem = await self._threads.run(lambda: _send(address, body))
        except TimeoutError:
            return f"the webhook at {host} did not answer within {WEBHOOK_TIMEOUT_S:g} s"
        except (OSError, ValueError, HTTPException) as exc:
            return f"the webhook at {host} cannot be reached: {exc}"
        return problem and f"the webhook at {host} {problem}"


def _send(address: str, body: bytes) -> str:
    """POST the body and return what is wrong with the answer; empty for any 2xx. Blocks."""
    request = Request(  # noqa: S310 -- `check_address` has let http and https pass, nothing else
        address,
        data=body,
        headers={"Content-Type": "application/json", "User-Agent": "async-orchestrator"},
        method="POST",
    )
    # No handler for redirects, which would turn the POST into a GET without its body, and none for files or FTP.
    opener = OpenerDirector()
    for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler()):
        opener.add_handler(handler)
    with opener.open(request, timeout=WEBHOOK_TIMEOUT_S) as answer:
        status: int = answer.status
        if 200 <= status < 300:  # noqa: PLR2004 -- what HTTP calls success
            return ""
        if 300 <= status < 400:  # noqa: PLR2004 -- and what it calls a redirection
            return f"answered {status}: it has moved, and redirects are not followed; give the new address"
        said = _in_one_line(answer.read(_SAID_CHARS))
        return f"answered {status}" + (f": {said}" if said else "")


def _in_one_line(said: bytes) -> str:
    """Return what the other side said so that it fits into a message: many answer with a page of HTML."""
    return " ".join(said.decode(errors="replace").split())
