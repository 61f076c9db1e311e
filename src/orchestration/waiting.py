"""What is due while tasks wait for people: who has to be told, who reminded, and whose time is over.

The first half decides, and is pure. `WaitingRoom` acts on it while a project runs: it sleeps until the next moment, and
makes up for those that passed while nobody ran. Knows no channel by which people are told.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import msgspec

from orchestration import events as ev
from orchestration.answer import form_of
from orchestration.clock import now
from orchestration.errors import AttemptError, FailureKind, TransitionError
from orchestration.graph import dependents, downstream
from orchestration.notice import Call
from orchestration.task import SATISFIED, ExecutionResult, ExecutionStatus, TaskStatus
from orchestration.task_options import ACCEPT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from orchestration.notice import Occasion
    from orchestration.run_state import RunState, TaskState

__all__ = ["Asked", "Facts", "Teller", "WaitingRoom", "asked", "calls_due", "deadline_of", "next_moment"]

_log = logging.getLogger("orchestration")

_ASKED = (TaskStatus.WAITING, TaskStatus.NEEDS_REVIEW)
_EXPIRED = "waited_since"  # with the result of a task whose time ran out
_SETTLED = (TaskStatus.COMPLETED, TaskStatus.FAILED)
# Timers stand still while a computer sleeps, and people's clocks are set: so long at most until we look again.
_NAP_MAX_S = 300.0
_ERROR_MAX_CHARS = 1_000
# For what is still to be told when the run is over; what is left then is told when the next one starts.
LAST_WORDS_S = 30.0


# -- decisions -------------------------------------------------------------------------------------------------------


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A task that waits for a person, since `asked_at`.

    `frees` are the tasks that could start at once if it were done, `blocks` counts all that come after it.
    """

    known: TaskState
    asked_at: datetime
    waited_s: float
    deadline: datetime | None
    is_overdue: bool
    blocks: int
    frees: tuple[str, ...]


def is_asked(known: TaskState) -> bool:
    """Tell whether a person has the next word."""
    return known.status in _ASKED and known.asked_at is not None


def deadline_of(known: TaskState) -> datetime | None:
    """Return when the task no longer waits for a person; None where there is no end to it.

    A review has none: whether something happened is not decided by a clock, and to fail it would have it done again.
    """
    wait = known.task.wait
    if wait is None or wait.deadline_s is None or known.status is not TaskStatus.WAITING or known.asked_at is None:
        return None
    return _after(known.asked_at, wait.deadline_s)


def asked(state: RunState, at: datetime) -> list[Asked]:
    """Return the tasks that wait for a person: overdue ones first, then those that have waited longest."""
    waiting = [known for known in state.unordered() if is_asked(known)]
    if not waiting:
        return []
    later = dependents({known.task.task_id: state.edges_of(known) for known in state.ordered()})
    found = [_asked(state, known, at, later) for known in waiting]
    return sorted(found, key=lambda each: (not each.is_overdue, each.asked_at, each.known.position))


def _asked(state: RunState, known: TaskState, at: datetime, later: dict[str, list[str]]) -> Asked:
    task_id = known.task.task_id
    assert known.asked_at is not None  # noqa: S101 -- `is_asked` has seen to it
    deadline = deadline_of(known)
    behind = {name for name in downstream([task_id], later) if _is_pending(state, name)}
    freed = [
        name
        for name in later[task_id]
        if name in behind
        and all(edge == task_id or _is_satisfied(state, edge) for edge in state.edges_of(state.tasks[name]))
    ]
    return Asked(
        known=known,
        asked_at=known.asked_at,
        waited_s=max((at - known.asked_at).total_seconds(), 0.0),
        deadline=deadline,
        is_overdue=deadline is not None and deadline <= at,
        blocks=len(behind),
        frees=tuple(freed),
    )


def _is_pending(state: RunState, task_id: str) -> bool:
    other = state.tasks.get(task_id)
    return other is not None and other.status is TaskStatus.PENDING


def _is_satisfied(state: RunState, task_id: str) -> bool:
    other = state.tasks.get(task_id)
    return other is not None and other.status in SATISFIED


def calls_due(waiting: Iterable[TaskState], at: datetime, *, has_channel: bool = True) -> list[Call]:
    """Return who has to be told what, the most urgent first: what is over, what is asked, what is to be repeated.

    Without a channel only reminders are due: views show those, and know of all else by other facts.
    """
    calls = []
    for known in waiting:
        if known.status in _SETTLED:
            since = _expired_since(known) if has_channel else None
            if since is not None:
                calls.append(Call(occasion="expired", known=known, asked_at=since, at=at))
        elif known.asked_at is not None and (occasion := _occasion(known, at, has_channel=has_channel)):
            deadline = deadline_of(known)
            calls.append(Call(occasion=occasion, known=known, asked_at=known.asked_at, at=at, deadline=deadline))
    order = ("expired", "asked", "reminder")
    return sorted(calls, key=lambda call: (order.index(call.occasion), call.asked_at, call.known.position))


def next_moment(waiting: Iterable[TaskState], *, has_channel: bool = True) -> datetime | None:
    """Return when, without any fact before that, somebody has to be told something; None if there is no such moment."""
    moments = []
    for known in waiting:
        if is_asked(known):
            is_untold = has_channel and known.reminded_at is None
            moments.append(known.asked_at if is_untold else _remind_at(known))
    return min(filter(None, moments), default=None)


def _occasion(known: TaskState, at: datetime, *, has_channel: bool) -> Occasion | None:
    if has_channel and known.reminded_at is None:
        return "asked"
    remind_at = _remind_at(known)
    return "reminder" if remind_at is not None and remind_at <= at else None


def _remind_at(known: TaskState) -> datetime | None:
    """Return the moment of the next reminder, counted from the last word.

    The later one of the two moments counts. A clock that was set back in between then delays reminders; it never has
    the same one given twice.
    """
    wait = known.task.wait
    if wait is None or wait.remind_every_s is None or known.asked_at is None:
        return None
    return _after(max(known.asked_at, known.reminded_at or known.asked_at), wait.remind_every_s)


def _after(moment: datetime, seconds: float) -> datetime | None:
    """Return the moment so much later; None where no calendar goes that far."""
    try:
        return moment + timedelta(seconds=seconds)
    except OverflowError:
        return None


def _expired_since(known: TaskState) -> datetime | None:
    """Return since when a task had waited whose time ran out, as long as nobody was told; None for all others."""
    if known.status not in _SETTLED or known.result is None or known.reminded_at is not None:
        return None
    since = known.result.metadata.get(_EXPIRED)
    try:
        return None if since is None else datetime.fromisoformat(since)
    except (TypeError, ValueError):  # a worker's own entry of that name
        return None


# -- acting ----------------------------------------------------------------------------------------------------------


class Teller(Protocol):
    """A channel by which the user is told."""

    async def tell(self, call: Call) -> str:
        """Tell the user and return what went wrong, empty if nothing did."""


class Facts(Protocol):
    """The journal, as far as it matters here."""

    @property
    def state(self) -> RunState:
        """The state after the last fact."""

    def record(self, event: ev.Event) -> int:
        """Add one fact."""

    def subscribe(self, subscriber: Callable[[ev.Event, RunState], None]) -> Callable[[], None]:
        """Call `subscriber(fact, state)` after each fact; returns the function that ends it."""


class WaitingRoom:
    """Keeps an eye on the tasks that wait for people while a project runs. Use once.

    Nobody is told twice at once, and nothing piles up: what has to be told is read off the facts when the teller is
    free again, so a reminder that came due meanwhile is given once, however often it did. `room.make_up()` before the
    work begins deals with deadlines that have passed while nobody ran; `room.run(stopping)` goes on from there.
    """

    def __init__(self, facts: Facts, teller: Teller | None = None) -> None:
        self._facts = facts
        self._teller = teller
        self._watched: set[str] = set()
        # Where the fact of an expiry's notice is not accepted, or its task is gone, this keeps it from being repeated.
        self._told: set[tuple[str, str, datetime]] = set()
        self._is_time_news = asyncio.Event()
        self._is_call_news = asyncio.Event()
        self._is_over = False
        for known in facts.state.unordered():
            if is_asked(known) or _expired_since(known) is not None:
                self._watched.add(known.task.task_id)

    async def make_up(self) -> None:
        """Settle the tasks whose deadline has passed.

        Raises:
            StoreError: if a fact cannot be kept.

        """
        for known in self._waiting():
            deadline = deadline_of(known)
            if deadline is not None and deadline <= now():
                await self._expire(known)

    async def run(self, stopping: asyncio.Event) -> None:
        """Tell, remind and settle until `stopping` is set; then tell what is still to be told, for half a minute.

        Raises:
            StoreError: if a fact cannot be kept.

        """
        unsubscribe = self._facts.subscribe(self._on_fact)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_time())
                telling = group.create_task(self._keep_telling())
                await stopping.wait()
                self._is_over = True
                self._stir()
                await _end_within(telling, LAST_WORDS_S)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        finally:
            unsubscribe()

    def _on_fact(self, event: ev.Event, _state: RunState) -> None:
        if isinstance(event, ev.TaskWaiting | ev.TaskNeedsReview):
            self._watched.add(event.task_id)
            self._stir()

    def _stir(self) -> None:
        self._is_time_news.set()
        self._is_call_news.set()

    def _waiting(self) -> list[TaskState]:
        """Return what is watched, as it stands now, and forget what needs no watching any more."""
        tasks = self._facts.state.tasks
        found = [known for name in self._watched if (known := tasks.get(name)) is not None]
        kept = [known for known in found if is_asked(known) or _expired_since(known) is not None]
        self._watched = {known.task.task_id for known in kept}
        return sorted(kept, key=lambda known: known.position)

    async def _keep_time(self) -> None:
        while not self._is_over:
            self._is_time_news.clear()
            await self.make_up()
            deadlines = [moment for known in self._waiting() if (moment := deadline_of(known)) is not None]
            await _sleep(self._is_time_news, min(deadlines, default=None))

    async def _keep_telling(self) -> None:
        while True:
            self._is_call_news.clear()
            await self._tell_all()
            if self._is_over:
                return
            await _sleep(self._is_call_news, next_moment(self._waiting(), has_channel=self._teller is not None))

    async def _tell_all(self) -> None:
        while (call := self._next_call()) is not None:
            self._note(call, await self._tell(call))

    async def _tell(self, call: Call) -> str:
        """Tell one person and return what went wrong, in words that can be kept."""
        if self._teller is None:
            return ""
        try:
            error = await self._teller.tell(call)
        except Exception as exc:  # noqa: BLE001 -- whatever a channel does, it must not end the run; it is kept and logged
            error = f"{type(exc).__name__}: {exc}"
        return error[:_ERROR_MAX_CHARS].encode(errors="backslashreplace").decode()

    def _next_call(self) -> Call | None:
        due = calls_due(self._waiting(), now(), has_channel=self._teller is not None)
        return next((call for call in due if _key(call) not in self._told), None)

    def _note(self, call: Call, error: str) -> None:
        """Keep that someone was told, unless the task has gone on meanwhile."""
        task_id = call.known.task.task_id
        if error:
            _log.warning(
                "nobody was told that task %r waits: %s", task_id, error, extra={"action": "notice", "task": task_id}
            )
        if call.occasion == "expired":
            self._told.add(_key(call))
        latest = self._facts.state.tasks.get(task_id)
        if latest is None or (latest.status, latest.asked_at) != (call.known.status, call.known.asked_at):
            return
        try:
            self._facts.record(ev.PersonNotified(at=now(), task_id=task_id, occasion=call.occasion, error=error))
        except TransitionError:
            _log.debug("the notice of %r is not kept", task_id)

    async def _expire(self, known: TaskState) -> None:
        """Let the default count, or give the task up; unless somebody says something in the last moment."""
        task_id = known.task.task_id
        result = await _default_of(known)
        if self._facts.state.tasks.get(task_id) is not known:
            return
        self._facts.record(_conclusion(known, result))
        self._watched.add(task_id)
        self._is_call_news.set()


def _key(call: Call) -> tuple[str, str, datetime]:
    return call.known.task.task_id, call.occasion, call.asked_at


async def _end_within(telling: asyncio.Task[None], seconds: float) -> None:
    await asyncio.wait([telling], timeout=seconds)
    if not telling.done():
        telling.cancel()
        _log.warning(
            "not everybody could be told within %g s that a task waits for them; the next run does it",
            seconds,
            extra={"action": "notice_late"},
        )


async def _sleep(news: asyncio.Event, moment: datetime | None) -> None:
    """Return at the moment, or when there is news."""
    seconds = None if moment is None else min(max((moment - now()).total_seconds(), 0.0), _NAP_MAX_S)
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return


async def _default_of(known: TaskState) -> ExecutionResult:
    """Return what counts when a deadline has passed: the default, if there is one and it has the right form."""
    wait, draft = known.task.wait, known.result
    since = f"{known.asked_at:%Y-%m-%d %H:%M} UTC"
    if wait is None or wait.default is None:
        return _given_up(known, FailureKind.TIMEOUT, f"nobody answered: it waited for a person since {since}")
    if known.need == "approval" and wait.default.strip() == ACCEPT and draft is not None:
        facts = {name: value for name, value in draft.metadata.items() if name != "asks"}
        return _result(known, ExecutionStatus.SUCCESS, output=draft.output, metadata=facts)
    try:
        form = await form_of(known.task)
        output, data = (wait.default, None) if form is None else form.read(wait.default)
    except AttemptError as exc:
        return _given_up(known, exc.kind, f"nobody answered since {since}, and the default cannot be used: {exc}")
    return _result(known, ExecutionStatus.SUCCESS, output=output, metadata={} if form is None else {"data": data})


def _given_up(known: TaskState, kind: FailureKind, error: str) -> ExecutionResult:
    since = known.asked_at.isoformat() if known.asked_at else None
    facts = {"failure_kind": kind.value, "asked_since": since}  # it was a person's time that ran out, no worker's
    return _result(known, ExecutionStatus.FAILED, error=error, metadata=facts)


def _result(
    known: TaskState, status: ExecutionStatus, *, output: str = "", error: str = "", metadata: dict[str, Any]
) -> ExecutionResult:
    return ExecutionResult(
        known.task.task_id,
        agent=known.agent or known.task.agent or "",
        status=status,
        started_at=known.started_at,
        completed_at=now(),
        output=output,
        error=error,
        metadata={**metadata, _EXPIRED: "" if known.asked_at is None else known.asked_at.isoformat()},
    )


def _conclusion(known: TaskState, result: ExecutionResult) -> ev.Event:
    """Return the fact that ends the waiting. What a person's word would have to go through, the default has to, too."""
    task_id = known.task.task_id
    if result.status is not ExecutionStatus.SUCCESS:
        return ev.TaskFailed(at=now(), task_id=task_id, result=result)
    is_checked = any(not check.person for check in known.task.checks)
    if is_checked or known.task.adds_tasks is not None or "workspace" in result.metadata:
        return ev.TaskReopened(at=now(), task_id=task_id, result=result)
    return ev.TaskCompleted(at=now(), task_id=task_id, result=result, by="default")
