"""From a path to a checked project: reads, checks everything, and only then builds the records."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from orchestration.agent_registry import AgentConfig, AgentType, Fallback
from orchestration.errors import ProjectFileError
from orchestration.project_file.checks import check_content
from orchestration.project_file.content import arrange
from orchestration.project_file.document import read_document
from orchestration.project_file.money import read_budgets
from orchestration.project_file.options import read_adds_tasks, read_checks, read_notify, read_wait
from orchestration.project_file.records import LaneCeilings, ProjectFile, Variable
from orchestration.project_file.structure import MISTAKES_MAX, check_structure
from orchestration.project_file.texts import read_texts
from orchestration.retry import RetryPolicy
from orchestration.task import AgentTask, TaskPriority

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestration.project_file.content import Content, Entry
    from orchestration.project_file.document import Document, Problem
    from orchestration.project_file.texts import TaskTexts

__all__ = ["load_project"]

# JSON Schema counts 3.0 among the integers; our records do not.
_WHOLE = ("max_tokens", "max_attempts", "max_concurrent", "max_items")
# Kept beside agents and tasks, not in them: changing what they may cost must not make completed work run again.
_ELSEWHERE = ("id", "prompt_file", "budget", "tags")


def load_project(path: Path) -> ProjectFile:
    """Read and check a project file, and the files it names.

    Raises:
        ProjectFileError: with every mistake, in the order of the file.

    """
    document = read_document(path)
    structure = check_structure(document)
    problems = [*document.faults, *structure.problems]
    if not structure.is_complete:
        raise _refusal(document, problems)
    content = arrange(document, structure, path.absolute())
    problems += islice(check_content(content), MISTAKES_MAX + 1)
    texts: list[TaskTexts] = []
    for entry in content.entries:
        if len(problems) > MISTAKES_MAX:
            break
        texts.append(read_texts(content, entry))
        problems += texts[-1].problems
    if problems:
        raise _refusal(document, problems)
    return _build(content, texts, path)


def _refusal(document: Document, problems: list[Problem]) -> ProjectFileError:
    """Return the mistakes in the order of the file."""
    lines = [document.describe(problem) for problem in sorted(problems)[:MISTAKES_MAX]]
    if len(problems) > MISTAKES_MAX:
        lines.append(f"{document.name}: has more mistakes than these {MISTAKES_MAX}; correct them first")
    return ProjectFileError(lines)


def _build(content: Content, texts: list[TaskTexts], path: Path) -> ProjectFile:
    top = content.top
    scripts_dir = top.get("scripts_dir")
    return ProjectFile(
        path=path,
        root=content.root,
        project_id=top.get("project", "default"),
        description=top.get("description", ""),
        tasks=tuple(_task(entry, text) for entry, text in zip(content.entries, texts, strict=True)),
        agents=tuple(_agent(name, options) for name, options in (content.agents or {}).items()),
        variables=tuple(_variable(name, value) for name, value in (content.variables or {}).items()),
        default_agent=top.get("default_agent"),
        mode=top.get("mode", "api"),
        max_concurrent=_whole(top).get("max_concurrent"),
        scripts_dir=None if scripts_dir is None else content.root / scripts_dir,
        limits={name: _ceilings(limits) for name, limits in top.get("limits", {}).items()},
        budgets=read_budgets(content),
        retry=RetryPolicy(**_whole(top.get("retry", {}))),
        sandbox=top.get("sandbox"),
        notify=read_notify(top.get("notify")),
    )


def _ceilings(limits: Mapping[str, Any]) -> LaneCeilings:
    return LaneCeilings(**{name: int(value) for name, value in limits.items()})


def _agent(name: str, options: Mapping[str, Any]) -> AgentConfig:
    given = _whole(options)
    given.pop("budget", None)
    given["files"] = tuple(given.get("files", ()))
    given["fallback"] = tuple(_fallback(step) for step in given.get("fallback", ()))
    return AgentConfig(name, AgentType(given.pop("type")), **given)


def _fallback(step: str | Mapping[str, Any]) -> Fallback:
    if isinstance(step, str):
        return Fallback(agent=step)
    return Fallback(agent=step["agent"], **({"on": frozenset(step["on"])} if "on" in step else {}))


def _task(entry: Entry, texts: TaskTexts) -> AgentTask:
    given = _whole(entry.fields)
    for name in _ELSEWHERE:
        given.pop(name, None)
    metadata = dict(given.pop("metadata", {}))
    metadata |= {name: given.pop(name) for name in ("model", "use_direct_llm", "cache") if name in given}
    given["prompt"] = texts.prompt
    given["output_schema"] = texts.output_schema
    given["dependencies"] = tuple(given.get("dependencies", ()))
    given["checks"] = read_checks(given.get("checks", ()), texts.check_schemas)
    given["adds_tasks"] = read_adds_tasks(given.get("adds_tasks"))
    given["wait"] = read_wait(given.get("wait"))
    given["priority"] = TaskPriority[given.get("priority", "medium").upper()]
    title = given.pop("title", entry.task_id)
    return AgentTask(entry.task_id, title, metadata=metadata, **given)


def _variable(name: str, value: Any) -> Variable:
    if not isinstance(value, dict):
        return Variable(name=name, default=_as_text(value))
    default = value.get("default")
    if default is None and value.get("required") is False:
        default = ""
    return Variable(
        name=name, default=None if default is None else _as_text(default), description=value.get("description", "")
    )


def _as_text(value: str | float) -> str:
    """Return a value as prompts see it; true and false, which count as numbers in Python, as YAML writes them."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _whole(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: int(value) if name in _WHOLE else value for name, value in fields.items()}
