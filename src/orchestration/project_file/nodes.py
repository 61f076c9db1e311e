"""YAML text as nodes with positions. Knows YAML 1.2; nothing of files, and nothing of what keys mean.

Scalars are resolved by the core schema to the letter (`no`, `on` and dates are text). Nothing is constructed, and no
alias is expanded: nodes are counted as they come, so hostile input costs no more than its length.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestration.errors import ProjectFileError
from orchestration.project_file.wording import printable, shown

if TYPE_CHECKING:
    from ruamel.yaml.error import YAMLError
    from ruamel.yaml.events import CollectionStartEvent, NodeEvent, ScalarEvent

__all__ = ["LINE_BREAK", "MAX_DEPTH", "MAX_VALUES", "Mark", "Node", "compose", "resolve"]

LINE_BREAK = re.compile(r"\r\n|\r|\n")
MAX_DEPTH = 50
# After aliases are followed. A file of 10,000 tasks has about 150,000.
MAX_VALUES = 400_000

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_BASED_INT = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORD_DOT = re.compile(r"\.(?=[iInN])")  # `.inf` is what Python calls `inf`
_SURROGATE = re.compile("[\ud800-\udfff]")

# Line breaks of YAML 1.1 and of the parser, but not of YAML 1.2 or of any editor: pasted text holds them. While it is
# parsed, characters that Unicode keeps for such uses stand in.
_OLD_BREAKS = str.maketrans("\x85\u2028\u2029", "\ufdd0\ufdd1\ufdd2")

_INT_MAX = 2**63 - 1
_INT_DIGITS_MAX = 64  # beyond it int() is not even tried: Python refuses more than 4,300 digits with an exception
_TEXT_TAGS = ("!", "tag:yaml.org,2002:str")
_COLLECTION_TAGS = ("!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


@dataclass(frozen=True, kw_only=True, order=True, slots=True)
class Mark:
    """A place in the file; both numbers count from 1."""

    line: int
    column: int


@dataclass(kw_only=True, slots=True)
class Node:
    """A value before it is unfolded. `size` and `depth` count what is below, aliases followed."""

    start: Mark
    last_line: int
    kind: str  # "scalar", "sequence" or "mapping"
    text: str = ""
    fault: str = ""
    is_plain: bool = False  # unquoted, so that it may be a number, a boolean or null
    is_literal: bool = False
    children: list[Node] = field(default_factory=list)
    size: int = 1
    depth: int = 1
    is_open: bool = False


def compose(text: str, name: str) -> Node:
    """Build the nodes from the parser's events, without recursion, refusing growth where it happens."""
    from ruamel.yaml import YAML, events  # noqa: PLC0415 -- 0.12 s; only those who read a file should pay
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415 -- the same

    tree = _Tree(name)
    hide, show = _stand_ins(text)
    try:
        for event in YAML(typ="safe", pure=True).parse(text.translate(hide)):
            match event:
                case events.ScalarEvent():
                    tree.add(_scalar(event, show), event)
                case events.CollectionStartEvent():
                    tree.open(_collection(event), event)
                case events.CollectionEndEvent():
                    tree.close(event.end_mark)
                case events.AliasEvent():
                    tree.alias(event)
                case events.DocumentStartEvent():
                    tree.start_document(event.start_mark)
    except YAMLError as exc:
        raise _syntax_error(exc, text, name) from exc
    except (ValueError, OverflowError) as exc:  # the scanner on escapes such as "\UFFFFFFFF"
        raise tree.refuse(tree.last, f"a character escape that names no character ({exc})") from exc
    if tree.root is None or (tree.root.is_plain and tree.root.text in _NULL):
        raise ProjectFileError([f"{name}: is empty; expected at least the keys 'agents' and 'tasks'"])
    return tree.root


class _Tree:
    """The nodes of one document, as they grow."""

    def __init__(self, name: str) -> None:
        self.root: Node | None = None
        self.last = Mark(line=1, column=1)
        self._name = name
        self._open: list[Node] = []
        self._anchors: dict[str, Node] = {}
        self._documents = 0

    def add(self, node: Node, event: NodeEvent | None = None) -> None:
        """Put a whole node where the parser stands."""
        self.last = node.start
        if event is not None and event.anchor is not None:
            self._anchors[event.anchor] = node
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        parent.children.append(node)
        parent.size += node.size
        if parent.size > MAX_VALUES:
            raise self.refuse(node.start, f"the file has more than {MAX_VALUES:,} values once its aliases are followed")
        parent.depth = max(parent.depth, node.depth + 1)
        if parent.depth + len(self._open) - 1 > MAX_DEPTH:
            raise self.refuse(node.start, f"values are nested deeper than {MAX_DEPTH} levels")

    def open(self, node: Node, event: CollectionStartEvent) -> None:
        """Begin a list or a mapping."""
        self.last = node.start
        if len(self._open) >= MAX_DEPTH:
            raise self.refuse(node.start, f"values are nested deeper than {MAX_DEPTH} levels")
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        self._open.append(node)

    def close(self, end: Any) -> None:
        """End the innermost list or mapping."""
        node = self._open.pop()
        node.is_open = False
        node.last_line = end.line + 1
        self.add(node)

    def alias(self, event: NodeEvent) -> None:
        """Put the node of that anchor here once more."""
        mark = _mark(event.start_mark)
        node = self._anchors.get(event.anchor)
        if node is None:
            raise self.refuse(mark, f"alias '*{event.anchor}' has no anchor '&{event.anchor}' before it")
        if node.is_open:
            raise self.refuse(mark, f"alias '*{event.anchor}' stands inside of its own anchor, so it would never end")
        self.add(node)

    def start_document(self, start: Any) -> None:
        """Note another document.

        Raises:
            ProjectFileError: if it is the second one.

        """
        self._documents += 1
        if self._documents > 1:
            raise self.refuse(_mark(start), "a second YAML document begins; a project is one document: remove '---'")

    def refuse(self, mark: Mark, message: str) -> ProjectFileError:
        """Return the one-line error for what makes the rest of the file unreadable."""
        return _refusal(self._name, mark, message)


def _mark(mark: Any) -> Mark:
    return Mark(line=mark.line + 1, column=mark.column + 1)


def _collection(event: CollectionStartEvent) -> Node:
    kind = "mapping" if type(event).__name__ == "MappingStartEvent" else "sequence"
    start = _mark(event.start_mark)
    return Node(start=start, last_line=start.line, kind=kind, is_open=True, fault=_tag_fault(event, _COLLECTION_TAGS))


def _scalar(event: ScalarEvent, show: dict[int, int]) -> Node:
    text, fault = _whole_characters(event.value.translate(show))
    end = event.end_mark
    return Node(
        start=_mark(event.start_mark),
        # A block's end is where the next line begins.
        last_line=max(end.line + (end.column > 0), event.start_mark.line + 1),
        kind="scalar",
        text=text,
        fault=_tag_fault(event, _TEXT_TAGS) or fault,
        is_plain=event.tag is None and event.implicit[0],
        is_literal=event.style == "|",
    )


def _stand_ins(text: str) -> tuple[dict[int, int], dict[int, int]]:
    """Return the tables that hide old line breaks from the parser and show them again; empty where they would clash."""
    show = {new: old for old, new in _OLD_BREAKS.items()}
    return ({}, {}) if any(chr(stand_in) in text for stand_in in show) else (_OLD_BREAKS, show)


def _whole_characters(text: str) -> tuple[str, str]:
    """Return the text with escaped pairs of surrogates joined, as JSON writes them, and what is wrong with it."""
    if "\0" in text:
        return text, "text with a NUL character, which no file name, command or prompt can hold"
    if not _SURROGATE.search(text):
        return text, ""
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le"), ""
    except UnicodeDecodeError:
        return "", "half of a character (a lone surrogate escape); expected whole characters"


def _tag_fault(event: CollectionStartEvent | ScalarEvent, allowed: tuple[str, ...]) -> str:
    tag: str | None = event.tag
    if tag is None or tag in allowed:
        return ""
    written = tag.replace("tag:yaml.org,2002:", "!!")
    return f"tag {shown(written)} is not allowed; expected a plain value without a tag"


def resolve(text: str) -> tuple[Any, str]:
    """Return an unquoted text's value by YAML 1.2's core schema, and what is wrong with it (then the value is None)."""
    if text in _NULL:
        return None, ""
    if text in _BOOL:
        return _BOOL[text], ""
    if _INT.fullmatch(text) or _BASED_INT.fullmatch(text):
        return _whole_number(text)
    if _FLOAT.fullmatch(text) or _NOT_FINITE.fullmatch(text):
        value = float(_WORD_DOT.sub("", text))
        return (value, "") if math.isfinite(value) else (None, f"{shown(text)} is not a finite number")
    return text, ""


def _whole_number(text: str) -> tuple[int | None, str]:
    number = int(text, 0 if text[1:2] in {"o", "x"} else 10) if len(text) <= _INT_DIGITS_MAX else _INT_MAX + 1
    if abs(number) > _INT_MAX:
        return None, f"{shown(text)} is a number beyond 64 bits; put it in quotes if it is text"
    return number, ""


# What the parser says -> what a person can act on. The first that is contained wins.
_PLAIN_WORDS = (
    ("character '\\t'", "a tab; YAML is indented with spaces only"),
    ("that cannot start any token", "{problem}; put the value in quotes"),
    (
        "mapping values are not allowed",
        "a ':' where no key can be; indent the line like its neighbours, or put a value that has ': ' in it in quotes",
    ),
    ("unexpected end of stream", "a quote that is opened here is never closed"),
    ("could not find expected ':'", "a line that is neither 'key: value' nor part of the value above"),
    ("expected <block end>", "a line that does not fit the lines above; check its indentation, '-' and quotes"),
    ("expected ',' or", "a '[' or '{{' that is opened before is not closed here; add the bracket or a comma"),
    ("but found '<stream end>'", "the file ends before a '[' or '{{' is closed"),
    ("special characters are not allowed", "a control character; expected text"),
)


def _syntax_error(exc: YAMLError, text: str, name: str) -> ProjectFileError:
    """Return the parser's error as one line that a person can act on."""
    problem = str(getattr(exc, "problem", None) or getattr(exc, "reason", None) or exc)
    problem = " ".join(problem.split())
    wanted = "context_mark" if "end of stream" in problem else "problem_mark"
    mark = getattr(exc, wanted, None) or getattr(exc, "problem_mark", None)
    where = _mark(mark) if mark is not None else _mark_at(text, getattr(exc, "position", 0))
    said = next((said for part, said in _PLAIN_WORDS if part in problem), "not YAML: {problem}")
    message = said.format(problem=problem)
    line = LINE_BREAK.split(text)[where.line - 1 : where.line]
    if line and re.search(r"[:-]\s+\{[{%]", line[0]):
        message += "; a value that begins with '{{' must be in quotes"
    return _refusal(name, where, message)


def _refusal(name: str, mark: Mark, message: str) -> ProjectFileError:
    return ProjectFileError([f"{name}:{mark.line}:{mark.column}: {printable(message)}"])


def _mark_at(text: str, position: int) -> Mark:
    lines = LINE_BREAK.split(text[:position])
    return Mark(line=len(lines), column=len(lines[-1]) + 1)
