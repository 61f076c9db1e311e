"""Money and tokens: what was used, is set aside, and is left, for the project and each of its parts.

Knows the state and the budgets; opens no terminal and prints nothing.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Literal

import msgspec
from rich.text import Text

from orchestration.ledger import PROJECT, Spend
from orchestration.views import table, wording

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestration.budget import Budget, Budgets
    from orchestration.run_state import RunState

__all__ = ["BudgetRow", "budget_lines", "budget_rows", "model_rows", "project_line"]

_TASKS_MAX = 10
_TITLES = ("", "spent", "set aside", "budget", "left", "calls", "tokens", "budget", "left")


class BudgetRow(msgspec.Struct, frozen=True, kw_only=True):
    """One account beside its budget. `usd` and `tokens` are the limits, None where there is none."""

    scope: Literal["project", "agent", "tag", "task", "model"]
    name: str = ""
    spend: Spend = Spend()
    reserved_usd: Decimal = Decimal(0)
    reserved_tokens: int = 0
    usd: Decimal | None = None
    tokens: int | None = None

    @property
    def left_usd(self) -> Decimal | None:
        """Money that new calls may use; None without a limit. Below zero where the limit was lowered."""
        return None if self.usd is None else self.usd - self.spend.cost_usd - self.reserved_usd

    @property
    def left_tokens(self) -> int | None:
        """The same in tokens."""
        return None if self.tokens is None else self.tokens - self.spend.tokens - self.reserved_tokens


def budget_rows(state: RunState, budgets: Budgets, *, tasks_max: int = _TASKS_MAX) -> list[BudgetRow]:
    """Return the accounts: the project, its agents, tags and tasks; of tasks without a budget the costliest only."""
    used: dict[str, list[str]] = {"agent": [], "tag": [], "task": []}
    for account in state.ledger.accounts:
        scope, _, name = account.partition(":")
        if scope in used:
            used[scope].append(name)
    costliest = sorted(used["task"], key=lambda name: _rank(state, name))[:tasks_max]
    return [
        _row(state, "project", "", budgets.project),
        *_rows(state, "agent", sorted({*budgets.agents, *used["agent"]}), budgets.agents),
        *_rows(state, "tag", sorted({*budgets.tags, *used["tag"]}), budgets.tags),
        *_rows(state, "task", list(dict.fromkeys((*budgets.tasks, *costliest))), budgets.tasks),
    ]


def model_rows(by_model: Mapping[str, Spend]) -> list[BudgetRow]:
    """Return what each model used, the costliest first. Models have no budgets."""
    ordered = sorted(by_model.items(), key=lambda item: (-item[1].cost_usd, -item[1].tokens, item[0]))
    return [BudgetRow(scope="model", name=name, spend=spend) for name, spend in ordered]


def budget_lines(rows: Sequence[BudgetRow], *, width: int | None = None, ascii_only: bool = False) -> list[Text]:
    """Return the rows as a table with a head, and notes on what is not certain."""
    cells = [_cells(row) for row in rows]
    # A title over nothing would keep its column from being left out.
    head = [(title if any(row[at][0] for row in cells) else "", "dim") for at, title in enumerate(_TITLES)]
    lines = table.columns([head, *cells], width=width, ascii_only=ascii_only)
    return lines + [Text(note, "yellow") for note in _notes(rows)]


def project_line(state: RunState, budgets: Budgets) -> str:
    """Return how much of the project's budget is used, in a line; empty without a budget.

    Form: `budget: $0.31 of $2.00 spent, $0.04 set aside, $1.65 left`.
    """
    budget = budgets.project
    if budget is None:
        return ""
    row = _row(state, "project", "", budget)
    parts = []
    if budget.usd is not None and row.left_usd is not None:
        parts.append(f"{wording.money(row.spend) or '$0'} of {wording.dollars(budget.usd)} spent")
        if row.reserved_usd:
            parts.append(f"{wording.dollars(row.reserved_usd)} set aside for calls under way")
        parts.append(f"{_left(row.left_usd)} left")
    if budget.tokens is not None and row.left_tokens is not None:
        parts.append(f"{wording.tokens(row.spend.tokens)} of {wording.tokens(budget.tokens)} tokens used")
        parts.append(f"{wording.tokens(max(row.left_tokens, 0))} left")
    return f"budget: {', '.join(parts)}"


def _rank(state: RunState, task_id: str) -> tuple[Decimal, int, str]:
    spend = state.ledger.account(f"task:{task_id}").spend
    return -spend.cost_usd, -spend.tokens, task_id


def _rows(
    state: RunState, scope: Literal["agent", "tag", "task"], names: Iterable[str], budgets: Mapping[str, Budget]
) -> list[BudgetRow]:
    return [_row(state, scope, name, budgets.get(name)) for name in names]


def _row(
    state: RunState, scope: Literal["project", "agent", "tag", "task"], name: str, budget: Budget | None
) -> BudgetRow:
    account = state.ledger.account(PROJECT if scope == "project" else f"{scope}:{name}")
    return BudgetRow(
        scope=scope,
        name=name,
        spend=account.spend,
        reserved_usd=account.reserved_usd,
        reserved_tokens=account.reserved_tokens,
        usd=None if budget is None else budget.usd,
        tokens=None if budget is None else budget.tokens,
    )


def _cells(row: BudgetRow) -> list[table.Cell]:
    return [
        (f"{row.scope} {wording.one_line(row.name, 60)}".rstrip(), "bold" if row.scope == "project" else ""),
        (wording.money(row.spend) or "-", ""),
        (wording.dollars(row.reserved_usd) if row.reserved_usd else "", ""),
        ("" if row.usd is None else wording.dollars(row.usd), ""),
        _left_cell(row),
        (f"{row.spend.calls:,}" if row.spend.calls else "", "dim"),
        (wording.tokens(row.spend.tokens) if row.spend.calls else "", "dim"),
        ("" if row.tokens is None else wording.tokens(row.tokens), ""),
        ("" if row.left_tokens is None else wording.tokens(max(row.left_tokens, 0)), ""),
    ]


def _left_cell(row: BudgetRow) -> table.Cell:
    if row.left_usd is None:
        return "", ""
    return _left(row.left_usd), "red" if row.left_usd <= 0 else ""


def _left(amount: Decimal) -> str:
    return wording.dollars(max(amount, Decimal(0)))


def _notes(rows: Sequence[BudgetRow]) -> list[str]:
    whole = rows[0].spend
    notes = []
    if whole.unpriced_calls:
        notes.append(f"no price is known for {wording.count(whole.unpriced_calls, 'call')}; they are not in the money")
    if whole.lost_calls:
        cut = wording.count(whole.lost_calls, "call")
        notes.append(f"nobody knows what became of {cut}; counted at the worst case")
    return notes
