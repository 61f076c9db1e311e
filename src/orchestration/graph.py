"""The shape of a project: who depends on whom. Pure; knows nothing of statuses, agents or time."""

from __future__ import annotations

from collections import deque
from graphlib import CycleError as _StdlibCycleError
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from orchestration.errors import CycleError, DependencyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["check", "dependents", "downstream", "topological_order"]

_SHOWN = 20


def check(dependencies: Mapping[str, Sequence[str]]) -> None:
    """Refuse a graph that can never be worked through.

    Raises:
        DependencyError: if a task depends on an id that is not a key; names such pairs, the first 20 of them.
        CycleError: if tasks depend on each other in a circle; spells one out.

    """
    unknown = [(task, name) for task, names in dependencies.items() for name in names if name not in dependencies]
    if unknown:
        shown = [_describe_unknown(task, name, dependencies) for task, name in unknown[:_SHOWN]]
        more = [f"and {len(unknown) - _SHOWN} more"] if len(unknown) > _SHOWN else []
        raise DependencyError("; ".join(shown + more))
    topological_order(dependencies)


def topological_order(dependencies: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return all ids so that each comes after what it depends on.

    Raises:
        CycleError: if there is no such order.

    """
    try:
        return tuple(TopologicalSorter(dependencies).static_order())
    except _StdlibCycleError as exc:
        # The standard library lists each node before the one that depends on it; we read "depends on" left to right.
        raise CycleError(tuple(reversed(exc.args[1]))) from None


def dependents(dependencies: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the edges turned round: id -> the ids that depend on it, in the graph's order; every id is a key."""
    turned: dict[str, list[str]] = {task: [] for task in dependencies}
    for task, names in dependencies.items():
        for name in names:
            turned.setdefault(name, []).append(task)
    return turned


def downstream(starts: Iterable[str], edges: Mapping[str, Sequence[str]]) -> list[str]:
    """Return every id that can be reached from `starts` along `edges`, nearest first, without the starts themselves."""
    first = list(starts)
    seen = set(first)
    reached: list[str] = []
    queue = deque(first)
    while queue:
        for name in edges.get(queue.popleft(), ()):
            if name not in seen:
                seen.add(name)
                reached.append(name)
                queue.append(name)
    return reached


def _describe_unknown(task: str, name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 -- only for a mistake

    near = get_close_matches(name, list(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else "add a task of that id, or remove the dependency"
    return f"task {task!r} depends on {name!r}, which is not a task of this project; {hint}"
