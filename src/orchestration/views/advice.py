"""What to do next about a failure, by its kind. Pure text."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from orchestration.task import FailureKind
from orchestration.views import wording

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from orchestration.budget import Budgets
    from orchestration.run_state import TaskState
    from orchestration.task import ExecutionResult

__all__ = [
    "asked",
    "budget_steps",
    "by_hand",
    "doubt",
    "next_step",
    "person_steps",
    "question",
    "skip_reason",
    "waited",
]

_LONG_S = 60.0
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
    FailureKind.CHECK_FAILED: "the result did not pass its checks; correct the prompt or the checks, raise "
    "max_attempts, or use a stronger agent",
    FailureKind.CONFLICT: "the work is done, but cannot be merged; merge its branch by hand, or name an agent that "
    "does with on_conflict",
    FailureKind.BAD_REQUEST: "correct what the message names in the project file",
    FailureKind.BUDGET: "raise the budget in the project file, or the project's with `orchestrate run --budget USD`",
    FailureKind.UNAVAILABLE: "`orchestrate agents` says what is missing and how to get it",
    FailureKind.TASK_ERROR: "correct the worker or its input",
}


def next_step(known: TaskState) -> str:
    """Return what to do about a failed task before running again."""
    kind = known.result.failure_kind if known.result else None
    if known.result is not None and "refusal" in known.result.metadata:  # of a workspace: the reason says what to do
        return ""
    if known.result is not None and "asked_since" in known.result.metadata:
        return "to be asked again, run again; else raise deadline_s under `wait`, or correct its default"
    if kind is FailureKind.BAD_OUTPUT and known.task.output_schema is None:
        return "correct what the message names, or use a stronger agent"
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


def asked(known: TaskState) -> str:
    """Say what a person is asked for: their answer, their approval, or their decision on what is in doubt."""
    return question(known.need, known.cause, known.result)


def question(need: str, cause: str, result: ExecutionResult | None) -> str:
    """Say the same of a need, the cause of a review, and what there is to decide on."""
    match need:
        case "approval":
            wanted = result.metadata.get("asks") if result else None
            return f"your approval: {wording.one_line(str(wanted))}" if wanted else "your approval of its draft"
        case "review":
            return f"your decision: {doubt(cause)}"
        case _:
            return "your answer"


def doubt(cause: str) -> str:
    """Say in a few words why a task needs a review."""
    return _IN_DOUBT.get(cause, "unclear how things stand")


def skip_reason(known: TaskState) -> str:
    """Say why a task was skipped: the reason recorded, or else its own condition."""
    return known.last_error or f"its condition does not hold: {known.task.when or known.task.for_each or ''}".rstrip()


def waited(known: TaskState, now: datetime) -> str:
    """Say for how long a person has been asked, once that is a minute: `, for 2 h 10 min`."""
    waited_s = 0.0 if known.asked_at is None else (now - known.asked_at).total_seconds()
    return f", for {wording.duration(waited_s)}" if waited_s >= _LONG_S else ""


_IN_DOUBT = {
    "effect": "unclear whether it happened",
    "conflict": "a merge conflict",
    "workspace": "its changes cannot be merged now",
}


def by_hand(tool: str, session_id: str) -> str:
    """Return the command with which a person goes on with a coding agent's conversation; empty where none is known."""
    words = _BY_HAND.get(tool)
    return shlex.join([*words, session_id]) if words else ""


_BY_HAND = {
    "claude": ("claude", "-r"),
    "codex": ("codex", "resume"),
    "gemini": ("gemini", "-r"),
    "opencode": ("opencode", "-s"),
}


def person_steps(known: TaskState, command: Callable[..., str]) -> list[str]:
    """Return the commands that give a waiting task what it waits for; the first shows all of it."""
    task_id = known.task.task_id
    if known.need == "review":
        return _review_steps(known, command)
    if known.need == "approval":
        return [
            command("show", task_id),
            command("approve", task_id),
            command("reject", task_id, "what to change"),
            command("answer", task_id) + "  (edit the draft)",
        ]
    return [command("show", task_id), command("answer", task_id)]


def _review_steps(known: TaskState, command: Callable[..., str]) -> list[str]:
    task_id = known.task.task_id
    if known.cause == "effect":
        is_checked = any(not check.person for check in known.task.checks)
        then = "its checks are made again, not the work" if is_checked else "the task is done"
        return [
            command("show", task_id),
            command("approve", task_id) + f"  (it has happened: {then})",
            command("answer", task_id) + "  (it has happened, and this is its output)",
            command("reset", task_id) + "  (it has not happened: run it again)",
        ]
    return [
        command("show", task_id),
        command("approve", task_id) + "  (you have mended it: merge its work now)",
        command("reject", task_id, "what to change") + "  (have it done again)",
    ]
