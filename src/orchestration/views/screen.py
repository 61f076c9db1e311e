"""A view at work beside the run: a thread of its own draws what happened, at most eight times a second.

The run never waits for a terminal or for whoever reads a pipe: it leaves its facts here and goes on. Drawing may take
at most a twentieth of the time, so that a large project is drawn less often instead of slowly.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol, Self

from orchestration.run_state import RunState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from orchestration.events import Event

__all__ = ["Canvas", "Screen"]

_INTERVAL_S = 0.125
_SHARE = 20
_CLOSE_S = 2.0


class Canvas(Protocol):
    """What draws: a live table, or lines. Called from one thread at a time."""

    def draw(self, news: Sequence[Event | str], state: RunState) -> None:
        """Show what is new (facts, and messages to print) and how things stand."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Screen:
    """Feeds a canvas while the `with` block goes on. `on_fact` and `say` may be called from any thread."""

    def __init__(self, canvas: Canvas, *, interval_s: float = _INTERVAL_S) -> None:
        self._canvas = canvas
        self._interval_s = interval_s
        self._news: deque[Event | str] = deque()
        self._state = RunState()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._draw_until_closed, name="orchestration-screen", daemon=True)
        self._is_broken = False

    @property
    def is_open(self) -> bool:
        """Whether what is said now will be seen."""
        return self._thread.is_alive() and not self._is_broken

    def on_fact(self, event: Event, state: RunState) -> None:
        """Take a fact from the orchestrator; costs well under a microsecond."""
        self._state = state
        self._news.append(event)

    def say(self, message: str) -> None:
        """Show a message among the facts, in the order they came."""
        self._news.append(message)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        # Not for ever: whoever should read the pipe or terminal may have stopped reading.
        self._thread.join(_CLOSE_S)

    def _draw_until_closed(self) -> None:
        pause_s = self._interval_s
        is_last = False
        try:
            while not is_last:
                is_last = self._closing.wait(pause_s)
                began = time.thread_time()
                self._draw()
                pause_s = max(self._interval_s, (time.thread_time() - began) * _SHARE)
        except (OSError, ValueError):
            # The reader is gone (`| head`, a closed terminal). The work is not: it goes on unseen.
            self._is_broken = True
        finally:
            try:
                self._canvas.close()
            except (OSError, ValueError):
                self._is_broken = True

    def _draw(self) -> None:
        state = self._state
        news = [self._news.popleft() for _ in range(len(self._news))]
        self._canvas.draw(news, state)
