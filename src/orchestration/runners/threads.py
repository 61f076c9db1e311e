"""Threads for the functions of others: reused, bounded, and given up on when nobody waits for them any longer.

Unlike those of `asyncio.to_thread` they are daemons, so that a function which never returns cannot keep the program
from ending, and there can be more of them than processors, since such functions mostly wait. Knows no task.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["THREADS_MAX", "Threads"]

THREADS_MAX = 64

T = TypeVar("T")


class _Job:
    """One call, and whether anybody still waits for it. The pool's lock guards `is_started` and `is_abandoned`."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call
        self.context = contextvars.copy_context()
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.is_started = False
        self.is_abandoned = False
        self.result: Any = None
        self.error: BaseException | None = None

    def make_call(self) -> None:
        """Make the call, in a thread."""
        try:
            self.result = self.context.run(self.call)
        except StopIteration as exc:  # a future refuses it, for good reasons
            self.error = RuntimeError(f"StopIteration({exc.value!r}) was raised")
            self.error.__cause__ = exc
        except BaseException as exc:  # noqa: BLE001 -- handed to whoever waits
            self.error = exc

    def hand_over(self) -> None:
        """Wake up whoever waits for the result, from the thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self.loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Threads:
    """A pool of at most `limit` threads, started as they are needed."""

    def __init__(self, limit: int = THREADS_MAX) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._count = 0  # threads that will take another job
        self._free = 0  # of these, the idle ones less the jobs that wait; negative: jobs wait for a thread

    async def run(self, call: Callable[[], T]) -> T:
        """Return what the call returns, made in a thread with the caller's context variables.

        Cancelled, it returns at once: the call itself cannot be stopped, goes on unheard, and its thread is replaced.
        """
        job = _Job(call)
        with self._lock:
            self._free -= 1
            self._jobs.put(job)
            self._grow()
        try:
            result: T = await job.future
            return result
        except asyncio.CancelledError:
            self._abandon(job)
            raise

    def close(self) -> None:
        """End the threads, each after the call it is in. Not to be used afterwards."""
        with self._lock:
            for _ in range(self._count):
                self._jobs.put(None)

    def _grow(self) -> None:
        if self._free < 0 and self._count < self._limit:
            self._count += 1
            self._free += 1
            threading.Thread(target=self._serve, name="orchestration-function", daemon=True).start()

    def _abandon(self, job: _Job) -> None:
        with self._lock:
            job.is_abandoned = True
            if job.is_started:
                self._count -= 1
                self._grow()

    def _serve(self) -> None:
        """Take jobs until there are no more, or until one was abandoned half-way."""
        while (job := self._jobs.get()) is not None:
            with self._lock:
                job.is_started = not job.is_abandoned
            if job.is_started:
                job.make_call()
            with self._lock:
                if job.is_started and job.is_abandoned:
                    return
                job.is_started = False
                self._free += 1  # before its caller hears of it, whose next call this thread then takes
            job.hand_over()
            del job  # an idle thread holds on to nothing of its last caller
