"""Commands that take over what other systems left: `import` a plan, `migrate` a folder of scripts."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from orchestration.agent_registry import Tool
from orchestration.cli.output import print_json, print_lines, tell
from orchestration.cli.people import are_packages, import_packages
from orchestration.cli.place import Place, json_option, project_option
from orchestration.importing import (
    SOURCE_MAX_BYTES,
    ImportedAgent,
    ImportedProject,
    ImportRefusedError,
    PlanOptions,
    Source,
    check_loads,
    migrate_scripts,
    read_plan,
    to_yaml,
    write_project,
)
from orchestration.project_file.schema import AGENT_TYPES
from orchestration.project_file.wording import printable
from orchestration.views.wording import count

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["import_", "migrate"]

_STDIN = _STDOUT = "-"


class Wanted(NamedTuple):
    """What was typed beside the file's name."""

    place: Place
    target: _Target
    agent: ImportedAgent
    plan: PlanOptions


class _Target(NamedTuple):
    """Where the project file goes. `output` None: the project's own file."""

    output: str | None
    force: bool
    as_json: bool


class Importer(NamedTuple):
    """A kind of file `import` takes: how to tell it by its content, and what to do with it."""

    recognise: Callable[[Source], bool]
    carry_out: Callable[[Source, Wanted], None]


def _import_plan(source: Source, wanted: Wanted) -> None:
    project = read_plan(source, wanted.plan)
    _put(replace(project, agents=(wanted.agent,), default_agent=wanted.agent.name), wanted.place, wanted.target)


# The first that recognises a file takes it. A plan is what anything else is taken for, so that its readers can say what
# they expected.
IMPORTERS = (Importer(lambda _source: True, _import_plan),)


def _target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        json_option,
        click.option("--force", is_flag=True, help="Replace a file that is there already."),
        click.option("-o", "--output", metavar="FILE", help="Write to FILE instead; - prints it."),
    ):
        command = option(command)
    return command


@click.command("import")
@click.argument("file_names", metavar="FILE...", nargs=-1, required=True)
@click.option("--agent", default="me", metavar="NAME", show_default=True, help="The agent that gets all tasks.")
@click.option("--type", "kind", type=click.Choice(AGENT_TYPES), help="Its type. Default: human, or cli with a program.")
@click.option("--tool", type=click.Choice([tool.value for tool in Tool]), help="The coding agent it is.")
@click.option("--command", "words", metavar="WORDS", help="The program it is: --command 'wc -w'.")
@click.option("--tag", metavar="NAME", help="The tag to take of a tasks.json. Default: the current one, or master.")
@click.option("--in-order", is_flag=True, help="Let each task wait for the one before it.")
@_target_options
@project_option
def import_(
    place: Place,
    *,
    file_names: tuple[str, ...],
    agent: str,
    kind: str | None,
    tool: str | None,
    words: str | None,
    tag: str | None,
    in_order: bool,
    output: str | None,
    force: bool,
    as_json: bool,
) -> int:
    """Take in a plan, or answers that were given in files.

    Packages that `orchestrate export` has written, or folders of them, give the answers that are filled in; what is
    empty is left alone. Any other FILE becomes a project: task-master's tasks.json or a Markdown checklist; - is stdin.
    Tasks that are done are left out; what cannot be taken over is said. Nothing is overwritten, and nothing is written
    that does not load.
    """
    paths = [Path(name) for name in file_names]
    if are_packages(paths):
        return import_packages(place, paths, as_json=as_json)
    if len(file_names) > 1:
        raise click.UsageError("several files are taken at once only if they are packages; import plans one by one")
    file_name = file_names[0]
    wanted = Wanted(
        place=place,
        target=_target(output, force=force, as_json=as_json),
        agent=_agent(agent, kind, tool, words),
        plan=PlanOptions(tag=tag, current_tag=_current_tag(file_name), in_order=in_order),
    )
    source = _read(file_name)
    next(each for each in IMPORTERS if each.recognise(source)).carry_out(source, wanted)
    return 0


@click.command
@click.argument("scripts_dir", metavar="SCRIPTS_DIR", type=click.Path(path_type=Path))
@_target_options
@project_option
def migrate(place: Place, *, scripts_dir: Path, output: str | None, force: bool, as_json: bool) -> None:
    """Make agents of a folder of scripts.

    Such as execute_claude.py. No script is run: they are read, and what keeps one from being an agent is said, with the
    fix. The project file has the agents and a first task that tells you to write yours.
    """
    target = _target(output, force=force, as_json=as_json)
    folder = Path(place.folder) if output in {None, _STDOUT} else Path(output).parent
    _put(migrate_scripts(scripts_dir, folder), place, target)


def _target(output: str | None, *, force: bool, as_json: bool) -> _Target:
    if output == _STDOUT and as_json:
        raise click.UsageError("--output - and --json would both print; give one of them")
    return _Target(output=output, force=force, as_json=as_json)


def _agent(name: str, kind: str | None, tool: str | None, words: str | None) -> ImportedAgent:
    """Return the agent of all tasks as the project file writes it."""
    kind = kind or ("human" if tool is None and words is None else "cli")
    if tool is not None and kind != "cli":
        raise click.UsageError(f"--tool is for an agent of type cli, not {kind}")
    if words is not None and kind not in {"script", "cli"}:
        raise click.UsageError(f"--command is for agents of type script or cli, not {kind}")
    if kind in {"script", "cli"} and words is None and tool is None:
        raise click.UsageError(f"an agent of type {kind} needs its program, such as --command 'wc -w'")
    if kind == "python":
        raise click.UsageError("an agent of type python needs a function; import with another type, then change it")
    given = {"type": kind, "tool": tool, "command": None if words is None else _split(words)}
    notes = ("It may only look. To let it change files: permissions: edit",) if tool is not None else ()
    return ImportedAgent(
        name=name, options={key: value for key, value in given.items() if value is not None}, notes=notes
    )


def _split(words: str) -> list[str]:
    try:
        return shlex.split(words)
    except ValueError as exc:
        raise click.UsageError(f"--command {words!r} cannot be split into words: {exc}") from None


def _read(name: str) -> Source:
    """Read a file, or stdin, and no more of it than a plan may have."""
    try:
        with click.open_file(name, "rb") as file:
            content = file.read(SOURCE_MAX_BYTES + 1)
    except (OSError, ValueError) as exc:  # ValueError: a name no file can have
        raise ImportRefusedError(f"{name!r} cannot be read: {getattr(exc, 'strerror', None) or exc}") from exc
    return Source.decode("stdin" if name == _STDIN else name, content)


def _current_tag(file_name: str) -> str | None:
    """Return the tag task-master works on: kept in .taskmaster/state.json, beside the folder of its tasks.json."""
    try:
        state = json.loads((Path(file_name).absolute().parent.parent / "state.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):  # none, or not task-master's
        return None
    tag = state.get("currentTag") if isinstance(state, dict) else None
    return tag if isinstance(tag, str) else None


def _put(project: ImportedProject, place: Place, target: _Target) -> None:
    """Say what was left out, and write or print the rest."""
    text = to_yaml(project)
    path = place.path if target.output in {None, _STDOUT} else Path(target.output)
    if target.output == _STDOUT:
        check_loads(text, path.parent)
    else:
        write_project(text, path, replace=target.force)
    for line in project.told:
        tell(printable(line))
    written = Place(folder=str(path.parent), file=path.name)
    if target.output == _STDOUT:
        print_lines(text.removesuffix("\n").split("\n"))
    elif target.as_json:
        print_json(
            {
                "written": str(path),
                "tasks": len(project.tasks),
                "agents": [agent.name for agent in project.agents],
                "not_taken_over": list(project.told),
                "next": [written.command("run")],
            }
        )
    else:
        tasks, agents = count(len(project.tasks), "task"), count(len(project.agents), "agent")
        print_lines([f"wrote {path}: {tasks}, {agents}", "", f"See what it is:  {written.command('graph')}"])
        print_lines([f"Run it:          {written.command('run')}"])
