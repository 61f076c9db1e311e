"""`orchestrate doctor`: what this machine offers, and whether the project's state is in order. Calls nobody."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal

import click

from llm_abstractions.factory import LlmFactory
from orchestration.agent_registry import LLM_TYPES
from orchestration.cli.output import print_json, print_lines
from orchestration.cli.place import Place, json_option, project_options
from orchestration.cli.snapshot import Home, find_home, live_pid
from orchestration.errors import OrchestrationError, ProjectFileError
from orchestration.fold import fold
from orchestration.runners.response_cache import responses_path
from orchestration.store.sqlite import read_facts
from orchestration.views.table import Cell, columns
from orchestration.views.wording import count
from orchestration.workspace.repository import GIT_MIN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Finding", "doctor", "examine"]

_PYTHON_MIN = (3, 11)
_SQLITE_FIXED = (3, 51, 3)
_DISK_MIN_BYTES = 200 * 1024 * 1024
_KEYS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY")
_STYLES = {"ok": "green", "note": "yellow", "wrong": "bold red"}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at: `ok`, a `note` to know of, or `wrong`: it will not work until it is mended."""

    what: str
    level: Literal["ok", "note", "wrong"]
    says: str


@click.command
@project_options
@json_option
def doctor(place: Place, *, as_json: bool) -> int:
    """Check this machine and the project's state.

    Python, SQLite, SDKs, keys (whether they are set, never what they are), disk, lock and state. Exit code 1 if
    something is wrong.
    """
    findings = list(examine(place))
    is_well = all(finding.level != "wrong" for finding in findings)
    if as_json:
        print_json({"is_well": is_well, "findings": [asdict(finding) for finding in findings]})
    else:
        rows: list[list[Cell]] = [
            [(finding.level, _STYLES[finding.level]), (finding.what, ""), (finding.says, "")] for finding in findings
        ]
        print_lines([*columns(rows), "", "Everything is in order." if is_well else "Mend what is marked 'wrong'."])
    return 0 if is_well else 1


def examine(place: Place) -> Iterator[Finding]:
    """Look at one thing after the other."""
    yield _python()
    yield Finding(what="orchestrate", level="ok", says=version("async-orchestrator"))
    yield _sqlite()
    yield _git()
    yield from _sdks()
    yield from _keys()
    yield _terminal()
    try:
        home = find_home(place)
    except ProjectFileError as exc:
        yield Finding(what="project", level="note", says=exc.problems[0])
        yield _disk(place.path.absolute().parent)
        return
    yield _project(place, home)
    yield _disk(home.root)
    yield _lock(home)
    yield _state(home)
    yield from _answers(home)


def _python() -> Finding:
    is_new_enough = sys.version_info >= _PYTHON_MIN
    says = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding(
        what="python",
        level="ok" if is_new_enough else "wrong",
        says=says if is_new_enough else f"{says}; 3.11 or newer is needed",
    )


def _sqlite() -> Finding:
    says = f"SQLite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < _SQLITE_FIXED:
        says += "; before 3.51.3 two writers can damage a file in WAL mode, but this program has only one writer"
    return Finding(what="sqlite", level="ok", says=says)


def _git() -> Finding:
    needed = ".".join(map(str, GIT_MIN))
    git = shutil.which("git")
    if git is None:
        return Finding(what="git", level="note", says=f"not installed; worktrees need git {needed} or newer")
    says = subprocess.run([git, "version"], capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603 -- the git on the PATH, and words of our own
    if tuple(int(number) for number in re.findall(r"\d+", says)[:2]) < GIT_MIN:
        return Finding(what="git", level="note", says=f"{says}; worktrees need {needed} or newer")
    return Finding(what="git", level="ok", says=says)


def _sdks() -> Iterator[Finding]:
    for kind in sorted(LLM_TYPES):
        status = LlmFactory.describe(kind)
        if status.missing_modules or status.sdk_version is None:
            yield Finding(what=f"sdk {kind}", level="note", says=f"not installed; {status.fix}")
        else:
            # For local models the key is no matter, but the weights are.
            missing = f"; {status.fix}" if status.fix and not status.missing_variables else ""
            yield Finding(
                what=f"sdk {kind}",
                level="note" if missing else "ok",
                says=f"{status.sdk} {status.sdk_version}{missing}",
            )
    try:
        yield Finding(what="prices", level="ok", says=f"genai-prices {version('genai-prices')}")
    except PackageNotFoundError:
        yield Finding(what="prices", level="note", says="genai-prices is not installed: costs are shown as unknown")


def _keys() -> Iterator[Finding]:
    for name in _KEYS:
        value = os.environ.get(name)
        if value is None:
            yield Finding(what="key", level="note", says=f"{name} is not set")
        elif value.strip() != value or not value:
            yield Finding(what="key", level="wrong", says=f"{name} is empty or has blanks around it; set it again")
        else:
            yield Finding(what="key", level="ok", says=f"{name} is set")


def _terminal() -> Finding:
    encoding = sys.stdout.encoding or "unknown"
    kind = "a terminal" if sys.stdout.isatty() else "not a terminal: lines instead of the live table"
    return Finding(what="output", level="ok", says=f"{kind}, {encoding}")


def _project(place: Place, home: Home) -> Finding:
    if home.project is None:
        mistakes = f"{place.path} has mistakes; {place.command('validate')} lists them"
        return Finding(what="project", level="wrong", says=mistakes)
    tasks, agents = count(len(home.project.tasks), "task"), count(len(home.project.agents), "agent")
    return Finding(what="project", level="ok", says=f"{home.project_id!r} in {home.root}: {tasks}, {agents}")


def _disk(folder: Path) -> Finding:
    existing = next(place for place in (folder, *folder.parents) if place.is_dir())
    free = shutil.disk_usage(existing).free
    says = f"{free / 1e9:.1f} GB free"
    if not os.access(existing, os.W_OK):
        return Finding(what="disk", level="wrong", says=f"{existing} cannot be written to; change its permissions")
    if free < _DISK_MIN_BYTES:
        return Finding(what="disk", level="wrong", says=f"{says}; free some space before the state cannot be written")
    return Finding(what="disk", level="ok", says=says)


def _lock(home: Home) -> Finding:
    pid = live_pid(home)
    return Finding(
        what="lock", level="ok", says="nobody has the project open" if pid is None else f"process {pid} is running it"
    )


def _state(home: Home) -> Finding:
    if not home.state_path.exists():
        return Finding(what="state", level="ok", says="the project has not run yet")
    try:
        facts = read_facts(home.state_path)
        state = fold(event for _, event in facts)
    except OrchestrationError as exc:
        return Finding(what="state", level="wrong", says=str(exc))
    size = home.state_path.stat().st_size / 1e6
    says = f"{count(len(facts), 'fact')} of {count(len(state.tasks), 'task')}, {size:.1f} MB"
    return Finding(what="state", level="ok", says=f"{home.state_path} is readable: {says}")


def _answers(home: Home) -> Iterator[Finding]:
    path = responses_path(home.root)
    if path.is_file():
        size = path.stat().st_size / 1e6
        yield Finding(what="answers", level="ok", says=f"{path} keeps {size:.1f} MB to use again; it may be deleted")
