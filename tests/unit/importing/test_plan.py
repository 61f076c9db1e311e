"""What any plan means, whatever format it is in."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration import graph
from orchestration.importing import ImportRefusedError
from orchestration.importing.plan import PlanItem, settle

STATES = st.sampled_from(["open", "open", "open", "done", "left_out"])


@st.composite
def plans(draw):
    """Return the top-level items of a plan in which whoever depends on something comes after all of it."""
    complete: list[str] = []  # items whose parts have all been drawn: what a later item can depend on

    def items(prefix, depth):
        made = []
        for number in range(draw(st.integers(0 if depth else 1, 3))):
            task_id = f"{prefix}{number}"
            waits = draw(st.lists(st.sampled_from(complete), max_size=3)) if complete else []
            parts = items(f"{task_id}.", depth + 1) if depth < 3 else []
            made.append(
                PlanItem(
                    task_id=task_id,
                    title=task_id,
                    state=draw(STATES),
                    dependencies=tuple(waits),
                    parts=tuple(parts),
                )
            )
            complete.append(task_id)
        return made

    return items("t", 0)


def with_wholes(items, whole=None):
    """Yield every item that becomes a task, with the item around it."""
    for item in items:
        if item.state == "open":
            yield item, whole
            yield from with_wholes(item.parts, item)


@given(items=plans(), in_order=st.booleans())
def test_a_plan_keeps_its_meaning(items, in_order):
    expected = {item.task_id: (item, whole) for item, whole in with_wholes(items)}
    if not expected:
        with pytest.raises(ImportRefusedError, match="nothing left to do"):
            settle("plan", items, in_order=in_order)
        return
    settled = settle("plan", items, in_order=in_order)
    edges = {task.task_id: task.dependencies for task in settled.tasks}
    order = graph.topological_order(edges)
    before = {task_id: set(graph.downstream([task_id], edges)) for task_id in order}

    assert list(edges) == list(expected)
    for task_id, (item, whole) in expected.items():
        assert {part.task_id for part in item.parts} & edges.keys() <= before[task_id], "the whole waits for its parts"
        for name in {*item.dependencies, *(whole.dependencies if whole else ())} & edges.keys():
            assert name in before[task_id], "a task waits for what it depends on, and for what its whole does"
    if in_order:
        siblings = [item.task_id for item in items if item.task_id in edges]
        assert all(one in before[other] for one, other in pairwise(siblings))
