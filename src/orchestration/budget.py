"""Limits on money and tokens, and the one question about them: may this call be made?

Pure: budgets and a ledger in, yes or the reason why not out. A call is admitted only if its worst case fits beside all
that was spent and all that is set aside, so that calls under way can never overshoot together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from orchestration.errors import InvalidTaskError
from orchestration.ledger import PROJECT, scopes_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from orchestration.ledger import Ledger, Reservation

__all__ = ["Budget", "Budgets", "OnLimit", "refusal"]

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
        for name in ("usd", "tokens"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InvalidTaskError(f"a budget's {name} is {value}, expected a number above 0")


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

    def tags_of(self, task_id: str) -> tuple[str, ...]:
        """Return the tags of a task."""
        return self.tagged.get(task_id, ())

    def limits(self, task_id: str, agent: str) -> list[tuple[str, Budget]]:
        """Return the budgets that apply to a call, by account, the widest first."""
        found = [(PROJECT, self.project), (f"agent:{agent}", self.agents.get(agent))]
        found += [(f"tag:{tag}", self.tags.get(tag)) for tag in self.tags_of(task_id)]
        found.append((f"task:{task_id}", self.tasks.get(task_id)))
        return [(scope, budget) for scope, budget in found if budget is not None]

    def scopes(self, task_id: str, agent: str) -> tuple[str, ...]:
        """Return the accounts that a call goes to."""
        return scopes_of(task_id, agent, self.tags_of(task_id))


def refusal(budgets: Budgets, ledger: Ledger, agent: str, worst: Reservation) -> str:
    """Return why a call may not be made, in words a person can act on; empty when it may."""
    for scope, budget in budgets.limits(worst.task_id, agent):
        account = ledger.account(scope)
        name = f"the budget of {'the project' if scope == PROJECT else scope.replace(':', ' ')}"
        if budget.usd is not None:
            if worst.cost_usd is None and not budgets.allow_unknown_price:
                return f"{name} is in money, and the price of this call is unknown; set allow_unknown_price to allow it"
            left = budget.usd - account.spend.cost_usd - account.reserved_usd
            if (worst.cost_usd or 0) > left:
                return (
                    f"{name}, ${budget.usd}, does not hold this call's worst case of ${worst.cost_usd:.4f}: "
                    f"${account.spend.cost_usd:.4f} spent, ${account.reserved_usd:.4f} set aside for calls under way"
                )
        if budget.tokens is not None:
            left_tokens = budget.tokens - account.spend.tokens - account.reserved_tokens
            if worst.tokens > left_tokens:
                return (
                    f"{name}, {budget.tokens:,} tokens, does not hold this call's worst case of {worst.tokens:,}: "
                    f"{account.spend.tokens:,} used, {account.reserved_tokens:,} set aside for calls under way"
                )
    return ""
