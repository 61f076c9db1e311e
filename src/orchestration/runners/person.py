"""Work for a person: everything needed to do it, on one page. Calls nobody; the answer comes later."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from orchestration.attempt import Outcome

if TYPE_CHECKING:
    from orchestration.attempt import Work

__all__ = ["PersonRunner"]


class PersonRunner:
    """Writes the prompt package: what to do, with what, in which form, and how to answer."""

    async def run(self, work: Work) -> Outcome:
        """Return the package as Markdown, at once."""
        task = work.task
        sections = [f"# {task.title}", f"## Files\n\n{work.preface.strip()}" if work.preface else "", _what_to_do(work)]
        if task.prompt is None:  # a template has put the inputs where they belong
            sections += [f"## From `{name}`\n\n{given.output.strip()}" for name, given in work.inputs.items()]
        if task.item is not None:
            item = task.item if isinstance(task.item, str) else json.dumps(task.item, indent=2, ensure_ascii=False)
            sections.append(f"## The item\n\n{item}")
        if work.context.draft:
            sections.append(f"## The earlier draft\n\n{work.context.draft.strip()}")
        if work.context.comment:
            sections.append(f"## Why it was rejected\n\n{work.context.comment.strip()}")
        if work.context.correction:
            sections.append(f"## What was wrong with the last answer\n\n{work.context.correction.strip()}")
        if task.output_schema is not None:
            schema = json.dumps(task.output_schema, indent=2, ensure_ascii=False, default=str)
            sections.append(f"## Expected form\n\nJSON that meets this schema:\n\n```json\n{schema}\n```")
        sections.append(f"## How to answer\n\n    orchestrate answer {task.task_id}")
        return Outcome(output="\n\n".join(section for section in sections if section) + "\n")

    async def aclose(self) -> None:
        """Do nothing: nothing is held."""


def _what_to_do(work: Work) -> str:
    text = work.task.description if work.task.prompt is None else work.prompt.removeprefix(work.preface)
    parts = [part.strip() for part in (work.system or "", text) if part.strip()]
    return "\n\n".join(["## What to do", *parts]) if parts else ""
