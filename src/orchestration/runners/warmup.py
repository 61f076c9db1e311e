"""Calls that share a long beginning: one goes ahead and fills the provider's cache, then the others follow.

Knows when a call may go; nothing of what it asks, of providers, or of their limits. Time is the event loop's.
"""

from __future__ import annotations

import asyncio
import weakref
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable

    from orchestration.attempt import Deadline

__all__ = ["LEAD_MAX_S", "WARM_S", "Turn", "WarmUps"]

# Providers forget a beginning that nobody used for five minutes; a little less, for a call takes time to get there.
WARM_S = 280.0
# How long the others wait for an answer to begin once its call is sent. Then they go, too, and pay the full price.
LEAD_MAX_S = 30.0
# Groups whose cache went cold are forgotten when there are more than so many.
_GROUPS_MAX = 256


class Turn:
    """One call's turn among those that share its beginning. `is_ahead`: others wait until its answer begins."""

    def __init__(self, group: _Group | None, priority: int = 0) -> None:
        self._group = group
        self.priority = priority
        self.is_ahead = False
        self.sent_at: float | None = None

    def sent(self) -> None:
        """Tell that the call goes out now: it has waited for whatever else it had to."""
        if self._group is not None:
            self._group.on_sent(self)

    def begun(self) -> None:
        """Tell that its answer has begun: from now on the provider's cache serves the others."""
        if self._group is not None:
            self._group.on_begun()


class WarmUps:
    """The groups of calls of one executor; for one event loop after the other."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, _Group] = {}
        self._loop: weakref.ref[asyncio.AbstractEventLoop] | None = None

    def turn(self, key: Hashable, *, priority: int = 0, deadline: Deadline) -> AbstractAsyncContextManager[Turn]:
        """Wait until the call may go, and take in what leaves the block: an exception says that it has failed.

        `key` names what the calls share; with None, nothing. Who waits goes by priority, then age, and its time stands
        still meanwhile.
        """
        return nullcontext(Turn(None)) if key is None else self._turn(self._group(key), priority, deadline)

    @asynccontextmanager
    async def _turn(self, group: _Group, priority: int, deadline: Deadline) -> AsyncIterator[Turn]:
        turn = Turn(group, priority)
        if not group.may_go(turn):
            with deadline.held():
                await group.wait(turn)
        try:
            yield turn
        except BaseException:
            group.on_failed(turn)
            raise
        group.on_answered(turn)

    def _group(self, key: Hashable) -> _Group:
        loop = asyncio.get_running_loop()
        if self._loop is None or self._loop() is not loop:
            self._groups, self._loop = {}, weakref.ref(loop)  # who waited in an earlier loop will never go
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= _GROUPS_MAX:
                self._groups = {known: other for known, other in self._groups.items() if not other.is_idle()}
            group = self._groups[key] = _Group()
        return group


class _Group:
    """The calls that share one beginning.

    Invariant: while somebody waits, somebody is ahead. Whoever ends being ahead either lets all go or names the next.
    """

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._ahead: set[Turn] = set()
        self._line: list[tuple[int, int, Turn, asyncio.Future[None]]] = []
        self._numbers = count()
        self._warm_until = -inf
        self._timer: asyncio.TimerHandle | None = None
        self._is_late = False  # the answer of the call ahead does not begin: nobody waits for it any more

    def is_idle(self) -> bool:
        """Tell whether nothing is lost when the group is forgotten."""
        return not self._ahead and not self._is_warm()

    def may_go(self, turn: Turn) -> bool:
        """Tell whether a call that comes now may go at once, ahead of others if that is how it is."""
        if self._is_warm():
            return True
        if self._ahead and self._is_late:
            return True
        # A more urgent call does not wait for one that itself still waits, in its lane or for its budget.
        if all(other.sent_at is None and other.priority < turn.priority for other in self._ahead):
            self._lead(turn)
            return True
        return False

    async def wait(self, turn: Turn) -> None:
        """Return when the call may go."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heappush(self._line, (-turn.priority, next(self._numbers), turn, future))
        try:
            await future
        except asyncio.CancelledError:
            if not future.cancelled():  # named the next in the very moment of the cancellation
                self.on_failed(turn)
            raise

    def on_sent(self, turn: Turn) -> None:
        """Begin to count how long the others wait."""
        turn.sent_at = self._clock()
        if turn in self._ahead and self._timer is None and not self._is_warm():
            self._timer = asyncio.get_running_loop().call_later(LEAD_MAX_S, self._give_up)

    def on_begun(self) -> None:
        """Let all go: the cache is warm."""
        self._warm_until = self._clock() + WARM_S
        self._let_all_go()

    def on_answered(self, turn: Turn) -> None:
        """Take in that a call went well: it used the cache, or filled it, when it was sent."""
        if turn.sent_at is not None:
            self._warm_until = max(self._warm_until, turn.sent_at + WARM_S)
        if turn in self._ahead or self._is_warm():
            self._let_all_go()

    def on_failed(self, turn: Turn) -> None:
        """Take in that a call went wrong; if the others waited for it, the next goes ahead."""
        self._ahead.discard(turn)
        if self._ahead or self._is_warm():
            return
        self._stop_timer()
        while self._line:
            _, _, following, future = heappop(self._line)
            if not future.done():
                self._lead(following)
                future.set_result(None)
                return

    def _lead(self, turn: Turn) -> None:
        turn.is_ahead = True
        self._ahead.add(turn)

    def _is_warm(self) -> bool:
        return self._clock() < self._warm_until

    def _give_up(self) -> None:
        self._timer, self._is_late = None, True
        self._wake_all()

    def _let_all_go(self) -> None:
        self._stop_timer()
        self._ahead.clear()  # nobody has to wait for anybody any more
        self._wake_all()

    def _wake_all(self) -> None:
        while self._line:
            future = heappop(self._line)[3]
            if not future.done():
                future.set_result(None)

    def _stop_timer(self) -> None:
        self._is_late = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
