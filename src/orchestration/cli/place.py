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

__all__ = ["Place", "json_option", "load", "project_option", "project_options"]

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
        named = self.folder if self.file == DEFAULT_FILE else str(self.path)
        chosen = [] if named == "." else ["-C", named]
        return shlex.join(["orchestrate", *words[:1], *chosen, *words[1:]])


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
    named = click.option("--file", metavar="FILE", help=f"The project file in that folder (default: {DEFAULT_FILE}).")
    return named(project_option(command))


def project_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `-C/--project` alone, for a command that has another `--file`."""

    @click.option(
        "-C", "--project", "folder", metavar="DIR", help="The project's folder, or its file (default: this folder)."
    )
    @wraps(command)
    def with_place(*, folder: str | None, file: str | None = None, **options: Any) -> Any:
        return command(_find(folder or click.get_current_context().obj or ".", file), **options)

    return with_place


def _find(folder: str, file: str | None) -> Place:
    path = Path(folder)
    if file is None and path.is_file():
        return Place(folder=str(path.parent), file=path.name)
    return Place(folder=folder, file=file or DEFAULT_FILE)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
