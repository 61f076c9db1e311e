"""Commands that only look: `status`, `show`, `graph`. They work beside a run and change nothing."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
from rich.text import Text

from orchestration.cli.output import is_ascii_only, print_json, print_lines, tell, width_of
from orchestration.cli.place import Place, json_option, project_options
from orchestration.cli.snapshot import read_snapshot
from orchestration.journal import now
from orchestration.task import SATISFIED
from orchestration.views import diagrams, table, wording
from orchestration.views.advice import budget_steps
from orchestration.views.budgets import budget_rows, model_rows, project_line
from orchestration.views.costs import by_model
from orchestration.views.details import task_document, task_lines
from orchestration.views.live import ROWS_MAX
from orchestration.views.model import view
from orchestration.views.plain import project_document
from orchestration.views.summary import problem_lines, waiting_lines
from orchestration.views.wording import count

if TYPE_CHECKING:
    from orchestration.cli.snapshot import Snapshot

__all__ = ["graph", "show", "status"]

_SEPARATOR = "  "


@click.command
@project_options
@click.option("--all", "show_all", is_flag=True, help="List every task, however many there are.")
@json_option
def status(place: Place, *, show_all: bool, as_json: bool) -> None:
    """Show how every task stands.

    Works beside a run. Beyond 40 tasks it lists those that run, wait, failed or ended last; --all lists all.
    """
    snapshot = read_snapshot(place)
    for note in snapshot.notes:
        tell(f"note: {note}")
    if as_json:
        print_json(
            {"project": snapshot.home.project_id, "root": str(snapshot.home.root), "pid": snapshot.pid}
            | project_document(snapshot.state, snapshot.home.budgets, by_model(snapshot.facts))
        )
        return
    print_lines(_status_lines(place, snapshot, show_all=show_all))


@click.command
@project_options
@click.argument("task")
@json_option
def show(place: Place, *, task: str, as_json: bool) -> None:
    """Show everything about one task.

    Its definition, its attempts, what they cost, what it was given, what its checks saw, what it answered and changed,
    how to go on with a coding agent's session by hand and, where it failed, why and what to do next.
    """
    snapshot = read_snapshot(place)
    snapshot.state.find(task)
    if as_json:
        print_json(task_document(snapshot.state, snapshot.facts, task))
    else:
        tools = {agent.name: agent.tool for agent in snapshot.home.agents if agent.tool is not None}
        print_lines(task_lines(snapshot.state, snapshot.facts, task, command=place.command, tools=tools))


@click.command
@project_options
@click.option(
    "--format",
    "form",
    type=click.Choice(("text", "mermaid", "dot")),
    default="text",
    show_default=True,
    help="A tree for people, or a diagram for Mermaid or Graphviz.",
)
@json_option
def graph(place: Place, *, form: str, as_json: bool) -> None:
    """Draw who depends on whom.

    The tree shows each task once, under its deepest dependency; what else it depends on stands beside it. Tasks that
    came up in a run stand under the one they come from.
    """
    snapshot = read_snapshot(place)
    for note in snapshot.notes:
        tell(f"note: {note}")
    if as_json:
        print_json(diagrams.document(snapshot.state))
    elif form == "mermaid":
        print_lines(diagrams.mermaid(snapshot.state))
    elif form == "dot":
        print_lines(diagrams.dot(snapshot.state))
    else:
        print_lines(diagrams.tree(snapshot.state, ascii_only=is_ascii_only(sys.stdout)))


def _status_lines(place: Place, snapshot: Snapshot, *, show_all: bool) -> list[Text]:
    state, ascii_only = snapshot.state, is_ascii_only(sys.stdout)
    seen = view(state, now(), rows_max=None if show_all else ROWS_MAX)
    lines = table.task_lines(seen, width=width_of(sys.stdout), ascii_only=ascii_only)
    if seen.hidden:
        lines.append(Text(f"... and {count(seen.hidden, 'more task')}: {place.command('status', '--all')}", "dim"))
    lines += [Text(), table.counts_line(seen, ascii_only=ascii_only)]
    if seen.spend.calls:
        lines.append(table.totals_line(seen.spend, None, what="in all:", ascii_only=ascii_only))
        lines += _cost_lines(place, snapshot)
    lines.append(Text(_run_sentence(place, snapshot)))
    if snapshot.pid is None and state.run_status == "over_budget":
        lines += [Text(f"  {step}") for step in budget_steps(snapshot.home.budgets, (), place.command)]
    lines += problem_lines(state, place.command)
    return lines + waiting_lines(state, place.command)


def _cost_lines(place: Place, snapshot: Snapshot) -> list[Text]:
    """Say where the money went: by agent and by model, and how much of the budget is left."""
    rows = [row for row in budget_rows(snapshot.state, snapshot.home.budgets, tasks_max=0) if row.spend.calls]
    lines = [
        Text(f"  by {scope}:  {_SEPARATOR.join(f'{row.name} {wording.money(row.spend)}' for row in chosen)}")
        for scope, chosen in (
            ("agent", [row for row in rows if row.scope == "agent"]),
            ("model", model_rows(by_model(snapshot.facts))),
        )
        if chosen
    ]
    if snapshot.pid is not None:  # a run may have another budget than the file, which it says itself
        return [*lines, Text(f"  budget:  {place.command('budget')}")] if snapshot.home.budgets else lines
    if used := project_line(snapshot.state, snapshot.home.budgets):
        lines.append(Text(f"  {used}"))
    return lines


def _run_sentence(place: Place, snapshot: Snapshot) -> str:
    """Say whether it runs, and what to type if it does not and could."""
    state = snapshot.state
    if snapshot.pid is not None:
        return f"It is running now, in process {snapshot.pid}."
    open_tasks = any(known.status not in SATISFIED for known in state.unordered())
    if not state.run_id:
        return f"It has not run yet. Start with: {place.command('run')}"
    when = f"{state.run_ended_at or state.run_started_at:%Y-%m-%d %H:%M} UTC"
    if state.run_ended_at is None:
        return f"The last run, of {when}, was cut off. Go on with: {place.command('run')}"
    if state.run_status == "over_budget":
        return f"The last run, which ended on {when}, was stopped by the budget."
    hint = f" Go on with: {place.command('run')}" if open_tasks else ""
    return f"The last run ended on {when}: {state.run_status}.{hint}"
