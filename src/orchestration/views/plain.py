"""A project as plain JSON values, for `--json`. Every view prints the same shapes under the same names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestration.journal import now
from orchestration.views.model import TaskRow, view

if TYPE_CHECKING:
    from orchestration.ledger import Spend
    from orchestration.run_state import RunState
    from orchestration.views.summary import Ending

__all__ = ["project_document", "run_document", "spend_document"]

Document = dict[str, Any]


def project_document(state: RunState) -> Document:
    """Return the project: `run`, `counts` by status, `spend`, and all `tasks`."""
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
        "tasks": [_task(row) for row in seen.rows],
    }


def run_document(state: RunState, ending: Ending, *, exit_code: int) -> Document:
    """Return what `run` came to: the project, and `this_run` with its own totals."""
    totals = ending.totals
    return project_document(state) | {
        "status": ending.status,
        "exit_code": exit_code,
        "this_run": None
        if totals is None
        else {"duration_s": round(totals.duration_s, 3), "spend": spend_document(totals.spend)},
        "problems": list(ending.problems),
    }


def spend_document(spend: Spend) -> Document:
    """Return tokens and money; `cost_usd` is a lower bound while `unpriced_calls` is not 0."""
    return {
        "calls": spend.calls,
        "input_tokens": spend.input_tokens,
        "cached_tokens": spend.cached_tokens,
        "output_tokens": spend.output_tokens,
        "cost_usd": str(spend.cost_usd),
        "unpriced_calls": spend.unpriced_calls,
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
    }
