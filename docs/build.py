"""Write the reference pages from the code and check every relative link of the documentation.

`make docs` runs it; with --check it writes nothing and fails when a page is not current. There is no site generator:
the pages are Markdown, which is readable where they lie.
"""
# ruff: noqa: INP001 -- a script beside the pages it builds

from __future__ import annotations

import importlib
import inspect
import re
import sys
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import msgspec

from orchestration.cli.reference import reference_page as command_page
from orchestration.project_file import reference_page as project_file_page

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["api_page", "broken_links", "pages", "written_pages"]

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PACKAGES = ("orchestration", "llm_abstractions")

_API_INTRODUCTION = """\
# Python API

Generated from the code by `make docs`. Names that are not on this page are internal and may change.
How the parts fit together: [concepts](../concepts.md).
"""

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)
_NOT_IN_ANCHORS = re.compile(r"[^\w\- ]")


def pages() -> dict[str, str]:
    """Return path below docs/ -> text, for every generated page."""
    return {
        "reference/api.md": api_page(),
        "reference/cli.md": command_page(),
        "reference/project-file.md": project_file_page(),
    }


def api_page() -> str:
    """Return the reference of the Python API, from signatures and docstrings."""
    parts = [_API_INTRODUCTION]
    for package in PACKAGES:
        module = importlib.import_module(package)
        parts.append(f"## `{package}`\n\n{_prose(module)}\n")
        parts += [_describe(name, getattr(module, name)) for name in module.__all__]
    return "\n".join(parts)


def written_pages() -> list[Path]:
    """Return every Markdown page of the repository that people read."""
    return [*ROOT.glob("*.md"), *sorted((ROOT / "examples").rglob("*.md")), *sorted(DOCS.rglob("*.md"))]


def broken_links(written: Iterable[Path], root: Path = ROOT) -> list[str]:
    """Return a line for each relative link that leads nowhere: a missing file, or a heading it does not have."""
    broken = []
    for page in written:
        for link in _LINK.findall(_FENCE.sub("", page.read_text("utf-8"))):
            path, _, anchor = unquote(link).partition("#")
            if re.match(r"[a-z]+:", link):
                continue
            target = (page.parent / path).resolve() if path else page
            if not target.exists():
                broken.append(f"{page.relative_to(root)}: {link}: there is no {path}")
            elif anchor and anchor not in _anchors(target):
                broken.append(f"{page.relative_to(root)}: {link}: {target.name} has no heading #{anchor}")
    return broken


def main(arguments: list[str]) -> int:
    """Write what is out of date, or with --check only name it; return the exit code."""
    stale = [name for name, text in pages().items() if not _is_current(DOCS / name, text)]
    if "--check" not in arguments:
        for name in stale:
            (DOCS / name).parent.mkdir(exist_ok=True)
            (DOCS / name).write_text(pages()[name], "utf-8")
            sys.stdout.write(f"wrote docs/{name}\n")
        stale = []
    problems = [f"docs/{name} is not current; run: make docs" for name in stale]
    problems += broken_links(written_pages())
    sys.stdout.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


def _is_current(path: Path, text: str) -> bool:
    return path.exists() and path.read_text("utf-8") == text


def _anchors(page: Path) -> set[str]:
    """Return the anchors that hosts of Markdown make of a page's headings."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text("utf-8")))
    return {_NOT_IN_ANCHORS.sub("", heading.lower()).replace(" ", "-") for heading in headings}


# -- the API page ------------------------------------------------------------------------------------------------------


def _describe(name: str, thing: Any) -> str:
    if not inspect.isclass(thing):
        return f"### `{name}{_signature(thing)}`\n\n{_prose(thing)}\n"
    lines = [f"### `{_class_head(name, thing)}`", "", _prose(thing), *_members(thing)]
    for method, function in _methods(thing):
        lines += ["", f"#### `{name}.{method}`", "", f"`{_keyword(function)}{method}{_signature(function)}`", ""]
        lines.append(_prose(function))
    return "\n".join(lines) + "\n"


def _class_head(name: str, thing: type) -> str:
    named = (base.__name__ for base in thing.__bases__ if base not in {object, msgspec.Struct})
    bases = ", ".join(base for base in named if base[0] != "_")
    return f"{name}({bases})" if bases else name


def _members(thing: type) -> Iterator[str]:
    """Yield a list of what a record, an enumeration or a constructor takes."""
    if issubclass(thing, Enum):
        yield from ["", *(f"- `{member.name}` = `{member.value!r}`" for member in thing)]
    elif is_dataclass(thing) or issubclass(thing, msgspec.Struct):
        yield from ["", "| field | type | default |", "| --- | --- | --- |"]
        for name, kind, default in _of_dataclass(thing) if is_dataclass(thing) else _of_struct(thing):
            if not name.startswith("_"):
                shown = _shown_type(kind).replace("|", "\\|")  # a bare one would end the cell
                yield f"| `{name}` | `{shown}` | {default} |"
    elif "__init__" in vars(thing):
        yield from ["", f"`{thing.__name__}{_signature(thing.__init__)}`"]


def _of_dataclass(thing: Any) -> Iterator[tuple[str, Any, str]]:
    """Yield name, type and default of what the record's constructor takes."""
    for field in fields(thing):
        if field.init:
            default: Any = field.default if field.default_factory is MISSING else field.default_factory()
            yield field.name, field.type, "" if default is MISSING else f"`{_shown_value(default)}`"


def _of_struct(thing: Any) -> Iterator[tuple[str, Any, str]]:
    """Yield the same of the other kind of record, whose types need not be there to be evaluated."""
    names, defaults = thing.__struct_fields__, thing.__struct_defaults__
    required = [msgspec.NODEFAULT] * (len(names) - len(defaults))
    for name, default in zip(names, (*required, *defaults), strict=True):
        value = default.factory() if hasattr(default, "factory") else default
        kind = next(
            base.__annotations__[name] for base in thing.__mro__ if name in vars(base).get("__annotations__", {})
        )
        yield name, kind, "" if value is msgspec.NODEFAULT else f"`{_shown_value(value)}`"


def _methods(thing: type) -> Iterator[tuple[str, Any]]:
    for name, raw in vars(thing).items():
        function = raw.__func__ if isinstance(raw, classmethod | staticmethod) else raw
        function = function.fget if isinstance(function, property) else function
        if not name.startswith("_") and inspect.isfunction(function):
            yield name, raw if isinstance(raw, property) else function


def _keyword(function: Any) -> str:
    if isinstance(function, property):
        return "property "
    return "async " if inspect.iscoroutinefunction(function) else ""


def _signature(function: Any) -> str:
    if isinstance(function, property):
        return f" -> {_shown_type(inspect.signature(function.fget).return_annotation)}"  # type: ignore[arg-type]
    signature = inspect.signature(function)
    parts: list[str] = []
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    for index, parameter in enumerate(signature.parameters.values()):
        if parameter.name in {"self", "cls"}:
            continue
        is_first_keyword = parameter.kind is parameter.KEYWORD_ONLY and parameter.kind not in kinds[:index]
        if is_first_keyword and parameter.VAR_POSITIONAL not in kinds:
            parts.append("*")
        parts.append(_parameter(parameter))
    returns = signature.return_annotation
    arrow = "" if returns is signature.empty or function.__name__ == "__init__" else f" -> {_shown_type(returns)}"
    return f"({', '.join(parts)}){arrow}"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    kind = "" if parameter.annotation is parameter.empty else f": {_shown_type(parameter.annotation)}"
    default = "" if parameter.default is parameter.empty else f" = {_shown_value(parameter.default)}"
    return f"{stars}{parameter.name}{kind}{default}"


def _shown_type(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    return text.replace('"', "").replace("'", "")


def _shown_value(value: Any) -> str:
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, frozenset):  # in an order of its own with each run
        return f"{{{', '.join(sorted(map(_shown_value, value)))}}}"
    if is_dataclass(value) or isinstance(value, msgspec.Struct):
        return f"{type(value).__name__}()"
    # An address differs from run to run.
    return re.sub(r"<(?:function |[\w.]*\.)(\w+)(?: object)? at 0x\w+>", r"\1", repr(value))


def _prose(thing: Any) -> str:
    """Return the docstring as Markdown: what it raises as a list, the rest as it is."""
    text = (inspect.getdoc(thing) or "").strip()
    body, found, raises = text.partition("Raises:")
    if not found:
        return text
    cases = re.split(r"(?<=\.)\s+(?=[A-Z]\w*(?: \([^)]*\))?(?:,|:))", " ".join(raises.split()))
    return f"{body.strip()}\n\nRaises:\n\n" + "\n".join(f"- {case}" for case in cases)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
