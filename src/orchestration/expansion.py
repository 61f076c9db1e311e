"""How a project grows while it runs: tasks that are skipped or run once for each item, and results that add tasks.

Says which facts follow; records nothing, runs nothing. What a model asks for is data: it never becomes a template, and
names only agents that the project has.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from orchestration import events as ev
from orchestration import graph, template
from orchestration.agent_registry import LLM_TYPES, AgentType
from orchestration.clock import now
from orchestration.errors import AttemptError, CycleError, FailureKind, InvalidTaskError, OrchestrationError
from orchestration.fold import apply
from orchestration.task import AgentTask, ExecutionResult, ExecutionStatus, TaskPriority, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from orchestration.agent_registry import AgentRegistry
    from orchestration.attempt import AttemptContext
    from orchestration.run_state import RunState, TaskState

__all__ = ["ADDED_TASKS_SCHEMA", "Expansion", "gathered"]

_PRIORITIES = tuple(priority.name.lower() for priority in TaskPriority)
# What a result that adds tasks looks like, unless its task says otherwise.
ADDED_TASKS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["tasks"],
    "properties": {
        "tasks": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "title"],
                "additionalProperties": False,
                "properties": {
                    "id": {"type": "string", "description": "short name, unique in this list"},
                    "title": {"type": "string"},
                    "description": {"type": "string", "description": "everything the worker has to know"},
                    "agent": {"type": "string"},
                    "dependencies": {"type": "array", "items": {"type": "string"}},
                    "priority": {"enum": list(_PRIORITIES)},
                    "adds_tasks": {"type": "boolean", "description": "whether its result may add tasks in turn"},
                },
            },
        }
    },
}
_FIELDS = frozenset(ADDED_TASKS_SCHEMA["properties"]["tasks"]["items"]["properties"])
_FORMS: tuple[tuple[str, Callable[[object], bool], str], ...] = (
    ("description", lambda value: isinstance(value, str), "text"),
    ("agent", lambda value: isinstance(value, str), "the name of an agent"),
    (
        "dependencies",
        lambda value: isinstance(value, list | tuple) and all(isinstance(name, str) for name in value),
        "a list of ids",
    ),
    ("priority", lambda value: value in _PRIORITIES, f"one of {', '.join(_PRIORITIES)}"),
    ("adds_tasks", lambda value: isinstance(value, bool), "true or false"),
)
_USES_ITEM = re.compile(r"\bitem\b")
_LABEL_CHARS = 40


class Expansion:
    """What tasks become at run time. `root` is what `file()` in expressions reads from."""

    def __init__(self, registry: AgentRegistry, root: Path | None, default_agent: str | None = None) -> None:
        self._registry = registry
        self._root = root
        self._default_agent = default_agent

    async def before(self, known: TaskState, state: RunState, context: AttemptContext) -> ev.Event | None:
        """Return what happens to a task instead of being carried out; None if nothing does.

        Raises:
            AttemptError: of kind `bad_request`, if an expression cannot be evaluated, or gives no list, or a long one.

        """
        task, values = known.task, _Values(known.task, context, self._root)
        if known.instances:
            return ev.TaskCompleted(at=now(), task_id=task.task_id, result=gathered(state, known))
        is_of_items = task.for_each is not None and task.when is not None and _USES_ITEM.search(task.when)
        if task.when is not None and not is_of_items and not await asyncio.to_thread(values.holds, task.when):
            return ev.TaskSkipped(at=now(), task_id=task.task_id, reason=f"`when` does not hold: {task.when.strip()}")
        if task.for_each is None:
            return None
        items = await asyncio.to_thread(values.items, task.for_each)
        try:
            instances = tuple(_instances(task, items))
        except InvalidTaskError as exc:
            raise _refusal(f"`for_each` of task {task.task_id!r}: {exc}") from exc
        if not instances:
            return ev.TaskSkipped(
                at=now(), task_id=task.task_id, reason=f"`for_each` is empty: {task.for_each.strip()}"
            )
        taken = [one.task_id for one in instances if one.task_id in state.tasks]
        if taken:
            raise _refusal(f"`for_each` of task {task.task_id!r} needs the id {taken[0]!r}, which is taken")
        return ev.TaskExpanded(at=now(), task_id=task.task_id, instances=instances)

    def added(self, known: TaskState, state: RunState, data: Any) -> tuple[AgentTask, ...]:
        """Return the tasks that a result asks for, under ids that begin with that of their task.

        Raises:
            AttemptError: of kind `bad_output`, in words that the worker can act on.

        """
        rule = known.task.adds_tasks
        if rule is None:
            return ()
        wanted = _wanted(known.task.task_id, data)
        if len(wanted) > rule.max_tasks:
            raise _bad(f"it adds {len(wanted)} tasks, expected at most {rule.max_tasks}")
        ids = [one["id"] for one in wanted]
        if repeated := {name for name in ids if ids.count(name) > 1}:
            raise _bad(f"the ids {sorted(repeated)} are there twice; give each task its own")
        tasks = tuple(self._task(known, one, ids, state) for one in wanted)
        self._refuse_cycle(known, tasks, state)
        return tasks

    def preview(self, known: TaskState, state: RunState, data: Any) -> str:
        """Return what a person has to see before these tasks are added, as text; nothing if they may just run.

        Raises:
            AttemptError: as `added`.

        """
        tasks = self.added(known, state, data)
        rule = known.task.adds_tasks
        if not tasks or rule is None or rule.approval == "never":
            return ""
        if rule.approval == "costly" and not any(self._costs(task) for task in tasks):
            return ""
        lines = [f"adds {len(tasks)} task{'s' if len(tasks) > 1 else ''} to the project:"]
        for task in tasks:
            agent = self._registry.require(task.agent or self._default_agent)
            lines.append(f"- {task.task_id} ({agent.name}, {agent.agent_type.value}): {task.title}")
        return "\n".join(lines)

    def _costs(self, task: AgentTask) -> bool:
        agent = self._registry.require(task.agent or self._default_agent)
        return agent.agent_type in LLM_TYPES or agent.agent_type is AgentType.CLI

    def _task(self, known: TaskState, wanted: Mapping[str, Any], ids: Sequence[str], state: RunState) -> AgentTask:
        origin, rule = known.task, known.task.adds_tasks
        assert rule is not None  # noqa: S101 -- `added` has looked
        may_add = bool(wanted.get("adds_tasks", False)) and known.depth + 1 < rule.max_depth
        try:
            agent = wanted.get("agent") or origin.agent
            if self._registry.list_agents():  # else nobody knows them here: an executor of the caller's does the work
                self._registry.require(agent or self._default_agent)
            task = AgentTask(
                f"{origin.task_id}.{wanted['id']}",
                wanted["title"],
                wanted.get("description") or "",
                agent=agent,
                dependencies=(origin.task_id, *_dependencies(origin.task_id, wanted, ids, state)),
                priority=TaskPriority[(wanted.get("priority") or "medium").upper()],
                adds_tasks=rule if may_add else None,
            )
        except OrchestrationError as exc:
            raise _bad(f"task {wanted['id']!r}: {exc}") from exc
        if task.task_id in state.tasks:
            raise _bad(f"the id {task.task_id!r} is taken; give the task another one")
        return task

    def _refuse_cycle(self, known: TaskState, tasks: tuple[AgentTask, ...], state: RunState) -> None:
        """Refuse tasks that wait for what waits for their origin: those wait for them, too."""
        result = ExecutionResult(known.task.task_id, status=ExecutionStatus.SUCCESS)
        fact = ev.TaskCompleted(at=now(), task_id=known.task.task_id, result=result, added=tasks)
        after = apply(state, fact)
        try:
            graph.topological_order({other.task.task_id: after.edges_of(other) for other in after.unordered()})
        except CycleError as exc:
            raise _bad(str(exc)) from exc


def gathered(state: RunState, known: TaskState) -> ExecutionResult:
    """Return the outcome of a task whose instances are all done: theirs, in the order of the items.

    `data` is the list of their data, or of their outputs where they are text; None for one that was skipped.
    """
    parts: list[str] = []
    data: list[Any] = []
    for name in known.instances:
        instance = state.find(name)
        result = instance.result
        if result is None or instance.status is TaskStatus.SKIPPED:
            data.append(None)
            continue
        parts.append(f'<result task="{name}">\n{result.output}\n</result>')
        data.append(result.metadata.get("data", result.output))
    times = [moment for name in known.instances if (moment := state.find(name).started_at)]
    return ExecutionResult(
        known.task.task_id,
        agent=known.task.agent or "",
        status=ExecutionStatus.SUCCESS,
        started_at=min(times, default=None),
        completed_at=now(),
        output="\n\n".join(parts),
        metadata={"data": data, "instances": list(known.instances)},
    )


def _instances(task: AgentTask, items: Sequence[Any]) -> Iterator[AgentTask]:
    when = task.when if task.when is not None and _USES_ITEM.search(task.when) else None
    for number, item in enumerate(items, 1):
        yield replace(
            task,
            task_id=f"{task.task_id}.{number}",
            title=f"{task.title}: {_label(item, number)}",
            for_each=None,
            when=when,
            item=item,
            output_file=None,  # the file of the whole is written when all are there
        )


def _label(item: Any, number: int) -> str:
    """Return a few words that tell instances apart."""
    if isinstance(item, Mapping):
        item = next((item[name] for name in ("id", "name", "title", "path") if name in item), None)
    if isinstance(item, str | int | float) and 0 < len(text := " ".join(str(item).split())) <= _LABEL_CHARS:
        return text
    return str(number)


class _Values:
    """What the expressions of one task come to. They block: ask for them in a thread."""

    def __init__(self, task: AgentTask, context: AttemptContext, root: Path | None) -> None:
        self._task = task
        self._evaluate = partial(template.evaluate, task=task, context=context, root=root)

    def holds(self, condition: str) -> bool:
        """Tell whether a `when` holds."""
        return self._evaluate("when", condition, then=bool)

    def items(self, expression: str) -> list[Any]:
        """Return the items of a `for_each` as the JSON they will be stored as."""
        limit = self._task.max_items
        listed = self._evaluate("for_each", expression, then=partial(_listed, limit=limit))
        what = f"`for_each` of task {self._task.task_id!r} gives"
        if listed is None:
            raise _refusal(
                f"{what} nothing, expected a list; a task that was skipped, or whose output is no JSON, has no data: "
                "end with `or []` where that may be"
            )
        if not isinstance(listed, list):
            raise _refusal(f"{what} {listed}, expected a list; name one, such as tasks.plan.data.files")
        if len(listed) > limit:
            raise _refusal(f"{what} more than {limit} items; raise its max_items")
        try:
            plain: list[Any] = msgspec.json.decode(msgspec.json.encode(listed))
        except (TypeError, ValueError, RecursionError) as exc:
            raise _refusal(f"{what} what JSON cannot say: {exc}") from exc
        if None in plain:
            raise _refusal(f"{what} null as item {plain.index(None) + 1}; leave such out, as with `| reject('none')`")
        return plain


def _listed(items: Any, *, limit: int) -> list[Any] | str | None:
    """Return at most one item more than the limit; for what is no list, its type; None for nothing."""
    if items is None:
        return None
    if isinstance(items, Mapping | str | bytes) or not isinstance(items, Iterable):
        return type(items).__name__
    return list(islice(items, limit + 1))


def _wanted(task_id: str, data: Any) -> list[Mapping[str, Any]]:
    """Return the list of tasks in a result, whatever its schema has put around it."""
    wanted = data.get("tasks") if isinstance(data, Mapping) else data
    if not isinstance(wanted, list | tuple):
        raise _bad(f"the result of task {task_id!r} has no list of tasks; expected {{'tasks': [...]}}")
    for one in wanted:
        if not isinstance(one, Mapping) or not isinstance(one.get("id"), str) or not isinstance(one.get("title"), str):
            raise _bad(f"{str(one)[:200]!r} is not a task; expected an object with id and title")
        if unknown := sorted(str(name) for name in one if name not in _FIELDS):
            raise _bad(f"task {one['id']!r} has {unknown}, expected only {', '.join(sorted(_FIELDS))}")
        for name, is_right, expected in _FORMS:
            if (value := one.get(name)) is not None and not is_right(value):
                raise _bad(f"the {name} of task {one['id']!r} is {str(value)[:200]!r}, expected {expected}")
    return list(wanted)


def _dependencies(origin: str, wanted: Mapping[str, Any], ids: Sequence[str], state: RunState) -> Iterator[str]:
    """Yield the ids a task depends on: those of its own list first, then those of the project."""
    for name in wanted.get("dependencies") or ():
        if name in ids:
            yield f"{origin}.{name}"
        elif name in state.tasks:
            yield name
        else:
            raise _bad(f"task {wanted['id']!r} depends on {name!r}, which is neither in the list nor in the project")


def _refusal(message: str) -> AttemptError:
    return AttemptError(message, kind=FailureKind.BAD_REQUEST)


def _bad(message: str) -> AttemptError:
    return AttemptError(f"the tasks cannot be added: {message}", kind=FailureKind.BAD_OUTPUT)
