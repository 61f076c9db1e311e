"""The task graph as a tree, as Mermaid, as DOT, as JSON. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.text import Text

from orchestration.run_state import blocked_tasks
from orchestration.task import TaskStatus
from orchestration.views import table, wording
from orchestration.views.family import is_instance, placing
from orchestration.views.tree import grow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestration.run_state import RunState, TaskState

__all__ = ["document", "dot", "mermaid", "tree"]

_COLOURS = {
    TaskStatus.PENDING: "#eeeeee",
    TaskStatus.IN_PROGRESS: "#bae6fd",
    TaskStatus.VERIFYING: "#c7d2fe",
    TaskStatus.WAITING: "#fde68a",
    TaskStatus.NEEDS_REVIEW: "#fcd34d",
    TaskStatus.COMPLETED: "#bbf7d0",
    TaskStatus.SKIPPED: "#f5f5f4",
    TaskStatus.FAILED: "#fecaca",
    TaskStatus.BLOCKED: "#fed7aa",
    TaskStatus.CANCELLED: "#e9d5ff",
}


def tree(state: RunState, *, ascii_only: bool = False) -> list[Text]:
    """Return one line per task: its place, how it stands, and the dependencies the place does not show."""
    statuses = _statuses(state)
    rows: list[list[table.Cell]] = []
    for branch in grow(placing(state)):
        known, status = state.tasks[branch.task_id], statuses[branch.task_id]
        task = known.task
        others = [name for name in _other_dependencies(state, known) if name != branch.parent]
        rows.append(
            [
                (branch.guide + branch.task_id, ""),
                (f"{wording.SYMBOLS[status]} {wording.WORDS[status]}", wording.STYLES[status]),
                (task.agent or "", "dim"),
                (f"also after {', '.join(others)}" if others else "", "dim"),
            ]
        )
    return table.columns(rows, ascii_only=ascii_only) or [Text("no tasks")]


def mermaid(state: RunState) -> list[str]:
    """Return a Mermaid flowchart; tasks are coloured by status."""
    names = _node_names(state)
    statuses = _statuses(state)
    lines = ["flowchart TD"]
    lines += [
        f"  {name}[{_mermaid_text(_label(state, task_id))}]:::{statuses[task_id]}" for task_id, name in names.items()
    ]
    lines += [f"  {names[other]} --> {names[task_id]}" for other, task_id in _edges(state)]
    return lines + [f"  classDef {status} fill:{colour},stroke:#555,color:#111" for status, colour in _COLOURS.items()]


def dot(state: RunState) -> list[str]:
    """Return a Graphviz digraph; tasks are coloured by status."""
    statuses = _statuses(state)
    lines = ["digraph project {", '  node [shape=box, style="rounded,filled", fontname="sans-serif"];']
    for task_id in _node_names(state):
        label, colour = _quoted(_label(state, task_id)), _quoted(_COLOURS[statuses[task_id]])
        lines.append(f"  {_quoted(task_id)} [label={label}, fillcolor={colour}];")
    lines += [f"  {_quoted(other)} -> {_quoted(task_id)};" for other, task_id in _edges(state)]
    return [*lines, "}"]


def document(state: RunState) -> dict[str, Any]:
    """Return the tasks with their dependencies, in the order added.

    `waits_for` has besides what its dependencies have added, and a task's own instances; `origin` is the task that an
    instance, or an added task, comes from.
    """
    statuses = _statuses(state)
    return {
        "tasks": [
            {
                "task_id": known.task.task_id,
                "title": known.task.title,
                "agent": known.task.agent,
                "status": statuses[known.task.task_id].value,
                "dependencies": list(known.task.dependencies),
                "waits_for": list(state.edges_of(known)),
                "origin": known.origin or None,
            }
            for known in state.ordered()
        ]
    }


def _statuses(state: RunState) -> dict[str, TaskStatus]:
    blocked = blocked_tasks(state)
    return {
        task_id: TaskStatus.BLOCKED if task_id in blocked else known.status for task_id, known in state.tasks.items()
    }


def _node_names(state: RunState) -> dict[str, str]:
    """Return task id -> a name that Mermaid takes, whatever the id."""
    return {known.task.task_id: f"t{i}" for i, known in enumerate(state.ordered(), 1)}


def _edges(state: RunState) -> Iterator[tuple[str, str]]:
    for known in state.ordered():
        for other in state.edges_of(known):
            if other in state.tasks:
                yield other, known.task.task_id


def _other_dependencies(state: RunState, known: TaskState) -> Sequence[str]:
    """Return the dependencies that are its own: not those an instance shares with its task, nor where it comes from."""
    if is_instance(state, known):
        return ()
    return [name for name in known.task.dependencies if name != known.origin]


def _label(state: RunState, task_id: str) -> str:
    title = wording.one_line(state.tasks[task_id].task.title, 60)
    return task_id if title == task_id else f"{task_id}: {title}"


def _mermaid_text(text: str) -> str:
    """Quote for Mermaid, which knows no backslashes, only entities."""
    for char, entity in {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "`": "#96;"}.items():
        text = text.replace(char, entity)
    return f'"{text}"'


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
