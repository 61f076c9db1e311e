"""Lay out rows: for a terminal, and as Markdown between the marks of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from benchmarks.row import Row

__all__ = ["as_markdown", "as_text", "put_between_marks"]

_HEADS = ("measure", "figure", "bar", "compared", "verdict")
_VERDICTS = {True: "pass", False: "MISS", None: ""}
_BEGIN, _END = "<!-- table: begin -->", "<!-- table: end -->"


def as_text(rows: Iterable[Row], about: Mapping[str, str]) -> str:
    """Return a table with aligned columns, and the machine under it."""
    lines = [_HEADS, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADS))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    table.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*table, "", *(f"{label}: {value}" for label, value in about.items())])


def as_markdown(rows: Iterable[Row], about: Mapping[str, str]) -> str:
    """Return the machine as a list and the rows as a table."""
    machine = [f"- {label}: {value}" for label, value in about.items()]
    return "\n".join([*machine, "", _line(_HEADS), _line(["---"] * len(_HEADS)), *(_line(_cells(row)) for row in rows)])


def put_between_marks(page: Path, text: str) -> None:
    """Replace what stands between the page's two marks.

    Raises:
        ValueError: if the page lacks them.

    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{page.name} lacks its marks; expected a line {_BEGIN!r} and, after it, a line {_END!r}")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def _cells(row: Row) -> tuple[str, ...]:
    return (row.measure, row.figure, row.bar, row.ratio, _VERDICTS[row.passed])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
