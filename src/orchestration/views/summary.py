"""What a run came to, as lines to print at its end: the table, the totals, what went wrong, what to do next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.text import Text

from orchestration.budget import Budgets
from orchestration.journal import now
from orchestration.task import SATISFIED, TaskStatus
from orchestration.views import table, wording
from orchestration.views.advice import asked, budget_steps, doubt, next_step, person_steps, waited
from orchestration.views.budgets import project_line
from orchestration.views.live import ROWS_MAX
from orchestration.views.model import ProjectView, view

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestration.events import RunStatus
    from orchestration.orchestrator import Totals
    from orchestration.run_state import RunState, TaskState

    Command = Callable[..., str]

__all__ = ["Ending", "problem_lines", "summary_lines", "waiting_lines"]

_LISTED_MAX = 10
_ASKED = (TaskStatus.WAITING, TaskStatus.NEEDS_REVIEW)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a run ended, and the budgets in force then. `totals` is None when it was stopped before it could count."""

    status: RunStatus
    totals: Totals | None = None
    problems: Sequence[str] = ()
    budgets: Budgets = field(default_factory=Budgets)


def summary_lines(
    state: RunState,
    ending: Ending,
    *,
    command: Command,
    width: int | None,
    ascii_only: bool = False,
) -> list[Text]:
    """Return the end of a run: the table, the totals, what went wrong, what waits for a person."""
    seen = view(state, now(), rows_max=ROWS_MAX)
    lines = table.task_lines(seen, width=width, ascii_only=ascii_only)
    if seen.hidden:
        lines.append(Text(f"... and {wording.count(seen.hidden, 'more task')}: {command('status', '--all')}", "dim"))
    lines += [Text(), _headline(seen, ending, command)]
    if ending.totals is not None:
        lines.append(
            table.totals_line(ending.totals.spend, ending.totals.duration_s, what="this run:", ascii_only=ascii_only)
        )
        if seen.spend.calls > ending.totals.spend.calls:
            lines.append(table.totals_line(seen.spend, None, what="in all:", ascii_only=ascii_only))
    if used := project_line(state, ending.budgets):
        lines.append(Text(used))
    lines += [Text(f"problem: {problem}", "bold red") for problem in ending.problems]
    if ending.status == "over_budget":
        lines += [Text(f"  {step}") for step in budget_steps(ending.budgets, ending.problems, command)]
    lines += problem_lines(state, command)
    lines += waiting_lines(state, command)
    return lines


def problem_lines(state: RunState, command: Command) -> list[Text]:
    """Return what failed, why, and what to do about it."""
    failed = [known for known in state.ordered() if known.status is TaskStatus.FAILED]
    lines: list[Text] = []
    for known in failed[:_LISTED_MAX]:
        kind = known.result.failure_kind if known.result else None
        error = wording.one_line(known.result.error if known.result else known.last_error, 300)
        reason = f"{kind}: {error}" if kind else error
        lines.append(Text.assemble((f"failed: {known.task.task_id}", "bold red"), f"  {reason}"))
        if step := next_step(known):
            lines.append(Text(f"  what to do: {step}"))
    lines += _more(len(failed), "failed task", command("status", "--all"))
    if failed:
        lines.append(Text(f"  details: {command('show', failed[0].task.task_id)}"))
        lines.append(Text(f"  try again: {command('run')}"))
    return lines


def waiting_lines(state: RunState, command: Command) -> list[Text]:
    """Return what waits for a person, and the commands to type."""
    waiting = [known for known in state.ordered() if known.status in _ASKED]
    lines = [line for known in waiting[:_LISTED_MAX] for line in _waiting(known, command)]
    return lines + _more(len(waiting), "waiting task", command("status", "--all"))


def _waiting(known: TaskState, command: Command) -> list[Text]:
    what, why = "waits for you", f"needs {asked(known)}{waited(known, now())}"
    if known.status is TaskStatus.NEEDS_REVIEW:
        reason = wording.one_line(known.last_error, 300)
        what, why = "needs review", f"{doubt(known.cause)}{waited(known, now())}: {reason}"
    head = Text.assemble((f"{what}: {known.task.task_id}", "bold yellow"), f"  {why}")
    return [head, *(Text(f"  {step}") for step in person_steps(known, command))]


def _more(total: int, noun: str, where: str) -> list[Text]:
    return [Text(f"... and {wording.count(total - _LISTED_MAX, noun)} more: {where}")] if total > _LISTED_MAX else []


def _headline(seen: ProjectView, ending: Ending, command: Command) -> Text:
    total = sum(seen.counts.values())
    left = total - sum(seen.counts.get(status, 0) for status in SATISFIED)
    match ending.status:
        case "completed":
            return Text(_all_done(total, seen.counts.get(TaskStatus.SKIPPED, 0)), "bold green")
        case "waiting":
            waiting = sum(seen.counts.get(status, 0) for status in _ASKED)
            wait = "waits" if waiting == 1 else "wait"
            return Text(
                f"Nothing more can run until you decide: {wording.count(waiting, 'task')} {wait} for you.",
                "bold yellow",
            )
        case "over_budget":
            return Text(f"Stopped by the budget: {wording.count(left, 'task')} left.", "bold yellow")
        case "failed":
            return Text.assemble(("The run failed: ", "bold red"), table.counts_line(seen))
        case _:
            how = "Cancelled" if ending.status == "cancelled" else "Stopped before the end"
            return Text(f"{how}: {wording.count(left, 'task')} left. Go on with: {command('run')}", "bold yellow")


def _all_done(total: int, skipped: int) -> str:
    if skipped:
        return f"All done: {wording.count(total - skipped, 'task')}, and {skipped:,} skipped."
    if total == 1:
        return "The only task is done."
    return f"All {total:,} tasks done." if total else "The project has no tasks."
