"""The run as plain lines, one per change of a task's state, for logs and pipes."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

from orchestration import events as ev
from orchestration.task import FailureKind, TaskStatus
from orchestration.views import wording
from orchestration.views.model import stands_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestration.run_state import RunState, TaskState

    Command = Callable[..., str]

__all__ = ["Lines", "describe"]


class Lines:
    """Writes each change as `14:03:22  draft  done  2.1 s  412 tokens  $0.0031`; messages go to `messages`."""

    def __init__(self, out: IO[str], *, messages: IO[str], command: Command) -> None:
        self._out = out
        self._command = command
        self._is_read = True
        self._messages = messages

    def draw(self, news: Sequence[ev.Event | str], state: RunState) -> None:
        """Write the lines there are and flush once."""
        lines: list[str] = []
        for item in news:
            if isinstance(item, str):
                self._flush(lines)
                print(item, file=self._messages, flush=True)
            elif text := describe(item, state, self._command):
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
    if isinstance(event, ev.TaskWaiting):
        return _SEPARATOR.join(_waiting(event, command))
    words = _LINES.get(type(event))
    if words is None:
        return ""
    known = state.tasks.get(getattr(event, "task_id", ""))
    return _SEPARATOR.join(part for part in words(event, known) if part)


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


def _waiting(event: ev.TaskWaiting, command: Command) -> list[str]:
    need = "your approval of its draft" if event.need == "approval" else "your answer"
    return [event.task_id, wording.WORDS[TaskStatus.WAITING], f"{need}: {command('show', event.task_id)}"]


def _completed(event: ev.TaskCompleted, known: TaskState | None) -> list[str]:
    by = "" if event.by == "agent" else f"by {'a person' if event.by == 'person' else 'the caller'}"
    if known is not None and (given_up := stands_for(known)):
        by = f"{event.result.agent} for {', '.join(given_up)}".lstrip()
    again = "answered from the cache" if event.result.metadata.get("cached") else ""
    return [event.task_id, "done", by, again, wording.duration(event.result.duration_s), *_spent(known)]


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
}
