"""The graph as text for other programs."""

import pytest

from orchestration.run_state import RunState
from orchestration.views import diagrams
from orchestration.views.table import columns


@pytest.fixture
def odd(history):
    """Ids and titles that a diagram's grammar could trip over."""
    history.task("a.b:c@d+e", title='He said "#1" <b>`x`</b>\nand\\').task("end", "a.b:c@d+e", "gone").task("f", "end")
    return history.start("a.b:c@d+e").fail("a.b:c@d+e").state


def test_mermaid_escapes_by_entities(odd):
    lines = diagrams.mermaid(odd)
    assert '  t1["a.b:c@d+e: He said #quot;#35;1#quot; #lt;b#gt;#96;x#96;#lt;/b#gt; and\\"]:::failed' in lines
    assert "  t1 --> t2" in lines
    assert "  t2 --> t3" in lines
    assert '  t2["end"]:::blocked' in lines


def test_dot_escapes_by_backslashes(odd):
    lines = diagrams.dot(odd)
    assert '  "a.b:c@d+e" [label="a.b:c@d+e: He said \\"#1\\" <b>`x`</b> and\\\\", fillcolor="#fecaca"];' in lines
    assert '  "a.b:c@d+e" -> "end";' in lines
    assert lines[-1] == "}"


def test_a_tree_names_the_dependencies_its_shape_does_not_show(odd):
    assert [line.plain for line in diagrams.tree(odd, ascii_only=True)] == [
        "a.b:c@d+e  x failed",
        "` end      # blocked  also after gone",
        "  ` f      # blocked",
    ]


def test_a_document_lists_tasks_and_dependencies(odd):
    assert diagrams.document(odd)["tasks"][1] == {
        "task_id": "end",
        "title": "end",
        "agent": None,
        "status": "blocked",
        "dependencies": ["a.b:c@d+e", "gone"],
        "waits_for": ["a.b:c@d+e", "gone"],
        "origin": None,
    }


def test_no_tasks_are_no_diagram_but_no_error():
    assert [line.plain for line in diagrams.tree(RunState())] == ["no tasks"]
    assert diagrams.dot(RunState())[-1] == "}"
    assert diagrams.document(RunState()) == {"tasks": []}


def test_columns_align_drop_what_is_empty_and_cut_only_the_last():
    rows = [[("a", ""), ("", ""), ("漢字", ""), ("long " * 10, "")], [("bcd", ""), ("", ""), ("x", ""), ("", "")]]
    first, second = (line.plain for line in columns(rows, width=30))
    assert first.startswith("a    漢字  long")
    assert first.endswith("…")
    assert second == "bcd  x"
    assert columns([]) == []
