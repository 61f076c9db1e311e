"""A model provider's server, made up: its limits, its prices, its bad days. It keeps its own count of everything.

It is a world of its own: it shares no code with the lanes and budgets it is there to prove, and knows no orchestrator.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from decimal import Decimal
from math import ceil, inf
from typing import TYPE_CHECKING

from llm_abstractions.errors import ERRORS_BY_KIND, FailureKind, LlmError
from llm_abstractions.prices import cost_usd
from llm_abstractions.rate_limits import Quota, RateLimits
from llm_abstractions.types import Completion, Usage
from orchestration.agent_registry import AgentType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Request", "ServerCall", "SimulatedServer", "Trouble"]

CHARS_PER_TOKEN = 4
_DEFAULT_TIMEOUT_S = 600.0
_ROUNDING = 1e-6
# These show when the call has been worked on, and may have to be paid for; all others are said at once.
_LATE = frozenset(
    {
        FailureKind.REFUSAL,
        FailureKind.TRUNCATED,
        FailureKind.BAD_OUTPUT,
        FailureKind.CONNECTION,
        FailureKind.TIMEOUT,
    }
)


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A time in which the server fails `share` of the calls, in one of the ways there are (`FailureKind`, or its word).

    `rate_limit`, `overloaded`, `quota`, `auth`, `bad_request` and `context_length` are said at once. `connection` cuts
    the answer off, `timeout` never answers, `refusal` and `bad_output` come after the answer: these cost money.
    `says_when`: the error says until when to wait, where its kind can.
    """

    kind: str
    from_s: float = 0.0
    until_s: float = inf
    share: float = 1.0
    says_when: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", FailureKind(self.kind))


@dataclass(frozen=True, kw_only=True)
class Request:
    """What arrives at a server; `on_start` is the client's, to be told when the answer begins."""

    model: str
    prompt: str
    max_tokens: int | None = None
    timeout_s: float | None = None
    on_start: Callable[[], object] | None = None


@dataclass(kw_only=True)
class ServerCall:
    """One call in the server's own books.

    `task_id` is the task on whose behalf it was made, empty outside a workflow. `outcome` is "ok", a failure's kind, or
    "gone": the client hung up.
    """

    number: int
    request: Request
    task_id: str
    arrived_at_s: float
    ended_at_s: float = inf
    outcome: str = ""
    cost_usd: Decimal = Decimal(0)


@dataclass(kw_only=True)
class SimulatedServer:
    """Answers for the agents of one type; with a `base_url`, for those only that name it.

    `requests_per_minute` and `tokens_per_minute` (input and output together) are buckets that refill continuously and
    start full. `states_limits`: each response says how they stand, as the rate-limit headers of real ones do.
    `latency_s` (until it begins to write) and `output_tokens` are ranges to draw from, `tokens_per_s` is how fast it
    writes, `refuses_in_s` how fast it says no. `answer` makes the text of an answer from its request.
    """

    agent_type: AgentType = AgentType.OPENAI_GPT
    base_url: str | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    states_limits: bool = False
    says_retry_after: bool = True
    latency_s: tuple[float, float] = (0.2, 1.0)
    refuses_in_s: float = 0.1
    output_tokens: tuple[int, int] = (20, 200)
    tokens_per_s: float = 100.0
    troubles: Sequence[Trouble] = ()
    answer: Callable[[Request], str] = lambda request: f"answer to {len(request.prompt)} characters"
    seed: int = 0
    on_call: Callable[[SimulatedServer, ServerCall], None] | None = None

    calls: list[ServerCall] = field(default_factory=list, init=False, repr=False)
    billed_usd: Decimal = field(default=Decimal(0), init=False)
    under_way: int = field(default=0, init=False)
    most_under_way: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.agent_type = AgentType(self.agent_type)
        self._chance = random.Random(f"server {self.seed}")  # noqa: S311 -- it has to be the same each time
        self._requests = _Meter(self.requests_per_minute)
        self._tokens = _Meter(self.tokens_per_minute)

    @property
    def name(self) -> str:
        """What tells it from others."""
        return self.base_url or self.agent_type.value

    def count(self, outcome: str) -> int:
        """Return how many calls ended so."""
        return sum(call.outcome == outcome for call in self.calls)

    async def handle(self, request: Request) -> Completion:
        """Answer one request, or fail as a server fails.

        Raises:
            LlmError: of the kind of its trouble, or because a limit is reached.

        """
        now = asyncio.get_running_loop().time()
        call = ServerCall(number=len(self.calls) + 1, request=request, task_id=_caller(), arrived_at_s=now)
        self.calls.append(call)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        if self.on_call is not None:
            self.on_call(self, call)
        try:
            completion = await self._work(call, now)
        except LlmError as exc:
            call.outcome = exc.kind.value
            raise
        except asyncio.CancelledError:
            call.outcome = "gone"
            raise
        else:
            call.outcome = "ok"
            return completion
        finally:
            self.under_way -= 1
            call.ended_at_s = asyncio.get_running_loop().time()

    async def _work(self, call: ServerCall, now: float) -> Completion:
        usage = self._usage(call.request)
        wait_s, writing_s = self._chance.uniform(*self.latency_s), usage.output_tokens / self.tokens_per_s
        trouble = self._trouble(now)
        if trouble is not None and trouble.kind not in _LATE:
            await asyncio.sleep(self.refuses_in_s)
            raise self._error(
                FailureKind(trouble.kind), call.request, until_s=trouble.until_s if trouble.says_when else None
            )
        self._admit(call.request, usage, now)
        price = await cost_usd(self.agent_type.value, call.request.model, usage) or Decimal(0)
        try:
            await self._write(call.request, wait_s, writing_s, trouble)
        except asyncio.CancelledError:
            self._bill(call, price)  # who hangs up still pays for what the server was asked to do
            raise
        except LlmError:
            self._bill(call, price * self._chance.choice((0, 1)))  # a cut answer: some charge for it, some do not
            raise
        self._bill(call, price)
        completion = self._completion(call, usage)
        if trouble is not None:
            raise self._error(FailureKind(trouble.kind), call.request, answer=completion)
        return completion

    async def _write(self, request: Request, wait_s: float, writing_s: float, trouble: Trouble | None) -> None:
        """Take the time an answer takes, if it comes to one."""
        takes_s = wait_s + writing_s
        patience_s = request.timeout_s or _DEFAULT_TIMEOUT_S
        if trouble is not None and trouble.kind is FailureKind.CONNECTION:
            await asyncio.sleep(takes_s * self._chance.random())
            raise self._error(FailureKind.CONNECTION, request)
        if takes_s > patience_s or (trouble is not None and trouble.kind is FailureKind.TIMEOUT):
            await asyncio.sleep(patience_s)
            raise self._error(FailureKind.TIMEOUT, request)
        await asyncio.sleep(wait_s)
        if request.on_start is not None:
            request.on_start()
        await asyncio.sleep(writing_s)

    def _usage(self, request: Request) -> Usage:
        output = self._chance.randint(*self.output_tokens)
        return Usage(
            input_tokens=ceil(len(request.prompt) / CHARS_PER_TOKEN),
            output_tokens=output if request.max_tokens is None else min(output, request.max_tokens),
        )

    def _trouble(self, now: float) -> Trouble | None:
        for trouble in self.troubles:
            if trouble.from_s <= now < trouble.until_s and self._chance.random() < trouble.share:
                return trouble
        return None

    def _admit(self, request: Request, usage: Usage, now: float) -> None:
        tokens = usage.input_tokens + usage.output_tokens
        wait_s = max(self._requests.wait_s(1, now), self._tokens.wait_s(tokens, now))
        if wait_s > 0:
            raise self._error(FailureKind.RATE_LIMIT, request, until_s=now + wait_s if self.says_retry_after else None)
        self._requests.take(1, now)
        self._tokens.take(tokens, now)

    def _bill(self, call: ServerCall, price: Decimal) -> None:
        call.cost_usd += price
        self.billed_usd += price

    def _completion(self, call: ServerCall, usage: Usage) -> Completion:
        return Completion(
            self.answer(call.request),
            usage=usage,
            model=call.request.model,
            provider=self.agent_type.value,
            request_id=f"request-{call.number}",
            rate_limits=self._limits(),
        )

    def _limits(self) -> RateLimits | None:
        if not self.states_limits:
            return None
        now = asyncio.get_running_loop().time()
        return RateLimits(requests=self._requests.quota(now), tokens=self._tokens.quota(now))

    def _error(
        self, kind: FailureKind, request: Request, *, until_s: float | None = None, answer: Completion | None = None
    ) -> LlmError:
        now = asyncio.get_running_loop().time()
        wait_s = None if until_s is None or until_s == inf else until_s - now
        return ERRORS_BY_KIND[kind](
            f"{self.name} call to {request.model!r} failed ({kind}), as simulated",
            provider=self.agent_type.value,
            model=request.model,
            retry_after_s=wait_s,
            answer=answer,
            rate_limits=self._limits(),
        )


def _caller() -> str:
    """Return the id of the task that calls, which a workflow's asyncio tasks are named after."""
    task = asyncio.current_task()
    name = "" if task is None else task.get_name()
    return name.removeprefix("task ") if name.startswith("task ") else ""


class _Meter:
    """So much per minute, refilled continuously, full at first; None is no limit."""

    def __init__(self, per_minute: int | None) -> None:
        self._per_minute = per_minute
        self._level = float(per_minute or 0)
        self._at_s = 0.0

    def wait_s(self, amount: float, now: float) -> float:
        if self._per_minute is None:
            return 0.0
        missing = min(amount, self._per_minute) - self._refilled(now)
        return missing * 60 / self._per_minute if missing > _ROUNDING else 0.0

    def take(self, amount: float, now: float) -> None:
        self._level = self._refilled(now) - amount

    def quota(self, now: float) -> Quota | None:
        if self._per_minute is None:
            return None
        level = self._refilled(now)
        reset_s = (self._per_minute - level) * 60 / self._per_minute
        return Quota(limit=self._per_minute, remaining=max(0, int(level)), reset_s=reset_s)

    def _refilled(self, now: float) -> float:
        per_minute = self._per_minute or 0
        self._level = min(float(per_minute), self._level + max(0.0, now - self._at_s) * per_minute / 60)
        self._at_s = now
        return self._level
