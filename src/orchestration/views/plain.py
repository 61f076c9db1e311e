"""A project as plain JSON values, for `--json`. Every view prints the same shapes under the same names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestration.journal import now
from orchestration.views import wording
from orchestration.views.budgets import budget_rows, model_rows
from orchestration.views.checks import checks_in_order
from orchestration.views.family import counted
from orchestration.views.model import TaskRow, view

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestration.budget import Budgets
    from orchestration.ledger import Spend
    from orchestration.run_state import RunState, TaskState
    from orchestration.views.budgets import BudgetRow
    from orchestration.views.summary import Ending

__all__ = ["costs_document", "project_document", "row_document", "run_document", "spend_document"]

Document = dict[str, Any]


def project_document(state: RunState, budgets: Budgets, used_by_model: Mapping[str, Spend]) -> Document:
    """Return the project: `run`, `counts` by status, `spend`, `costs` by account, and all `tasks`."""
    seen = view(state, now())
    return {
        "run": {
            "id": state.run_id or None,
            "status": state.run_status,
            "started_at": state.run_started_at,
            "ended_at": state.run_ended_at,
        },
        "counts": {status.value: number for status, number in seen.counts.items()},
        "spend": spend_document(state.spend),
        "costs": costs_document(state, budgets, used_by_model),
        "tasks": [_task(row) | _standing(state, state.tasks[row.task_id]) for row in seen.rows],
    }


def run_document(state: RunState, ending: Ending, used_by_model: Mapping[str, Spend], *, exit_code: int) -> Document:
    """Return what `run` came to: the project, and `this_run` with its own totals."""
    totals = ending.totals
    return project_document(state, ending.budgets, used_by_model) | {
        "status": ending.status,
        "exit_code": exit_code,
        "this_run": None
        if totals is None
        else {"duration_s": round(totals.duration_s, 3), "spend": spend_document(totals.spend)},
        "problems": list(ending.problems),
    }


def costs_document(state: RunState, budgets: Budgets, used_by_model: Mapping[str, Spend]) -> list[Document]:
    """Return what the project, its agents, tags and models used, beside their budgets; and tasks that have one."""
    rows = [*budget_rows(state, budgets, tasks_max=0), *model_rows(used_by_model)]
    return [row_document(row) for row in rows]


def row_document(row: BudgetRow) -> Document:
    """Return an account beside its budget: what was used, is set aside, is the limit, and is left; money as text."""
    return {
        "scope": row.scope,
        "name": row.name,
        "spend": spend_document(row.spend),
        "reserved_usd": wording.exact(row.reserved_usd),
        "reserved_tokens": row.reserved_tokens,
        "budget_usd": None if row.usd is None else wording.exact(row.usd),
        "left_usd": None if row.left_usd is None else wording.exact(row.left_usd),
        "budget_tokens": row.tokens,
        "left_tokens": row.left_tokens,
    }


def spend_document(spend: Spend) -> Document:
    """Return tokens and money; `cost_usd` is a lower bound while `unpriced_calls` is not 0."""
    return {
        "calls": spend.calls,
        "input_tokens": spend.input_tokens,
        "cached_tokens": spend.cached_tokens,
        "cached_share": None if spend.cached_share is None else round(spend.cached_share, 3),
        "output_tokens": spend.output_tokens,
        "cost_usd": wording.exact(spend.cost_usd),
        "unpriced_calls": spend.unpriced_calls,
        "lost_calls": spend.lost_calls,
    }


def _task(row: TaskRow) -> Document:
    return {
        "task_id": row.task_id,
        "title": row.title,
        "status": row.status.value,
        "agent": row.agent,
        "attempt": row.attempt,
        "elapsed_s": None if row.elapsed_s is None else round(row.elapsed_s, 3),
        "spend": spend_document(row.spend),
        "note": row.note,
        "parked": {"until": row.parked_until, "reason": row.parked} if row.parked else None,
        "fallback_from": list(row.stands_for),
    }


def _standing(state: RunState, known: TaskState) -> Document:
    """Return what a task is at: its worker, its checks, the person it waits for, and the tasks that came of it."""
    verdicts = known.verdicts
    passed = sum(verdict.is_passed for verdict in verdicts)
    return {
        "activity": known.activity or None,
        "session_id": known.session.session_id if known.session else None,
        "checks": {"total": len(checks_in_order(known.task.checks)), "passed": passed, "failed": len(verdicts) - passed}
        if known.task.checks
        else None,
        "need": known.need or None,
        "cause": known.cause or None,
        "asked_at": known.asked_at,
        "origin": known.origin or None,
        "instances": {status.value: number for status, number in counted(state, known).items()}
        if known.instances
        else None,
        "added": list(known.added),
    }
