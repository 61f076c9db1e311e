"""A project file's content as plain values that know where they stand. Knows nothing of what keys mean."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestration.errors import ProjectFileError
from orchestration.project_file.nodes import LINE_BREAK, Mark, Node, compose, resolve
from orchestration.project_file.wording import Keys, printable, shown, spell

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["MAX_BYTES", "Document", "Place", "Problem", "parse", "read_document"]

MAX_BYTES = 5_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a value stands, and its key where it has one. `is_literal`: a `|` block, whose lines are the file's.

    `text` is how a value without parts is written, for those that have to be taken to the letter.
    """

    key: Mark
    value: Mark
    last_line: int
    is_literal: bool
    text: str


@dataclass(frozen=True, kw_only=True, order=True, slots=True)
class Problem:
    """One mistake. Problems sort in the order of the file."""

    mark: Mark
    keys: tuple[str, ...]
    text: str


@dataclass(frozen=True, kw_only=True)
class Document:
    """The content of a file.

    `value` is plain: text, numbers, booleans, None, lists, and mappings with text keys. `faults` are what YAML allows
    and we do not; where a value is not usable because of one, it is None and its path is in `faulty`.
    """

    name: str
    value: Any
    places: Mapping[Keys, Place]
    lines: tuple[str, ...]
    faults: tuple[Problem, ...]
    faulty: frozenset[Keys]

    def at_value(self, keys: Keys, message: str) -> Problem:
        """Return a problem that points at the value."""
        return self._problem(self.places[keys].value, keys, message)

    def at_key(self, keys: Keys, message: str) -> Problem:
        """Return a problem that points at the value's key, or at the value where it has none."""
        return self._problem(self.places[keys].key, keys, message)

    def in_text(self, keys: Keys, message: str, *, line: int, find: str) -> Problem:
        """Return a problem in the given line of a text value, at `find` where it can be seen there.

        Only `|` blocks keep their lines; in other texts `find` is looked for in the lines they span.
        """
        place = self.places[keys]
        if place.is_literal:
            number = min(place.value.line + line, place.last_line, len(self.lines))
            content = self.lines[number - 1]
            first = len(content) - len(content.lstrip()) + 1
            return self._problem(Mark(line=number, column=_column(content, find) or first), keys, message)
        for number, content in enumerate(self.lines[place.value.line - 1 : place.last_line], place.value.line):
            column = _column(content, find)
            if column is not None:
                return self._problem(Mark(line=number, column=column), keys, message)
        return self._problem(place.value, keys, message)

    def line_of(self, keys: Keys) -> int:
        """Return the line of the value's key."""
        return self.places[keys].key.line

    def exact(self, keys: Keys, value: float) -> Decimal:
        """Return a number as it is written, which a float is not: 0.1 is a tenth."""
        return Decimal(value if isinstance(value, int) else self.places[keys].text)

    def describe(self, problem: Problem) -> str:
        """Return the problem as one line: `file:line:column: path: text`."""
        return f"{self.name}:{problem.mark.line}:{problem.mark.column}: {printable(problem.text)}"

    def _problem(self, mark: Mark, keys: Keys, message: str) -> Problem:
        return Problem(mark=mark, keys=tuple(map(str, keys)), text=_with_path(keys, message))


def _column(line: str, find: str) -> int | None:
    """Return where the whole name stands in the line; None where it does not."""
    found = re.search(rf"(?<!\w){re.escape(find)}(?!\w)", line) if find else None
    return None if found is None else found.start() + 1


def read_document(path: Path) -> Document:
    """Read and parse a file.

    Raises:
        ProjectFileError: if it cannot be read, is not text in UTF-8, or `parse` refuses it.

    """
    name = str(path)
    try:
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "not a regular file"
            raise ProjectFileError([f"{name}: is {kind}; expected a project file such as orchestrate.yaml"])
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ProjectFileError([f"{name}: no such file; expected a project file such as orchestrate.yaml"]) from None
    except (OSError, ValueError) as exc:  # ValueError: a path that no file can have, such as one with a NUL
        reason = getattr(exc, "strerror", None) or exc
        raise ProjectFileError([f"{name!r}: cannot be read: {reason}"]) from exc
    return parse(content, name)


def parse(content: bytes, name: str) -> Document:
    """Return the document in these bytes; `name` is what messages call it.

    Raises:
        ProjectFileError: one line, where nothing more could be said about the rest: not text, not YAML, empty, several
            documents, too large, nested too deep, or with aliases that multiply it.

    """
    text = _decode(content, name)
    root = compose(text, name)
    unfolding = _Unfolding()
    value = unfolding.unfold(root, ())
    return Document(
        name=name,
        value=value,
        places=unfolding.places,
        lines=tuple(LINE_BREAK.split(text)),
        faults=tuple(unfolding.faults),
        faulty=frozenset(unfolding.faulty),
    )


def _decode(content: bytes, name: str) -> str:
    if len(content) > MAX_BYTES:
        raise ProjectFileError(
            [f"{name}: is larger than {MAX_BYTES:,} bytes; keep long texts in files of their own (prompt_file)"]
        )
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ProjectFileError([f"{name}: is UTF-16; save it as UTF-8"])
    if b"\0" in content:
        raise ProjectFileError([f"{name}: is a binary file; expected YAML, which is text"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        before = content[: exc.start]
        line = before.count(b"\n") + 1
        column = exc.start - (before.rfind(b"\n") + 1) + 1
        raise ProjectFileError(
            [f"{name}:{line}:{column}: byte 0x{content[exc.start]:02x} is not UTF-8; save the file as UTF-8 text"]
        ) from None


class _Unfolding:
    """Turns nodes into plain values and remembers where each stands. The nodes' depth is limited already."""

    def __init__(self) -> None:
        self.places: dict[Keys, Place] = {}
        self.faults: list[Problem] = []
        self.faulty: set[Keys] = set()
        self._reported: set[int] = set()  # nodes: an alias must not repeat the report

    def unfold(self, node: Node, keys: Keys, key: Mark | None = None) -> Any:
        """Return the node's value, None where it is at fault."""
        key = key or node.start
        # The parser puts a value that is not there at the next thing in the file.
        start = key if node.is_plain and not node.text else node.start
        self.places[keys] = Place(
            key=key, value=start, last_line=node.last_line, is_literal=node.is_literal, text=node.text
        )
        value, fault = resolve(node.text) if node.is_plain else (node.text, "")
        fault = node.fault or fault
        if fault:
            self.faulty.add(keys)
            self._report(node, keys, fault)
            return None
        if node.kind == "sequence":
            return [self.unfold(child, (*keys, index)) for index, child in enumerate(node.children)]
        return self._mapping(node, keys) if node.kind == "mapping" else value

    def _mapping(self, node: Node, keys: Keys) -> dict[str, Any]:
        plain: dict[str, Any] = {}
        for key, child in zip(node.children[::2], node.children[1::2], strict=True):
            fault = _key_fault(key)
            if fault:
                self._report(key, keys, fault)
            elif key.text in plain:
                first = self.places[*keys, key.text].key.line
                self._report(
                    key, (*keys, key.text), f"{shown(key.text)} is here twice, first in line {first}; keep one"
                )
            else:
                plain[key.text] = self.unfold(child, (*keys, key.text), key.start)
        return plain

    def _report(self, node: Node, keys: Keys, message: str) -> None:
        if id(node) not in self._reported:
            self._reported.add(id(node))
            self.faults.append(Problem(mark=node.start, keys=tuple(map(str, keys)), text=_with_path(keys, message)))


def _key_fault(key: Node) -> str:
    if key.kind != "scalar":
        what = "a mapping" if key.kind == "mapping" else "a list"
        return f"{what} cannot be a key; a value that begins with '{{{{' or '[' must be in quotes"
    if key.text == "<<" and key.is_plain:
        return "'<<' is not part of YAML 1.2; options that tasks share belong to their agent"
    if not key.text and not key.fault:
        return "a key is empty; expected a name before the ':'"
    return key.fault  # a key is text as it is written: `1:` is the task '1'


def _with_path(keys: Keys, message: str) -> str:
    return f"{spell(keys)}: {message}" if keys else message
