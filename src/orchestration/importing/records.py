"""What is read and what it becomes, as records. Knows no format."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from orchestration.errors import OrchestrationError
from orchestration.task import TaskPriority

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "SOURCE_MAX_BYTES",
    "ImportRefusedError",
    "ImportedAgent",
    "ImportedProject",
    "ImportedTask",
    "PlanOptions",
    "Source",
    "refuse_all",
    "slug",
]

# What a project file may have; a plan becomes one of about its own size.
SOURCE_MAX_BYTES = 5_000_000
_SHOWN_MAX = 20
_SLUG_MAX = 40


class ImportRefusedError(OrchestrationError):
    """A file that no project can be made of. The message has one line for each mistake."""


def refuse_all(name: str, problems: Iterable[str]) -> None:
    """Refuse the file of that name if there is any problem with it. No more are looked for than are shown.

    Raises:
        ImportRefusedError: naming the first of them.

    """
    shown = list(islice(problems, _SHOWN_MAX + 1))
    if len(shown) > _SHOWN_MAX:
        shown[-1] = f"has more mistakes than these {_SHOWN_MAX}; correct them first"
    if shown:
        raise ImportRefusedError("\n".join(f"{name}: {problem}" for problem in shown))


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file's text, and what messages call it."""

    name: str
    text: str

    @classmethod
    def decode(cls, name: str, content: bytes) -> Source:
        """Return the text in these bytes.

        Raises:
            ImportRefusedError: if there are too many of them, or they are not text in UTF-8.

        """
        if len(content) > SOURCE_MAX_BYTES:
            raise ImportRefusedError(f"{name}: is larger than {SOURCE_MAX_BYTES:,} bytes; import it in parts")
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise ImportRefusedError(f"{name}: is UTF-16; save it as UTF-8")
        if b"\0" in content:
            raise ImportRefusedError(f"{name}: is a binary file; expected tasks.json or a Markdown checklist")
        try:
            return cls(name=name, text=content.decode("utf-8-sig"))
        except UnicodeDecodeError as exc:
            line = content[: exc.start].count(b"\n") + 1
            raise ImportRefusedError(f"{name}: line {line} is not UTF-8; save the file as UTF-8 text") from None


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """What a person may say about a plan.

    `tag`: the part to take of a file that has several. `current_tag`: the part its own program works on. `in_order`:
    each task waits for the one before it.
    """

    tag: str | None = None
    current_tag: str | None = None
    in_order: bool = False


@dataclass(frozen=True, kw_only=True)
class ImportedTask:
    """A task to be written. `notes` are for the person: comments in the file."""

    task_id: str
    title: str
    description: str = ""
    dependencies: tuple[str, ...] = ()
    priority: TaskPriority = TaskPriority.MEDIUM
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    agent: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ImportedAgent:
    """An agent to be written; `options` are the keys of the project file."""

    name: str
    options: Mapping[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ImportedProject:
    """A project to be written. `told` is what could not be taken over, a line each; `origin` says where it is from."""

    project_id: str
    origin: str
    tasks: tuple[ImportedTask, ...]
    agents: tuple[ImportedAgent, ...] = ()
    default_agent: str | None = None
    description: str = ""
    scripts_dir: str | None = None
    told: tuple[str, ...] = ()


def slug(text: str, default: str = "") -> str:
    """Return a name made of the text's words, cut at a word where it is long; the default where it has none."""
    words = re.findall(r"\w+", text.lower())
    name = "-".join(words)
    if len(name) > _SLUG_MAX:
        name = name[: _SLUG_MAX + 1].rpartition("-")[0] or name[:_SLUG_MAX]
    return name or default
