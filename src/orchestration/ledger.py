"""What was spent and what is set aside, for the whole project, each agent, task and tag. Pure.

A reservation is made before a call at its worst case and settled by what the call really used. One that is never
settled, because the process died, counts as spent: nobody knows what the provider charged.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
from rpds import HashTrieMap

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NO_SPEND", "PROJECT", "Account", "Ledger", "Reservation", "Spend", "scopes_of"]

PROJECT = "project"

_replace = msgspec.structs.replace


class Spend(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Tokens and money used.

    `unpriced_calls` counts those whose price is unknown: they cost nothing here or, where it was set aside for them
    before, their worst case. `lost_calls` counts those nobody knows the end of; they are in here at their worst case.
    """

    calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    unpriced_calls: int = 0
    lost_calls: int = 0

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    @property
    def cached_share(self) -> float | None:
        """How much of the input was read from a provider's cache, from 0 to 1; None where there was no input."""
        return self.cached_tokens / self.input_tokens if self.input_tokens else None

    def __add__(self, other: Spend) -> Spend:
        return self._with(other, 1)

    def __sub__(self, other: Spend) -> Spend:
        return self._with(other, -1)

    def _with(self, other: Spend, sign: int) -> Spend:
        return Spend(
            calls=self.calls + sign * other.calls,
            input_tokens=self.input_tokens + sign * other.input_tokens,
            cached_tokens=self.cached_tokens + sign * other.cached_tokens,
            output_tokens=self.output_tokens + sign * other.output_tokens,
            cost_usd=self.cost_usd + sign * other.cost_usd,
            unpriced_calls=self.unpriced_calls + sign * other.unpriced_calls,
            lost_calls=self.lost_calls + sign * other.lost_calls,
        )


NO_SPEND = Spend()


class Account(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One scope's money and tokens: used, and set aside for calls under way."""

    spend: Spend = NO_SPEND
    reserved_usd: Decimal = Decimal(0)
    reserved_tokens: int = 0


_EMPTY = Account()


class Reservation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The worst case of one call under way. `cost_usd` None: the price is unknown."""

    task_id: str
    scopes: tuple[str, ...]
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    @property
    def as_spend(self) -> Spend:
        """What is booked when nobody can tell any more what the call came to."""
        return Spend(
            calls=1,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cost_usd=self.cost_usd or Decimal(0),
            unpriced_calls=int(self.cost_usd is None),
            lost_calls=1,
        )


class Ledger(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The accounts by scope, and the open reservations by call id."""

    accounts: HashTrieMap[str, Account] = HashTrieMap()
    reservations: HashTrieMap[str, Reservation] = HashTrieMap()

    def account(self, scope: str) -> Account:
        """Return a scope's account; an empty one where nothing was spent yet."""
        return self.accounts.get(scope) or _EMPTY

    def spend(self, scopes: Sequence[str], spend: Spend) -> Ledger:
        """Return the ledger with something used."""
        accounts = self.accounts
        for scope in scopes:
            known = accounts.get(scope) or _EMPTY
            accounts = accounts.insert(scope, _replace(known, spend=known.spend + spend))
        return _replace(self, accounts=accounts)

    def reserve(self, call_id: str, reservation: Reservation) -> Ledger:
        """Return the ledger with a call's worst case set aside."""
        return _replace(
            self,
            reservations=self.reservations.insert(call_id, reservation),
            accounts=_set_aside(self.accounts, reservation, 1),
        )

    def release(self, call_id: str) -> Ledger:
        """Return the ledger without the reservation; one that is not there changes nothing."""
        reservation = self.reservations.get(call_id)
        if reservation is None:
            return self
        return _replace(
            self,
            reservations=self.reservations.remove(call_id),
            accounts=_set_aside(self.accounts, reservation, -1),
        )


def _set_aside(accounts: HashTrieMap[str, Account], reservation: Reservation, sign: int) -> HashTrieMap[str, Account]:
    for scope in reservation.scopes:
        known = accounts.get(scope) or _EMPTY
        changed = _replace(
            known,
            reserved_usd=known.reserved_usd + sign * (reservation.cost_usd or 0),
            reserved_tokens=known.reserved_tokens + sign * reservation.tokens,
        )
        accounts = accounts.insert(scope, changed)
    return accounts


def scopes_of(task_id: str, agent: str = "", tags: Sequence[str] = (), origins: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of all accounts that a call of this task, which comes from `origins`, by this agent goes to."""
    tasks = (f"task:{name}" for name in (task_id, *origins))
    return (PROJECT, *tasks, *((f"agent:{agent}",) if agent else ()), *(f"tag:{tag}" for tag in tags))
