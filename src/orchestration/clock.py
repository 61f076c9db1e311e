"""Tell what time it is: the one place that asks. A simulated world brings a calendar of its own."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["kept_by", "now"]


def _real() -> datetime:
    return datetime.now(UTC)


_calendar: ContextVar[Callable[[], datetime]] = ContextVar("orchestration_calendar", default=_real)


def now() -> datetime:
    """Return this moment, aware, in UTC."""
    return _calendar.get()()


@contextmanager
def kept_by(calendar: Callable[[], datetime]) -> Iterator[None]:
    """Let `calendar` say what time it is, inside the block and for what is started there.

    It has to return a later moment each time: a task's executions are told apart by when they started.
    """
    token = _calendar.set(calendar)
    try:
        yield
    finally:
        _calendar.reset(token)
