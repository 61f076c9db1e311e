"""The reference page of the command line, written from click's own help so that the two cannot differ. Text only."""

from __future__ import annotations

import click

from orchestration.cli import orchestrate
from orchestration.cli.commands import SECTIONS
from orchestration.task import TaskStatus
from orchestration.views.wording import ASCII_SYMBOLS, PARKED_ASCII, PARKED_SYMBOL, PARKED_WORD, SYMBOLS, WORDS

__all__ = ["reference_page"]

_WIDTH = 100

_INTRODUCTION = """\
# Command line

Generated from the commands' own help by `make docs`. Results go to stdout, messages to stderr.

## Exit codes

| code | means |
|---|---|
| 0 | nothing failed, also when tasks wait for a person: what to type is said at the end |
| 1 | a task failed, a budget stopped the run, an output file could not be written, or `doctor` found something wrong |
| 2 | a mistake in what was typed or in a file, or the project is open elsewhere; nothing was changed |
| 130 | stopped before the end by Ctrl-C, SIGTERM, SIGHUP, `cancel` or `--no-park`; run again to go on |

## JSON

With `--json` a command prints exactly one JSON document on stdout, also when it fails: then it is
`{"error": "..."}`, or for `validate` the list of problems. Times are ISO 8601 in UTC, durations seconds, money text in
US dollars. `cost_usd` is a lower bound while `unpriced_calls` is not 0; `lost_calls` were cut off by a crash and
count at their worst case.

## Stopping a run

| what | does |
|---|---|
| Ctrl-C | what runs may finish, nothing else starts |
| Ctrl-C again, SIGTERM, SIGHUP | what runs is stopped now, with the processes it started, and runs again next time |
| Ctrl-C a third time | ends the process on the spot, even when a function holds it up |
| `orchestrate cancel` | the same as stopping now, from another shell; the tasks count as cancelled until the next run |

Nothing that was completed is lost or done again, whichever way a run ends, `kill -9` included.

## From another shell

`answer`, `approve`, `reject`, `cancel`, `reset`, `limits` and `budget` work while a run goes on. They leave a request
in `.orchestration/<project>.inbox/`, the run takes it within a fifth of a second, records it, and replies. When nobody
runs the project the command records it itself (`limits` and `budget` then only show). If the run does not answer within
ten seconds the request is withdrawn and nothing has changed. A request whose command was killed is taken by a run
within a minute; an older one is dropped at the next start, with a warning. `status`, `show` and `graph` read beside a
run, and also while the project file has mistakes.

## Environment

| variable | does |
|---|---|
| `NO_COLOR` | no colours |
| `TERM=dumb` | lines instead of the table that is redrawn |
| `VISUAL`, `EDITOR` | the editor that `answer` opens |
| `ANTHROPIC_API_KEY`, `OPENAI_API_KEY`, `GEMINI_API_KEY` | keys, unless an agent names another variable |
"""


def reference_page() -> str:
    """Return the page as Markdown."""
    parts = [_INTRODUCTION, _statuses(), "## `orchestrate`\n", _help(None)]
    for title, names in SECTIONS.items():
        parts.append(f"## {title}\n")
        for name in names:
            parts += [f"### `orchestrate {name}`\n", _help(name)]
    return "\n".join(parts)


def _statuses() -> str:
    rows = [
        f"| `{SYMBOLS[status]}` | `{ASCII_SYMBOLS[status]}` | {WORDS[status]} | `{status}` |" for status in TaskStatus
    ]
    running = rows.index(next(row for row in rows if "`in_progress`" in row))
    rows.insert(
        running + 1, f"| `{PARKED_SYMBOL}` | `{PARKED_ASCII}` | {PARKED_WORD} | `in_progress`, with `parked` not null |"
    )
    return "\n".join(
        ["## How tasks stand\n", "| symbol | in ASCII | on screen | in JSON |", "|---|---|---|---|", *rows, ""]
    )


def _help(name: str | None) -> str:
    settings = {**orchestrate.context_settings, "terminal_width": _WIDTH, "max_content_width": _WIDTH}
    context = click.Context(orchestrate, info_name="orchestrate", **settings)
    command: click.Command = orchestrate
    if name is not None:
        found = orchestrate.get_command(context, name)
        assert found is not None  # noqa: S101 -- SECTIONS and the table of commands name the same
        command, context = found, click.Context(found, info_name=name, parent=context, **settings)
    return f"```text\n{command.get_help(context)}\n```\n"
