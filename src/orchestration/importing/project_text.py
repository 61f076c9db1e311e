"""Writes an imported project as a project file, and only one that loads. Knows no format it could be from."""

from __future__ import annotations

import os
import tempfile
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.errors import ProjectFileError
from orchestration.importing.records import ImportRefusedError
from orchestration.project_file import load_project
from orchestration.project_file.wording import printable
from orchestration.task import TaskPriority

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ruamel.yaml.comments import CommentedMap

    from orchestration.importing.records import ImportedProject, ImportedTask

__all__ = ["check_loads", "to_yaml", "write_project"]

_NO_FOLDING = 10_000_000
_INDENT = 2


def to_yaml(project: ImportedProject) -> str:
    """Return the project file's text: what could not be taken over stands in comments where it belongs."""
    from ruamel.yaml import YAML  # noqa: PLC0415 -- 0.12 s; only those who write a file should pay

    yaml = YAML()
    yaml.width = _NO_FOLDING
    yaml.indent(mapping=_INDENT, sequence=4, offset=2)
    top = _top(project)
    top["agents"] = _noted({agent.name: (_plain(agent.options), agent.notes) for agent in project.agents})
    top["tasks"] = _noted({task.task_id: (_task(task), task.notes) for task in project.tasks})
    for name in ("agents", "tasks"):
        top.yaml_set_comment_before_after_key(name, before="\n")
    out = StringIO()
    yaml.dump(top, out)
    return _heading(project) + out.getvalue()


def check_loads(text: str, folder: Path) -> None:
    """See that the text is a project file when it lies in the folder. Leaves nothing there.

    Raises:
        ImportRefusedError: naming all that is wrong with it.

    """
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".orchestrate-", suffix=".yaml") as file:
        file.write(text.encode())
        file.flush()
        _load(Path(file.name))


def write_project(text: str, path: Path, *, replace: bool = False) -> None:
    """Write the project file, whole or not at all, once it has been seen to load.

    Raises:
        ImportRefusedError: if it would not load, or there is a file already and `replace` is not set.

    """
    if path.exists() and not replace:
        raise ImportRefusedError(
            f"{str(path)!r} exists and was left as it is; write another with --output FILE, look at the result with "
            "--output -, or replace it with --force"
        )
    if not path.parent.is_dir():
        raise ImportRefusedError(
            f"{str(path)!r} cannot be written: there is no folder {str(path.parent)!r}; make it first"
        )
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".orchestrate-", suffix=".yaml")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        _load(Path(name))
        Path(name).chmod(0o666 & ~_umask())
        os.replace(name, path)  # noqa: PTH105 -- the same as Path.replace, beside mkstemp
    finally:
        Path(name).unlink(missing_ok=True)


def _load(path: Path) -> None:
    try:
        load_project(path)
    except ProjectFileError as exc:
        lines = [problem.replace(str(path), "the result") for problem in exc.problems]
        raise ImportRefusedError("\n".join(["this makes no project file that loads:", *lines])) from exc


def _umask() -> int:
    """Return the mask new files are made with, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _heading(project: ImportedProject) -> str:
    told = ["", "What could not be taken over:", *(f"- {line}" for line in project.told)] if project.told else []
    lines = [f"Made from {project.origin} by `orchestrate`. From here on this file is yours.", *told]
    return "".join(f"# {printable(line)}".rstrip() + "\n" for line in lines) + "\n"


def _top(project: ImportedProject) -> CommentedMap:
    from ruamel.yaml.comments import CommentedMap  # noqa: PLC0415 -- as above

    given = {
        "project": project.project_id,
        "description": project.description,
        "scripts_dir": project.scripts_dir,
        "default_agent": project.default_agent,
    }
    return CommentedMap({name: _plain(value) for name, value in given.items() if value})


def _task(task: ImportedTask) -> Any:
    fields: dict[str, Any] = {"title": task.title} if task.title != task.task_id else {}
    fields |= {
        "agent": task.agent,
        "dependencies": list(task.dependencies),
        "priority": None if task.priority is TaskPriority.MEDIUM else task.priority.name.lower(),
        "tags": list(task.tags),
        "description": task.description,
        "metadata": dict(task.metadata),
    }
    return _plain({name: value for name, value in fields.items() if value})


def _noted(entries: Mapping[str, tuple[Any, Iterable[str]]]) -> CommentedMap:
    """Return a mapping with each entry's notes as comments above it."""
    from ruamel.yaml.comments import CommentedMap  # noqa: PLC0415 -- as above

    mapping = CommentedMap()
    for name, (value, notes) in entries.items():
        mapping[name] = value
        if lines := [printable(note) for note in notes]:
            mapping.yaml_set_comment_before_after_key(name, before="\n".join(lines), indent=_INDENT)
    return mapping


def _plain(value: Any) -> Any:
    """Return a value as ruamel writes it well: lists of words in one line, texts of several lines as blocks."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq  # noqa: PLC0415 -- as above

    match value:
        case str():
            return _text(value)
        case list() | tuple():
            sequence = CommentedSeq(_plain(each) for each in value)
            if all(isinstance(each, str) and each.isprintable() for each in value):
                sequence.fa.set_flow_style()
            return sequence
        case dict():
            return CommentedMap({_text(name): _plain(each) for name, each in value.items()})
        case _:
            return value


def _text(text: str) -> str:
    """Return the text in a form that holds it: a `|` block where all of it is visible, else quoted with escapes."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString  # noqa: PLC0415 -- as above

    if text.isprintable() and not text.startswith("?"):  # ruamel writes `[?0]`, which is a key without a value
        return text
    lines = text.split("\n")
    # The first line sets the block's indent.
    is_block = len(lines) > 1 and not text[0].isspace() and all(line.isprintable() for line in lines)
    held: str = LiteralScalarString(text) if is_block else DoubleQuotedScalarString(text)
    return held
