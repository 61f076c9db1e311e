"""What work on a task has left: a conversation, files, a branch, tasks that came of it. As lines and as JSON."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from rich.text import Text

from orchestration.views import table, wording
from orchestration.views.advice import by_hand
from orchestration.views.family import counted, progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestration.run_state import RunState, TaskState
    from orchestration.task import ExecutionResult

__all__ = ["diff_lines", "family_lines", "file_lines", "place_lines", "session_lines", "trace_document"]

_FILES_MAX = 100
_TASKS_MAX = 40
_HASH_CHARS = 10
_CHANGE_STYLES = {"added": "green", "modified": "yellow", "deleted": "red"}
_DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan"}
_KILO = 1024


def trace_document(state: RunState, known: TaskState) -> dict[str, Any]:
    """Return what a task has left, and what it is at, as plain JSON values."""
    session, result = known.session, known.result or known.claim
    metadata = {} if result is None else result.metadata
    return {
        "activity": known.activity or None,
        "session": None
        if session is None
        else {"agent": session.agent, "session_id": session.session_id, "workspace": session.workspace or None},
        "claim": None if known.claim is None else known.claim.to_dict(),
        "asked_at": known.asked_at,
        "cause": known.cause or None,
        "reason": (known.last_error or None) if known.cause else None,
        "files": list(metadata.get("files", ())),
        "workspace": metadata.get("workspace"),
        "artefacts": metadata.get("artefacts"),
        "origin": known.origin or None,
        "instances": _family_document(state, known) if known.instances else None,
        "added": list(known.added),
    }


def _family_document(state: RunState, known: TaskState) -> dict[str, Any]:
    return {
        "task_ids": list(known.instances),
        "counts": {status.value: number for status, number in counted(state, known).items()},
    }


def session_lines(known: TaskState, tools: Mapping[str, str]) -> list[Text | str]:
    """Return a coding agent's conversation and the command with which a person goes on with it."""
    session = known.session
    if session is None:
        metadata = known.result.metadata if known.result else {}
        session_id, agent, folder = str(metadata.get("session_id") or ""), known.agent, ""
    else:
        session_id, agent, folder = session.session_id, session.agent, session.workspace
    if not session_id:
        return []
    lines: list[Text | str] = [f"{wording.printable(session_id)}  of {agent}"]
    if command := by_hand(tools.get(agent, ""), session_id):
        there = f"cd {shlex.quote(folder)} && " if folder else ""
        lines.append(f"to go on by hand: {there}{command}")
    return lines


def family_lines(state: RunState, known: TaskState) -> list[Text | str]:
    """Return a task's instances, or the tasks it has added, each with how it stands."""
    names = known.instances or known.added
    lines: list[Text | str] = [progress(state, known)] if known.instances else []
    there = [one for name in names[:_TASKS_MAX] if (one := state.tasks.get(name))]
    lines += table.columns(
        [
            [
                (one.task.task_id, ""),
                table.standing(one.status, is_parked=bool(one.parked)),
                (one.task.agent or "", "dim"),
                (wording.one_line(one.task.title), "dim"),
            ]
            for one in there
        ]
    )
    if len(names) > _TASKS_MAX:
        lines.append(f"... and {len(names) - _TASKS_MAX:,} more")
    return lines


def file_lines(result: ExecutionResult | None) -> list[Text | str]:
    """Return the files that were made or changed: how, which, how large, and the beginning of their hash."""
    files = [file for file in (result.metadata.get("files") or () if result else ()) if isinstance(file, dict)]
    rows: list[list[table.Cell]] = [
        [
            (str(file.get("change", "")), _CHANGE_STYLES.get(str(file.get("change")), "")),
            (wording.printable(str(file.get("path", ""))), ""),
            (_size(file.get("size_bytes")) if file.get("sha256") else "", "dim"),
            (str(file.get("sha256") or "")[:_HASH_CHARS], "dim"),
        ]
        for file in files[:_FILES_MAX]
    ]
    lines: list[Text | str] = [*table.columns(rows)]
    if len(files) > _FILES_MAX:
        lines.append(f"... and {len(files) - _FILES_MAX:,} more; --json lists all")
    return lines


def _size(size_bytes: object) -> str:
    if not isinstance(size_bytes, int):
        return ""
    if size_bytes < _KILO:
        return f"{size_bytes} B"
    size = size_bytes / _KILO
    return f"{size:.1f} kB" if size < _KILO else f"{size / _KILO:.1f} MB"


def place_lines(result: ExecutionResult | None) -> list[tuple[str, str]]:
    """Return where the work is, as names and values: its branch and commit, its folder, the raw output."""
    metadata = result.metadata if result else {}
    place = metadata.get("workspace")
    fields: list[tuple[str, str]] = []
    if isinstance(place, dict):
        merged = place.get("merged")
        fields = [
            ("branch", "" if merged else str(place.get("branch") or "")),
            ("commit", str(place.get("commit") or "")[:_HASH_CHARS]),
            ("merged", str(merged or "")[:_HASH_CHARS]),
            ("folder", "" if merged else str(place.get("path") or "")),
        ]
    return [*fields, ("raw output", str(metadata.get("artefacts") or ""))]


def diff_lines(result: ExecutionResult | None) -> list[Text | str]:
    """Return the diff that a person has to look at, coloured."""
    diff = result.metadata.get("diff") if result else None
    rows = wording.printable(diff).rstrip("\n").split("\n") if isinstance(diff, str) and diff.strip() else []
    return [Text(row, _DIFF_STYLES.get(row[:1], "")) for row in rows]
