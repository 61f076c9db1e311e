"""Tell a simulated story in lines, one per fact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from orchestration import events as ev

if TYPE_CHECKING:
    from orchestration.run_state import RunState

__all__ = ["Line", "line_of"]

_MAX_CHARS = 160
# What says nothing in a story: identities made for the occasion, and what the line begins with.
_LEFT_OUT = frozenset(
    {"type", "at", "run_id", "call_id", "task_id", "task_ids", "task", "result", "request_id", "tags"}
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the story; `life` counts the processes."""

    life: int
    at_s: float
    text: str

    def __str__(self) -> str:
        return f"{self.life}  {self.at_s:12.3f} s  {self.text}"


def line_of(event: ev.Event, state: RunState, life: int, at_s: float) -> Line | None:
    """Return the line of a fact."""
    plain: dict[str, Any] = msgspec.to_builtins(event)
    told = [plain["type"].replace("_", " "), *_about(event, state)]
    told += [f"{name}={_short(value)}" for name, value in plain.items() if name not in _LEFT_OUT and value]
    return Line(life=life, at_s=at_s, text="  ".join(told))


def _about(event: ev.Event, state: RunState) -> list[str]:
    """Return whom a fact is about, and what it came to."""
    match event:
        case ev.TaskAdded() | ev.TaskChanged():
            needs = f"needs {', '.join(event.task.dependencies)}" if event.task.dependencies else ""
            return [part for part in (event.task.task_id, event.task.agent or "", needs) if part]
        case ev.TaskReset():
            return [", ".join(event.task_ids)]
        case ev.TaskCompleted() | ev.TaskFailed() | ev.TaskWaiting():
            kind = event.result.metadata.get("failure_kind", "")
            return [event.task_id, *([f"{kind}: {_short(event.result.error)}"] if event.result.error else [])]
        case ev.CallReleased() | ev.CallLost():
            return [f"of {len(state.ledger.reservations) + 1} set aside"]
        case _:
            return [task_id] if (task_id := getattr(event, "task_id", "")) else []


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _MAX_CHARS else f"{text[:_MAX_CHARS]}..."
