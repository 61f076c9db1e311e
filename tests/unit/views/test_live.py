"""One picture of a run."""

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from orchestration import events as ev
from orchestration.task import AgentTask
from orchestration.views.live import LiveTable, frame


def text_of(group, width=80):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(group)
    return console.file.getvalue().rstrip("\n").split("\n")


@pytest.fixture
def busy(history):
    """200 tasks: 3 run, 2 failed, 1 waits, 50 are done."""
    history.add(ev.RunStarted, run_id="r")
    for n in range(200):
        history.task(f"task-{n:03}", title="Ein großer Titel 漢字")
    for n in range(50):
        history.start(f"task-{n:03}").complete(f"task-{n:03}", "text " * 100)
    for n in (60, 61):
        history.start(f"task-{n:03}").fail(f"task-{n:03}", "漢字 " * 100)
    history.start("task-070").wait("task-070")
    for n in (80, 81, 82):
        history.start(f"task-{n:03}")
    return history


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (200, 60), (20, 5), (80, 3)])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_it_is_never_larger_than_the_terminal(busy, width, height, ascii_only):
    picture = frame(busy.state, busy.at, width=width, height=height, ascii_only=ascii_only, below=["", "h" * 300])
    lines = text_of(picture, width=width)
    assert len(lines) <= max(height, 5)
    assert all(cell_len(line) <= width for line in lines)
    assert any("running"[:5] in line for line in lines)


def test_what_does_not_fit_is_counted(busy):
    lines = text_of(frame(busy.state, busy.at, width=80, height=15, below=["press here"]))
    assert "... and 190 more" in lines
    shown = [line.split()[0] for line in lines[:10]]
    assert {"task-080", "task-081", "task-082", "task-070", "task-060", "task-061"} <= set(shown)
    assert shown == sorted(shown)
    assert lines[-1] == "press here"
    assert lines[-2].startswith("so far:")


def test_money_that_is_not_known_is_said(history):
    history.add(ev.RunStarted, run_id="r").task("a").start("a")
    history.call("a", input_tokens=1500, output_tokens=20).call("a", cost_usd="0.5")
    lines = text_of(frame(history.state, history.at, width=120, height=20), width=120)
    assert "1.5k tok" in lines[0]
    assert "≥ $0.5000" in lines[0]
    assert "2 model calls  1.5k tokens (1.5k in, 20 out)  ≥ $0.5000  (no price is known for 1 call)" in lines[2]


def test_ascii_is_ascii(busy):
    busy.task("last", "task-000")
    lines = text_of(frame(busy.state, busy.at, width=100, height=24, ascii_only=True))
    assert "".join(lines).isascii()


def test_a_terminal_shows_messages_above_and_is_put_back(history):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=60, height=20, color_system="standard", legacy_windows=False)
    table = LiveTable(console, hint=lambda: "the hint")
    history.task("a").start("a")
    table.draw([*history.facts, "a message"], history.state)
    table.close()
    drawn = out.getvalue()
    assert drawn.index("a message") < drawn.index("running")
    assert "the hint" in drawn
    assert "\x1b[?25l" in drawn  # the cursor was hidden ...
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")  # ... and is back


class TestTasksThatComeUp:
    @pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
    def test_are_told_above_the_table_where_they_stay(self, history, encoding):
        out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        history.task("plan").start("plan").complete("plan", added=(AgentTask("plan.größe", "G", agent="ann"),))
        table = LiveTable(Console(file=out, force_terminal=True, width=80, height=20), hint=str)
        table.draw(history.facts, history.state)
        table.close()
        out.seek(0)
        name = "plan.größe" if encoding == "utf-8" else "plan.gr\\xf6\\xdfe"
        assert out.read().count(f"plan adds 1 task, for ann: {name}") == 1

    def test_fit_where_200_of_them_are_at_work_checked_and_waiting(self, history):
        task = history.task("map", for_each="x", title="Map").state.tasks["map"].task
        items = [f"src/{'deep/' * 9}file-{n}.py" for n in range(200)]
        instances = tuple(
            replace(task, task_id=f"map.{n}", title=f"Map: {item}", for_each=None) for n, item in enumerate(items)
        )
        history.add(ev.TaskExpanded, task_id="map", instances=instances)
        for n in range(150):
            history.start(f"map.{n}").complete(f"map.{n}", "text " * 100)
        for n in (160, 161, 162):
            history.start(f"map.{n}").add(
                ev.WorkerReported, task_id=f"map.{n}", attempt=1, kind="tool", text="Edit 漢字 " * 20
            )
        history.start("map.170").review("map.170", "conflict", "long " * 100)
        lines = text_of(frame(history.state, history.at, width=60, height=20, ascii_only=True), width=60)
        assert len(lines) <= 20
        assert all(cell_len(line) <= 60 and line.isascii() for line in lines)
        assert [line.split()[0] for line in lines[:2]] == ["map", "|"]
        assert "150 of 200 d" in lines[0]
        assert "... and 196 more" in lines
