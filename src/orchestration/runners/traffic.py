"""Admission of model calls: the lane's permit at the right moment, and the budgets' leave. Knows no answer."""

from __future__ import annotations

import errno
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import llm_abstractions.prices
from llm_abstractions.errors import FailureKind as LlmFailureKind
from llm_abstractions.errors import LlmError
from llm_abstractions.lanes import Lanes
from llm_abstractions.types import NO_USAGE, Completion, Usage
from orchestration.attempt import WorstCase
from orchestration.clock import now
from orchestration.events import CallLost
from orchestration.task import FailureKind

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Mapping

    from llm_abstractions.lane import Lane, LaneLimits, Permit
    from orchestration.attempt import Work
    from orchestration.events import CallFinished

__all__ = ["BUDGETED_MAX_TOKENS", "Admission", "Call", "Traffic"]

# The longest answer a call may be given where a budget applies and nobody set max_tokens: without any there is no
# worst case.
BUDGETED_MAX_TOKENS = 4_096
# What the provider adds to a prompt: roles, separators, the schema's wrapping.
_FRAME_TOKENS = 512
# What the operating system says where no connection was made.
_UNREACHED = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN})
# What an outage looks like: then a call is better made elsewhere.
_OUTAGE = frozenset({FailureKind.OVERLOADED, FailureKind.CONNECTION})
# Failures of which providers say that they charge nothing for them. After others nobody can tell.
_UNCHARGED = frozenset(
    {
        LlmFailureKind.RATE_LIMIT,
        LlmFailureKind.QUOTA,
        LlmFailureKind.OVERLOADED,
        LlmFailureKind.AUTH,
        LlmFailureKind.CONTEXT_LENGTH,
        LlmFailureKind.BAD_REQUEST,
    }
)


@dataclass(frozen=True, kw_only=True)
class Call:
    """What admission has to know of a call. `prompt_bytes` counts all text sent, in UTF-8."""

    provider: str
    account: str
    model: str
    prompt_chars: int
    prompt_bytes: int
    max_tokens: int | None


class Admission:
    """A call that may be made now. `call_id` names its reservation, empty where no budget applies.

    A reservation that is neither booked nor released inside the block is lost: nobody knows whether it was charged.
    """

    def __init__(self, work: Work, permit: Permit, call_id: str) -> None:
        self._work = work
        self._permit = permit
        self._is_settled = not call_id
        self.call_id = call_id

    def succeed(self, answer: str) -> None:
        """Settle with the lane what the answer used; a plain text says nothing of itself."""
        is_first_try = self._work.is_first_try
        if isinstance(answer, Completion):
            usage = None if answer.usage == NO_USAGE else answer.usage
            self._permit.succeed(usage, answer.rate_limits, is_first_try=is_first_try)
        else:
            self._permit.succeed(is_first_try=is_first_try)

    def book(self, fact: CallFinished) -> None:
        """Report the call, which settles its reservation."""
        self._work.context.report(fact)
        self._is_settled = True

    def release(self) -> None:
        """Give the reservation back: the call was not charged."""
        if not self._is_settled and self._work.context.purse is not None:
            self._is_settled = True
            self._work.context.purse.release(self.call_id)

    def lose(self) -> None:
        """Book the worst case, unless the call is settled."""
        if not self._is_settled:
            self._is_settled = True
            self._work.context.report(CallLost(at=now(), call_id=self.call_id))


class Traffic:
    """The lanes of one executor."""

    def __init__(self, limits: Mapping[str, LaneLimits] | None = None, *, rng: random.Random | None = None) -> None:
        self.lanes = Lanes(limits, rng=rng)

    def lane_of(self, call: Call) -> Lane:
        """Return the lane a call goes through."""
        return self.lanes.lane_of(call.provider, call.account, call.model)

    def reopen(self) -> None:
        """Take calls again wherever failures ended that; what is only paused stays so."""
        for lane in self.lanes.matching("*"):
            lane.forgive()

    @asynccontextmanager
    async def admit(self, work: Work, call: Call) -> AsyncIterator[Admission]:
        """Wait until the call may be made, and settle it with what leaves the block.

        The task's time stands still meanwhile: it waits for others. The lane's permit comes first, so that a budget is
        not tied up by calls that are not to be made yet.

        Raises:
            LlmError: if the lane is stopped, or such calls fail again and again, or in an outage, where another agent
                can take over.
            orchestration.errors.AttemptError: of kind `budget`, if the call does not fit the budgets.

        """
        lane = self.lane_of(call)
        cost = lane.estimate(call.prompt_chars, call.max_tokens, work.agent.name)
        with work.deadline.held():
            permit = await lane.acquire(
                cost, priority=work.task.priority, model=call.model, leave_on=_as_llm_kinds(work.leave_on)
            )
        with permit:
            admission = Admission(work, permit, await self._reserve(work, call, permit))
            try:
                yield admission
            except LlmError as exc:
                if exc.kind is LlmFailureKind.QUOTA:
                    # Money does not come back by itself: then a person has to act.
                    lane.stop(exc, inf if exc.retry_after_s is None else exc.retry_after_s)
                if exc.kind in _UNCHARGED or _is_unsent(exc):
                    admission.release()
                raise
            finally:
                admission.lose()

    async def _reserve(self, work: Work, call: Call, permit: Permit) -> str:
        purse = work.context.purse
        if purse is None or not purse.applies_to(work.task.task_id, work.agent.name):
            return ""
        try:
            with work.deadline.held():
                return await purse.reserve(work.task.task_id, work.agent.name, await _worst_case(call))
        except BaseException:
            permit.cancel()  # nothing was sent
            raise


def _as_llm_kinds(kinds: frozenset[FailureKind]) -> frozenset[LlmFailureKind]:
    return frozenset(LlmFailureKind(kind) for kind in kinds & _OUTAGE) if kinds else frozenset()


def _is_unsent(exc: BaseException) -> bool:
    """Tell whether a call cannot have reached anyone: the operating system says that no connection was made."""
    seen: set[int] = set()
    cause: BaseException | None = exc
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, socket.gaierror) or (isinstance(cause, OSError) and cause.errno in _UNREACHED):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


async def _worst_case(call: Call) -> WorstCase:
    # A token is at least one byte of text; providers bill cache writes and reads as input.
    usage = Usage(
        input_tokens=call.prompt_bytes + _FRAME_TOKENS,
        cache_write_tokens=call.prompt_bytes + _FRAME_TOKENS,
        output_tokens=call.max_tokens or BUDGETED_MAX_TOKENS,
    )
    plain = Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
    costs = [await llm_abstractions.prices.cost_usd(call.provider, call.model, each) for each in (usage, plain)]
    known = [cost for cost in costs if cost is not None]
    return WorstCase(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_usd=max(known) if known else None,
    )
