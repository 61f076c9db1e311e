"""One execution of a task: who is at it, how far it has come, and what follows from a failure. Acts on nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestration.agent_registry import FALLBACK_KINDS, LLM_TYPES
from orchestration.attempt import Deadline
from orchestration.clock import now
from orchestration.errors import FailureKind, RunStopError
from orchestration.redact import redact
from orchestration.retry import PARKABLE, decide, later_s, park_s
from orchestration.task import ExecutionResult, ExecutionStatus

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from orchestration.agent_registry import AgentConfig
    from orchestration.attempt import AttemptContext
    from orchestration.errors import AttemptError
    from orchestration.retry import RetryPolicy
    from orchestration.task import AgentTask

__all__ = ["Execution", "Step", "Successor", "storable"]

# So soon a parked task looks whether an earlier agent of its chain is well again; doubled each time.
_CHAIN_AGAIN_S, _CHAIN_DOUBLINGS = 15.0, 5
# What may have passed by then.
_PASSING = frozenset({FailureKind.OVERLOADED})


@dataclass(frozen=True, kw_only=True)
class Successor:
    """An agent that takes over, in which mode, and after which kinds of failure."""

    agent: AgentConfig
    mode: str
    on: frozenset[FailureKind]


@dataclass(frozen=True, kw_only=True)
class Step:
    """What follows a failure: `delay_s` seconds later the task is tried again.

    `is_parked`: what only time can mend is waited for; that uses up no attempt, and the task's own time stands still.
    `is_paced`: it is parked at its lane, which knows best when the moment has come. `is_for_budget`: a person's word on
    the budgets is waited for instead of a moment. `successor`: the place in the chain of who takes over, at once.
    """

    delay_s: float = 0.0
    is_parked: bool = False
    is_paced: bool = False
    is_for_budget: bool = False
    successor: int | None = None

    @property
    def is_retry(self) -> bool:
        """Whether the same agent makes another attempt that counts."""
        return not self.is_parked and self.successor is None


@dataclass(slots=True)
class Execution:
    """One call of `TaskExecutor.execute`.

    The chain is that of the agent it began with; a successor's own is not followed, so that no chain goes in circles.
    """

    task: AgentTask
    agent: AgentConfig
    mode: str
    context: AttemptContext
    policy: RetryPolicy
    secrets: tuple[str, ...] = ()
    chain: tuple[Successor, ...] = ()
    deadline: Deadline = field(default_factory=Deadline)
    started_at: datetime = field(default_factory=now)
    attempts: int = 0
    preface: str = ""  # what the agent's prompts begin with
    spent: dict[str, Any] = field(default_factory=dict)  # `usage` and `cost_usd` of the attempts that failed
    _tries: Counter[str] = field(default_factory=Counter)  # attempts that count, by agent
    _position: int = 0  # in the chain: successors before it had their turn
    _parked: int = 0  # times in a row
    _parked_at_s: float | None = None  # when it was first parked, of these times
    _is_again: bool = False  # the next attempt has the number of the last, which was parked
    _left: list[str] = field(default_factory=list)  # agents that were given up on
    _first: tuple[AgentConfig, str, AgentTask] | None = None  # who began, and how
    _may_return: bool = True  # whether the reasons for handing over were such as pass

    def next_context(self) -> AttemptContext:
        """Count an attempt, unless the last one was parked, and return its circumstances."""
        if not self._is_again:
            self.attempts += 1
            self._tries[self.agent.name] += 1
        self._is_again = False
        return self.context if self.attempts == 1 else replace(self.context, attempt=self.number)

    @property
    def number(self) -> int:
        """The attempt's number in the life of the task, which earlier runs have begun to count."""
        return self.context.attempt + self.attempts - 1

    @property
    def is_handed_over(self) -> bool:
        """Whether another agent is at it than the one it began with."""
        return self._first is not None

    @property
    def leave_on(self) -> frozenset[FailureKind]:
        """The kinds of failure after which someone takes over, now or after having been parked."""
        if not self.chain:
            return frozenset()
        kinds = [successor.on for successor in self.chain[self._position :]]
        return (_PASSING if self._can_return else frozenset()).union(*kinds)

    @property
    def is_first_try(self) -> bool:
        """Whether the present agent tries for the first time."""
        return self._tries[self.agent.name] <= 1 and self._parked == 0

    def after(self, failure: AttemptError, *, now_s: float, jitter: float) -> Step | None:
        """Decide what follows a failure; None: it is final. `now_s` is the moment, by any one clock.

        Raises:
            RunStopError: if the task can go on only after a person has changed something.

        """
        successor = self.successor_for(failure.kind)
        if successor is not None:
            return Step(successor=successor)
        if failure.kind is FailureKind.BUDGET:
            return self._without_budget(failure)
        wait_s = park_s(
            failure.kind,
            self._parked,
            0.0 if self._parked_at_s is None else now_s - self._parked_at_s,
            self.policy,
            retry_after_s=failure.retry_after_s,
            jitter=jitter,
        )
        if wait_s is not None:
            return self._park(failure, wait_s, now_s)
        self._parked, self._parked_at_s = 0, None
        tries = self._tries[self.agent.name]
        delay_s = decide(failure.kind, tries, self._limits(), retry_after_s=failure.retry_after_s, jitter=jitter)
        return None if delay_s is None else Step(delay_s=delay_s)

    def later(self, step: Step, *, jitter: float) -> Step:
        """Put a retry off: too much of its lane's traffic is retries already."""
        return replace(step, delay_s=later_s(step.delay_s, self.policy, jitter=jitter))

    def successor_for(self, kind: FailureKind) -> int | None:
        """Return the place in the chain of the next agent that takes over after this kind of failure, if any."""
        for position in range(self._position, len(self.chain)):
            if kind in self.chain[position].on:
                return position
        return None

    def hand_over(self, position: int, kind: FailureKind) -> None:
        """Let the successor at this place in the chain take over, after a failure of this kind."""
        if self._first is None:
            self._first = self.agent, self.mode, self.task
        if kind in PARKABLE and self._tries[self.agent.name]:
            self._tries[self.agent.name] -= 1  # as if it had been parked
        self._may_return = self._may_return and kind in FALLBACK_KINDS
        self._left.append(self.agent.name)
        if "model" in self.task.metadata:  # it names one of the first agent's provider
            metadata = {name: value for name, value in self.task.metadata.items() if name != "model"}
            self.task = replace(self.task, metadata=metadata)
        self.agent, self.mode = self.chain[position].agent, self.chain[position].mode
        self._position = position + 1
        self._is_again = False

    def start_over(self) -> None:
        """Begin with the first agent again: what the chain was gone through for may be over by now."""
        if self._first is None or not self._may_return:
            return
        self.agent, self.mode, self.task = self._first
        self._first = None
        self._position = 0
        self._is_again = False
        self._left.clear()

    def book(self, details: Mapping[str, Any]) -> None:
        """Add what a failed attempt used."""
        self.spent = _spending(self.spent, details)

    def finished(self, output: str, data: Any, metadata: Mapping[str, Any]) -> ExecutionResult:
        """Return the result of work that is done, or that a person has the next word on."""
        facts = {**metadata, **_spending(self.spent, metadata)}
        if data is not None:
            facts["data"] = data
        status = ExecutionStatus.SUCCESS if self.mode == "api" else ExecutionStatus.PENDING
        return self._result(status, facts, output=output)

    def failed(self, failure: AttemptError) -> ExecutionResult:
        """Return the result of a failure that is final."""
        facts = {**failure.details, **self.spent, "failure_kind": failure.kind.value}
        return self._result(ExecutionStatus.FAILED, facts, error=str(failure))

    @property
    def _can_return(self) -> bool:
        return self._first is not None and self._may_return

    def _without_budget(self, failure: AttemptError) -> Step:
        purse = self.context.purse
        if purse is not None and purse.on_limit == "wait":
            self._is_again = True
            return Step(is_parked=True, is_for_budget=True)
        raise RunStopError(f"task {self.task.task_id!r} cannot go on: {failure}", kind=failure.kind) from failure

    def _park(self, failure: AttemptError, wait_s: float, now_s: float) -> Step:
        # A rate limit is for the lane to wait out; that is pacing, which no switch turns off.
        is_paced = failure.kind is FailureKind.RATE_LIMIT and self.agent.agent_type in LLM_TYPES
        if not self.policy.park and not is_paced:
            raise RunStopError(f"task {self.task.task_id!r} would be parked: {failure}", kind=failure.kind) from failure
        if self._can_return and not is_paced:
            wait_s = min(wait_s, _CHAIN_AGAIN_S * 2.0 ** min(self._parked, _CHAIN_DOUBLINGS))
        self._parked += 1
        if self._parked_at_s is None:
            self._parked_at_s = now_s
        self._is_again = True
        return Step(delay_s=wait_s, is_parked=True, is_paced=is_paced)

    def _limits(self) -> RetryPolicy:
        limit = self.task.max_attempts or self.agent.max_attempts
        return self.policy if limit is None else replace(self.policy, max_attempts=limit)

    def _result(
        self, status: ExecutionStatus, metadata: dict[str, Any], *, output: str = "", error: str = ""
    ) -> ExecutionResult:
        """Return the result, fit to be stored and shown."""
        facts: dict[str, Any] = {"execution_mode": self.mode, "attempts": self.attempts}
        if self._left:
            facts["fallback_from"] = list(self._left)
        is_over = status is not ExecutionStatus.PENDING
        return ExecutionResult(
            task_id=self.task.task_id,
            agent=self.agent.name,
            status=status,
            started_at=self.started_at,
            completed_at=now() if is_over else None,
            output=redact(storable(output), self.secrets),
            error=redact(storable(error), self.secrets),
            metadata=redact(facts | metadata, self.secrets),
        )


def storable(text: str) -> str:
    """Replace lone surrogates, which no UTF-8 file can hold."""
    if text.isascii():
        return text
    return text.encode(errors="replace").decode()


def _spending(earlier: dict[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Return the usage and cost of both; a cost that is unknown in part is unknown."""
    if "usage" not in later:
        return earlier
    if not earlier:
        return {"usage": later["usage"], "cost_usd": later["cost_usd"]}
    costs = (earlier["cost_usd"], later["cost_usd"])
    return {
        "usage": {name: count + later["usage"].get(name, 0) for name, count in earlier["usage"].items()},
        "cost_usd": None if None in costs else str(sum(map(Decimal, costs))),
    }
