"""The lanes of a run: what each is held to, and what its calls wait for. Knows no provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from orchestration.views import table, wording

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.text import Text

__all__ = ["LaneNews", "LaneView", "ceiling_lines", "lane_lines", "spelled", "waiting_lines"]


_LONG_S = 2.0


class LaneView(msgspec.Struct, frozen=True, kw_only=True):
    """A lane at one moment: calls `under_way`, of so many `places`, and `waiting`.

    `ceilings` are a person's, `stated` the provider's own with what is left of them. `reason` is what the next call
    waits for; `wait_s` None: until something else happens, such as the end of another call. `is_stopped`: a person has
    to act at the provider's and then reopen it.
    """

    name: str
    under_way: int = 0
    waiting: int = 0
    places: int = 0
    ceilings: dict[str, int] = {}
    stated: dict[str, tuple[int, int]] = {}
    is_open: bool = True
    is_stopped: bool = False
    reason: str = ""
    wait_s: float | None = None


def waiting_lines(lanes: Iterable[LaneView]) -> list[str]:
    """Say who waits for what, a line for each lane: `12 calls wait for lane openai/gpt: the rate limit, 12 s`."""
    return [line for lane in lanes if (line := _waiting(lane))]


def _waiting(lane: LaneView) -> str:
    if not lane.waiting and lane.is_open:
        return ""
    if not lane.waiting:
        return f"lane {lane.name} waits for {_waits_for(lane)}"
    calls = wording.count(lane.waiting, "call")
    return f"{calls} {'waits' if lane.waiting == 1 else 'wait'} for lane {lane.name}: {_waits_for(lane)}"


def _waits_for(lane: LaneView) -> str:
    if lane.is_open and not lane.waiting:
        return ""
    return (lane.reason or "a free place") + (f", {wording.duration(lane.wait_s)}" if lane.wait_s else "")


class LaneNews:
    """Tells once what a lane's calls wait for, for views that write lines: as long as they wait, and wait long."""

    def __init__(self) -> None:
        self._told: dict[str, set[str]] = {}

    def lines(self, lanes: Iterable[LaneView]) -> list[str]:
        """Return a line for each lane that waits for something new."""
        new = []
        for lane in lanes:
            if not lane.waiting and not lane.is_stopped:
                self._told.pop(lane.name, None)
            elif lane.is_stopped or (lane.wait_s or 0) >= _LONG_S:
                told = self._told.setdefault(lane.name, set())
                if lane.reason not in told:
                    told.add(lane.reason)
                    new.append(_waiting(lane))
        return new


def lane_lines(lanes: Sequence[LaneView], *, width: int | None = None, ascii_only: bool = False) -> list[Text]:
    """Return the lanes of a live run as a table."""
    head: list[table.Cell] = [(title, "dim") for title in ("lane", "calls", "wait", "limits", "provider says", "")]
    rows = [
        [
            (lane.name, "" if lane.is_open else "yellow"),
            (f"{lane.under_way} of {lane.places}", ""),
            (f"{lane.waiting:,}" if lane.waiting else "", ""),
            (spelled(lane.ceilings), ""),
            (", ".join(f"{name} {left:,} of {limit:,}" for name, (limit, left) in lane.stated.items()), "dim"),
            (_waits_for(lane), "yellow"),
        ]
        for lane in lanes
    ]
    return table.columns([head, *rows], width=width, ascii_only=ascii_only)


def ceiling_lines(ceilings: Mapping[str, Mapping[str, int]]) -> list[Text]:
    """Return the limits a person set, by lane."""
    return table.columns([[(name, ""), (spelled(values) or "no limit", "")] for name, values in ceilings.items()])


def spelled(ceilings: Mapping[str, int]) -> str:
    """Return limits as one types them: `rpm=50 input_tpm=30000`."""
    return " ".join(f"{name}={value}" for name, value in ceilings.items())
