"""The text a worker gets: a task, what its dependencies came to, and what a person said about an earlier draft.

Decides the layout. Knows no worker; templates are rendered by `template`.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from orchestration import template
from orchestration.errors import AttemptError
from orchestration.task import FailureKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from orchestration.attempt import AttemptContext, TaskInput
    from orchestration.task import AgentTask

__all__ = ["PROMPT_MAX_CHARS", "check_size", "render", "with_correction", "with_schema"]

# About two million tokens: more than any model reads. A longer prompt is a mistake that would cost money to find out.
PROMPT_MAX_CHARS = template.OUTPUT_MAX_CHARS


async def render(task: AgentTask, context: AttemptContext, *, root: Path | None) -> str:
    """Return the task's prompt.

    A template says itself where the dependencies' outputs go; without one they follow the title and description. After
    a rejection the draft and the comment come last, in both cases.

    Raises:
        AttemptError: of kind `bad_request`, naming the task and the template's line, if it cannot be rendered.

    """
    if task.prompt is None:
        text = _default(task, context)
    elif template.is_template(task.prompt):
        text = await asyncio.to_thread(template.render, task, context, root)
    else:
        text = task.prompt
    return f"{text}\n\n{_rejection(context)}" if context.draft or context.comment else text


def check_size(task: AgentTask, prompt: str) -> None:
    """Refuse a prompt that no model can read, before anybody is paid for trying.

    Raises:
        AttemptError: of kind `context_length`, with the size and what makes it up.

    """
    if len(prompt) <= PROMPT_MAX_CHARS:
        return
    raise AttemptError(
        f"the prompt of task {task.task_id!r} has {len(prompt):,} characters, expected at most {PROMPT_MAX_CHARS:,}; "
        "shorten what its dependencies hand over, or pick parts of it in a template (`prompt:`)",
        kind=FailureKind.CONTEXT_LENGTH,
    )


def with_schema(prompt: str, schema: Mapping[str, Any] | None) -> str:
    """Add the form the answer must have, for workers that cannot be held to it by their provider."""
    if schema is None:
        return prompt
    shown = json.dumps(schema, indent=2, ensure_ascii=False, default=str)
    return f"{prompt}\n\nAnswer with one JSON value and nothing else. It must meet this JSON Schema:\n\n{shown}"


def with_correction(prompt: str, error: str) -> str:
    """Add what was wrong with the last answer; the prompt itself stays first, so that provider caches still match."""
    return f"{prompt}\n\nYour last attempt was not accepted. {error}\nDo it again, and correct this."


def _default(task: AgentTask, context: AttemptContext) -> str:
    parts = [task.title, task.description] if task.description else [task.title]
    # Tags, not headings: outputs are often Markdown, whose own headings would run into ours.
    if task.item is not None:
        item = task.item if isinstance(task.item, str) else json.dumps(task.item, ensure_ascii=False, indent=2)
        parts.append(f"<item>\n{item}\n</item>")
    for name, given in _with_added(context.inputs):
        parts.append(f'<result task="{name}">\n{given.output}\n</result>')
    return "\n\n".join(parts)


def _with_added(inputs: Mapping[str, TaskInput]) -> Iterator[tuple[str, TaskInput]]:
    """Yield the outcomes there are, each followed by those of the tasks it has added."""
    for name, given in inputs.items():
        if not given.skipped:
            yield name, given
        if given.added:
            yield from _with_added(given.added)


def _rejection(context: AttemptContext) -> str:
    parts = []
    if context.draft:
        parts.append(f"<draft>\n{context.draft}\n</draft>")
    if context.comment:
        parts.append(f"<comment>\n{context.comment}\n</comment>")
    return "\n\n".join(["A reviewer rejected the earlier draft. Write a new one that meets the comment.", *parts])
