"""What signals mean to a run: Ctrl-C once lets what runs finish, twice stops it now; SIGTERM and SIGHUP stop it now."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

__all__ = ["Interrupts"]

_HARD_EXIT_AT = 3


class Interrupts:
    """Turns signals into calls on the event loop while the `with` block, inside that loop, goes on.

    `drain` is called at the first Ctrl-C, `stop` at the second and at a supervisor's SIGTERM. The third ends the
    process on the spot, even when a task's function blocks the event loop: the state is made for that.
    """

    def __init__(self, *, drain: Callable[[], None], stop: Callable[[str], None]) -> None:
        self._drain = drain
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        self._presses = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Not `loop.add_signal_handler`: its handlers never run while a function blocks the loop.
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(signum) is not signal.SIG_IGN:  # such as under nohup
                self._before[signum] = signal.signal(signum, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _on_signal(self, signum: int, _frame: FrameType | None) -> None:
        if signum != signal.SIGINT:
            self._call(self._stop, signal.Signals(signum).name)
            return
        self._presses += 1
        if self._presses >= _HARD_EXIT_AT:
            os._exit(130)
        elif self._presses == 1:
            self._call(self._drain)
        else:
            self._call(self._stop, "Ctrl-C")

    def _call(self, function: Callable[..., None], *args: str) -> None:
        self._loop.call_soon_threadsafe(function, *args)
