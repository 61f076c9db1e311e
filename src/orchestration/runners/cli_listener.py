"""A coding agent's lines as facts while it works: its session, a bounded account of what it does, what it used."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestration.clock import now
from orchestration.events import CallFinished, SessionStarted, WorkerReported
from orchestration.redact import redact
from orchestration.runners.cli_tools.base import Transcript

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestration.attempt import Work
    from orchestration.runners.cli_tools.base import Call, CliTool

__all__ = ["REPORTS_MAX", "REPORT_CHARS", "Listener", "StopListening", "spending"]

REPORT_CHARS = 200
_LOOKED_AT_CHARS = 4_000  # of a text that may have millions; enough for 200 that are no secret and no space
REPORTS_MAX = 300  # per attempt; a chatty agent must not fill the project's file


class StopListening(Exception):  # noqa: N818 -- no error: the transcript says what is wrong
    """There is no use in letting the tool go on."""


class Listener:
    """Hears one process. `secrets` are kept out of what it reports."""

    def __init__(self, work: Work, tool: CliTool, workspace: str, secrets: tuple[str, ...] = ()) -> None:
        self.seen = Transcript()
        self._work = work
        self._tool = tool
        self._workspace = workspace
        self._secrets = secrets
        self._reported = 0
        self._session_id = ""
        self._started_s = asyncio.get_running_loop().time()

    def begin(self, session_id: str) -> None:
        """Report the conversation that is about to be used, or that the tool has just named."""
        self._session_id = session_id
        self._report(
            SessionStarted(
                at=now(),
                task_id=self._work.task.task_id,
                attempt=self._work.context.attempt,
                agent=self._work.agent.name,
                session_id=session_id,
                workspace=self._workspace,
            )
        )

    def hear(self, line: bytes, is_cut: bool) -> None:  # noqa: FBT001 -- the shape that run_process asks for
        """Take in one line of the tool's stdout.

        Raises:
            StopListening: if the tool goes on with what cannot succeed.

        """
        if is_cut:
            self.seen.facts["lines_dropped"] = self.seen.facts.get("lines_dropped", 0) + 1
            return
        for kind, text in self._tool.read(line, self.seen):
            if self._reported == REPORTS_MAX:
                continue
            shown = " ".join(redact(text[:_LOOKED_AT_CHARS], self._secrets).split())[:REPORT_CHARS]
            if shown:
                self._reported += 1
                self._report(
                    WorkerReported(
                        at=now(),
                        task_id=self._work.task.task_id,
                        attempt=self._work.context.attempt,
                        kind=kind,
                        text=shown.encode(errors="replace").decode(),
                    )
                )
        if self.seen.session_id and self.seen.session_id != self._session_id:
            self.begin(self.seen.session_id)
        if self.seen.is_hopeless:
            raise StopListening

    def settle(self) -> None:
        """Report what was used, as far as it is known; to be called however the process ended."""
        work, purse = self._work, self._work.context.purse
        duration_s = asyncio.get_running_loop().time() - self._started_s
        for call in self.seen.account():
            self._report(
                CallFinished(
                    at=now(),
                    task_id=work.task.task_id,
                    attempt=work.context.attempt,
                    agent=work.agent.name,
                    tags=() if purse is None else purse.tags_of(work.task.task_id),
                    provider=self._tool.program,
                    model=call.model or model_of(work),
                    cost_usd=call.cost_usd,
                    duration_s=duration_s,
                    finish_reason="stop" if self.seen.is_done else "error",
                    **call.usage._asdict(),
                )
            )

    def _report(self, event: SessionStarted | WorkerReported | CallFinished) -> None:
        self._work.context.report(event)


def model_of(work: Work) -> str:
    """Return the model the task, or else its agent, asks for; empty: the tool's own choice."""
    return work.task.metadata.get("model") or work.agent.model or ""


def spending(calls: Iterable[Call]) -> dict[str, Any]:
    """Return `usage` and `cost_usd` of all calls; a cost that is unknown in part is unknown."""
    calls = list(calls)
    if not calls:
        return {}
    usage: dict[str, int] = {}
    for call in calls:
        for name, tokens in call.usage._asdict().items():
            usage[name] = usage.get(name, 0) + tokens
    costs = [None if call.cost_usd is None else Decimal(call.cost_usd) for call in calls]
    known = [cost for cost in costs if cost is not None]
    return {"usage": usage, "cost_usd": str(sum(known)) if len(known) == len(costs) else None}
