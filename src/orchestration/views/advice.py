"""What to do next about a failure, by its kind. Pure text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestration.task import FailureKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestration.budget import Budgets
    from orchestration.run_state import TaskState

__all__ = ["budget_steps", "next_step", "person_steps"]

_NEXT = {
    FailureKind.RATE_LIMIT: "the provider allows fewer calls than this; wait, set `limits` below its own, or give the "
    "agent a `fallback`",
    FailureKind.QUOTA: "the account's money or quota is used up; raise it where you pay for it, or give the agent a "
    "`fallback`",
    FailureKind.OVERLOADED: "the provider is overloaded; wait a little, or give the agent a `fallback`",
    FailureKind.CONNECTION: "check the network and the agent's base_url",
    FailureKind.TIMEOUT: "raise timeout_s of the task or agent, or make the task smaller",
    FailureKind.AUTH: "the key was refused; `orchestrate agents` says which variable it comes from",
    FailureKind.CONTEXT_LENGTH: "the prompt is too long for the model; pass on less, or use one with a longer context",
    FailureKind.REFUSAL: "the model refused; change the prompt, or give the task another agent",
    FailureKind.TRUNCATED: "the answer was cut off; raise max_tokens, or set allow_truncated for the agent",
    FailureKind.BAD_OUTPUT: "the answer did not meet output_schema; simplify it, or use a stronger model",
    FailureKind.BAD_REQUEST: "correct what the message names in the project file",
    FailureKind.BUDGET: "raise the budget in the project file, or the project's with `orchestrate run --budget USD`",
    FailureKind.UNAVAILABLE: "`orchestrate agents` says what is missing and how to get it",
    FailureKind.TASK_ERROR: "correct the worker or its input",
}


def next_step(known: TaskState) -> str:
    """Return what to do about a failed task before running again."""
    kind = known.result.failure_kind if known.result else None
    return _NEXT.get(kind, "") if kind else ""


def budget_steps(budgets: Budgets, problems: Sequence[str], command: Callable[..., str]) -> list[str]:
    """Return what to do about a run that the budgets stopped."""
    if any("allow_unknown_price" in problem for problem in problems):
        return [
            "set allow_unknown_price: true under budget, or name a model whose price is known",
            f"then: {command('run')}",
        ]
    steps = []
    project = budgets.project.usd if budgets.project else None
    if project is not None:
        steps.append(f"go on with more for the project: {command('run', '--budget', str(project * 2))}")
    if project is None or budgets.agents or budgets.tasks or budgets.tags:
        steps.append(f"raise another budget in the project file, then: {command('run')}")
    return [*steps, f"see what was used: {command('budget')}"]


def person_steps(known: TaskState, command: Callable[..., str]) -> list[str]:
    """Return the commands that give a waiting task what it waits for."""
    task_id = known.task.task_id
    if known.need == "approval":
        return [
            command("show", task_id),
            command("approve", task_id),
            command("reject", task_id, "what to change"),
            command("answer", task_id) + "  (edit the draft)",
        ]
    return [command("show", task_id), command("answer", task_id)]
