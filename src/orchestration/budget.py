"""Limits on money and tokens, and the one question about them: may this call be made?

Pure: budgets and a ledger in, yes or the reason why not out. A call is admitted only if its worst case fits beside all
that was spent and all that is set aside, so that calls under way can never overshoot together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Literal

import msgspec

from orchestration.errors import InvalidTaskError
from orchestration.ledger import PROJECT, scopes_of
from orchestration.task import is_count, is_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestration.ledger import Ledger, Reservation

__all__ = ["Budget", "Budgets", "OnLimit", "Refusal", "refusal"]

# What happens when a budget is used up and no cheaper agent is left: the run stops, resumable, or waits for a person.
OnLimit = Literal["stop", "wait"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A limit in US dollars, in tokens (input and output together), or both; over the project's whole life.

    Raises:
        InvalidTaskError: if neither is given, or one is not above 0.

    """

    usd: Decimal | None = None
    tokens: int | None = None

    def __post_init__(self) -> None:
        if self.usd is None and self.tokens is None:
            raise InvalidTaskError("a budget needs usd, tokens or both")
        if not is_count(self.tokens):
            raise InvalidTaskError(f"a budget's tokens is {self.tokens!r}, expected a whole number above 0")
        if self.usd is not None:
            object.__setattr__(self, "usd", _money(self.usd))


def _money(amount: Decimal | float) -> Decimal:
    """Return an amount of money as it was written, also where a program gave a number."""
    known = amount if isinstance(amount, Decimal) else Decimal(str(amount)) if is_duration(amount) else None
    if known is None or not known.is_finite() or known <= 0:
        raise InvalidTaskError(f"a budget's usd is {amount!r}, expected an amount above 0 such as Decimal('2.50')")
    return known


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """A project's budgets: for all of it, for agents, tasks and tags by name. `tags` lists each tag's task ids.

    A call whose price is unknown is refused where a budget in money applies, unless `allow_unknown_price`.
    """

    project: Budget | None = None
    agents: Mapping[str, Budget] = field(default_factory=dict)
    tasks: Mapping[str, Budget] = field(default_factory=dict)
    tags: Mapping[str, Budget] = field(default_factory=dict)
    tagged: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    on_limit: OnLimit = "stop"
    allow_unknown_price: bool = False

    def __bool__(self) -> bool:
        return bool(self.project or self.agents or self.tasks or self.tags)

    def tags_of(self, *task_ids: str) -> tuple[str, ...]:
        """Return the tags of a task and of those it comes from, each once."""
        return tuple(dict.fromkeys(tag for task_id in task_ids for tag in self.tagged.get(task_id, ())))

    def scopes(self, task_id: str, agent: str, origins: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the accounts that a call goes to. `origins` are the tasks that the task comes from."""
        return scopes_of(task_id, agent, self.tags_of(task_id, *origins), origins)

    def limits(self, scopes: Iterable[str]) -> list[tuple[str, Budget]]:
        """Return the budgets of these accounts, in their order."""
        found = []
        for scope in scopes:
            kind, _, name = scope.partition(":")
            budget = self.project if scope == PROJECT else self._named[kind].get(name)
            if budget is not None:
                found.append((scope, budget))
        return found

    @property
    def _named(self) -> dict[str, Mapping[str, Budget]]:
        return {"agent": self.agents, "task": self.tasks, "tag": self.tags}


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a call may not be made now, in words a person can act on.

    `is_final`: it would not fit either if all calls under way used nothing.
    """

    reason: str
    is_final: bool


def refusal(budgets: Budgets, ledger: Ledger, worst: Reservation) -> Refusal | None:
    """Return why a call may not be made, None when it may; a final reason comes before one that may pass."""
    passing: Refusal | None = None
    for scope, budget in budgets.limits(worst.scopes):
        found = _over_tokens(scope, budget, ledger, worst) or _over_money(scope, budget, ledger, worst, budgets)
        if found is not None and found.is_final:
            return found
        passing = passing or found
    return passing


def _over_money(scope: str, budget: Budget, ledger: Ledger, worst: Reservation, budgets: Budgets) -> Refusal | None:
    if budget.usd is None:
        return None
    name = _name(scope)
    if worst.cost_usd is None:
        if budgets.allow_unknown_price:
            return None
        reason = f"{name} is in money, and the price of this call is unknown; set allow_unknown_price to allow it"
        return Refusal(reason=reason, is_final=True)
    account = ledger.account(scope)
    left = budget.usd - account.spend.cost_usd
    if worst.cost_usd <= left - account.reserved_usd:
        return None
    return Refusal(
        reason=f"{name}, ${budget.usd}, does not hold this call's worst case of ${worst.cost_usd:.4f}: "
        f"${account.spend.cost_usd:.4f} spent, ${account.reserved_usd:.4f} set aside for calls under way",
        is_final=worst.cost_usd > left,
    )


def _over_tokens(scope: str, budget: Budget, ledger: Ledger, worst: Reservation) -> Refusal | None:
    if budget.tokens is None:
        return None
    account = ledger.account(scope)
    left = budget.tokens - account.spend.tokens
    if worst.tokens <= left - account.reserved_tokens:
        return None
    return Refusal(
        reason=f"{_name(scope)}, {budget.tokens:,} tokens, does not hold this call's worst case of {worst.tokens:,}: "
        f"{account.spend.tokens:,} used, {account.reserved_tokens:,} set aside for calls under way",
        is_final=worst.tokens > left,
    )


def _name(scope: str) -> str:
    return f"the budget of {'the project' if scope == PROJECT else scope.replace(':', ' ', 1)}"
