"""Admission of model calls: the lane's permit at the right moment, and the budgets' leave. Knows no answer."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import llm_abstractions.prices
from llm_abstractions.errors import FailureKind as LlmFailureKind
from llm_abstractions.errors import LlmError
from llm_abstractions.lanes import Lanes
from llm_abstractions.types import Completion, Usage
from orchestration.attempt import WorstCase
from orchestration.clock import now
from orchestration.events import CallLost

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Mapping

    from llm_abstractions.lane import Lane, LaneLimits, Permit
    from orchestration.attempt import Purse, Work

__all__ = ["BUDGETED_MAX_TOKENS", "Admission", "Call", "Traffic"]

# The longest answer a call may be given where a budget applies and nobody set max_tokens: without any there is no
# worst case.
BUDGETED_MAX_TOKENS = 4_096
# What the provider adds to a prompt: roles, separators, the schema's wrapping.
_FRAME_TOKENS = 256
# Failures after which nobody can tell whether the provider charged for the call.
_MAYBE_CHARGED = frozenset({LlmFailureKind.CONNECTION, LlmFailureKind.TIMEOUT})


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
    """A call that may be made now. `call_id` names its reservation, empty where no budget applies."""

    def __init__(self, permit: Permit, call_id: str) -> None:
        self._permit = permit
        self.call_id = call_id

    def succeed(self, answer: str) -> None:
        """Settle with the lane what the answer used; a plain text says nothing of itself."""
        if isinstance(answer, Completion):
            self._permit.succeed(answer.usage, answer.rate_limits)


class Traffic:
    """The lanes of one executor."""

    def __init__(self, limits: Mapping[str, LaneLimits] | None = None, *, rng: random.Random | None = None) -> None:
        self.lanes = Lanes(limits, rng=rng)

    def lane_of(self, call: Call) -> Lane:
        """Return the lane a call goes through."""
        return self.lanes.lane_of(call.provider, call.account, call.model)

    @asynccontextmanager
    async def admit(self, work: Work, call: Call) -> AsyncIterator[Admission]:
        """Wait until the call may be made, and settle it with what leaves the block.

        The task's time stands still meanwhile: it waits for others.

        Raises:
            LlmError: if the lane is stopped, or such calls fail again and again.
            orchestration.errors.AttemptError: of kind `budget`, if the call does not fit the budgets.

        """
        lane = self.lane_of(call)
        cost = lane.estimate(call.prompt_chars, call.max_tokens, work.agent.name)
        with work.deadline.held():
            permit = await lane.acquire(cost, priority=work.task.priority, model=call.model)
        with permit:
            call_id = await self._reserve(work, call, permit)
            try:
                yield Admission(permit, call_id)
            except LlmError as exc:
                self._failed(work, lane, call_id, exc)
                raise
            except BaseException:
                _lose(work, call_id)
                raise

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

    def _failed(self, work: Work, lane: Lane, call_id: str, exc: LlmError) -> None:
        if exc.kind is LlmFailureKind.QUOTA and exc.retry_after_s is None:
            lane.stop(exc)  # money does not come back by itself: a person has to act
        if exc.kind in _MAYBE_CHARGED:
            _lose(work, call_id)
        elif exc.answer is None:
            _release(work.context.purse, call_id)


def _release(purse: Purse | None, call_id: str) -> None:
    if purse is not None and call_id:
        purse.release(call_id)


def _lose(work: Work, call_id: str) -> None:
    """Book the worst case of a call that may have been charged."""
    if call_id:
        work.context.report(CallLost(at=now(), call_id=call_id))


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
