"""The sound part of a project file under the names the checks speak in: tasks by id, agents by name.

Only arranges; finds nothing wrong and reads no other file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from orchestration.project_file.document import Document
    from orchestration.project_file.structure import Structure
    from orchestration.project_file.wording import Keys

__all__ = ["Content", "Entry", "arrange"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One task of the file.

    `fields` holds what is sound; `given` names all that was written, also what is wrong and told already. `task_id` is
    empty where a listed task has none.
    """

    task_id: str
    keys: Keys
    fields: Mapping[str, Any]
    given: frozenset[str]

    def at(self, *keys: str | int) -> Keys:
        """Return the path of something in the task."""
        return (*self.keys, *keys)

    @property
    def is_listed(self) -> bool:
        """Whether it is of the list form, where the id is a field."""
        return isinstance(self.keys[-1], int)

    @property
    def id_keys(self) -> Keys:
        """Where the id itself stands."""
        return self.at("id") if self.is_listed else self.keys


@dataclass(frozen=True, kw_only=True)
class Content:
    """A project file's content.

    `path` is absolute. `top` holds the sound top-level values, `given` the names of all that were written. `entries`
    are the tasks that are mappings, in the file's order, also those whose id is taken. `ids`, `agents` and `variables`
    hold every name that was written; the last two are None where they cannot be read, so no name is called unknown.
    """

    document: Document
    path: Path
    top: Mapping[str, Any]
    given: frozenset[str]
    entries: tuple[Entry, ...]
    ids: Collection[str]
    agents: Mapping[str, Mapping[str, Any]] | None
    variables: Mapping[str, Any] | None

    @property
    def root(self) -> Path:
        """The project's folder."""
        return self.path.parent

    @cached_property
    def tasks(self) -> dict[str, Entry]:
        """The first entry of each id, in the file's order."""
        tasks: dict[str, Entry] = {}
        for entry in self.entries:
            if entry.task_id:
                tasks.setdefault(entry.task_id, entry)
        return tasks


def arrange(document: Document, structure: Structure, path: Path) -> Content:
    """Return the sound part of the document in the form the checks want."""
    written = document.value if isinstance(document.value, dict) else {}
    sound = _mapping(structure.value)
    tasks = list(_tasks(written.get("tasks")))
    return Content(
        document=document,
        path=path,
        top=sound,
        given=frozenset(written),
        entries=tuple(
            Entry(task_id=task_id, keys=keys, fields=_sound_at(structure.value, keys), given=frozenset(task))
            for task_id, keys, task in tasks
            if isinstance(task, dict)
        ),
        ids=dict.fromkeys(task_id for task_id, _, _ in tasks if task_id),
        agents=_named(written, sound, "agents"),
        variables=_named(written, sound, "variables"),
    )


def _tasks(written: object) -> Iterator[tuple[str, Keys, object]]:
    """Yield id, path and content of all tasks, in both forms."""
    if isinstance(written, dict):
        for task_id, task in written.items():
            yield task_id, ("tasks", task_id), task
    elif isinstance(written, list):
        for index, task in enumerate(written):
            task_id = task.get("id") if isinstance(task, dict) else None
            yield task_id if isinstance(task_id, str) else "", ("tasks", index), task


def _sound_at(value: Any, keys: Keys) -> Mapping[str, Any]:
    for key in keys:
        value = value[key] if value is not None else None
    return _mapping(value)


def _named(written: Mapping[str, Any], sound: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    """Return every name under the key with its sound value; None if there is something that cannot be read."""
    names = written.get(key, {})
    if not isinstance(names, dict):
        return None
    return {name: sound.get(key, {}).get(name) for name in names}


def _mapping(value: object) -> dict[str, Any]:
    """Return the sound values of a mapping; nothing where it is not one."""
    return {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else {}
