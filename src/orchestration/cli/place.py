"""Which project a command is about: its folder, its file, and the options that name them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestration.errors import ProjectFileError
from orchestration.project_file import load_project

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestration.project_file import ProjectFile

__all__ = ["Place", "json_option", "load", "project_options"]

DEFAULT_FILE = "orchestrate.yaml"


@dataclass(frozen=True, kw_only=True)
class Place:
    """A project file as it was named. `folder` and `file` are as typed, so that hints can repeat them."""

    folder: str = "."
    file: str = DEFAULT_FILE

    @property
    def path(self) -> Path:
        """The project file."""
        return Path(self.folder) / self.file

    def command(self, *words: str) -> str:
        """Return a command line for this project, ready to be pasted into a shell."""
        chosen = [] if self.folder == "." else ["-C", self.folder]
        named = [] if self.file == DEFAULT_FILE else ["--file", self.file]
        return shlex.join(["orchestrate", *words[:1], *chosen, *named, *words[1:]])


def load(place: Place) -> ProjectFile:
    """Load the project file.

    Raises:
        ProjectFileError: if it has mistakes, or there is none.

    """
    if not place.path.exists():
        ways = "name its folder with -C DIR, or make a project with `orchestrate init`"
        raise ProjectFileError([f"there is no project file {str(place.path)!r}; {ways}"])
    return load_project(place.path)


def project_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `-C/--project` and `--file` to a command and hand it a `Place` as its first argument."""

    @click.option("-C", "--project", "folder", metavar="DIR", help="The project's folder (default: this one).")
    @click.option(
        "--file", metavar="FILE", default=DEFAULT_FILE, show_default=True, help="The project file in that folder."
    )
    @wraps(command)
    def with_place(*, folder: str | None, file: str, **options: Any) -> Any:
        chosen = folder or click.get_current_context().obj or "."
        return command(Place(folder=chosen, file=file), **options)

    return with_place


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
