"""Commands about traffic and money: `limits` and `budget`. They show, and change a run that is going on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
import msgspec

from orchestration.cli.amounts import lane_name, new_ceilings, usd_amount
from orchestration.cli.controls import written
from orchestration.cli.output import is_ascii_only, print_json, print_lines, tell, width_of
from orchestration.cli.place import Place, json_option, project_options
from orchestration.cli.snapshot import find_home, live_pid, read_snapshot
from orchestration.errors import OrchestrationError
from orchestration.inbox import Inbox, Reply, Request, ask, inbox_path
from orchestration.views.budgets import BudgetRow, budget_lines, budget_rows, model_rows
from orchestration.views.costs import by_model
from orchestration.views.lanes import LaneView, ceiling_lines, lane_lines
from orchestration.views.plain import row_document

if TYPE_CHECKING:
    from decimal import Decimal

    from rich.text import Text

    from orchestration.cli.snapshot import Home

__all__ = ["budget", "limits"]


class NothingRunsError(OrchestrationError):
    """Only a run that is going on can be changed so."""


@click.command
@project_options
@click.argument("lane", required=False)
@click.argument("values", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--reopen", "is_reopening", is_flag=True, help="Take calls again after the account's money was gone.")
@json_option
def limits(place: Place, *, lane: str | None, values: tuple[str, ...], is_reopening: bool, as_json: bool) -> None:
    """Show what calls of models are held to, or change it.

    LANE is a provider, or a provider and a model family: anthropic, anthropic/claude-sonnet. NAME is rpm, tpm,
    input_tpm, output_tpm (requests and tokens per minute) or concurrency; VALUE a number, or none.

    While a run goes on this shows its lanes, and changes hold for it at once; they end with it. The project file is
    where limits are kept.
    """
    request = Request(
        command="limits",
        lane="" if lane is None else lane_name(lane),
        values=new_ceilings(values),
        is_reopening=is_reopening,
    )
    if lane is None and is_reopening:
        raise click.UsageError("--reopen needs a LANE, such as: orchestrate limits openai --reopen")
    home = find_home(place)
    reply = _ask(home, request)
    if reply is None:
        if request.values or is_reopening:
            raise NothingRunsError(
                f"nothing is running, so no lane can be changed; set it under 'limits' in {place.file} instead"
            )
        reply = Reply(facts={"lanes": [], "limits": _in_file(home)})
    if as_json:
        print_json({"message": reply.message, **reply.facts})
    else:
        print_lines(_limit_lines(reply))


@click.command
@project_options
@click.argument("usd", type=usd_amount, required=False)
@json_option
def budget(place: Place, *, usd: Decimal | None, as_json: bool) -> None:
    """Show what was spent and what is left, or raise the project's budget.

    For the project and each of its agents, tags, models and costliest tasks. With USD the run that is going on gets
    that much for the whole project, with what was spent already; tasks that wait for it go on. It ends with the run:
    the project file is where a budget is kept.
    """
    home = find_home(place)
    reply = _ask(home, Request(command="budget", usd=usd))
    if reply is None and usd is not None:
        start = place.command("run", "--budget", str(usd))
        raise NothingRunsError(f"nothing is running, so there is no budget to change; start with: {start}")
    snapshot = read_snapshot(place)
    if reply is not None:
        rows = msgspec.convert(reply.facts["rows"], list[BudgetRow], strict=False)
    else:
        rows = budget_rows(snapshot.state, home.budgets)
    rows += model_rows(by_model(snapshot.facts))
    message = "" if reply is None else reply.message
    if as_json:
        print_json({"message": message, "rows": [row_document(row) for row in rows]})
        return
    for note in snapshot.notes:
        tell(f"note: {note}")
    lines = budget_lines(rows, width=width_of(sys.stdout), ascii_only=is_ascii_only(sys.stdout))
    print_lines([*([message] if message else []), *lines])


def _limit_lines(reply: Reply) -> list[Text | str]:
    """Return the lanes of a run or, where there are none yet, the limits that wait for them."""
    lines: list[Text | str] = [reply.message] if reply.message else []
    lanes = msgspec.convert(reply.facts["lanes"], list[LaneView])
    if lanes:
        lines += lane_lines(lanes, width=width_of(sys.stdout), ascii_only=is_ascii_only(sys.stdout))
    else:
        lines += ceiling_lines(reply.facts["limits"]) or ["no limits are set; a provider's own are kept anyway"]
    return lines


def _ask(home: Home, request: Request) -> Reply | None:
    """Ask the run that is going on; None when there is none.

    Raises:
        RequestError: if it does not answer.
        NothingRunsError: if it refuses.

    """
    if live_pid(home) is None:
        return None
    inbox = Inbox(inbox_path(home.root, home.project_id))
    reply = ask(inbox, request, is_live=lambda: live_pid(home) is not None)
    if reply is not None and reply.error:
        raise NothingRunsError(reply.error)
    return reply


def _in_file(home: Home) -> dict[str, dict[str, int]]:
    return {name: written(ceilings) for name, ceilings in home.project.limits.items()} if home.project else {}
