"""The command `orchestrate`. Imports only click and the table of commands, so that `--help` is there at once."""

from __future__ import annotations

import json
import sys
from importlib import import_module

import click

from orchestration.cli.commands import COMMANDS, SECTIONS
from orchestration.errors import OrchestrationError

__all__ = ["main", "orchestrate"]

EXIT_MISTAKE, EXIT_INTERRUPTED = 2, 130


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are run or asked for help."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = getattr(import_module(f"orchestration.cli.{entry.module}"), entry.function)
        assert isinstance(command, click.Command)  # noqa: S101 -- the table says so, and a test looks at all of it
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, COMMANDS[name].help) for name in names], col_max=12)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from difflib import get_close_matches  # noqa: PLC0415 -- only for a mistake

        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            near = get_close_matches(args[0], COMMANDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "`orchestrate --help` lists them"
            raise click.UsageError(f"no command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)


def _print_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version  # noqa: PLC0415 -- slow, and for this option only

        click.echo(f"orchestrate {version('async-orchestrator')}")
        ctx.exit()


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 nothing failed, 1 a task failed, 2 a mistake in what was typed or in a file, "
    "130 interrupted: run again to go on.",
)
@click.option("-C", "--project", "folder", metavar="DIR", help="The project's folder, or its file.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print it.")
@click.pass_context
def orchestrate(ctx: click.Context, folder: str | None) -> None:
    """Run projects of AI-agent tasks: durably, concurrently, and so that you can see why.

    A project is a folder with an orchestrate.yaml. `orchestrate init` makes one that works.
    """
    ctx.obj = folder


def main(args: list[str] | None = None) -> int:
    """Run the command line and return its exit code; errors a person can cause are said, never traced."""
    _write_whatever_comes()
    try:
        code = orchestrate.main(args, prog_name="orchestrate", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    except click.ClickException as exc:
        exc.show()
        return _mistake(exc.format_message(), args)
    except (OrchestrationError, OSError) as exc:
        message = str(exc) or type(exc).__name__
        click.echo(f"error: {message}", err=True)
        return _mistake(message, args)
    return code if isinstance(code, int) else 0


def _mistake(message: str, args: list[str] | None) -> int:
    """Give programs that asked for JSON their one document also when there is nothing but an error."""
    if "--json" in (sys.argv[1:] if args is None else args):
        click.echo(json.dumps({"error": message}))
    return EXIT_MISTAKE


def _write_whatever_comes() -> None:
    """Keep a narrow encoding from failing on a model's text."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
