import time

import pytest

from orchestration import graph
from orchestration.errors import CycleError, DependencyError


def test_every_id_comes_after_what_it_depends_on():
    order = graph.topological_order({"d": ["b", "c"], "b": ["a"], "c": ["a"], "a": []})
    assert sorted(order) == ["a", "b", "c", "d"]
    assert (order[0], order[-1]) == ("a", "d")
    assert graph.topological_order({}) == ()


def test_a_cycle_is_spelled_out_in_the_direction_of_depending():
    with pytest.raises(CycleError) as caught:
        graph.check({"a": ["b"], "b": ["c"], "c": ["a"], "x": ["a"]})
    cycle = caught.value.cycle
    assert cycle[0] == cycle[-1]
    assert "".join(cycle) in {"abca", "bcab", "cabc"}


def test_an_unknown_dependency_is_named_with_its_task_and_the_nearest_known_id():
    with pytest.raises(DependencyError) as caught:
        graph.check({"outline": [], "draft": ["outlin"], "end": ["zzz"]})
    assert str(caught.value) == (
        "task 'draft' depends on 'outlin', which is not a task of this project; did you mean 'outline'?; "
        "task 'end' depends on 'zzz', which is not a task of this project; "
        "add a task of that id, or remove the dependency"
    )


def test_of_very_many_unknown_dependencies_the_first_are_named_in_no_time():
    started = time.process_time()
    with pytest.raises(DependencyError, match=r"; and 4980 more$"):
        graph.check({f"task-number-{number}": ["setup"] for number in range(5_000)})
    assert time.process_time() - started < 5


def test_the_edges_turned_round_keep_every_id_and_the_graph_s_order():
    turned = graph.dependents({"c": ["a"], "b": ["a", "ghost"], "a": []})
    assert turned == {"c": [], "b": [], "a": ["c", "b"], "ghost": ["b"]}


def test_downstream_is_everything_after_without_the_starts_nearest_first():
    edges = {"a": ["b"], "b": ["c", "d"], "c": ["d"], "d": []}
    assert graph.downstream(["a"], edges) == ["b", "c", "d"]
    assert graph.downstream(["a", "c"], edges) == ["b", "d"]
    assert graph.downstream(["nobody"], edges) == []
    assert graph.downstream(["a"], {"a": ["b"], "b": ["a"]}) == ["b"]


def test_a_chain_of_a_hundred_thousand_needs_no_recursion():
    chain = {f"t{n}": [f"t{n - 1}"] if n else [] for n in range(100_000)}
    assert len(graph.topological_order(chain)) == 100_000
    assert len(graph.downstream(["t0"], graph.dependents(chain))) == 99_999
    with pytest.raises(CycleError) as caught:
        graph.check(chain | {"t0": ["t99999"]})
    assert len(caught.value.cycle) == 100_001
