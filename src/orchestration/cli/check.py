"""Commands that check without running anything: `validate`, `agents`, `doctor`, `schema`."""

from __future__ import annotations

import click

from orchestration.cli.output import print_json, print_lines
from orchestration.cli.place import Place, json_option, project_options
from orchestration.errors import ProjectFileError
from orchestration.project_file import load_project
from orchestration.views.wording import count

__all__ = ["validate"]


@click.command
@project_options
@json_option
def validate(place: Place, *, as_json: bool) -> int:
    """Check the project file and list all its mistakes.

    Each with file, line, column, path, what was found and what was expected. Reads no state and starts nothing.
    """
    try:
        project = load_project(place.path)
    except ProjectFileError as exc:
        if not as_json:
            raise
        print_json({"file": str(place.path), "is_valid": False, "problems": list(exc.problems)})
        return 2
    if as_json:
        print_json({"file": str(place.path), "is_valid": True, "problems": []})
    else:
        tasks, agents = count(len(project.tasks), "task"), count(len(project.agents), "agent")
        print_lines([f"{place.path} is fine: {tasks}, {agents}."])
    return 0
