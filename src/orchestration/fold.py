"""How facts change what is known: `apply(state, fact) -> state`, pure. An illegal transition is refused here, once."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from orchestration import booking
from orchestration import events as ev
from orchestration.attempt import Session
from orchestration.booking import GOING_ON
from orchestration.errors import FailureKind, TransitionError
from orchestration.run_state import RunState, TaskState
from orchestration.task import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from orchestration.task import AgentTask

__all__ = ["apply", "broken_off", "fold", "in_doubt", "may_have_acted"]

_replace = msgspec.structs.replace


def apply(state: RunState, event: ev.Event) -> RunState:
    """Return the state after the fact.

    Raises:
        TransitionError: if the fact cannot follow what happened before.
        UnknownTaskError: if it speaks of a task that does not exist.

    """
    return _APPLY[type(event)](state, event)


def fold(events: Iterable[ev.Event], state: RunState | None = None) -> RunState:
    """Apply the facts in order, from an empty project unless a state is given."""
    result = RunState() if state is None else state
    for event in events:
        result = _APPLY[type(event)](result, event)
    return result


def broken_off(known: TaskState, at: datetime) -> ev.Event:
    """Say what becomes of a task whose orchestrator ended: a claim is there to be verified, all else runs again.

    But for a task whose effects must not happen twice, when its worker may have been at it.
    """
    if may_have_acted(known):
        return in_doubt(known, f"the orchestrator ended while attempt {known.attempt} was under way", at)
    return ev.TaskInterrupted(at=at, task_id=known.task.task_id)


def may_have_acted(known: TaskState) -> bool:
    """Tell whether the task's effects must not happen twice, and a worker may be at it, without a word so far."""
    is_working = known.status is TaskStatus.IN_PROGRESS and not known.parked
    return known.task.effects == "once" and is_working and known.claim is None


def in_doubt(known: TaskState, what: str, at: datetime) -> ev.TaskNeedsReview:
    """Return the fact that hands a task over to a person, who has to find out whether it happened."""
    reason = f"{what}, and its effects must not happen twice; find out whether they happened"
    return ev.TaskNeedsReview(at=at, task_id=known.task.task_id, cause="effect", reason=reason, result=known.claim)


# A task nobody is asked about, and of which nothing is claimed.
_NOT_ASKED: dict[str, Any] = {"need": "", "cause": "", "asked_at": None, "reminded_at": None}
_NOT_CLAIMED: dict[str, Any] = {"claim": None, "is_approved": False, "verdicts": ()}
# A task that has come to an end: what was to be told to its worker, and what it said meanwhile, has had its time.
_SETTLED: dict[str, Any] = _NOT_ASKED | GOING_ON
_SETTLED |= {"comment": "", "draft": "", "correction": "", "activity": "", "claim": None, "is_approved": False}
_AT_WORK = frozenset({TaskStatus.IN_PROGRESS, TaskStatus.VERIFYING})
_ASKED = frozenset({TaskStatus.WAITING, TaskStatus.NEEDS_REVIEW})
_STOPPED = frozenset({TaskStatus.FAILED, TaskStatus.CANCELLED})
_OPEN = frozenset({TaskStatus.PENDING, *_AT_WORK, *_ASKED})
_AT_REST = frozenset(TaskStatus) - _AT_WORK
# Failures of the work itself, which the next attempt can learn from.
_CORRECTABLE = frozenset({FailureKind.BAD_OUTPUT, FailureKind.CHECK_FAILED})

# From which statuses a fact may follow. A person's or caller's word may complete anything that is not completed.
_ALLOWED: dict[type, frozenset[TaskStatus]] = {
    ev.TaskStarted: frozenset({TaskStatus.PENDING, *_STOPPED}),
    ev.TaskSkipped: frozenset({TaskStatus.PENDING}),
    ev.TaskExpanded: frozenset({TaskStatus.PENDING}),
    ev.TaskRetrying: _AT_WORK,
    ev.TaskParked: _AT_WORK,
    ev.SessionStarted: _AT_WORK,
    ev.WorkerReported: _AT_WORK,
    ev.TaskVerifying: _AT_WORK,
    ev.CheckFinished: _AT_WORK,
    ev.TaskWaiting: _AT_WORK,
    ev.TaskNeedsReview: _AT_WORK,
    ev.PersonNotified: _ASKED | {TaskStatus.COMPLETED, TaskStatus.FAILED},
    ev.TaskReopened: _ASKED,
    ev.TaskCompleted: _OPEN | _STOPPED,
    ev.TaskFailed: _OPEN,
    ev.TaskCancelled: _OPEN,
    ev.TaskInterrupted: _AT_WORK,
    ev.TaskRejected: _ASKED,
    ev.TaskChanged: _AT_REST,
    ev.TaskRemoved: _AT_REST,
    ev.TaskReset: _AT_REST,
}


def _check(state: RunState, event: ev.Event, task_id: str) -> TaskState:
    known = state.find(task_id)
    if known.status not in _ALLOWED[type(event)]:
        allowed = ", ".join(sorted(_ALLOWED[type(event)]))
        raise TransitionError(
            f"task {task_id!r} is {known.status.value}: {type(event).__name__} can follow only from {allowed}"
        )
    if known.cause == "effect" and isinstance(event, ev.TaskCancelled | ev.TaskFailed):  # the next run would repeat it
        raise TransitionError(
            f"task {task_id!r} must not happen twice, and may have happened: say that it has (approve, answer it), or "
            "that it is to run again (reject, reset it)"
        )
    return known


def _done_already(known: TaskState) -> dict[str, Any]:
    """Return what to keep of a task that is stopped: where nothing may happen twice, what its worker says it did."""
    claim = known.claim or (known.result if known.need == "approval" else None)
    if known.task.effects != "once" or claim is None:
        return {}
    return {"claim": claim, "is_approved": known.is_approved}


def _put(state: RunState, known: TaskState) -> RunState:
    return _replace(state, tasks=state.tasks.insert(known.task.task_id, known))


def _added(state: RunState, event: ev.TaskAdded) -> RunState:
    return _add(state, event.task)


def _add(state: RunState, task: AgentTask, *, origin: str = "", depth: int = 0) -> RunState:
    if task.task_id in state.tasks:
        raise TransitionError(f"task {task.task_id!r} exists already; a new definition is a TaskChanged")
    known = TaskState(task=task, position=state.added, origin=origin, depth=depth)
    return _replace(
        state,
        tasks=state.tasks.insert(task.task_id, known),
        added=state.added + 1,
        has_grown=state.has_grown or bool(origin),
    )


def _changed(state: RunState, event: ev.TaskChanged) -> RunState:
    known = _check(state, event, event.task.task_id)
    if known.cause == "effect":  # whether it happened is still to be found out
        return _put(state, _replace(known, task=event.task))
    return _forget(state, _replace(known, task=event.task, effect_key=""))


def _removed(state: RunState, event: ev.TaskRemoved) -> RunState:
    known = _check(state, event, event.task_id)
    state = _drop_offspring(state, known)
    return _replace(state, tasks=state.tasks.remove(event.task_id))


def _drop_offspring(state: RunState, known: TaskState) -> RunState:
    """Return the state without the tasks that this one was expanded to or has added."""
    for name in (*known.instances, *known.added):
        child = state.tasks.get(name)
        if child is None or child.origin != known.task.task_id:
            continue
        if child.status in _AT_WORK:
            raise TransitionError(
                f"task {name!r}, which comes from {known.task.task_id!r}, is {child.status.value}; "
                "cancel it, or wait until it is over"
            )
        if child.cause == "effect":
            raise TransitionError(
                f"task {name!r}, which comes from {known.task.task_id!r}, must not happen twice and may have happened; "
                "approve it if it has, reset it if it has not"
            )
        state = _drop_offspring(state, child)
        state = _replace(state, tasks=state.tasks.remove(name))
    return state


def _expanded(state: RunState, event: ev.TaskExpanded) -> RunState:
    known = _check(state, event, event.task_id)
    for task in event.instances:
        state = _add(state, task, origin=event.task_id, depth=known.depth)
    return _put(state, _replace(known, instances=tuple(task.task_id for task in event.instances)))


def _skipped(state: RunState, event: ev.TaskSkipped) -> RunState:
    known = _check(state, event, event.task_id)
    return _put(
        state, _replace(known, status=TaskStatus.SKIPPED, ended_at=event.at, last_error=event.reason, result=None)
    )


def _started(state: RunState, event: ev.TaskStarted) -> RunState:
    known = _check(state, event, event.task_id)
    return _put(
        state,
        _replace(
            known,
            status=TaskStatus.IN_PROGRESS,
            attempt=event.attempt,
            agent=event.agent,
            started_at=event.at,
            ended_at=None,
            result=None,
            activity="",
            effect_key=known.effect_key or f"{event.run_id}/{event.task_id}/{event.attempt}",
            **GOING_ON,
        ),
    )


def _retrying(state: RunState, event: ev.TaskRetrying) -> RunState:
    known = _check(state, event, event.task_id)
    retry_at = event.at + timedelta(seconds=event.delay_s)
    return _put(
        state,
        _replace(
            known,
            status=TaskStatus.IN_PROGRESS,
            attempt=event.attempt,
            agent=event.agent or known.agent,
            last_error=event.error,
            activity="",
            correction=event.error if event.kind in _CORRECTABLE else known.correction,
            **_NOT_CLAIMED,
            **(GOING_ON | {"retry_at": retry_at}),
        ),
    )


def _parked(state: RunState, event: ev.TaskParked) -> RunState:
    known = _check(state, event, event.task_id)
    return _put(state, _replace(known, parked=event.reason, parked_until=event.until, retry_at=None))


def _session_started(state: RunState, event: ev.SessionStarted) -> RunState:
    known = _check(state, event, event.task_id)
    session = Session(agent=event.agent, session_id=event.session_id, workspace=event.workspace)
    return _put(state, _replace(known, session=session))


def _reported(state: RunState, event: ev.WorkerReported) -> RunState:
    known = _check(state, event, event.task_id)
    return _put(state, _replace(known, activity=event.text))


def _verifying(state: RunState, event: ev.TaskVerifying) -> RunState:
    known = _check(state, event, event.task_id)
    return _put(
        state,
        _replace(known, status=TaskStatus.VERIFYING, claim=event.result, verdicts=(), activity="", **GOING_ON),
    )


def _check_finished(state: RunState, event: ev.CheckFinished) -> RunState:
    known = _check(state, event, event.task_id)
    return _put(state, _replace(known, verdicts=(*known.verdicts, event)))


def _needs_review(state: RunState, event: ev.TaskNeedsReview) -> RunState:
    known = _check(state, event, event.task_id)
    return _put(
        state,
        _replace(
            known,
            status=TaskStatus.NEEDS_REVIEW,
            need="review",
            cause=event.cause,
            last_error=event.reason,
            result=event.result,
            asked_at=event.at,
            reminded_at=None,
            **GOING_ON,
        ),
    )


def _notified(state: RunState, event: ev.PersonNotified) -> RunState:
    known = _check(state, event, event.task_id)
    return _put(state, _replace(known, reminded_at=event.at))


def _reopened(state: RunState, event: ev.TaskReopened) -> RunState:
    known = _check(state, event, event.task_id)
    return _put(
        state,
        _replace(
            known,
            status=TaskStatus.PENDING,
            claim=event.result,
            is_approved=True,
            verdicts=(),
            result=None,
            **_NOT_ASKED,
        ),
    )


def _waiting(state: RunState, event: ev.TaskWaiting) -> RunState:
    known = _check(state, event, event.task_id)
    return _put(
        state,
        _replace(
            known,
            status=TaskStatus.WAITING,
            need=event.need,
            result=event.result,
            asked_at=event.at,
            reminded_at=None,
            **GOING_ON,
        ),
    )


def _completed(state: RunState, event: ev.TaskCompleted) -> RunState:
    known = _check(state, event, event.task_id)
    for task in event.added:
        state = _add(state, task, origin=event.task_id, depth=known.depth + 1)
    added = tuple(task.task_id for task in event.added)
    return _settle(state, _replace(known, added=added, session=None), TaskStatus.COMPLETED, event)


def _failed(state: RunState, event: ev.TaskFailed) -> RunState:
    known = _check(state, event, event.task_id)
    settled = _settle(state, known, TaskStatus.FAILED, event)
    kept = _done_already(known)
    if known.status is TaskStatus.VERIFYING and event.result.metadata.get("failure_kind") not in tuple(_CORRECTABLE):
        # What the worker did stands; whoever was to verify it could not.
        kept = {"claim": known.claim, "is_approved": known.is_approved}
    return _put(settled, _replace(settled.find(event.task_id), **kept)) if kept else settled


def _settle(state: RunState, known: TaskState, status: TaskStatus, event: ev.TaskCompleted | ev.TaskFailed) -> RunState:
    return _put(
        state,
        _replace(
            known,
            status=status,
            result=event.result,
            agent=event.result.agent or known.agent,
            ended_at=event.at,
            last_error=event.result.error,
            **_SETTLED,
        ),
    )


def _cancelled(state: RunState, event: ev.TaskCancelled) -> RunState:
    known = _check(state, event, event.task_id)
    return _put(
        state,
        _replace(
            known,
            status=TaskStatus.CANCELLED,
            ended_at=event.at,
            result=None,
            activity="",
            **_NOT_ASKED,
            **(_NOT_CLAIMED | _done_already(known)),
            **GOING_ON,
        ),
    )


def _interrupted(state: RunState, event: ev.TaskInterrupted) -> RunState:
    known = _check(state, event, event.task_id)
    return _put(state, _replace(known, status=TaskStatus.PENDING, activity="", verdicts=(), **GOING_ON))


def _rejected(state: RunState, event: ev.TaskRejected) -> RunState:
    known = _check(state, event, event.task_id)
    forgotten = _forget(state, known)
    kept = _replace(forgotten.find(event.task_id), comment=event.comment)
    if known.need == "approval":  # a draft is gone on with; what needed review is done anew
        draft = known.result.output if known.result else ""
        kept = _replace(kept, draft=draft, session=known.session)
    return _put(forgotten, kept)


def _reset(state: RunState, event: ev.TaskReset) -> RunState:
    before, task_ids = state, frozenset(event.task_ids)
    for index, task_id in enumerate(event.task_ids):
        if index and task_id not in state.tasks:
            continue  # it went with the one that had added it
        known = _check(state, event, task_id)
        state = _forget(state, known, keep_instances=_keeps_instances(before, known, task_ids))
        if event.keeps_claims and known.claim is not None:
            state = _put(state, _replace(state.find(task_id), claim=known.claim, is_approved=known.is_approved))
    return state


def _keeps_instances(state: RunState, known: TaskState, reset: frozenset[str]) -> bool:
    """Tell whether what a task was expanded to still holds: only some instances run again, or what was stopped goes on.

    It does not if the task itself was meant, or something that its list was made of.
    """
    if not known.instances or not reset.difference(known.instances).isdisjoint(state.edges_of(known)):
        return False
    return known.status in _STOPPED or not reset.isdisjoint(known.instances)


def _forget(state: RunState, known: TaskState, *, keep_instances: bool = False) -> RunState:
    """Return the state with a task as if it had not run, but for its attempt number, its money and its place.

    `keep_instances`: what it was expanded to still holds; it is completed when all of that is.
    """
    forgotten = TaskState(
        task=known.task,
        position=known.position,
        attempt=known.attempt,
        spend=known.spend,
        origin=known.origin,
        depth=known.depth,
        # Whoever the work has effects on must know a repetition; after a completion it is asked for anew.
        effect_key="" if known.status is TaskStatus.COMPLETED else known.effect_key,
    )
    if keep_instances:
        forgotten = _replace(forgotten, instances=known.instances)
        known = _replace(known, instances=())
    return _put(_drop_offspring(state, known), forgotten)


def _run_started(state: RunState, event: ev.RunStarted) -> RunState:
    return _replace(state, run_id=event.run_id, run_status=None, run_started_at=event.at, run_ended_at=None)


def _run_ended(state: RunState, event: ev.RunEnded) -> RunState:
    return _replace(state, run_status=event.status, run_ended_at=event.at)


# Each function takes the fact it is listed under, which a dict's type cannot say.
_APPLY: dict[type, Callable[[RunState, Any], RunState]] = {
    ev.RunStarted: _run_started,
    ev.RunEnded: _run_ended,
    ev.TaskAdded: _added,
    ev.TaskChanged: _changed,
    ev.TaskRemoved: _removed,
    ev.TaskStarted: _started,
    ev.TaskRetrying: _retrying,
    ev.TaskParked: _parked,
    ev.CallReserved: booking.call_reserved,
    ev.CallFinished: booking.call_finished,
    ev.CallReleased: booking.call_released,
    ev.CallLost: booking.call_lost,
    ev.TaskWaiting: _waiting,
    ev.TaskSkipped: _skipped,
    ev.TaskExpanded: _expanded,
    ev.SessionStarted: _session_started,
    ev.WorkerReported: _reported,
    ev.TaskVerifying: _verifying,
    ev.CheckFinished: _check_finished,
    ev.TaskNeedsReview: _needs_review,
    ev.PersonNotified: _notified,
    ev.TaskReopened: _reopened,
    ev.TaskCompleted: _completed,
    ev.TaskFailed: _failed,
    ev.TaskCancelled: _cancelled,
    ev.TaskInterrupted: _interrupted,
    ev.TaskRejected: _rejected,
    ev.TaskReset: _reset,
}
