"""The run as plain lines, one per change of a task's state, for logs and pipes."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from orchestration import events as ev
from orchestration.task import FailureKind, TaskStatus
from orchestration.views import wording
from orchestration.views.advice import question
from orchestration.views.checks import checks_in_order
from orchestration.views.family import growth
from orchestration.views.model import stands_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestration.run_state import RunState, TaskState

    Command = Callable[..., str]

__all__ = ["Lines", "describe", "murmur"]


class Lines:
    """Writes each change as `14:03:22  draft  done  2.1 s  412 tokens  $0.0031`; messages go to `messages`.

    `is_verbose`: also what workers say while they work, and each check that passed.
    """

    def __init__(self, out: IO[str], *, messages: IO[str], command: Command, is_verbose: bool = False) -> None:
        self._out = out
        self._command = command
        self._is_verbose = is_verbose
        self._is_read = True
        self._messages = messages

    def draw(self, news: Sequence[ev.Event | str], state: RunState) -> None:
        """Write the lines there are and flush once."""
        lines: list[str] = []
        for item in news:
            if isinstance(item, str):
                self._flush(lines)
                print(item, file=self._messages, flush=True)
            elif text := describe(item, state, self._command) or (self._is_verbose and murmur(item)):
                lines.append(f"{item.at.astimezone():%H:%M:%S}  {text}\n")
        self._flush(lines)

    def close(self) -> None:
        """Write nothing more; there is nothing to put back."""

    def _flush(self, lines: list[str]) -> None:
        if lines and self._is_read:
            try:
                self._out.write("".join(lines))
                self._out.flush()
            except BrokenPipeError:
                # Whoever read this has seen enough (`| head`). The work goes on, and so do the messages.
                self._is_read = False
        lines.clear()


def describe(event: ev.Event, state: RunState, command: Command) -> str:
    """Return the line for a fact, without its time; empty for facts that change no task's state."""
    if isinstance(event, ev.TaskWaiting | ev.TaskNeedsReview):
        return _SEPARATOR.join(_for_person(event, command))
    words = _LINES.get(type(event))
    if words is None:
        return ""
    known = state.tasks.get(getattr(event, "task_id", ""))
    return _SEPARATOR.join(part for part in words(event, known) if part)


def murmur(event: ev.Event) -> str:
    """Return the line for a fact that changes no task's state, but tells what goes on; empty for others."""
    match event:
        case ev.WorkerReported():
            said = wording.one_line(event.text, 200)
            return _SEPARATOR.join([event.task_id, said if event.kind == "text" else f"{event.kind}: {said}"])
        case ev.SessionStarted():
            return _SEPARATOR.join([event.task_id, f"session {wording.one_line(event.session_id)} of {event.agent}"])
        case ev.CheckFinished() if event.is_passed:
            return _SEPARATOR.join([event.task_id, "check passed", wording.one_line(event.check)])
        case ev.PersonNotified():
            return _SEPARATOR.join([event.task_id, f"you were told ({event.occasion})"])
        case _:
            return ""


_SEPARATOR = "  "


def _started(event: ev.TaskStarted, _known: TaskState | None) -> list[str]:
    attempt = f"attempt {event.attempt}" if event.attempt > 1 else ""
    return [event.task_id, "running", event.agent, attempt]


def _retrying(event: ev.TaskRetrying, _known: TaskState | None) -> list[str]:
    wait = f"attempt {event.attempt} in {wording.duration(event.delay_s)}"
    if event.agent:
        wait = f"{event.agent} takes over"
    return [event.task_id, "running", wait, f"{event.kind.value}: {wording.one_line(event.error)}"]


def _parked(event: ev.TaskParked, _known: TaskState | None) -> list[str]:
    until = f"until {event.until.astimezone():%H:%M:%S}" if event.until else ""
    if event.kind is FailureKind.BUDGET:
        until = "until the budget is raised"
    return [event.task_id, wording.PARKED_WORD, until, f"{event.kind.value}: {wording.one_line(event.reason, 300)}"]


def _for_person(event: ev.TaskWaiting | ev.TaskNeedsReview, command: Command) -> list[str]:
    if isinstance(event, ev.TaskWaiting):
        status, why = TaskStatus.WAITING, question(event.need, "", event.result)
    else:
        status, why = TaskStatus.NEEDS_REVIEW, question("review", event.cause, event.result)
    return [event.task_id, wording.WORDS[status], f"{why}: {command('show', event.task_id)}"]


def _verifying(event: ev.TaskVerifying, known: TaskState | None) -> list[str]:
    checks = [] if known is None else checks_in_order(known.task.checks)
    return [event.task_id, wording.WORDS[TaskStatus.VERIFYING], wording.count(len(checks), "check")] if checks else []


def _check_finished(event: ev.CheckFinished, _known: TaskState | None) -> list[str]:
    if event.is_passed:
        return []
    return [event.task_id, "check failed", f"{wording.one_line(event.check)}: {wording.one_line(event.evidence)}"]


def _skipped(event: ev.TaskSkipped, _known: TaskState | None) -> list[str]:
    return [event.task_id, "skipped", wording.one_line(event.reason)]


def _expanded(event: ev.TaskExpanded, _known: TaskState | None) -> list[str]:
    return [event.task_id, growth(event).removeprefix(event.task_id).lstrip()]


def _reopened(event: ev.TaskReopened, _known: TaskState | None) -> list[str]:
    return [event.task_id, "goes on, by a person's word"]


def _notified(event: ev.PersonNotified, _known: TaskState | None) -> list[str]:
    return [event.task_id, "you could not be told", wording.one_line(event.error)] if event.error else []


def _completed(event: ev.TaskCompleted, known: TaskState | None) -> list[str]:
    by = _BY[event.by]
    if known is not None and (given_up := stands_for(known)):
        by = f"{event.result.agent} for {', '.join(given_up)}".lstrip()
    again = "answered from the cache" if event.result.metadata.get("cached") else ""
    grown = growth(event).removeprefix(event.task_id).lstrip()
    return [event.task_id, "done", by, again, wording.duration(event.result.duration_s), *_spent(known), grown]


_BY = {
    "agent": "",
    "person": "by a person",
    "caller": "by the caller",
    "default": "by its default, for nobody answered in time",
}


def _failed(event: ev.TaskFailed, known: TaskState | None) -> list[str]:
    took = wording.duration(event.result.duration_s)
    return [event.task_id, "failed", took, *_spent(known), wording.one_line(event.result.error)]


def _spent(known: TaskState | None) -> list[str]:
    if known is None or not known.spend.calls:
        return []
    used = known.spend.input_tokens + known.spend.output_tokens
    return [f"{wording.tokens(used)} tokens", wording.money(known.spend)]


def _cancelled(event: ev.TaskCancelled, _known: TaskState | None) -> list[str]:
    return [event.task_id, "cancelled"]


def _interrupted(event: ev.TaskInterrupted, _known: TaskState | None) -> list[str]:
    return [event.task_id, "interrupted, runs again when resumed", wording.one_line(event.reason, 300)]


def _rejected(event: ev.TaskRejected, _known: TaskState | None) -> list[str]:
    return [event.task_id, "draft rejected", wording.one_line(event.comment)]


def _reset(event: ev.TaskReset, _known: TaskState | None) -> list[str]:
    shown = 10
    more = f" and {len(event.task_ids) - shown:,} more" if len(event.task_ids) > shown else ""
    return [", ".join(event.task_ids[:shown]) + more, "pending again", event.reason]


# Each function takes the fact it is listed under, which a dict's type cannot say.
_LINES: dict[type, Callable[..., list[str]]] = {
    ev.TaskStarted: _started,
    ev.TaskRetrying: _retrying,
    ev.TaskParked: _parked,
    ev.TaskCompleted: _completed,
    ev.TaskFailed: _failed,
    ev.TaskCancelled: _cancelled,
    ev.TaskInterrupted: _interrupted,
    ev.TaskRejected: _rejected,
    ev.TaskReset: _reset,
    ev.TaskVerifying: _verifying,
    ev.CheckFinished: _check_finished,
    ev.TaskSkipped: _skipped,
    ev.TaskExpanded: _expanded,
    ev.TaskReopened: _reopened,
    ev.PersonNotified: _notified,
}
