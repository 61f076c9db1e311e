"""What a plan means: which of its items become tasks, who waits for whom, what each needs to know.

The same for every format, which only has to say what the items are:
- an item that is done does not run again: it is left out, nobody waits for it, and its title is told to those who did;
- an item with parts is done after its parts, so whoever waits for it waits for all of them;
- a part starts no sooner than the whole could: it waits for what the whole waits for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any, Literal

from orchestration import graph
from orchestration.errors import CycleError, InvalidTaskError
from orchestration.importing.records import ImportedTask, ImportRefusedError, refuse_all
from orchestration.project_file.wording import did_you_mean
from orchestration.task import TaskPriority, check_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["DEPTH_MAX", "PlanItem", "Settled", "State", "settle"]

State = Literal["open", "done", "left_out"]

DEPTH_MAX = 20
# As many as a project was ever measured with; a file of millions of items should not take minutes to be refused.
_TASKS_MAX = 10_000


@dataclass(frozen=True, kw_only=True)
class PlanItem:
    """An item of a plan, with the items that are part of it.

    `word` is what the plan calls its state. `remark` is what the person should know about how it was taken over.
    """

    task_id: str
    title: str
    description: str = ""
    state: State = "open"
    word: str = ""
    dependencies: tuple[str, ...] = ()
    parts: tuple[PlanItem, ...] = ()
    priority: TaskPriority = TaskPriority.MEDIUM
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """The tasks of a plan in its order, and a line for each thing that could not be taken over."""

    tasks: tuple[ImportedTask, ...]
    told: tuple[str, ...]


def settle(name: str, items: Sequence[PlanItem], *, in_order: bool = False) -> Settled:
    """Return the tasks that are left to do. `name` is what messages call the plan.

    Raises:
        ImportRefusedError: for ids that repeat or cannot be used, dependencies that do not exist or form a circle, too
            many items, and when nothing is left to do.

    """
    plan = _Plan(items)
    if len(plan.places) > _TASKS_MAX:
        raise ImportRefusedError(
            f"{name}: has {len(plan.places):,} items, expected at most {_TASKS_MAX:,}; import it in parts"
        )
    refuse_all(name, _mistakes(plan))
    tasks = list(_tasks(plan, in_order=in_order))
    if not tasks:
        states = "no tasks" if not plan.places else f"nothing left to do: all {len(plan.places)} are done or left out"
        raise ImportRefusedError(f"{name}: has {states}")
    _refuse_circle(name, plan, tasks, in_order=in_order)
    return Settled(tasks=tuple(tasks), told=tuple(plan.told))


@dataclass(frozen=True, kw_only=True)
class _Place:
    """An item where it stands. `state` is its own, or the one the whole imposes on it."""

    item: PlanItem
    whole: _Place | None
    siblings: Sequence[PlanItem]
    index: int
    state: State

    @property
    def path(self) -> Iterator[str]:
        """The ids of this item and of the wholes around it."""
        yield self.item.task_id
        if self.whole is not None:
            yield from self.whole.path


class _Plan:
    """All items, the wholes before their parts, and what there is to tell."""

    def __init__(self, items: Sequence[PlanItem]) -> None:
        self.places = list(_places(items, None))
        self.by_id = {place.item.task_id: place for place in self.places}
        self.told: list[str] = []
        self.waits: dict[str, list[str]] = {}
        self.done: dict[str, list[PlanItem]] = {}

    def open_of(self, items: Iterable[PlanItem]) -> list[str]:
        """Return the ids of those that become tasks."""
        return [item.task_id for item in items if self.by_id[item.task_id].state == "open"]


def _places(items: Sequence[PlanItem], whole: _Place | None) -> Iterator[_Place]:
    for index, item in enumerate(items):
        state = item.state if whole is None or whole.state == "open" else whole.state
        place = _Place(item=item, whole=whole, siblings=items, index=index, state=state)
        yield place
        yield from _places(item.parts, place)


def _mistakes(plan: _Plan) -> Iterator[str]:
    for place in plan.places:
        task_id = place.item.task_id
        try:
            check_name("task id", task_id)
        except InvalidTaskError as exc:
            yield str(exc)
        if plan.by_id[task_id] is not place:
            yield f"two tasks have the id {task_id!r}; give one of them another id"
        if place.state == "open":
            for name in dict.fromkeys(place.item.dependencies):
                if name not in plan.by_id:
                    hint = did_you_mean(name, plan.by_id.keys()) or "; remove it or add the task"
                    yield f"task {task_id!r} depends on {name!r}, which is not in the plan{hint}"


def _refuse_circle(name: str, plan: _Plan, tasks: Sequence[ImportedTask], *, in_order: bool) -> None:
    try:
        graph.check({task.task_id: task.dependencies for task in tasks})
    except CycleError as exc:
        why = ""
        if any(waited not in plan.by_id[waiting].item.dependencies for waiting, waited in pairwise(exc.cycle)):
            order = "each task waits for the one before it, " if in_order else ""
            why = f"; here {order}a task waits for its parts, and a part for what the whole waits for"
        raise ImportRefusedError(f"{name}: {exc}{why}") from None


def _tasks(plan: _Plan, *, in_order: bool) -> Iterator[ImportedTask]:
    for place in plan.places:
        if place.state == "open":
            yield _task(plan, place, in_order=in_order)
        else:
            _tell_left_out(plan, place)


def _tell_left_out(plan: _Plan, place: _Place) -> None:
    """Say what is not obvious: work that was not done and is not in the result."""
    item, whole = place.item, place.whole
    if item.state == "left_out" and (whole is None or whole.state == "open"):
        parts = " with its parts" if item.parts else ""
        plan.told.append(f"{item.task_id}: left out{parts}: it is {item.word}")
    elif whole is not None and whole.state == "done" and item.state == "open":
        plan.told.append(
            f"{item.task_id}: left out: it is open, but {whole.item.task_id!r}, which it is part of, is done"
        )


def _task(plan: _Plan, place: _Place, *, in_order: bool) -> ImportedTask:
    item = place.item
    notes = [item.remark] if item.remark else []
    waits, done = _given(plan, place, notes)
    previous = _open_before(plan, place) if in_order else ()
    # A part that waits for another part need not wait for what the whole waits for: that one does.
    if place.whole is not None and not previous and not any(plan.by_id[name].whole is place.whole for name in waits):
        waits += plan.waits[place.whole.item.task_id]
        done += [each for each in plan.done[place.whole.item.task_id] if each not in done]
    waits += previous
    plan.waits[item.task_id] = [name for name in waits if item.task_id not in plan.by_id[name].path]
    plan.done[item.task_id] = done
    plan.told += [f"{item.task_id}: {note}" for note in notes]
    return ImportedTask(
        task_id=item.task_id,
        title=item.title,
        description=_description(plan, place, done),
        dependencies=tuple(dict.fromkeys([*waits, *plan.open_of(item.parts)])),
        priority=item.priority,
        tags=item.tags,
        metadata=item.metadata,
        notes=tuple(notes),
    )


def _given(plan: _Plan, place: _Place, notes: list[str]) -> tuple[list[str], list[PlanItem]]:
    """Return what the item itself says it waits for: the ids of tasks, and the items that are done; notes the rest."""
    waits, done = [], []
    for name in dict.fromkeys(place.item.dependencies):
        target = plan.by_id[name]
        if name in place.path:
            notes.append(f"depended on {name!r}, which it is part of; that dependency was dropped")
        elif target.state == "open":
            waits.append(name)
        elif target.state == "done":
            done.append(target.item)
        else:
            notes.append(f"depended on {name!r}, which is left out; it no longer waits for it")
    return waits, done


def _open_before(plan: _Plan, place: _Place) -> tuple[str, ...]:
    ids = (place.siblings[index].task_id for index in range(place.index - 1, -1, -1))
    return tuple(islice((name for name in ids if plan.by_id[name].state == "open"), 1))


def _description(plan: _Plan, place: _Place, done: Sequence[PlanItem]) -> str:
    """Return what the item says and what its worker would otherwise not know."""
    item = place.item
    paragraphs = [item.description]
    if place.whole is not None:
        paragraphs.append(f"This is a part of task {place.whole.item.task_id}: {place.whole.item.title}")
    if plan.open_of(item.parts):
        paragraphs.append(
            "Its parts are tasks of their own, which are completed before this one. See that together they come to "
            "the whole, and do what is missing."
        )
    done_parts = [part for part in item.parts if plan.by_id[part.task_id].state == "done"]
    paragraphs += [_listed("Parts that were done before:", done_parts), _listed("Done before this:", done)]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _listed(heading: str, items: Sequence[PlanItem]) -> str:
    return "\n".join([heading, *(f"- {item.task_id}: {item.title}" for item in items)]) if items else ""
