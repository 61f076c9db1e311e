"""What a schema cannot see: names that lead nowhere, circles, two tasks that write one file.

Each check yields its problems and looks at sound values only; what is wrong in itself is told by `structure`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from orchestration import graph
from orchestration.errors import CycleError, InvalidTaskError
from orchestration.project_file.files import NamedFileError, locate
from orchestration.project_file.wording import did_you_mean, one_of, shown
from orchestration.project_file.workers import check_workers, errands, made_later
from orchestration.task import check_name, is_inner_path

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from orchestration.project_file.content import Content, Entry
    from orchestration.project_file.document import Problem
    from orchestration.project_file.wording import Keys

__all__ = ["check_content"]

# Circles are looked for one after the other, each search as long as the file.
_CYCLES_MAX = 10
_STATE_DIR = ".orchestration"


def check_content(content: Content) -> Iterator[Problem]:
    """Yield all mistakes of the content, in no particular order."""
    yield from _names(content)
    yield from _repeated_ids(content)
    yield from _agents(content)
    yield from _fallbacks(content)
    yield from _dependencies(content)
    yield from _cycles(content)
    yield from _output_files(content)
    yield from _agent_files(content)
    yield from _variables(content)
    yield from _metadata(content)
    yield from _tags(content)
    yield from _scripts_dir(content)
    yield from check_workers(content)


def _names(content: Content) -> Iterator[Problem]:
    """Names that could not be part of a path or a command line."""
    document = content.document
    for task_id, task in content.tasks.items():
        point = document.at_value if task.is_listed else document.at_key
        yield from _name("task id", task_id, task.id_keys, point)
    for name in content.agents or ():
        yield from _name("agent name", name, ("agents", name), document.at_key)
    if "project" in content.top:
        yield from _name("project id", content.top["project"], ("project",), document.at_value)


def _name(what: str, name: str, keys: Keys, point: Callable[[Keys, str], Problem]) -> Iterator[Problem]:
    try:
        check_name(what, name)
    except InvalidTaskError as exc:
        yield point(keys, str(exc))


def _repeated_ids(content: Content) -> Iterator[Problem]:
    """Ids that are taken; in the mapping form these are repeated keys, which the document tells."""
    for entry in content.entries:
        first = content.tasks.get(entry.task_id, entry)
        if first is not entry:
            line = content.document.line_of(first.id_keys)
            message = f"the id {entry.task_id!r} is here twice, first in line {line}; give one of the tasks another id"
            yield content.document.at_value(entry.id_keys, message)


def _agents(content: Content) -> Iterator[Problem]:
    """Agents that do not exist or may not be used, and tasks that nobody does."""
    if content.agents is None:
        return
    uses: list[tuple[Keys, str]] = [
        (entry.at("agent"), entry.fields["agent"]) for entry in content.entries if "agent" in entry.fields
    ]
    if "default_agent" in content.top:
        uses.append((("default_agent",), content.top["default_agent"]))
    uses += errands(content)
    uses += [(keys, successor) for _, keys, successor in _successors(content)]
    for keys, name in uses:
        if name not in content.agents:
            yield content.document.at_value(
                keys, f"there is no agent {shown(name)}{_near(name, content.agents, 'agents')}"
            )
        elif (content.agents[name] or {}).get("enabled") is False:
            yield content.document.at_value(keys, f"the agent {name!r} is disabled; enable it or name another")
    idle = [entry for entry in content.entries if "agent" not in entry.given]
    if idle and "default_agent" not in content.given:
        more = f" (and {len(idle) - 1} more)" if len(idle) > 1 else ""
        message = f"no agent does this task{more}; name one under 'agent', or set 'default_agent'"
        yield content.document.at_key(idle[0].keys, message)


def _successors(content: Content) -> Iterator[tuple[str, Keys, str]]:
    """Yield each agent's fallback agents: its name, where the other's stands, and that."""
    for name, options in (content.agents or {}).items():
        for index, step in enumerate((options or {}).get("fallback") or ()):
            keys: Keys = ("agents", name, "fallback", index)
            if isinstance(step, str):
                yield name, keys, step
            elif step is not None and step.get("agent") is not None:
                yield name, (*keys, "agent"), step["agent"]


def _fallbacks(content: Content) -> Iterator[Problem]:
    """Chains that come back to an agent they had already. Two agents may well stand in for each other."""
    seen: dict[str, set[str]] = {}
    for name, keys, successor in _successors(content):
        chain = seen.setdefault(name, set())
        if successor == name:
            yield content.document.at_value(keys, f"the agent {name!r} would take over from itself; name another")
        elif successor in chain:
            yield content.document.at_value(keys, f"the agent {successor!r} is in this chain already; keep one")
        chain.add(successor)


def _dependencies(content: Content) -> Iterator[Problem]:
    """Dependencies that are no tasks."""
    for entry in content.entries:
        for index, name in enumerate(entry.fields.get("dependencies", ())):
            if name is not None and name not in content.ids:
                reason = made_later(content, name)
                hint = f" before the run: {reason}" if reason else _near(name, content.ids, "tasks")
                message = f"there is no task {shown(name)}{hint}"
                yield content.document.at_value(entry.at("dependencies", index), message)


def _cycles(content: Content) -> Iterator[Problem]:
    """Circles of dependencies, each told where the first of its tasks in the file depends on the next."""
    order = {task_id: number for number, task_id in enumerate(content.tasks)}
    edges = {task_id: _known_dependencies(entry, order) for task_id, entry in content.tasks.items()}
    for _ in range(_CYCLES_MAX):
        try:
            graph.check(edges)
        except CycleError as exc:
            around = exc.cycle[:-1]
            start = min(range(len(around)), key=lambda at: order[around[at]])
            circle = [*around[start:], *around[:start], around[start]]
            entry = content.tasks[circle[0]]
            where = entry.at("dependencies", entry.fields["dependencies"].index(circle[1]))
            yield content.document.at_value(where, str(CycleError(circle)))
            edges |= {task_id: [] for task_id in around}
        else:
            return


def _known_dependencies(entry: Entry, known: Collection[str]) -> list[str]:
    return [name for name in entry.fields.get("dependencies", ()) if name in known]


def _output_files(content: Content) -> Iterator[Problem]:
    """Output files outside of the project, at the place of its own files, or written by two tasks."""
    state = content.root.resolve() / _STATE_DIR
    taken: dict[Path, Keys] = {}
    for entry in content.entries:
        keys = entry.at("output_file")
        path = entry.fields.get("output_file")
        if path is None:
            continue
        try:
            found = _locate(content.root, path)
        except NamedFileError as exc:
            yield content.document.at_value(keys, str(exc))
            continue
        if found in taken:
            line = content.document.line_of(taken[found])
            yield content.document.at_value(keys, f"{path!r} is written in line {line} already; name another file")
        elif found == content.path.resolve() or found.is_relative_to(state):
            yield content.document.at_value(keys, f"{path!r} belongs to the project itself; name another file")
        taken.setdefault(found, keys)


def _agent_files(content: Content) -> Iterator[Problem]:
    """Files of agents outside of the project. Whether they are there shows when they are read: a task may write one."""
    for name, options in (content.agents or {}).items():
        for index, path in enumerate((options or {}).get("files") or ()):
            try:
                if path is not None:
                    _locate(content.root, path)
            except NamedFileError as exc:
                yield content.document.at_value(("agents", name, "files", index), str(exc))


def _locate(root: Path, path: str) -> Path:
    found = locate(root, path)
    if not is_inner_path(path):
        raise NamedFileError(f"{shown(path)} goes up a folder; expected a path without '..'")
    return found


def _variables(content: Content) -> Iterator[Problem]:
    for name, value in (content.variables or {}).items():
        if isinstance(value, dict) and value.get("required") is True and value.get("default") is not None:
            message = "a required variable makes no use of its default; keep one of the two"
            yield content.document.at_value(("variables", name, "required"), message)


def _metadata(content: Content) -> Iterator[Problem]:
    """Keys of the task that are repeated in its metadata, where they are kept."""
    for entry in content.entries:
        for name in ("model", "use_direct_llm", "cache"):
            if name in entry.given and name in entry.fields.get("metadata", {}):
                message = f"{name!r} is given here and as the task's own key; keep one"
                yield content.document.at_key(entry.at("metadata", name), message)


def _tags(content: Content) -> Iterator[Problem]:
    """Budgets of tags that no task has."""
    budget = content.top.get("budget", {})
    if not isinstance(budget.get("tags"), dict):
        return
    known = dict.fromkeys(tag for entry in content.entries for tag in entry.fields.get("tags", ()) if tag is not None)
    for tag in budget["tags"]:
        if tag not in known:
            hint = did_you_mean(tag, known) or (f"; the tags of this file: {one_of(known)}" if known else "")
            yield content.document.at_key(("budget", "tags", tag), f"no task has the tag {shown(tag)}{hint}")


def _scripts_dir(content: Content) -> Iterator[Problem]:
    folder = content.top.get("scripts_dir")
    if folder is not None and not os.path.isdir(content.root / folder):  # noqa: PTH112 -- Path.is_dir raises for long names
        yield content.document.at_value(
            ("scripts_dir",), f"there is no folder {shown(folder)} in {str(content.root)!r}"
        )


def _near(name: str, known: Collection[str], what: str) -> str:
    if not known:
        return f"; this file has no {what}"
    return did_you_mean(name, known) or f"; the {what} of this file: {one_of(known)}"
