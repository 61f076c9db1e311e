"""What people ask of a project that is running: small files put beside its state, answered by small files.

The live orchestrator is the only writer of the state, so another process never records anything itself: it leaves a
request here and waits for the reply. A request is taken by renaming it, so it is applied at most once; whoever asked
can withdraw it until then. Knows no terminal.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from decimal import Decimal  # noqa: TC003 -- msgspec reads the annotations at run time
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from orchestration.answer import form_of
from orchestration.errors import OrchestrationError
from orchestration.graph import dependents, downstream
from orchestration.orchestrator import state_path
from orchestration.task import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from orchestration.orchestrator import ProjectOrchestrator
    from orchestration.run_state import RunState, TaskState

__all__ = ["Inbox", "Reply", "Request", "RequestError", "apply", "ask", "inbox_path", "serve"]

_log = logging.getLogger("orchestration")

POLL_S = 0.2
REPLY_WITHIN_S = 10.0
# Far beyond the time anyone waits for a reply: what is older was left by a process that is gone.
STALE_S = 60.0

_REQUEST, _TAKEN, _REPLY = ".request.json", ".taken.json", ".reply.json"


class RequestError(OrchestrationError):
    """The running project could not be asked, or did not answer."""


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing a person asks.

    `text` is the answer of `answer` and the comment of `reject`. With an `attempt` it is about that one and no later:
    whoever answers a prompt package answers what was asked there. Without a `task_id` it is about the whole run.
    `limits` changes the `values` of a `lane` (None: no limit any more) or reopens it; without a lane, like `budget`
    without `usd`, it only asks how things stand.
    """

    command: Literal["answer", "approve", "reject", "cancel", "reset", "budget", "limits"]
    task_id: str | None = None
    text: str = ""
    attempt: int | None = None
    usd: Decimal | None = None
    lane: str = ""
    values: dict[str, int | None] = {}
    is_reopening: bool = False

    def __str__(self) -> str:
        return f"{self.command} {self.task_id}" if self.task_id else self.command


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of it: a sentence for the person; `error` where it was refused. `task_ids`: the tasks it changed.

    `facts` is what was asked about, as plain JSON values.
    """

    message: str = ""
    error: str = ""
    task_ids: tuple[str, ...] = ()
    facts: dict[str, Any] = {}


def inbox_path(project_root: Path, project_id: str) -> Path:
    """Return the folder of a project's requests."""
    return state_path(project_root, project_id).with_suffix(".inbox")


class Inbox:
    """The folder of one project. All methods do short file operations and may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, request: Request) -> str:
        """Leave a request, whole or not at all, and return its name.

        Raises:
            RequestError: if it cannot be written.

        """
        name = f"{time.time_ns():020}-{os.getpid()}-{os.urandom(3).hex()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write(name + _REQUEST, msgspec.json.encode(request))
        except OSError as exc:
            raise RequestError(
                f"cannot leave the request in {str(self.folder)!r}: {exc}; make the folder writable"
            ) from exc
        return name

    def withdraw(self, name: str) -> bool:
        """Take a request back; False when it has been taken already."""
        try:
            (self.folder / (name + _REQUEST)).unlink()
        except FileNotFoundError:
            return False
        return True

    def collect(self, name: str) -> Reply | None:
        """Return the reply and remove it; None while there is none."""
        path = self.folder / (name + _REPLY)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        path.unlink(missing_ok=True)
        return msgspec.json.decode(raw, type=Reply)

    def take(self) -> list[tuple[str, Request]]:
        """Take all requests, oldest first; they are then this process's alone. What cannot be read is answered so."""
        taken = []
        for name in self._names(_REQUEST):
            claimed = self.folder / (name + _TAKEN)
            try:
                (self.folder / (name + _REQUEST)).rename(claimed)
                raw = claimed.read_bytes()
            except FileNotFoundError:
                continue  # withdrawn meanwhile
            try:
                taken.append((name, msgspec.json.decode(raw, type=Request)))
            except msgspec.MsgspecError as exc:
                _log.warning("a request cannot be read and is dropped: %s", exc, extra={"action": "bad_request"})
                self.reply(name, Reply(error=f"the request cannot be read: {exc}"))
        return taken

    def reply(self, name: str, reply: Reply) -> None:
        """Answer a request that was taken."""
        self._write(name + _REPLY, msgspec.json.encode(reply))
        (self.folder / (name + _TAKEN)).unlink(missing_ok=True)

    def discard_stale(self, now_s: float) -> list[Request]:
        """Remove what processes that are gone have left, and return their requests, which nobody has applied."""
        left = []
        for suffix in (_REQUEST, _TAKEN, _REPLY):
            for name in self._names(suffix):
                path = self.folder / (name + suffix)
                try:
                    if now_s - path.stat().st_mtime < STALE_S:
                        continue
                    raw = path.read_bytes()
                    path.unlink()
                except FileNotFoundError:
                    continue
                if suffix == _REQUEST:
                    left += _readable(raw)
        return left

    def _names(self, suffix: str) -> list[str]:
        try:
            return sorted(
                path.name.removesuffix(suffix) for path in self.folder.iterdir() if path.name.endswith(suffix)
            )
        except FileNotFoundError:  # nobody has asked anything yet
            return []

    def _write(self, name: str, raw: bytes) -> None:
        temporary = self.folder / f".{name}.tmp"
        temporary.write_bytes(raw)
        temporary.replace(self.folder / name)


def ask(
    inbox: Inbox, request: Request, *, is_live: Callable[[], bool], within_s: float = REPLY_WITHIN_S
) -> Reply | None:
    """Leave a request and wait for the reply; None when nobody is there to take it: it has been withdrawn then.

    Raises:
        RequestError: if nobody answered in time, or the process that took it died.

    """
    name = inbox.put(request)
    give_up_at = time.monotonic() + within_s
    try:
        while True:
            was_live = is_live()
            if (reply := inbox.collect(name)) is not None:
                return reply
            is_late = time.monotonic() > give_up_at
            if not was_live or is_late:
                break
            time.sleep(0.05)
        if not inbox.withdraw(name):
            raise RequestError(
                f"the running project took the request {str(request)!r}, but did not say what came of it; "
                "look with `orchestrate status` before asking again"
            )
        if is_late and was_live:
            raise RequestError(
                f"the running project did not answer within {within_s:g} s, so {str(request)!r} was withdrawn: nothing "
                "has changed. Try again, or stop it first with Ctrl-C where it runs"
            )
    finally:
        inbox.withdraw(name)
    return None


async def apply(orchestrator: ProjectOrchestrator, request: Request) -> Reply:
    """Do what is asked of a task or the run; it is durable when this returns. A refusal is a reply too."""
    try:
        reply = await _apply(orchestrator, request)
        await orchestrator.durable()
    except OrchestrationError as exc:
        return Reply(error=str(exc))
    return reply


async def serve(
    inbox: Inbox, answer: Callable[[Request], Awaitable[Reply]], stopping: asyncio.Event, *, poll_s: float = POLL_S
) -> None:
    """Answer requests until `stopping` is set; one that was taken is always answered."""
    while not stopping.is_set():
        for name, request in await asyncio.to_thread(inbox.take):
            reply = await answer(request)
            await asyncio.to_thread(inbox.reply, name, reply)
            _log.info("request %s: %s", request, reply.error or reply.message, extra={"action": "request"})
        try:
            async with asyncio.timeout(poll_s):
                await stopping.wait()
        except TimeoutError:
            continue


async def _apply(orchestrator: ProjectOrchestrator, request: Request) -> Reply:
    task_id = request.task_id
    if task_id is None:
        if request.command != "cancel":
            raise RequestError(f"{request.command!r} needs a task")
        orchestrator.cancel()
        return Reply(message="the run is being cancelled")
    changed = (task_id,)
    known = orchestrator.state.find(task_id)
    _refuse_outdated(known, request)
    _refuse_pointless(known, request)
    match request.command:
        case "answer":
            orchestrator.answer(task_id, await _read_answer(orchestrator, task_id, request.text))
            return Reply(message=_said(known, _unsettled(orchestrator, known) or _ANSWERED), task_ids=changed)
        case "approve":
            orchestrator.approve(task_id)
            return Reply(message=_said(known, _unsettled(orchestrator, known) or _APPROVED), task_ids=changed)
        case "reject":
            orchestrator.reject(task_id, request.text)
            return Reply(message=_said(known, _REJECTED), task_ids=changed)
        case "cancel":
            orchestrator.cancel(task_id)
            what_next = _what_next(known, orchestrator.state.find(task_id))
            return Reply(message=f"{task_id!r} is cancelled; {what_next}", task_ids=changed)
        case "reset":
            again = orchestrator.reset(task_id)
            said = f"runs again: {', '.join(again)}{_left_alone(orchestrator.state, task_id)}"
            return Reply(message=said, task_ids=tuple(again))
        case _:
            raise RequestError(f"{request.command!r} is asked of a run, and none is going on")


# What a person's word means depends on what they were asked.
_ANSWERED = {
    "": "the answer to {!r} is recorded",
    "effect": "{!r} is done, as you say: it happened, and your text is its output",
}
_APPROVED = {
    "": "the draft of {!r} is approved",
    "effect": "{!r} is done, as you say: it happened, and is not done again",
    "conflict": "the work of {!r} is merged again",
    "workspace": "the work of {!r} is taken into the project's folder again",
}
_ENDED = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.SKIPPED)
# It does not count yet: what it came to is looked at first.
_UNSETTLED = {"effect": "{!r} is not done again, as you say: it happened; the next run makes its checks"}
_REJECTED = {
    "": "the draft of {!r} is rejected; the next one gets your comment",
    "effect": "{!r} is done again, as you say: it did not happen; the next attempt gets your comment",
    "conflict": "the work of {!r} is dropped and done again; the next attempt gets your comment",
    "workspace": "the work of {!r} is dropped and done again; the next attempt gets your comment",
}


def _unsettled(orchestrator: ProjectOrchestrator, before: TaskState) -> dict[str, str] | None:
    """Return what to say of a word that did not complete the task, where that has to be said."""
    is_settled = orchestrator.state.find(before.task.task_id).status is TaskStatus.COMPLETED
    return None if is_settled or before.cause not in _UNSETTLED else _UNSETTLED


def _what_next(before: TaskState, after: TaskState) -> str:
    """Say what becomes of a task that is being cancelled; it may have done what must not happen twice."""
    if before.task.effects == "once" and before.status in (TaskStatus.IN_PROGRESS, TaskStatus.VERIFYING):
        return "you will be asked whether it happened"
    if after.claim is not None:
        return "what was done for it is kept, and the next run goes on with that"
    return "the next run tries it again"


def _left_alone(state: RunState, task_id: str) -> str:
    """Say which tasks after a reset one stay as they are: a person has to find out first whether they happened."""
    later = downstream([task_id], dependents({each.task.task_id: state.edges_of(each) for each in state.unordered()}))
    doubtful = [repr(name) for name in later if name in state.tasks and state.tasks[name].cause == "effect"]
    return f"; {', '.join(doubtful)} not: say first whether it happened" if doubtful else ""


def _said(known: TaskState, sentences: dict[str, str]) -> str:
    return sentences[known.cause if known.cause in sentences else ""].format(known.task.task_id)


def _refuse_outdated(known: TaskState, request: Request) -> None:
    """Refuse a word on an attempt that is not the present one.

    Raises:
        RequestError: naming both.

    """
    if request.attempt is not None and request.attempt != known.attempt:
        raise RequestError(
            f"this answers attempt {request.attempt} of task {known.task.task_id!r}, which is at attempt "
            f"{known.attempt} now and asks something else; export it again"
        )


def _refuse_pointless(known: TaskState, request: Request) -> None:
    """Refuse, in the words of the command line, what a task is not in a state for.

    Raises:
        RequestError: saying what would help.

    """
    task_id = known.task.task_id
    if request.command == "cancel" and known.status in _ENDED:
        raise RequestError(f"task {task_id!r} is {known.status.value}: there is nothing to cancel")
    if request.command == "cancel" and known.cause == "effect":
        raise RequestError(
            f"task {task_id!r} does not run: it waits for your word on whether it happened. If it has: "
            f"`orchestrate approve {task_id}`; if not: `orchestrate reset {task_id}`, or delete the task"
        )
    if request.command == "approve" and known.status is TaskStatus.WAITING and known.need == "answer":
        raise RequestError(
            f"task {task_id!r} waits for an answer, not for an approval; give it with `orchestrate answer {task_id}`"
        )


async def _read_answer(orchestrator: ProjectOrchestrator, task_id: str, text: str) -> object:
    """Return the answer as its task wants it: text, or the value of the JSON its schema asks for.

    Raises:
        AttemptError: if it does not meet the schema.

    """
    task = orchestrator.get_task(task_id)
    form = None if task is None else await form_of(task)
    return text if form is None else form.read(text)[1]


def _readable(raw: bytes) -> list[Request]:
    try:
        return [msgspec.json.decode(raw, type=Request)]
    except msgspec.MsgspecError:
        return []
