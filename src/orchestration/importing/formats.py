"""The table of plan formats. Each is told by a file's content, so that a file may have any name."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchestration.importing import checklist, task_master
from orchestration.importing.records import ImportRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestration.importing.records import ImportedProject, PlanOptions, Source

__all__ = ["PLAN_FORMATS", "PlanFormat", "format_of", "read_plan"]


class PlanFormat(NamedTuple):
    """How to tell a format, and how to read it. `read` raises `ImportRefusedError`."""

    name: str
    recognise: Callable[[Source], bool]
    read: Callable[[Source, PlanOptions], ImportedProject]


# The first that recognises a file reads it.
PLAN_FORMATS = (
    PlanFormat("task-master's tasks.json", task_master.recognise, task_master.read),
    PlanFormat("a Markdown checklist", checklist.recognise, checklist.read),
)


def format_of(source: Source) -> PlanFormat | None:
    """Return the file's format; None where no one knows it."""
    return next((each for each in PLAN_FORMATS if each.recognise(source)), None)


def read_plan(source: Source, options: PlanOptions) -> ImportedProject:
    """Return the project a plan describes. It has no agents yet.

    Raises:
        ImportRefusedError: if the file is of no known format, or no project can be made of it.

    """
    found = format_of(source)
    if found is None:
        known = " or ".join(each.name for each in PLAN_FORMATS)
        raise ImportRefusedError(f"{source.name}: is of no known format; expected {known} (lines such as '- [ ] text')")
    return found.read(source, options)
