"""Markdown checklists: `- [ ] text`. Reads a line at a time; what is no item, heading or fence belongs to no task."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING

from orchestration.importing.plan import DEPTH_MAX, PlanItem, settle
from orchestration.importing.records import ImportedProject, ImportRefusedError, slug

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestration.importing.plan import State
    from orchestration.importing.records import PlanOptions, Source

__all__ = ["read", "recognise"]

_ITEM = re.compile(r"^(?P<indent> *)(?:[-*+]|\d+[.)]) +\[(?P<mark>.)\](?: +(?P<text>.*))?$")
_HEADING = re.compile(r"^ {0,3}(?P<level>#{1,6}) +(?P<text>.*)$")
_FENCE = re.compile(r"^ *(?P<fence>`{3,}|~{3,})(?P<rest>.*)$")
_COMMENT_BEGIN, _COMMENT_END = "<!--", "-->"

# An id: `{#id}` anywhere, or leading the text: `T001`, `DOC-12:`, `#7`, `1.`. A number such as 2.3 may also be a part
# of what is said ("2.3 release notes"), so it stays there.
_NAMED_ID = re.compile(r" ?\{#(?P<id>[^\s{}]+)\}")
_LEADING_ID = re.compile(
    r"(?:\*\*)?(?P<id>T\d{3,}(?=[ .):*])|#\d+|[A-Z]+-?\d+(?=\*\*|[.):])|\d+(?:\.\d+)*(?=\*\*|[.):]))[.):*]* "
)
_LEADING_NUMBER = re.compile(r"(?P<id>\d+(?:\.\d+)+) ")
# `(after: a, b)` with any ids; `depends on T001, #3 and 2.1` at the end, only with what is hardly anything but an id.
_AFTER = re.compile(r" ?\((?:after|depends on|needs):(?P<ids>[^()]*)\)", re.IGNORECASE)
_REFERENCE = r"(?:#\w+(?:[.-]\w+)*|T\d{3,}|\d+(?:\.\d+)+)"
_DEPENDS = re.compile(
    rf"\(?\b[Dd]epends on:? (?P<ids>{_REFERENCE}(?:(?:, ?(?:and )?| and ){_REFERENCE})*)\)?\.?$",
)

_STATES: dict[str, tuple[State, str]] = {
    " ": ("open", ""),
    "x": ("done", "done"),
    "X": ("done", "done"),
    "-": ("left_out", "marked [-]"),
    "~": ("left_out", "marked [~]"),
}


def recognise(source: Source) -> bool:
    """Say whether the file has an item of a checklist, or is named as Markdown is."""
    return source.name.endswith((".md", ".markdown")) or any(map(_ITEM.match, _lines(source)))


def read(source: Source, options: PlanOptions) -> ImportedProject:
    """Return the project in a checklist.

    Raises:
        ImportRefusedError: if it has no items, or they make a plan that cannot be carried out.

    """
    if options.tag is not None:
        raise ImportRefusedError(f"{source.name}: is a checklist, which has no tags; leave out --tag")
    reading = _Reading(source.name)
    for number, line in enumerate(_lines(source), 1):
        reading.take(number, line)
    reading.end()
    if not reading.items:
        raise ImportRefusedError(f"{source.name}: has no items of a checklist; expected lines such as '- [ ] text'")
    settled = settle(source.name, _plan_items(reading.items), in_order=options.in_order)
    name = PurePath(source.name).name
    return ImportedProject(
        project_id=slug(PurePath(name).stem, "plan"),
        origin=name,
        description=reading.title,
        tasks=settled.tasks,
        told=(*reading.told, *settled.told),
    )


def _lines(source: Source) -> Iterator[str]:
    return (line.rstrip().expandtabs(4) for line in source.text.split("\n"))


@dataclass(kw_only=True)
class _Item:
    """An item while its lines come in."""

    number: int
    indent: int
    mark: str
    text: str
    tag: str
    task_id: str = ""
    waits: tuple[str, ...] = ()
    lines: list[str] = field(default_factory=list)
    parts: list[_Item] = field(default_factory=list)


class _Reading:
    """Takes line after line. `_open` are the item the next line may belong to and the items around it."""

    def __init__(self, name: str) -> None:
        self.items: list[_Item] = []
        self.title = ""
        self.told: list[str] = []
        self._name = name
        self._open: list[_Item] = []
        self._tag = ""
        self._fence = ""
        self._fence_line = 0
        self._is_comment = False

    def take(self, number: int, line: str) -> None:
        """Take the next line."""
        if self._fence or self._is_comment:
            self._take_fenced(line)
        elif found := _ITEM.match(line):
            self._begin(number, found)
        elif not line:
            self._describe(line)
        else:
            self._take_other(number, line)

    def end(self) -> None:
        """Say what the end of the file cut off."""
        if self._fence:
            self.told.append(f"line {self._fence_line}: this code fence is never closed; nothing after it was read")

    def _take_fenced(self, line: str) -> None:
        if self._is_comment:
            self._is_comment = _COMMENT_END not in line
            return
        self._describe(line)
        found = _FENCE.match(line)
        if found and found["fence"].startswith(self._fence) and not found["rest"]:
            self._fence = ""

    def _take_other(self, number: int, line: str) -> None:
        indent = len(line) - len(line.lstrip())
        while self._open and self._open[-1].indent >= indent:
            self._open.pop()
        text = line.lstrip()
        if found := _FENCE.match(line):
            self._fence, self._fence_line = found["fence"], number
        elif text.startswith(_COMMENT_BEGIN):
            self._is_comment = _COMMENT_END not in text
            return
        if self._open:
            self._describe(line)
        elif heading := _HEADING.match(line):
            self._head(heading)

    def _head(self, heading: re.Match[str]) -> None:
        """Take a heading: the first of level 1 is the plan's name, others are the tag of the items below."""
        text, _, closing = heading["text"].rpartition(" ")
        if not text or closing.strip("#"):
            text = heading["text"]
        if len(heading["level"]) == 1 and not self.title and not self.items:
            self.title = text.strip()
        else:
            self._tag = slug(text)

    def _describe(self, line: str) -> None:
        if self._open:
            self._open[-1].lines.append(line)

    def _begin(self, number: int, found: re.Match[str]) -> None:
        indent, text = len(found["indent"]), " ".join((found["text"] or "").split())
        while self._open and self._open[-1].indent >= indent:
            self._open.pop()
        text, task_id, waits = _notations(text)
        if not text and not task_id:
            self.told.append(f"line {number}: this item says nothing; left out")
            return
        if len(self._open) >= DEPTH_MAX:
            raise ImportRefusedError(f"{self._name}: line {number} is nested deeper than {DEPTH_MAX} items")
        mark = found["mark"]
        if mark not in _STATES:
            self.told.append(f"line {number}: the mark [{mark}] is unknown; taken as [ ]")
        item = _Item(number=number, indent=indent, mark=mark, text=text, tag=self._tag, task_id=task_id, waits=waits)
        (self._open[-1].parts if self._open else self.items).append(item)
        self._open.append(item)


def _notations(text: str) -> tuple[str, str, tuple[str, ...]]:
    """Return the text without its notations, its id, and the ids of what it waits for."""
    waits: list[str] = []
    for pattern in (_AFTER, _DEPENDS):
        if found := pattern.search(text):
            waits += [name.removeprefix("#") for name in re.split(r"[\s,]+", found["ids"]) if name not in {"", "and"}]
            text = _without(text, found).rstrip(" ,;(")
    if found := _NAMED_ID.search(text) or _LEADING_ID.match(text):
        return _without(text, found), found["id"].removeprefix("#"), tuple(waits)
    number = _LEADING_NUMBER.match(text)
    return text, number["id"] if number else "", tuple(waits)


def _without(text: str, found: re.Match[str]) -> str:
    return (text[: found.start()] + text[found.end() :]).strip()


class _Ids:
    """Gives ids to items that name none."""

    def __init__(self, items: Sequence[_Item]) -> None:
        self._taken = {item.task_id for item in _all(items)}
        self._counts: dict[str, int] = {}

    def of(self, item: _Item, default: str) -> str:
        """Return the item's own id, else the default, with a number where an item before it has the same words."""
        if item.task_id:
            return item.task_id
        free = default
        while free in self._taken:
            self._counts[default] = self._counts.get(default, 1) + 1
            free = f"{default}-{self._counts[default]}"
        self._taken.add(free)
        return free


def _plan_items(items: Sequence[_Item]) -> tuple[PlanItem, ...]:
    ids = _Ids(items)
    return tuple(_plan_item(item, slug(item.text, f"task-{number}"), ids) for number, item in enumerate(items, 1))


def _plan_item(item: _Item, default_id: str, ids: _Ids) -> PlanItem:
    task_id = ids.of(item, default_id)
    state, word = _STATES.get(item.mark, _STATES[" "])
    return PlanItem(
        task_id=task_id,
        title=item.text or task_id,
        description=_dedented(item.lines),
        state=state,
        word=word,
        dependencies=item.waits,
        parts=tuple(_plan_item(part, f"{task_id}.{number}", ids) for number, part in enumerate(item.parts, 1)),
        tags=(item.tag,) if item.tag else (),
    )


def _all(items: Sequence[_Item]) -> Iterator[_Item]:
    for item in items:
        yield item
        yield from _all(item.parts)


def _dedented(lines: Sequence[str]) -> str:
    """Return the lines without the indentation they share."""
    indents = [len(line) - len(line.lstrip()) for line in lines if line]
    return "\n".join(line[min(indents, default=0) :] for line in lines).strip("\n")
