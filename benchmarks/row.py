"""One line of the table. Knows no measure and no layout."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Row", "emit", "missed", "read", "within"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A measured figure, the bar it has to meet and what it was compared with; `passed` None: there is no bar."""

    measure: str
    figure: str
    bar: str = ""
    ratio: str = ""
    passed: bool | None = None


def within(measure: str, value: float, most: float, unit: str, *, ratio: str = "", strictly: bool = False) -> Row:
    """Return the row of a figure that has to stay at or, `strictly`, below `most`."""
    return Row(
        measure=measure,
        figure=_show(value, unit),
        bar=f"{'<' if strictly else '<='} {_show(most, unit)}",
        ratio=ratio,
        passed=value < most if strictly else value <= most,
    )


def missed(measure: str, why: str) -> Row:
    """Return the row of a measure that did not come to an end."""
    return Row(measure=measure, figure=why, bar="an answer", passed=False)


def emit(rows: Iterable[Row]) -> None:
    """Print rows as one JSON document, for the process that started this one."""
    json.dump([asdict(row) for row in rows], sys.stdout, indent=1)
    print()


def read(text: str) -> list[Row]:
    """Rebuild what `emit` printed."""
    return [Row(**plain) for plain in json.loads(text)]


def _show(value: float, unit: str) -> str:
    digits = f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}" if value < 100 else f"{value:.0f}"
    return f"{digits} {unit}".rstrip()
