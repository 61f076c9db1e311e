"""An event loop whose time is made up: where nothing can run now, it is at once the moment of the next timer.

Knows nothing of projects. A seed makes it a scheduler that decides by chance, and the same way each time, in which
order callbacks run that are ready together; `kill_after` ends it in the middle, as a dying process ends.
"""

from __future__ import annotations

import asyncio
import random
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Coroutine

__all__ = ["EndlessError", "KilledError", "StandstillError", "VirtualLoop", "run"]

T = TypeVar("T")

# Seconds of real time for which `run` waits for a thread when there is nothing else to wait for.
_PATIENCE_S = 2.0


class StandstillError(Exception):
    """Nothing is ready, no timer is set, and yet something is waited for: a wake-up was lost, or nobody gives it."""


class EndlessError(Exception):
    """More was done than anything that ends can need."""


class KilledError(BaseException):
    """The simulated process died. Like the real thing it is not for anybody inside to catch."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that runs in no time, and its time from `start_s` on.

    `seed` None keeps asyncio's order. Threads of `asyncio.to_thread` and `run_in_executor` are not started: the call is
    made at once. Of threads started otherwise it knows nothing: for `patience_s` of real time it waits for their word,
    and only when nothing else is left to wait for. `before_jump` is called whenever time is about to pass, with nothing
    left to run in this moment.

    Raises:
        StandstillError: out of whatever runs the loop, instead of waiting for ever.
        EndlessError: the same, after `max_steps` callbacks.

    """

    _ready: deque[asyncio.Handle]  # asyncio's own queue of what can run now

    def __init__(
        self,
        seed: int | None = None,
        *,
        start_s: float = 0.0,
        max_steps: int | None = None,
        patience_s: float = 0.0,
    ) -> None:
        self._now_s = start_s
        self._chance = None if seed is None else random.Random(seed)  # noqa: S311 -- it has to be the same each time
        self._kill_at: int | None = None
        self._held_back: list[asyncio.Handle] = []
        self._is_dying = False
        self._max_steps = max_steps
        self.steps = 0
        self.before_jump: Callable[[], None] | None = None
        super().__init__(_JumpingSelector(self, patience_s))

    def time(self) -> float:
        """Return the made-up time in seconds."""
        return self._now_s

    def kill_after(self, steps: int) -> None:
        """Raise `KilledError` out of whatever runs the loop after so many more callbacks."""
        self._kill_at = self.steps + steps

    @property
    def is_buried(self) -> bool:
        """Whether what still runs here are the remains of a process that is over."""
        return self._is_dying

    def run_in_executor(  # type: ignore[override]  # typeshed's own signature of this one varies by version
        self,
        executor: Any,  # noqa: ARG002 -- the signature is asyncio's
        func: Callable[..., T],
        *args: Any,
    ) -> asyncio.Future[T]:
        """Make the call at once, in this thread: the result is there in the next step."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as exc:  # noqa: BLE001 -- it is raised where the future is awaited
            future.set_exception(exc)
        return future

    def jump(self, seconds: float) -> None:
        """Let time pass."""
        if self.before_jump is not None and not self._is_dying:
            self.before_jump()
        self._now_s += seconds

    def bury(self) -> None:
        """Prepare a loop that was broken off for its closing: what was held back may run, nothing kills it again."""
        self._is_dying = True
        self._kill_at = self._max_steps = None
        # The end of the coroutine that was being run may be among them: it would stop the loop that closes now.
        left = [handle for handle in (*self._ready, *self._held_back) if _name_of(handle) != "_run_until_complete_cb"]
        self._ready.clear()
        self._ready.extend(left)
        self._held_back.clear()

    def _run_once(self) -> None:
        """Run what is ready, as asyncio does, in an order of our own."""
        ready = self._ready
        if self._chance is not None and len(ready) > 1:
            shuffled = list(ready)
            self._chance.shuffle(shuffled)
            ready.clear()
            ready.extend(shuffled)
        if self._kill_at is not None:
            self._maybe_die(self._kill_at - self.steps)
        self.steps += len(ready)
        if self._max_steps is not None and self.steps > self._max_steps:
            raise EndlessError(f"after {self._max_steps:,} steps, at {self._now_s:.3f} s, there is still no end")
        super()._run_once()  # type: ignore[misc]  # the loop's one step, which typeshed leaves out

    def _maybe_die(self, steps_left: int) -> None:
        if steps_left <= 0:
            raise KilledError
        while len(self._ready) > steps_left:
            self._held_back.append(self._ready.pop())


def _name_of(handle: asyncio.Handle) -> str:
    callback: object = getattr(handle, "_callback", None)
    return getattr(callback, "__name__", "")


class _JumpingSelector(selectors.DefaultSelector):
    """Asked to wait for a timer, it lets the loop's time jump there."""

    def __init__(self, loop: VirtualLoop, patience_s: float) -> None:
        super().__init__()
        self._loop = loop
        self._patience_s = patience_s

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return self._standstill()
        # The loop's own pipe is always there; more than that are sockets, which a test may use beside.
        events = super().select(0) if len(self.get_map()) > 1 else []
        if not events and timeout > 0:
            self._loop.jump(timeout)
        return events

    def _standstill(self) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for a thread's word, which alone can still come."""
        events = super().select(self._patience_s)
        if not events:
            raise StandstillError(f"at {self._loop.time():.3f} s nothing can run any more\n{_who_waits(self._loop)}")
        return events


def _who_waits(loop: asyncio.AbstractEventLoop) -> str:
    """Say for each task in which line it waits, the innermost one last."""
    lines = []
    for task in sorted(asyncio.all_tasks(loop), key=asyncio.Task.get_name):
        awaited: Any = task.get_coro()
        places = []
        while awaited is not None:
            frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
            if frame is not None:
                places.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
            awaited = getattr(awaited, "cr_await", None)
        lines.append(f"  {task.get_name()}: {' > '.join(places[-4:])}")
    return "\n".join(lines)


def run(main: Coroutine[Any, Any, T], *, seed: int | None = None) -> T:
    """Run a coroutine to its end in made-up time, as `asyncio.run` does in real time; not from inside another loop.

    Hours of waiting take no time. With a seed, what is ready together runs in an order that the seed decides.

    Raises:
        StandstillError: if it waits for something that never comes.

    """
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed, patience_s=_PATIENCE_S)) as runner:
        try:
            return runner.run(main)
        except StandstillError:
            loop = runner.get_loop()
            assert isinstance(loop, VirtualLoop)  # noqa: S101 -- we made it
            loop.bury()
            raise
