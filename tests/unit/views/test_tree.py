"""A graph drawn as a tree."""

from hypothesis import given
from hypothesis import strategies as st

from orchestration.views.tree import grow


def drawn(dependencies):
    return [branch.guide + branch.task_id for branch in grow(dependencies)]


def test_each_task_stands_under_its_deepest_dependency():
    graph = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["d", "a"], "f": []}
    assert drawn(graph) == ["a", "├ b", "└ c", "  └ d", "    └ e", "f"]


def test_what_is_very_deep_is_not_indented_further():
    chain = {f"t{n}": [f"t{n - 1}"] if n else [] for n in range(30)}
    assert max(len(branch.guide) for branch in grow(chain)) == 16


def test_unknown_dependencies_are_passed_over():
    assert drawn({"a": ["gone"]}) == ["a"]


def test_a_circle_is_drawn_flat():
    assert drawn({"a": ["b"], "b": ["a"]}) == ["a", "b"]


@given(st.lists(st.sets(st.integers(0, 30)), max_size=30))
def test_every_task_is_drawn_once_after_its_parent(edges):
    graph = {str(n): [str(m) for m in sorted(above) if m < n] for n, above in enumerate(edges)}
    seen = set()
    for branch in grow(graph):
        assert branch.task_id not in seen
        assert branch.parent is None or branch.parent in seen
        assert branch.parent is None or branch.parent in graph[branch.task_id]
        assert (branch.parent is None) == (not graph[branch.task_id])
        seen.add(branch.task_id)
    assert seen == set(graph)
