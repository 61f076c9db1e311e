"""Commands to begin with: `init` and `demo`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestration import demo as demo_project
from orchestration.cli.agents import inspect_agent
from orchestration.cli.output import print_json, print_lines, tell
from orchestration.cli.place import DEFAULT_FILE, Place, json_option, load
from orchestration.cli.run import RunOptions, run_project
from orchestration.errors import OrchestrationError

__all__ = ["demo", "init"]

# What is in the package -> what it is called in the project: a `.gitignore` in the package would apply to it.
_STARTER = {
    "orchestrate.yaml": "orchestrate.yaml",
    "work.py": "work.py",
    "notes/alice.md": "notes/alice.md",
    "notes/bob.md": "notes/bob.md",
    "gitignore": ".gitignore",
}
_DEMO_FOLDER = "orchestrate-demo"


class NotPossibleError(OrchestrationError):
    """The project cannot be made or run here as things are."""


@click.command
@click.argument("folder", metavar="[DIR]", default=".")
@json_option
def init(folder: str, *, as_json: bool) -> None:
    """Make a small project that works, to start from.

    In DIR (default: this folder). It needs no key: a Python function and two programs do the work, and you approve it.
    Nothing is overwritten.
    """
    target = Path(folder)
    taken = [name for name in _STARTER.values() if (target / name).exists() and name != ".gitignore"]
    if taken:
        raise NotPossibleError(
            f"{', '.join(map(repr, taken))} in {folder!r} would be overwritten; nothing was written. "
            "Name another folder: orchestrate init DIR"
        )
    source = Path(__file__).parent / "starter"
    written = []
    for name, called in _STARTER.items():
        path = target / called
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((source / name).read_bytes())
        written.append(str(path))
    place = Place(folder=folder)
    if as_json:
        print_json({"written": written, "next": [place.command("run")]})
        return
    print_lines([f"wrote {path}" for path in written])
    print_lines(["", f"Run it:          {place.command('run')}", f"See what it is:  {place.command('graph')}"])


@click.command
@click.argument("folder", metavar="[DIR]", default=_DEMO_FOLDER)
@click.option("-v", "--verbose", "verbosity", count=True, help="Say more about what goes on; -vv says all.")
@json_option
def demo(folder: str, *, verbosity: int, as_json: bool) -> int:
    """Run the demo project: a real model on this machine, no key.

    Its files are put into DIR (default: orchestrate-demo), where you can change them. Run again, it goes on
    where it was.
    """
    place = Place(folder=folder)
    written = demo_project.copy_to(Path(folder))
    if written:
        tell(f"wrote the demo project into {folder}")
    _refuse_missing(place)
    code = run_project(place, RunOptions(as_json=as_json, verbosity=verbosity))
    if code == 0 and not as_json:
        print_lines(["", "Try next:", *(f"  {line}" for line in _next_commands(place))])
    return code


def _refuse_missing(place: Place) -> None:
    """Say what is missing before anything runs.

    Raises:
        NotPossibleError: naming all of it, with what to do.

    """
    project = load(place)
    needs = [report for agent in project.agents if not (report := inspect_agent(agent, project)).is_ready]
    if needs:
        steps = "; ".join(f"agent {report.name!r}: {report.fix}" for report in needs)
        raise NotPossibleError(f"the demo cannot run yet: {steps}")


def _next_commands(place: Place) -> list[str]:
    project = load(place)
    files = [task.output_file for task in project.tasks if task.output_file]
    model_task = next((task.task_id for task in project.tasks if task.output_schema), project.tasks[-1].task_id)
    return [
        *([f"cat {Path(place.folder) / files[-1]}"] if files else []),
        place.command("show", model_task),
        place.command("graph"),
        f"{place.command('reset', model_task)} && {place.command('run')}",
        f"less {Path(place.folder) / 'README.md'}   ({DEFAULT_FILE} is beside it: change it and run again)",
    ]
