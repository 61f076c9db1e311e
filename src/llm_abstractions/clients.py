"""Own the clients of a run: build each once, share it, close them all. Knows nothing of what a client is for."""

import asyncio
import gc
import threading
import warnings
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self, TypeVar

__all__ = ["ClientPool"]


_Client = TypeVar("_Client")


class _LoopClients:
    """The clients of one event loop. Only touched from that loop, so plain dicts are enough."""

    def __init__(self) -> None:
        self.ready: dict[Hashable, object] = {}
        self.building: dict[Hashable, asyncio.Lock] = {}
        self.closers = AsyncExitStack()
        self.is_closed = False


class ClientPool:
    """The clients of one run, built on first use and closed together.

    SDK clients are bound to the event loop that opened their connections, so the pool keeps them per loop: used from a
    second loop it starts afresh, and what a closed loop left behind is dropped. It may be used again after `aclose`.
    """

    def __init__(self) -> None:
        self._loops: dict[asyncio.AbstractEventLoop, _LoopClients] = {}

    def __repr__(self) -> str:
        # Keys hold API keys: never show them.
        return f"<ClientPool of {sum(len(clients.ready) for clients in self._loops.values())} clients>"

    async def get(self, key: Hashable, build: Callable[[AsyncExitStack], Awaitable[_Client]]) -> _Client:
        """Return the client of `key`, built by `build` on the first call.

        `build` pushes what closes the client on the stack it is given. However many ask at once, it runs once; when it
        fails or is cancelled, the next in line tries.
        """
        clients = self._of_running_loop()
        if key not in clients.ready:
            async with clients.building.setdefault(key, asyncio.Lock()):
                if key not in clients.ready:
                    client = await build(clients.closers)
                    if clients.is_closed:
                        await clients.closers.aclose()
                        raise RuntimeError("the client pool was closed while one of its clients was being built")
                    clients.ready[key] = client
        return clients.ready[key]  # type: ignore[return-value] # a key stands for one type of client

    async def aclose(self) -> None:
        """Close the running loop's clients, and drop those of closed loops; twice is fine."""
        self._drop_closed_loops()
        clients = self._loops.pop(asyncio.get_running_loop(), None)
        if clients is None:
            return
        clients.is_closed = True
        await clients.closers.aclose()  # in reverse order, and the rest, too, when one fails to close

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def _of_running_loop(self) -> _LoopClients:
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            self._drop_closed_loops()
            self._loops[loop] = _LoopClients()
        return self._loops[loop]

    def _drop_closed_loops(self) -> None:
        """Forget the clients of closed loops without the complaints of their sockets.

        A client cannot be closed once its loop is: all that is left is to let the collector close its sockets, here
        and now, so that their warnings do not turn up in the middle of something else. That is done in a thread, where
        no loop runs, for some SDKs' finalisers would start a task on it that brings the client back to life.
        """
        closed = [loop for loop in self._loops if loop.is_closed()]
        if not closed:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            for loop in closed:
                loop.set_exception_handler(lambda _loop, _context: None)
            thread = threading.Thread(target=self._forget, args=(closed,))
            thread.start()
            thread.join()

    def _forget(self, loops: list[asyncio.AbstractEventLoop]) -> None:
        for loop in loops:
            del self._loops[loop]
        gc.collect()
