"""What is printed: results to stdout, messages to stderr. Knows nothing of projects."""

from __future__ import annotations

import sys
from typing import IO, TYPE_CHECKING, TextIO

import click
import msgspec
from rich.console import Console
from rich.text import Text

from orchestration.cli.pipes import leave_stdout

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "console_for",
    "is_ascii_only",
    "is_live_terminal",
    "print_json",
    "print_lines",
    "tell",
    "to_json",
    "width_of",
]


def console_for(stream: IO[str]) -> Console:
    """Return a console that prints text as it is: no markup, no highlighting; colour only where it is wanted."""
    return Console(file=stream, highlight=False, markup=False, emoji=False)


def is_live_terminal(stream: IO[str]) -> bool:
    """Say whether a table can be redrawn in place there."""
    return stream.isatty() and not console_for(stream).is_dumb_terminal


def is_ascii_only(stream: TextIO) -> bool:
    """Say whether only plain ASCII can be shown there."""
    return not (stream.encoding or "ascii").lower().replace("-", "").startswith("utf")


def width_of(stream: IO[str]) -> int | None:
    """Return the width to cut lines to; None where nobody would see the edge: files and pipes."""
    return console_for(stream).width if stream.isatty() else None


def print_lines(lines: Iterable[Text | str]) -> None:
    """Print results; a reader who is gone is no error."""
    try:
        if sys.stdout.isatty():
            console = console_for(sys.stdout)
            for line in lines:
                console.print(line if isinstance(line, Text) else Text(line), soft_wrap=True)
        else:
            sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
    except BrokenPipeError:
        leave_stdout()


def print_json(document: object) -> None:
    """Print one JSON document."""
    print_lines([to_json(document)])


def to_json(document: object) -> str:
    """Return the document as text with indents."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def tell(message: str) -> None:
    """Print a message for the person, beside the results."""
    click.echo(message, err=True)
