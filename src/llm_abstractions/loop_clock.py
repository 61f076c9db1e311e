"""Tell the time of whichever event loop runs. Knows nothing of what the time is for."""

import asyncio
import weakref

__all__ = ["LoopClock"]


class LoopClock:
    """The running loop's time in seconds, carried on from one loop to the next: it never goes backwards.

    Loops may count from different moments (a virtual one begins at 0). `loops` grows when another loop is seen or the
    last one was closed, so that whoever holds things of a loop knows when to let go of them. Outside any loop the time
    stands still. Holds no loop alive.
    """

    def __init__(self) -> None:
        self.loops = 0
        self._loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
        self._offset = 0.0
        self._last = 0.0

    def now(self) -> float:
        """Return the present moment."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._forget_closed()
            return self._last
        if self._loop is None or self._loop() is not loop:
            self.loops += 1
            self._loop = weakref.ref(loop)
            self._offset = max(self._offset, self._last - loop.time())
        self._last = loop.time() + self._offset
        return self._last

    def _forget_closed(self) -> None:
        if self._loop is not None and ((loop := self._loop()) is None or loop.is_closed()):
            self.loops += 1
            self._loop = None
