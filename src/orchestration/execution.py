"""One execution of a task: who is at it, how far it has come, and what follows from a failure. Acts on nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from orchestration.agent_registry import FALLBACK_KINDS, LLM_TYPES, AgentType
from orchestration.attempt import Deadline, Outcome, Session
from orchestration.clock import now
from orchestration.errors import FailureKind, ReviewNeededError, RunStopError
from orchestration.events import TaskVerifying
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


# Failures of a worker that has not begun, in general; of coding agents, which call a model again and again; and of
# those that call it once, whose provider has refused the call.
_NOT_BEGUN = frozenset(
    {FailureKind.UNAVAILABLE, FailureKind.BUDGET, FailureKind.BAD_REQUEST, FailureKind.CONTEXT_LENGTH}
)
_NOT_BEGUN_CODING = frozenset({FailureKind.UNAVAILABLE, FailureKind.BUDGET})
_REFUSED = _NOT_BEGUN | {FailureKind.RATE_LIMIT, FailureKind.QUOTA, FailureKind.OVERLOADED, FailureKind.AUTH}
# Failures after which the work itself has to be done again.
_CORRECTABLE = frozenset({FailureKind.BAD_OUTPUT, FailureKind.CHECK_FAILED})


class Successor(msgspec.Struct, frozen=True, kw_only=True):
    """An agent that takes over, in which mode, and after which kinds of failure."""

    agent: AgentConfig
    mode: str
    on: frozenset[FailureKind]


class Step(msgspec.Struct, frozen=True, kw_only=True):
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


class Execution(msgspec.Struct):
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
    deadline: Deadline = msgspec.field(default_factory=Deadline)
    started_at: datetime = msgspec.field(default_factory=now)
    attempts: int = 0
    preface: str = ""  # what the agent's prompts begin with
    spent: dict[str, Any] = msgspec.field(default_factory=dict)  # `usage` and `cost_usd` of the attempts that failed
    _tries: Counter[str] = msgspec.field(default_factory=Counter)  # attempts that count, by agent
    _position: int = 0  # in the chain: successors before it had their turn
    _parked: int = 0  # times in a row
    _parked_at_s: float | None = None  # when it was first parked, of these times
    _is_again: bool = False  # the next attempt has the number of the last, which was parked
    _left: list[str] = msgspec.field(default_factory=list)  # agents that were given up on
    _claimed: Outcome | None = None  # what the worker says it did, while that is being verified
    _has_begun: bool = False  # whether a worker was at it
    _first: tuple[AgentConfig, str, AgentTask] | None = None  # who began, and how
    _may_return: bool = True  # whether the reasons for handing over were such as pass

    def next_context(self) -> AttemptContext:
        """Count an attempt, unless the last one was parked, and return its circumstances."""
        if not self._is_again:
            self.attempts += 1
            self._tries[self.agent.name] += 1
        self._is_again = False
        artefacts = self.context.artefacts
        if artefacts is not None and self.agent.agent_type is AgentType.CLI:
            artefacts = artefacts / self.task.task_id / str(self.number)
        elif self.attempts == 1:
            return self.context
        return msgspec.structs.replace(self.context, attempt=self.number, artefacts=artefacts)

    @property
    def began_at(self) -> datetime:
        """When the work was begun that is looked at: a kept claim's was, before this execution."""
        claim = self.context.claim
        return claim.started_at if claim is not None and claim.started_at is not None else self.started_at

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
        if self._must_not_repeat(failure.kind):
            return None
        successor = self.successor_for(failure.kind)
        if successor is not None and self._claimed is None:
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
        return msgspec.structs.replace(step, delay_s=later_s(step.delay_s, self.policy, jitter=jitter))

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

    def begin(self) -> None:
        """Note that a worker is at it from now on."""
        self._has_begun = True

    def keep(self, claim: Outcome) -> None:
        """Go on with what a worker, or a person, has said already."""
        self._claimed = claim

    def book(self, details: Mapping[str, Any]) -> None:
        """Add what a failed attempt used."""
        self.spent = _spending(self.spent, details)

    def claim(self, outcome: Outcome) -> None:
        """Keep what the worker says it did, before it is verified."""
        self._claimed = outcome
        result = self._result(ExecutionStatus.SUCCESS, self._facts(outcome), output=outcome.output)
        self.context.report(TaskVerifying(at=now(), task_id=self.task.task_id, attempt=self.number, result=result))

    def correct(self, error: str) -> None:
        """Let the next attempt know what was wrong with this one, which does not count."""
        self.context = msgspec.structs.replace(self.context, correction=error, is_approved=False)
        if self.task.effects != "once":
            self._claimed = None

    def note_session(self, facts: Mapping[str, Any], workspace: str) -> None:
        """Let the next attempt of the same agent go on with its conversation, if it had one."""
        if session_id := facts.get("session_id"):
            session = Session(agent=self.agent.name, session_id=str(session_id), workspace=workspace)
            self.context = msgspec.structs.replace(self.context, session=session)

    def environment(self) -> dict[str, str]:
        """Return what programs that work for the task find in their environment."""
        return {
            "ORCHESTRATION_TASK_ID": self.task.task_id,
            "ORCHESTRATION_RUN_ID": self.context.run_id,
            "ORCHESTRATION_ATTEMPT": str(self.number),
        }

    def finished(self, outcome: Outcome, asks: str = "") -> ExecutionResult:
        """Return the result of work that is done, or that a person has the next word on: `asks` is what they see."""
        facts = self._facts(outcome)
        if asks:
            facts["asks"] = asks
        is_open = (self.mode != "api" or bool(asks)) and not self.context.is_approved
        return self._result(
            ExecutionStatus.PENDING if is_open else ExecutionStatus.SUCCESS, facts, output=outcome.output
        )

    def failed(self, failure: AttemptError) -> ExecutionResult:
        """Return the result of a failure that is final, or that a person has to look into."""
        if isinstance(failure, ReviewNeededError):
            outcome = failure.outcome if isinstance(failure.outcome, Outcome) else self._claimed
            return self._for_review(failure.cause, failure, outcome)
        if self._may_have_had_effects(failure.kind):
            return self._for_review("effect", failure, self._claimed)
        facts = {**failure.details, **self.spent, "failure_kind": failure.kind.value}
        output = self._claimed.output if self._claimed is not None else ""
        return self._result(ExecutionStatus.FAILED, facts, output=output, error=str(failure))

    def _for_review(self, cause: str, failure: AttemptError, outcome: Outcome | None) -> ExecutionResult:
        claimed = outcome or Outcome(output="")
        reason = redact(storable(str(failure)), self.secrets)
        facts = {**self._facts(claimed), "needs_review": {"cause": cause, "reason": reason}}
        return self._result(ExecutionStatus.PENDING, facts, output=claimed.output)

    def _facts(self, outcome: Outcome) -> dict[str, Any]:
        facts = {**outcome.metadata, **_spending(self.spent, outcome.metadata)}
        return facts if outcome.data is None else {**facts, "data": outcome.data}

    def _may_have_had_effects(self, kind: FailureKind) -> bool:
        """Tell whether a person has to look: its effects must not happen twice, and may have happened."""
        return self.task.effects == "once" and (self._claimed is not None or not self._has_not_acted(kind))

    def _must_not_repeat(self, kind: FailureKind) -> bool:
        """Tell whether it must not be tried again by itself. A claim that stands can be verified again."""
        if self.task.effects != "once":
            return False
        return not self._has_not_acted(kind) if self._claimed is None else kind in _CORRECTABLE

    def _has_not_acted(self, kind: FailureKind) -> bool:
        """Tell whether such a failure means that the worker has done nothing."""
        if not self._has_begun:
            return True
        if self.agent.agent_type in LLM_TYPES:
            return kind in _REFUSED
        return kind in (_NOT_BEGUN_CODING if self.agent.agent_type is AgentType.CLI else _NOT_BEGUN)

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
