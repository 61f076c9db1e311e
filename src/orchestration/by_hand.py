"""What people and callers say of tasks themselves: done, failed, an answer, a yes or a no. Each word is one fact.

A word that needs more than to be written down, since checks or a merge follow, makes the task ready again: the next
walk through the graph verifies it. Knows the journal; runs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from orchestration import events as ev
from orchestration.errors import InvalidTaskError, TransitionError
from orchestration.fold import in_doubt, may_have_acted
from orchestration.journal import now
from orchestration.redact import known_secrets, redact
from orchestration.task import ExecutionResult, ExecutionStatus, FailureKind, TaskStatus
from orchestration.workspace.scopes import WORKTREES

if TYPE_CHECKING:
    from orchestration.expansion import Expansion
    from orchestration.journal import Journal
    from orchestration.run_state import TaskState

__all__ = ["ByHand"]

_ASKED = (TaskStatus.WAITING, TaskStatus.NEEDS_REVIEW)
# Facts about an attempt that was looked into, which do not hold for what a person makes of it.
_OF_REVIEW = ("needs_review", "asks", "diff")


class ByHand:
    """Records what is said of the tasks of one project."""

    def __init__(self, journal: Journal, expansion: Expansion) -> None:
        self._journal = journal
        self._expansion = expansion

    def complete(self, task_id: str, output: object) -> None:
        """Record that a task is done, on the caller's word; a completed one stays as it is.

        Raises:
            UnknownTaskError: if there is no such task.
            InvalidTaskError: if the output cannot be kept.

        """
        known = self._journal.state.find(task_id)
        if known.status is not TaskStatus.COMPLETED:
            self._record(known, _result(known, ExecutionStatus.SUCCESS, output=output), by="caller")

    def fail(self, task_id: str, error: str) -> None:
        """Record that a task failed; if its effects must not happen twice and it has begun, a person has to look.

        Raises:
            UnknownTaskError: if there is no such task.
            TransitionError: if it is completed.

        """
        known = self._journal.state.find(task_id)
        result = _result(known, ExecutionStatus.FAILED, error=str(error))
        result.metadata["failure_kind"] = FailureKind.TASK_ERROR.value
        if may_have_acted(known):
            event: ev.Event = in_doubt(known, f"attempt {known.attempt} failed ({result.error})", now())
        else:
            event = ev.TaskFailed(at=now(), task_id=task_id, result=result)
        self._journal.record(event)

    def cancel(self, task_id: str) -> None:
        """Record that a task nobody of ours is at is cancelled, or, as for `fail`, has to be looked at.

        Raises:
            UnknownTaskError: if there is no such task.
            TransitionError: if it is settled.

        """
        known = self._journal.state.find(task_id)
        if may_have_acted(known):
            self._journal.record(in_doubt(known, f"attempt {known.attempt} was cancelled", now()))
        else:
            self._journal.record(ev.TaskCancelled(at=now(), task_id=task_id))

    def answer(self, task_id: str, output: object) -> None:
        """Take a person's answer, edited draft, or word on what came of a task under review.

        Raises:
            UnknownTaskError: if there is no such task.
            TransitionError: if it does not wait for a person.
            InvalidTaskError: if the output cannot be kept.
            AttemptError: of kind `bad_output`, if it is to add tasks that cannot be added.

        """
        known = self._asked(task_id)
        draft = known.result if known.need != "answer" else None
        if known.task.adds_tasks is not None and known.need != "review":
            output = self._readable(known, output)
        self._accept(known, _result(known, ExecutionStatus.SUCCESS, output=output, draft=draft))

    def approve(self, task_id: str) -> None:
        """Accept a draft, or what a task under review came to, as it stands.

        Raises:
            UnknownTaskError: if there is no such task.
            TransitionError: if there is nothing to be approved.

        """
        known = self._asked(task_id)
        if known.need == "answer" or (known.need == "approval" and known.result is None):
            raise TransitionError(
                f"task {task_id!r} waits for an answer, not for an approval; give it with answer({task_id!r}, ...)"
            )
        output = "" if known.result is None else known.result.output
        data = None if known.result is None else known.result.metadata.get("data")
        result = _result(known, ExecutionStatus.SUCCESS, output=output, draft=known.result)
        if data is not None:
            result.metadata["data"] = data
        self._accept(known, result)

    def reject(self, task_id: str, comment: str) -> None:
        """Refuse a draft, or have a task under review done again; the comment goes into the next prompt.

        Raises:
            UnknownTaskError: if there is no such task.
            TransitionError: if it does not wait for a person.

        """
        self._asked(task_id)
        self._journal.record(ev.TaskRejected(at=now(), task_id=task_id, comment=redact(comment, known_secrets())))

    def _asked(self, task_id: str) -> TaskState:
        known = self._journal.state.find(task_id)
        if known.status not in _ASKED:
            raise TransitionError(
                f"task {task_id!r} is {known.status.value}; only a waiting task takes a person's word"
            )
        return known

    def _readable(self, known: TaskState, output: object) -> object:
        """Return a list of tasks in the form that is asked for.

        Refused here, and not by the next run, which would have the worker do it again: for a slip of the person's pen
        a model would be paid, and what they wrote would be gone.
        """
        data = _tasks_in(output) if isinstance(output, str) else output
        self._expansion.added(known, self._journal.state, data)
        return {"tasks": data} if isinstance(data, list) and known.task.output_schema is None else output

    def _accept(self, known: TaskState, result: ExecutionResult) -> None:
        """Complete the task, unless more follows: checks look at the answer, work is merged, tasks are added."""
        is_checked = any(not check.person for check in known.task.checks) or known.task.adds_tasks is not None
        if is_checked or _has_work_to_merge(known):
            self._journal.record(ev.TaskReopened(at=now(), task_id=known.task.task_id, result=result))
        else:
            self._record(known, result, by="person")

    def _record(self, known: TaskState, result: ExecutionResult, *, by: Literal["person", "caller"]) -> None:
        task_id = known.task.task_id
        data = result.metadata.get("data")
        if data is None and known.task.adds_tasks is not None:
            data = _tasks_in(result.output)
        added = self._expansion.added(known, self._journal.state, data)
        self._journal.record(ev.TaskCompleted(at=now(), task_id=task_id, result=result, by=by, added=added))


def _has_work_to_merge(known: TaskState) -> bool:
    """Tell whether there is a worktree that the task's work may be in."""
    if known.result is not None and "workspace" in known.result.metadata:
        return True
    if known.need != "review":
        return False
    place = "" if known.session is None else known.session.workspace
    return known.task.workspace == "worktree" or WORKTREES in place


def _result(
    known: TaskState,
    status: ExecutionStatus,
    *,
    output: object = None,
    error: str = "",
    draft: ExecutionResult | None = None,
) -> ExecutionResult:
    """Make the outcome that a person or caller states; a draft's own facts (model, cost, ...) stay with it."""
    metadata = {name: value for name, value in draft.metadata.items() if name not in _OF_REVIEW} if draft else {}
    metadata.pop("data", None)
    if output is not None and not isinstance(output, str):
        output, metadata["data"] = _as_json(known, output)
    secrets = known_secrets()  # a person pastes what they see, such as a program's output, with the key in it
    metadata |= {"data": redact(metadata["data"], secrets)} if "data" in metadata else {}
    return ExecutionResult(
        known.task.task_id,
        agent=known.agent or known.task.agent or "",
        status=status,
        started_at=known.started_at,
        completed_at=now(),
        output=redact(output or "", secrets),
        error=redact(error, secrets),
        metadata=metadata,
    )


def _tasks_in(text: str) -> object:
    """Return what a person wrote of tasks to be added; somebody who says only that it is done adds none."""
    if not text.strip():
        return []
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None


def _as_json(known: TaskState, output: object) -> tuple[str, object]:
    """Return data as JSON text, and as what that text will be read back as."""
    try:
        raw = msgspec.json.encode(output)
        return raw.decode(), msgspec.json.decode(raw)
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidTaskError(
            f"the output of task {known.task.task_id!r} cannot be kept: {exc}; give text, or plain JSON data"
        ) from exc
