"""A project's view as lines of text with styles: the table of tasks, the counts, the totals.

Knows rich's `Text`; opens no terminal and prints nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from orchestration.task import TaskStatus
from orchestration.views import wording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestration.ledger import Spend
    from orchestration.views.model import ProjectView, TaskRow

__all__ = ["Cell", "columns", "counts_line", "standing", "task_lines", "totals_line"]

Cell = tuple[str, str]  # text and style

_GAP = "  "
_ID_MAX = 40
_WIDE = 100
_ID_MIN = _NOTE_MIN = 12


def columns(rows: Sequence[Sequence[Cell]], *, width: int | None = None, ascii_only: bool = False) -> list[Text]:
    """Return the rows as lines with aligned columns; empty columns take no room.

    The last column is cut to what `width` leaves; nothing is padded at the end of a line.
    """
    if not rows:
        return []
    if ascii_only:
        rows = [[(wording.in_ascii(text), style) for text, style in row] for row in rows]
    sizes = [max(cell_len(row[i][0]) for row in rows) for i in range(len(rows[0]))]
    kept = [i for i, size in enumerate(sizes) if size]
    mark = "~" if ascii_only else "…"
    return [_line([row[i] for i in kept], [sizes[i] for i in kept], width, mark) for row in rows]


def task_lines(view: ProjectView, *, width: int | None = None, ascii_only: bool = False) -> list[Text]:
    """Return one line per shown task; `width` None cuts nothing."""
    is_wide = width is None or width >= _WIDE
    id_max = None if width is None else max(min(_ID_MAX, _ID_MAX * width // _WIDE), _ID_MIN)
    rows = [_task_cells(row, id_max) for row in view.rows]
    if not is_wide:  # without the agent
        rows = [[*row[:2], *row[3:]] for row in rows]
    return columns(rows, width=width, ascii_only=ascii_only)


def counts_line(view: ProjectView, *, ascii_only: bool = False) -> Text:
    """Return how many tasks there are of each status: `✓ 12 done  ● 3 running  · 5 pending`."""
    parts = []
    for status in TaskStatus:
        number = view.counts.get(status, 0)
        if status is TaskStatus.IN_PROGRESS:
            number -= view.parked
        if number:
            parts.append((f"{wording.SYMBOLS[status]} {number:,} {_counted(status, number)}", wording.STYLES[status]))
        if status is TaskStatus.IN_PROGRESS and view.parked:
            parts.append((f"{wording.PARKED_SYMBOL} {view.parked:,} {wording.PARKED_WORD}", wording.PARKED_STYLE))
    lines = columns([parts], ascii_only=ascii_only) if parts else []
    return lines[0] if lines else Text("no tasks")


def standing(status: TaskStatus, *, is_parked: bool) -> Cell:
    """Return how a task stands: symbol and word, and their style."""
    if is_parked:
        return f"{wording.PARKED_SYMBOL} {wording.PARKED_WORD}", wording.PARKED_STYLE
    return f"{wording.SYMBOLS[status]} {wording.WORDS[status]}", wording.STYLES[status]


def totals_line(spend: Spend, elapsed_s: float | None, *, what: str = "", ascii_only: bool = False) -> Text:
    """Return time, tokens and money: `12 s  4.1k tokens (3.9k in, 212 out)  $0.0102`."""
    parts = [part for part in (what, wording.duration(elapsed_s)) if part]
    if spend.calls:
        used = wording.tokens(spend.input_tokens + spend.output_tokens)
        within, out = wording.tokens(spend.input_tokens), wording.tokens(spend.output_tokens)
        parts += [wording.count(spend.calls, "model call"), f"{used} tokens ({within} in, {out} out)"]
        parts.append("cost unknown" if wording.money(spend) == "unknown" else wording.money(spend))
        if spend.unpriced_calls:
            parts.append(f"(no price is known for {wording.count(spend.unpriced_calls, 'call')})")
    line = _GAP.join(parts)
    return Text(wording.in_ascii(line) if ascii_only else line)


def _counted(status: TaskStatus, number: int) -> str:
    if status is TaskStatus.WAITING:
        return "waits for you" if number == 1 else "wait for you"
    if status is TaskStatus.NEEDS_REVIEW:
        return "needs review" if number == 1 else "need review"
    return wording.WORDS[status]


def _task_cells(row: TaskRow, id_max: int | None) -> list[Cell]:
    used = row.spend.input_tokens + row.spend.output_tokens
    is_running = row.status in {TaskStatus.IN_PROGRESS, TaskStatus.VERIFYING}
    is_bad = row.status in {TaskStatus.FAILED, TaskStatus.BLOCKED}
    return [
        (_cut(row.guide + row.task_id, id_max), "bold" if is_running else ""),
        standing(row.status, is_parked=bool(row.parked)),
        (f"{row.agent} for {', '.join(row.stands_for)}" if row.stands_for else row.agent, "dim"),
        (wording.duration(row.elapsed_s), ""),
        (f"try {row.attempt}" if row.attempt > 1 else "", "yellow"),
        (f"{wording.tokens(used)} tok" if row.spend.calls else "", ""),
        (wording.money(row.spend), ""),
        (row.note, "red" if is_bad else "dim"),
    ]


def _cut(text: str, cells: int | None, mark: str = "…") -> str:
    if cells is None or cell_len(text) <= cells:
        return text
    return set_cell_size(text, cells - 1).rstrip() + mark


def _line(row: Sequence[Cell], sizes: Sequence[int], width: int | None, mark: str) -> Text:
    line = Text()
    used = 0
    for (text, style), size in zip(row[:-1], sizes[:-1], strict=True):
        line.append(text + " " * (size - cell_len(text)) + _GAP, style)
        used += size + len(_GAP)
    text, style = row[-1]
    line.append(text if width is None else _cut(text, max(width - used, _NOTE_MIN), mark), style)
    line.rstrip()
    return line
