"""The chair of the panel: counts verdicts, which is not a model's job."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestration import Work


def summarise(work: Work) -> str:
    """Put the reviews into one table, under what follows from them."""
    reviews = {reviewer: review.data for reviewer, review in work.inputs.items()}
    against = [reviewer for reviewer, review in reviews.items() if review["verdict"] == "needs work"]
    outcome = f"Needs work, says {', '.join(against)}." if against else "All reviewers find it good."
    rows = [f"| {reviewer} | {review['verdict']} | {review['remark']} |" for reviewer, review in reviews.items()]
    return "\n".join([f"# {outcome}", "", "| reviewer | verdict | remark |", "| --- | --- | --- |", *rows]) + "\n"
