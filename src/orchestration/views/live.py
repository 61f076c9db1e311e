"""The run as a table that is redrawn in place: what runs, what waits, what went wrong, and the totals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.text import Text

from orchestration.journal import now
from orchestration.views import table, wording
from orchestration.views.family import growth
from orchestration.views.model import view

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from rich.console import Console

    from orchestration.events import Event
    from orchestration.run_state import RunState

__all__ = ["ROWS_MAX", "LiveTable", "frame"]

ROWS_MAX = 40
# Around the rows: the counts, the totals, the line of what is hidden, and one so that nothing scrolls.
_OTHER_LINES = 4


def _nothing(_state: RunState) -> Sequence[str]:
    return ()


class LiveTable:
    """Draws on a terminal; messages are printed above the table, `notes(state)` and `hint()` below it.

    Erases itself when closed.
    """

    def __init__(
        self, console: Console, *, hint: Callable[[], str], notes: Callable[[RunState], Sequence[str]] = _nothing
    ) -> None:
        self._console = console
        self._hint = hint
        self._notes = notes
        self._ascii_only = not console.encoding.lower().startswith("utf")
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def draw(self, news: Sequence[Event | str], state: RunState) -> None:
        """Print the messages, and which tasks came up; then the table as it stands."""
        for item in news:
            # Tasks that come up while it runs may cost: who gets how many is not only seen in passing.
            if said := item if isinstance(item, str) else growth(item):
                said = wording.in_ascii(said) if self._ascii_only else said
                self._console.print(Text(said), highlight=False)
        width, height = self._console.size
        below = [*self._notes(state), self._hint()]
        picture = frame(state, now(), width=width, height=height, ascii_only=self._ascii_only, below=below)
        self._live.update(picture, refresh=True)

    def close(self) -> None:
        """Erase the table and show the cursor again."""
        self._live.stop()


def frame(
    state: RunState, at: datetime, *, width: int, height: int, ascii_only: bool = False, below: Sequence[str] = ()
) -> Group:
    """Return one picture of the run, never taller than the terminal; what is `below` the table gives way last."""
    said = [wording.in_ascii(text) if ascii_only else text for text in below if text]
    room = max(height - _OTHER_LINES - len(said), 1)
    seen = view(state, at, rows_max=min(room, ROWS_MAX))
    lines = table.task_lines(seen, width=width, ascii_only=ascii_only)
    if seen.hidden:
        lines.append(Text(f"... and {seen.hidden:,} more", "dim"))
    lines.append(table.counts_line(seen, ascii_only=ascii_only))
    if seen.elapsed_s is not None:
        lines.append(table.totals_line(seen.spend, seen.elapsed_s, what="so far:", ascii_only=ascii_only))
    lines += [Text(text, "dim") for text in said[: max(height - len(lines) - 1, 0)]]
    for line in lines:  # one that wrapped would push the first ones off the screen
        line.no_wrap, line.overflow = True, "crop"
    return Group(*lines)
