"""A task graph drawn as a tree: each task once, under the dependency that is deepest. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestration import graph
from orchestration.errors import CycleError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Branch", "grow"]

_DEPTH_MAX = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Branch:
    """One task's place: `guide` is drawn before its id, `parent` is the dependency it stands under."""

    task_id: str
    guide: str
    parent: str | None


def grow(dependencies: Mapping[str, Sequence[str]]) -> list[Branch]:
    """Return every task once, parents before children, siblings in the given order.

    Dependencies that are not keys are passed over. What is deeper than 8 levels is not indented further.
    """
    parents = _parents(dependencies)
    children: dict[str | None, list[str]] = {None: []}
    for name in dependencies:
        children.setdefault(parents[name], []).append(name)
    drawn: list[Branch] = []
    stack = [(name, "", "") for name in reversed(children[None])]
    while stack:
        name, before, knot = stack.pop()
        drawn.append(Branch(task_id=name, guide=before + knot, parent=parents[name]))
        below = children.get(name, [])
        inner = before + {"": "", "├ ": "│ ", "└ ": "  "}[knot]
        if len(inner) >= _DEPTH_MAX * 2:
            inner = before
        last = len(below) - 1
        stack.extend((below[i], inner, "└ " if i == last else "├ ") for i in range(last, -1, -1))
    return drawn


def _parents(dependencies: Mapping[str, Sequence[str]]) -> dict[str, str | None]:
    """Return each task's deepest dependency, of equally deep ones the last it names."""
    known = {name: [other for other in others if other in dependencies] for name, others in dependencies.items()}
    try:
        order = graph.topological_order(known)
    except CycleError:  # a file may say so; it is drawn flat beside its error
        return dict.fromkeys(known)
    depth: dict[str, int] = {}
    parents: dict[str, str | None] = {}
    for name in order:
        above = max(reversed(known[name]), key=depth.__getitem__, default=None)
        parents[name] = above
        depth[name] = 0 if above is None else depth[above] + 1
    return parents
