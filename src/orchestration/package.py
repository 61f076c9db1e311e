"""Prompt packages: what a person is asked, as a Markdown file to answer in an editor, and the answer read back from it.

Pure: text in, text out. A package names its project, task and attempt, and encloses the place of the answer in marks
that nothing else in it can hold.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from orchestration.errors import OrchestrationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestration.run_state import TaskState

__all__ = ["FilledPackage", "PackageError", "is_package", "read_package", "to_package", "unfenced"]

_OPENING = "<!-- orchestrate package: "
_HEADER = re.compile(r"<!-- orchestrate package: (\{.*\}) -->")
_EMPTY_FENCE = re.compile(r"```(?:json)?[ \t]*\n\s*```")


class PackageError(OrchestrationError):
    """A file that is no package, or no longer one that can be read."""


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line. `mark` is part of the marks around the answer; `draft` tells what stood there, as a hash."""

    project: str
    task: str
    attempt: int
    mark: str
    draft: str = ""


@dataclass(frozen=True, kw_only=True)
class FilledPackage:
    """A package as it came back. `answer` is empty when nothing was filled in, or the draft is as it was."""

    project: str
    task_id: str
    attempt: int
    answer: str
    is_unchanged_draft: bool = False


def to_package(known: TaskState, *, project: str, files: Sequence[str] = (), answer_command: str = "") -> str:
    """Return the package of a task that waits for an answer, or for the approval of a draft.

    `files` are paths of what it is based on. `answer_command` is what the instructions name for taking it back in.
    """
    task = known.task
    text = known.result.output if known.result else ""
    is_draft = known.need == "approval"
    mark = hashlib.sha256(f"{project}\0{task.task_id}\0{known.attempt}\0{text}".encode()).hexdigest()[:12]
    draft = text.strip("\n") if is_draft else ""
    header = _Header(
        project=project, task=task.task_id, attempt=known.attempt, mark=mark, draft=_hash(draft) if is_draft else ""
    )
    is_json = task.output_schema is not None
    place = f"```json\n{draft}\n```" if is_json else draft
    sections = [f"{_OPENING}{msgspec.json.encode(header).decode()} -->", _instructions(known, answer_command)]
    sections += _question(known, text)
    if files:
        sections.append("\n".join(["## Files it is based on\n", *(f"- `{path}`" for path in files)]))
    begin, end = _marks(mark)
    sections.append(f"## {'The draft' if is_draft else 'Your answer'}\n\n{begin}\n\n{place}\n\n{end}")
    return "\n\n".join(section for section in sections if section) + "\n"


def is_package(text: str) -> bool:
    """Tell a package by its first line."""
    return text.lstrip("\ufeff").lstrip().startswith(_OPENING)


def read_package(text: str) -> FilledPackage:
    """Return what a package asks and what was filled in.

    Raises:
        PackageError: if its first line or the marks around the answer cannot be read.

    """
    # Not `splitlines`, which also splits at signs that an answer may hold within a line.
    written = text.lstrip("\ufeff").lstrip().replace("\r\n", "\n").split("\n")
    lines = [line.rstrip() for line in written]
    header = _header(lines[0])
    begin, end = _marks(header.mark)
    if begin not in lines or end not in lines[lines.index(begin) :]:
        raise PackageError(
            f"the marks around the answer are gone; put the lines {begin!r} and {end!r} before and after it, "
            "or export the task again"
        )
    last = len(lines) - 1 - lines[::-1].index(end)
    answer = "\n".join(written[lines.index(begin) + 1 : last]).strip("\n")
    is_empty = not answer.strip() or _EMPTY_FENCE.fullmatch(answer.strip()) is not None
    is_unchanged = bool(header.draft) and header.draft in {_hash(answer), _hash(unfenced(answer))}
    return FilledPackage(
        project=header.project,
        task_id=header.task,
        attempt=header.attempt,
        answer="" if is_empty or is_unchanged else answer,
        is_unchanged_draft=is_unchanged,
    )


def _header(line: str) -> _Header:
    found = _HEADER.fullmatch(line)
    try:
        return msgspec.json.decode(found[1] if found else "", type=_Header)
    except msgspec.MsgspecError as exc:
        raise PackageError(
            f"its first line is {line[:120]!r}, expected the one `orchestrate export` writes; export the task again"
        ) from exc


def _instructions(known: TaskState, answer_command: str) -> str:
    what = "Change the draft below as you like" if known.need == "approval" else "Write your answer below"
    form = ", as JSON inside the block" if known.task.output_schema is not None else ""
    take_in = f", save this file, and type:\n\n    {answer_command}" if answer_command else " and save this file."
    return f"{what}, between the two marked lines{form}{take_in}"


def _question(known: TaskState, text: str) -> list[str]:
    """Return what is asked; a draft is not repeated, it stands where the answer belongs."""
    task = known.task
    if known.need != "approval":
        return [text.removesuffix(f"## How to answer\n\n    orchestrate answer {task.task_id}\n").strip()]
    sections = [f"# {task.title}", task.description.strip()]
    asks = known.result.metadata.get("asks") if known.result else None
    if isinstance(asks, str) and asks.strip():
        sections.append(f"## What to look at\n\n{asks.strip()}")
    if task.output_schema is not None:
        schema = json.dumps(task.output_schema, indent=2, ensure_ascii=False, default=str)
        sections.append(f"## Expected form\n\nJSON that meets this schema:\n\n```json\n{schema}\n```")
    return sections


def _marks(mark: str) -> tuple[str, str]:
    return f"<!-- answer {mark}: from the next line on -->", f"<!-- answer {mark}: up to the line above -->"


def _hash(text: str) -> str:
    """Return a text's mark, whatever became of the blanks at the ends of its lines: editors cut them off."""
    return hashlib.sha256("\n".join(line.rstrip() for line in text.strip().splitlines()).encode()).hexdigest()[:16]


def unfenced(text: str) -> str:
    """Return what is in a code block, if the text is one."""
    lines = text.strip().splitlines()
    is_fenced = len(lines) > 1 and lines[0].startswith("```") and lines[-1].strip() == "```"
    return "\n".join(lines[1:-1]) if is_fenced else text
