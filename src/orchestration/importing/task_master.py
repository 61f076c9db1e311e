"""task-master's tasks.json: a plan for each tag, or one without tags as older releases wrote it.

Follows what task-master does with its file: in a subtask a dependency that is a number means a sibling, and "5.2"
means subtask 2 of task 5.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, NoReturn

from orchestration.importing.plan import DEPTH_MAX, PlanItem, settle
from orchestration.importing.records import ImportedProject, ImportRefusedError, refuse_all, slug
from orchestration.project_file.wording import did_you_mean, one_of, shown
from orchestration.task import TaskPriority

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchestration.importing.plan import State
    from orchestration.importing.records import PlanOptions, Source

__all__ = ["read", "recognise"]

_EXPECTED = 'expected task-master\'s {"master": {"tasks": [...]}}, or the older {"tasks": [...]}'
_MAIN_TAG = "master"
_LEVELS_MAX = 60

_STATES: dict[str, State] = {
    "pending": "open",
    "in-progress": "open",
    "blocked": "open",
    "review": "open",
    "done": "done",
    "completed": "done",
    "deferred": "left_out",
    "cancelled": "left_out",
}
_REMARKS = {
    "in-progress": "was in progress: it starts from its beginning here",
    "blocked": "was blocked: see whether what it waited for is there",
    "review": "was done and in review: it runs again here; mark it done in task-master to leave it out",
}
# Texts that belong to the work, with their headings. The first two are always there, the others in newer files.
_TEXTS = {
    "details": "Details",
    "testStrategy": "How to test it",
    "acceptanceCriteria": "Acceptance criteria",
    "implementationApproach": "Approach",
    "relevantFiles": "Relevant files",
    "codebasePatterns": "Patterns to follow",
    "existingInfrastructure": "What there is already",
    "scopeBoundaries": "Scope",
    "technicalConstraints": "Constraints",
}
_READ = {"id", "title", "description", "status", "dependencies", "priority", "subtasks", "metadata", *_TEXTS}
# What subtasks repeat about their parents, and what says nothing about the work.
_PASSED_OVER = {"parentId", "parentTaskId", "previousStatus", "createdAt", "updatedAt", "databaseId"}
# These keys of a task's metadata change how it is carried out here.
_RESERVED = ("model", "use_direct_llm", "cache")


def recognise(source: Source) -> bool:
    """Say whether the file is JSON, or is meant to be."""
    return source.text.lstrip()[:1] in {"{", "["} or source.name.endswith(".json")


def read(source: Source, options: PlanOptions) -> ImportedProject:
    """Return the project in a tasks.json.

    Raises:
        ImportRefusedError: if it is none, has no such tag, or holds a plan that cannot be carried out.

    """
    plans = _plans(source, _parse(source))
    tag = _choose(source, plans, options)
    reading = _Reading(source.name)
    items = tuple(reading.items(plans[tag], (), ()))
    refuse_all(source.name, reading.problems)
    settled = settle(source.name, items, in_order=options.in_order)
    others = [name for name in plans if name != tag]
    other_tags = [f"took the tag {tag!r}; there are also {one_of(others)} (--tag NAME)"] if others else []
    return ImportedProject(
        project_id=slug(tag, "plan"),
        origin=f"{PurePath(source.name).name}, tag {tag!r}",
        tasks=settled.tasks,
        told=(*other_tags, *reading.told(), *settled.told),
    )


def _parse(source: Source) -> Any:
    try:
        # Decimals keep their digits: as a number the dependency 5.10 would be 5.1, another subtask.
        content = json.loads(source.text, parse_float=Decimal, parse_constant=_refuse_constant)
    except json.JSONDecodeError as exc:
        raise ImportRefusedError(
            f"{source.name}: is not JSON: line {exc.lineno}, column {exc.colno}: {exc.msg}"
        ) from None
    except RecursionError:
        raise _too_deep(source) from None
    except ValueError as exc:  # NaN, or a number of thousands of digits
        raise ImportRefusedError(f"{source.name}: is not JSON that can be read: {exc}") from None
    if _is_deep(content):
        raise _too_deep(source)
    return content


def _too_deep(source: Source) -> ImportRefusedError:
    return ImportRefusedError(f"{source.name}: is nested too deep to be a plan; {_EXPECTED}")


def _is_deep(content: Any) -> bool:
    """Say whether lists and mappings are nested so deep that walking through them could not end well."""
    level = [content]
    for _ in range(_LEVELS_MAX):
        inner = [
            value.values() if isinstance(value, dict) else value for value in level if isinstance(value, list | dict)
        ]
        level = [value for values in inner for value in values]
    return bool(level)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _plans(source: Source, content: Any) -> dict[str, list[Any]]:
    """Return tag -> its tasks."""
    if not isinstance(content, dict):
        raise ImportRefusedError(f"{source.name}: holds {shown(content)}; {_EXPECTED}")
    plans = {
        name: value["tasks"]
        for name, value in content.items()
        if isinstance(value, dict) and isinstance(value.get("tasks"), list)
    }
    if isinstance(content.get("tasks"), list):
        plans.setdefault(_MAIN_TAG, content["tasks"])
    if not plans:
        raise ImportRefusedError(f"{source.name}: holds no list of tasks; {_EXPECTED}")
    return plans


def _choose(source: Source, plans: Mapping[str, Any], options: PlanOptions) -> str:
    """Return the tag asked for, else task-master's current one, the only one, or the main one."""
    if options.tag is not None:
        if options.tag in plans:
            return options.tag
        hint = did_you_mean(options.tag, plans) or f"; it has {one_of(plans)}"
        raise ImportRefusedError(f"{source.name}: has no tag {shown(options.tag)}{hint}")
    if options.current_tag is not None and options.current_tag in plans:
        return options.current_tag
    if _MAIN_TAG in plans or len(plans) == 1:
        return _MAIN_TAG if _MAIN_TAG in plans else next(iter(plans))
    raise ImportRefusedError(f"{source.name}: has several tags: {one_of(plans)}; choose one with --tag NAME")


class _Reading:
    """Reads tasks and collects what is wrong with them and what has no place in a project."""

    def __init__(self, name: str) -> None:
        self.problems: list[str] = []
        self._name = name
        self._unread: dict[str, int] = {}
        self._remarks: list[str] = []

    def told(self) -> list[str]:
        """Return a line for each thing that was not taken over."""
        fields = [f"{field} ({count} times)" for field, count in sorted(self._unread.items())]
        return [*self._remarks, *([f"fields without a place here: {', '.join(fields)}"] if fields else [])]

    def items(
        self, tasks: Sequence[Any], wholes: tuple[str, ...], priorities: tuple[TaskPriority, ...]
    ) -> Iterator[PlanItem]:
        """Yield the items of a list of tasks, or of the subtasks of the innermost of `wholes`."""
        if len(wholes) >= DEPTH_MAX:
            raise ImportRefusedError(f"{self._name}: task {wholes[0]!r} has subtasks nested deeper than {DEPTH_MAX}")
        siblings = {_full_id(task, wholes) for task in tasks if isinstance(task, dict)}
        for index, task in enumerate(tasks):
            if not isinstance(task, dict) or not _full_id(task, wholes):
                where = f"subtask {index + 1} of task {wholes[-1]!r}" if wholes else f"task {index + 1} of the list"
                self.problems.append(f"{where} has no id that is a number or a text: {shown(task)}")
            else:
                yield self._item(task, wholes, siblings, priorities)

    def _item(
        self, task: Mapping[str, Any], wholes: tuple[str, ...], siblings: set[str], priorities: tuple[TaskPriority, ...]
    ) -> PlanItem:
        task_id = _full_id(task, wholes)
        for field in task.keys() - _READ - _PASSED_OVER:
            self._unread[field] = self._unread.get(field, 0) + 1
        word = self._word(task_id, task.get("status"))
        priority = self._priority(task_id, task.get("priority"), priorities)
        parts = self._list(task_id, task, "subtasks")
        return PlanItem(
            task_id=task_id,
            title=" ".join(_clean(task.get("title")).split()) or task_id,
            description=_description(task),
            state=_STATES.get(word, "open"),
            word=word,
            dependencies=tuple(
                self._dependency(task_id, value, wholes, siblings)
                for value in self._list(task_id, task, "dependencies")
            ),
            parts=tuple(self.items(parts, (*wholes, task_id), (priority,))),
            priority=priority,
            metadata=self._metadata(task_id, task.get("metadata")),
            remark=_REMARKS.get(word, ""),
        )

    def _word(self, task_id: str, status: Any) -> str:
        word = str(status or "pending").strip().lower().replace("_", "-")
        if word not in _STATES:
            self._remarks.append(f"{task_id}: has the status {shown(status)}, which is unknown; taken as pending")
        return word

    def _priority(self, task_id: str, given: Any, inherited: tuple[TaskPriority, ...]) -> TaskPriority:
        if given is None:
            return inherited[0] if inherited else TaskPriority.MEDIUM
        known = {priority.name.lower(): priority for priority in TaskPriority}
        word = str(given).strip().lower()
        if word not in known:
            self._remarks.append(f"{task_id}: has the priority {shown(given)}, which is unknown; taken as medium")
        return known.get(word, TaskPriority.MEDIUM)

    def _list(self, task_id: str, task: Mapping[str, Any], field: str) -> list[Any]:
        value = task.get(field)
        if value is None or isinstance(value, list):
            return value or []
        self.problems.append(f"task {task_id!r}: {field} is {shown(value)}; expected a list")
        return []

    def _dependency(self, task_id: str, value: Any, wholes: tuple[str, ...], siblings: set[str]) -> str:
        """Return the full id of what the task depends on."""
        name = _plain_id(value)
        if not name:
            self.problems.append(f"task {task_id!r} depends on {shown(value)}; expected a task's id")
        elif wholes and "." not in name and f"{wholes[-1]}.{name}" in siblings:
            return f"{wholes[-1]}.{name}"
        return name

    def _metadata(self, task_id: str, given: Any) -> dict[str, Any]:
        if given is None:
            return {}
        if not isinstance(given, dict):
            self._remarks.append(f"{task_id}: its metadata is {shown(given)}, not values by name; left out")
            return {}
        reserved = [name for name in _RESERVED if name in given]
        if reserved:
            self._remarks.append(f"{task_id}: metadata {one_of(reserved)} has a meaning of its own here; left out")
        return {_clean(name): _plain(value) for name, value in given.items() if name not in reserved}


def _full_id(task: Mapping[str, Any], wholes: tuple[str, ...]) -> str:
    """Return the id, with the parent's before it where it is a subtask's; nothing if it has none."""
    own = _plain_id(task.get("id"))
    return f"{wholes[-1]}.{own}" if own and wholes and not own.startswith(f"{wholes[-1]}.") else own


def _plain_id(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return ""
    return _clean(str(value)).strip()


def _description(task: Mapping[str, Any]) -> str:
    texts = [(heading, _worded(task.get(field))) for field, heading in _TEXTS.items()]
    sections = [f"{heading}:\n{text}" for heading, text in texts if text]
    return "\n\n".join(part for part in (_worded(task.get("description")), *sections) if part)


def _worded(value: Any) -> str:
    """Return a text, or a list or mapping of them, as lines."""
    match value:
        case None:
            return ""
        case list():
            return "\n".join(f"- {_worded(each)}" for each in value)
        case dict():
            return "; ".join(f"{_clean(name)}: {_worded(each)}" for name, each in value.items())
        case _:
            return "\n".join(line.rstrip() for line in _clean(str(value)).strip().splitlines())


def _clean(value: Any) -> str:
    """Return a text that any file can hold: whole characters, no NUL."""
    text = "" if value is None else str(value)
    return text.replace("\0", "").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _plain(value: Any) -> Any:
    """Return a value as YAML can say it."""
    match value:
        case str():
            return _clean(value)
        case Decimal():
            return float(value)
        case list():
            return [_plain(each) for each in value]
        case dict():
            return {_clean(name): _plain(each) for name, each in value.items()}
        case _:
            return value
