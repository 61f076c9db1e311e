"""The thread beside the run."""

import threading
from datetime import UTC, datetime

import pytest

from orchestration import events as ev
from orchestration.run_state import RunState
from orchestration.views.screen import Screen

FACT = ev.RunStarted(at=datetime(2026, 1, 1, tzinfo=UTC), run_id="r")


class Canvas:
    def __init__(self, *, fails_with=None, close_fails_with=None):
        self.seen = []
        self.threads = set()
        self.drawn = threading.Event()
        self.is_closed = False
        self.fails_with = fails_with
        self.close_fails_with = close_fails_with

    def draw(self, news, state):
        if self.fails_with:
            raise self.fails_with
        self.threads.add(threading.current_thread())
        self.seen += news
        self.drawn.set()

    def close(self):
        self.is_closed = True
        if self.close_fails_with:
            raise self.close_fails_with


def test_everything_said_is_drawn_in_order_by_another_thread_before_it_closes():
    canvas = Canvas()
    with Screen(canvas, interval_s=0.001) as screen:
        screen.on_fact(FACT, RunState())
        screen.say("hello")
        assert canvas.drawn.wait(5)
        screen.say("last words")
        assert screen.is_open
    assert canvas.seen == [FACT, "hello", "last words"]
    assert canvas.threads.isdisjoint({threading.main_thread()})
    assert canvas.is_closed
    assert not screen.is_open


def test_the_last_news_are_drawn_however_long_the_interval():
    canvas = Canvas()
    with Screen(canvas, interval_s=1000) as screen:
        screen.say("only words")
    assert canvas.seen == ["only words"]


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("I/O operation on closed file")])
def test_a_canvas_that_cannot_be_drawn_on_any_more_ends_the_view_and_nothing_else(error):
    canvas = Canvas(fails_with=error, close_fails_with=error)
    with Screen(canvas, interval_s=0.001) as screen:
        screen.say("into the void")
        screen.on_fact(FACT, RunState())
    assert canvas.is_closed
    assert not screen.is_open


def test_a_canvas_that_is_stuck_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setattr("orchestration.views.screen._CLOSE_S", 0.01)
    stuck = threading.Event()

    class Stuck(Canvas):
        def draw(self, news, state):
            self.drawn.set()
            stuck.wait()

    canvas = Stuck()
    with Screen(canvas, interval_s=0.001) as screen:
        assert canvas.drawn.wait(5)
    assert screen.is_open  # the thread is stuck still, and left alone
    stuck.set()
    screen._thread.join(5)


def test_a_slow_canvas_is_drawn_less_often(monkeypatch):
    pauses = []
    canvas = Canvas()
    screen = Screen(canvas, interval_s=0.1)
    clock = iter(range(1000))
    monkeypatch.setattr("orchestration.views.screen.time.thread_time", lambda: next(clock))
    monkeypatch.setattr(screen._closing, "wait", lambda pause_s: pauses.append(pause_s) or len(pauses) > 2)
    screen._draw_until_closed()
    assert pauses == [0.1, 20, 20]  # each drawing took a second of processor time
