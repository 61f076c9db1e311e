"""The facts: everything that happens to a project, one frozen record each, and their JSON form.

A fact says what happened, never what to do about it. Adding a field with a default keeps old files readable; any other
change raises `EVENT_VERSION` and adds a step to `decode`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import datetime  # noqa: TC003 -- msgspec reads the annotations at run time
from typing import Any, Literal

import msgspec

from orchestration.errors import InvalidTaskError, StoreError, StoreVersionError
from orchestration.task import AgentTask, ExecutionResult, FailureKind

__all__ = [
    "EVENT_VERSION",
    "CallFinished",
    "CallLost",
    "CallReleased",
    "CallReserved",
    "CheckFinished",
    "Event",
    "Fact",
    "PersonNotified",
    "Reporter",
    "RunEnded",
    "RunStarted",
    "RunStatus",
    "SessionStarted",
    "TaskAdded",
    "TaskCancelled",
    "TaskChanged",
    "TaskCompleted",
    "TaskExpanded",
    "TaskFailed",
    "TaskInterrupted",
    "TaskNeedsReview",
    "TaskParked",
    "TaskRejected",
    "TaskRemoved",
    "TaskReopened",
    "TaskReset",
    "TaskRetrying",
    "TaskSkipped",
    "TaskStarted",
    "TaskVerifying",
    "TaskWaiting",
    "WorkerReported",
    "decode",
    "encode",
]

EVENT_VERSION = 1

RunStatus = Literal["completed", "failed", "waiting", "cancelled", "interrupted", "over_budget"]


class Fact(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag_field="type"):
    """What all facts have: the moment, an aware UTC datetime."""

    at: datetime


class RunStarted(Fact, frozen=True, kw_only=True, tag="run_started"):
    """The orchestrator began to work through the graph."""

    run_id: str


class RunEnded(Fact, frozen=True, kw_only=True, tag="run_ended"):
    """Nothing more can run, or the run was stopped."""

    run_id: str
    status: RunStatus


class TaskAdded(Fact, frozen=True, kw_only=True, tag="task_added"):
    """A new task."""

    task: AgentTask


class TaskChanged(Fact, frozen=True, kw_only=True, tag="task_changed"):
    """A task's definition was replaced; what it had come to is forgotten."""

    task: AgentTask


class TaskRemoved(Fact, frozen=True, kw_only=True, tag="task_removed"):
    """A task is no longer part of the project."""

    task_id: str


class TaskStarted(Fact, frozen=True, kw_only=True, tag="task_started"):
    """An attempt began. `(run_id, task_id, attempt)` names it for ever."""

    task_id: str
    attempt: int
    agent: str = ""
    run_id: str = ""


class TaskRetrying(Fact, frozen=True, kw_only=True, tag="task_retrying"):
    """An attempt failed and the next one follows after `delay_s` seconds; `attempt` is the next one's number.

    `agent` is set when another agent of the fallback chain takes over.
    """

    task_id: str
    attempt: int
    kind: FailureKind
    error: str
    delay_s: float = 0.0
    agent: str = ""


class TaskParked(Fact, frozen=True, kw_only=True, tag="task_parked"):
    """A task waits, without using up attempts, for something outside to change: until a moment where one is known."""

    task_id: str
    kind: FailureKind
    reason: str
    until: datetime | None = None


class CallFinished(Fact, frozen=True, kw_only=True, tag="call_finished"):
    """One call of a model came back. Tokens as in `llm_abstractions.Usage`; `cost_usd` None: the price is unknown.

    `call_id` names the reservation it settles, where there was one. `cached`: an earlier answer to the same request was
    used again, nobody was called, and nothing was used.
    """

    task_id: str
    attempt: int
    provider: str
    model: str
    agent: str = ""
    tags: tuple[str, ...] = ()
    call_id: str = ""
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: str | None = None
    duration_s: float = 0.0
    finish_reason: str = ""
    request_id: str = ""
    cached: bool = False


class CallReserved(Fact, frozen=True, kw_only=True, tag="call_reserved"):
    """The worst case of a call is set aside, before it is made. `cost_usd` None: the price is unknown."""

    call_id: str
    task_id: str
    agent: str
    input_tokens: int
    output_tokens: int
    cost_usd: str | None = None
    tags: tuple[str, ...] = ()


class CallReleased(Fact, frozen=True, kw_only=True, tag="call_released"):
    """A reserved call was not made, or not charged."""

    call_id: str


class CallLost(Fact, frozen=True, kw_only=True, tag="call_lost"):
    """Nobody knows how a reserved call ended: it broke off, or the orchestrator did. Its worst case counts as spent."""

    call_id: str


class SessionStarted(Fact, frozen=True, kw_only=True, tag="session_started"):
    """A coding agent opened, or is about to open, a conversation of its own that a later attempt can go on with.

    `workspace` is the folder it works in.
    """

    task_id: str
    attempt: int
    agent: str
    session_id: str
    workspace: str = ""


class WorkerReported(Fact, frozen=True, kw_only=True, tag="worker_reported"):
    """What a worker says while it works: a `text`, the use of a `tool`, or a `retry` of its own. 200 characters."""

    task_id: str
    attempt: int
    kind: Literal["text", "tool", "retry"]
    text: str


class TaskVerifying(Fact, frozen=True, kw_only=True, tag="task_verifying"):
    """The worker says that it is done: the claim is kept, and checked before it counts."""

    task_id: str
    attempt: int
    result: ExecutionResult


class CheckFinished(Fact, frozen=True, kw_only=True, tag="check_finished"):
    """A check of the present claim has come to its verdict. `evidence` is what it saw."""

    task_id: str
    attempt: int
    check: str
    is_passed: bool
    evidence: str = ""


class TaskNeedsReview(Fact, frozen=True, kw_only=True, tag="task_needs_review"):
    """A person has to find out how things stand before this task goes on.

    `effect`: a task whose effects must not happen twice was broken off. `conflict`: what it did cannot be merged.
    `workspace`: it is done, but the project's folder does not take it as it stands.
    """

    task_id: str
    cause: Literal["effect", "conflict", "workspace"]
    reason: str
    result: ExecutionResult | None = None


class TaskSkipped(Fact, frozen=True, kw_only=True, tag="task_skipped"):
    """The task's condition did not hold. What depends on it can run."""

    task_id: str
    reason: str


class TaskExpanded(Fact, frozen=True, kw_only=True, tag="task_expanded"):
    """A `for_each` task became one instance for each item of its list; it is completed when all of them are."""

    task_id: str
    instances: tuple[AgentTask, ...]


class TaskReopened(Fact, frozen=True, kw_only=True, tag="task_reopened"):
    """A person gave or accepted this result, or mended what stood in its way: it is verified, and then counts."""

    task_id: str
    result: ExecutionResult


class PersonNotified(Fact, frozen=True, kw_only=True, tag="person_notified"):
    """Someone was told, or `error`, that a task waits for them: `asked`, `reminder` or `expired`."""

    task_id: str
    occasion: Literal["asked", "reminder", "expired"]
    error: str = ""


class TaskWaiting(Fact, frozen=True, kw_only=True, tag="task_waiting"):
    """A person has the next word: an `answer` to the prompt, or the `approval` of the draft in `result.output`."""

    task_id: str
    need: Literal["answer", "approval"]
    result: ExecutionResult


class TaskCompleted(Fact, frozen=True, kw_only=True, tag="task_completed"):
    """The task is done; `by` says whose word it was. `default`: nobody answered in time. `added` are new tasks."""

    task_id: str
    result: ExecutionResult
    added: tuple[AgentTask, ...] = ()
    by: Literal["agent", "person", "caller", "default"] = "agent"


class TaskFailed(Fact, frozen=True, kw_only=True, tag="task_failed"):
    """The task is given up for this run."""

    task_id: str
    result: ExecutionResult


class TaskCancelled(Fact, frozen=True, kw_only=True, tag="task_cancelled"):
    """The task was stopped on request."""

    task_id: str


class TaskInterrupted(Fact, frozen=True, kw_only=True, tag="task_interrupted"):
    """The task's execution was broken off and it is to run again: the orchestrator ended, or `reason`."""

    task_id: str
    reason: str = ""


class TaskRejected(Fact, frozen=True, kw_only=True, tag="task_rejected"):
    """A person refused the draft; the comment goes into the next attempt's prompt."""

    task_id: str
    comment: str


class TaskReset(Fact, frozen=True, kw_only=True, tag="task_reset"):
    """Outcomes are forgotten, so that these tasks run again.

    `keeps_claims`: work that is done, and could not be verified, is not done again.
    """

    task_ids: tuple[str, ...]
    reason: str = ""
    keeps_claims: bool = False


Event = (
    RunStarted
    | RunEnded
    | TaskAdded
    | TaskChanged
    | TaskRemoved
    | TaskStarted
    | TaskRetrying
    | TaskParked
    | CallReserved
    | CallFinished
    | CallReleased
    | CallLost
    | SessionStarted
    | WorkerReported
    | TaskVerifying
    | CheckFinished
    | TaskNeedsReview
    | TaskSkipped
    | TaskExpanded
    | TaskReopened
    | PersonNotified
    | TaskWaiting
    | TaskCompleted
    | TaskFailed
    | TaskCancelled
    | TaskInterrupted
    | TaskRejected
    | TaskReset
)


def _as_plain(value: object) -> object:
    """Say what JSON has no type for, where nothing is lost: providers answer with subclasses of `str`."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a type of JSON")


_TASK_DEFAULTS = {field.name: field.default for field in fields(AgentTask)}
_encoder = msgspec.json.Encoder(enc_hook=_as_plain)
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """Return the fact as one JSON object.

    It is read back before it is returned (1 us): a fact that could be written but not read would lock its project.

    Raises:
        InvalidTaskError: if a field is of the wrong type, or metadata holds something JSON cannot say.

    """
    try:
        raw = _encoder.encode(_without_defaults(event) if isinstance(event, TaskAdded | TaskChanged) else event)
        _decoder.decode(raw)
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidTaskError(
            f"cannot store {type(event).__name__} of {_task_id(event)!r}: {exc}; output and error must be text, "
            "metadata plain JSON: text, numbers, booleans, None, lists and mappings"
        ) from exc
    return raw


def _without_defaults(event: TaskAdded | TaskChanged) -> dict[str, Any]:
    """Return the fact as it is written: most fields of most tasks say nothing."""
    task = {name: value for name, value in vars(event.task).items() if value is not _TASK_DEFAULTS[name]}
    return {"type": event.__struct_config__.tag, "at": event.at, "task": task}


def decode(raw: bytes | str, version: int = EVENT_VERSION) -> Event:
    """Rebuild a fact from its JSON.

    Raises:
        StoreVersionError: if `version` is newer than this release knows.
        StoreError: if the text is not a fact.

    """
    if version > EVENT_VERSION:
        raise StoreVersionError(
            f"a fact of version {version} cannot be read; this release knows versions up to {EVENT_VERSION}: "
            "install the newer async-orchestrator that wrote it"
        )
    try:
        return _decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as exc:
        shown = raw[:80]
        raise StoreError(f"the stored fact {shown!r} cannot be read: {exc}; restore the file from a backup") from exc


def _task_id(event: Event) -> str:
    if isinstance(event, TaskAdded | TaskChanged):
        return event.task.task_id
    return getattr(event, "task_id", "")


Reporter = Callable[[Event], Any]
