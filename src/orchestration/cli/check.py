"""Commands about the project file alone: `validate` and `schema`."""

from __future__ import annotations

from pathlib import Path

import click

from orchestration.cli.output import print_json, print_lines, tell, to_json
from orchestration.cli.place import Place, json_option, load, project_options
from orchestration.errors import ProjectFileError
from orchestration.project_file import json_schema
from orchestration.views.wording import count

__all__ = ["schema", "validate"]


@click.command
@project_options
@json_option
def validate(place: Place, *, as_json: bool) -> int:
    """Check the project file and list all its mistakes.

    Each with file, line, column, path, what was found and what was expected. Reads no state and starts nothing.
    """
    try:
        project = load(place)
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


@click.command
@click.option("-o", "--output", type=click.Path(dir_okay=False), metavar="FILE", help="Write it to FILE instead.")
def schema(output: str | None) -> None:
    """Print the JSON Schema of project files.

    With it an editor completes and explains every key: put `# yaml-language-server: $schema=FILE` on the first line.
    """
    if output is None:
        print_json(json_schema())
        return
    Path(output).write_text(to_json(json_schema()) + "\n", encoding="utf-8")
    tell(f"wrote {output}")
