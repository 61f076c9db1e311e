"""`orchestrate workspaces`: the worktrees and branches that tasks have left, and what is still in them."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from orchestration.cli.compose import run_async
from orchestration.cli.output import is_ascii_only, print_json, print_lines, width_of
from orchestration.cli.place import Place, json_option, project_options
from orchestration.cli.snapshot import Snapshot, read_snapshot
from orchestration.store.lock import ProjectLock
from orchestration.views.table import Cell, columns, standing
from orchestration.views.wording import count, in_ascii
from orchestration.workspace import LeftState, LeftWorkspace, Workspaces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestration.cli.snapshot import Home

__all__ = ["workspaces"]

_HOLDS = {
    LeftState.UNCOMMITTED: ("uncommitted changes", "bold yellow"),
    LeftState.UNMERGED: ("commits that are not merged", "bold yellow"),
    LeftState.SUBMODULE: ("submodules, which git cannot vouch for", "yellow"),
    LeftState.BROKEN: ("files, but git does not know the folder", "bold red"),
    LeftState.MERGED: ("nothing that is not merged", "dim"),
}


@click.command
@project_options
@click.option("--clean", is_flag=True, help="Remove those that hold nothing; uncommitted and unmerged work stays.")
@json_option
def workspaces(place: Place, *, clean: bool, as_json: bool) -> None:
    """List the worktrees and branches that tasks left.

    Of each it tells what it still holds, and how to look at that or take it over. Works beside a run, but for --clean.
    """
    snapshot = read_snapshot(place)
    before = _list(snapshot.home)
    removed = _clean(snapshot.home, before) if clean else []
    left = _list(snapshot.home) if removed else before
    if as_json:
        print_json({"workspaces": [_document(snapshot, one) for one in left], "removed": removed})
    else:
        print_lines(_lines(place, snapshot, left, removed, has_cleaned=clean))


def _list(home: Home) -> list[LeftWorkspace]:
    """Return what was left; a project whose tasks never had a worktree need not be a repository."""
    if not (home.root / ".orchestration" / "worktrees").is_dir():
        return []
    return run_async(Workspaces(home.root, home.project_id).list_left())


def _clean(home: Home, found: Sequence[LeftWorkspace]) -> list[str]:
    """Remove what holds nothing, and return the ids of its tasks.

    Raises:
        ProjectLockedError: if the project is open elsewhere: a worktree in which a worker begins holds nothing yet.
        WorkspaceError: if git refuses.

    """
    idle = [one.task_id for one in found if one.state is LeftState.MERGED]
    if not idle:
        return []
    lock = ProjectLock(home.state_path.with_suffix(".lock"))
    try:
        return run_async(_remove(home, idle))
    finally:
        lock.release()


async def _remove(home: Home, task_ids: Sequence[str]) -> list[str]:
    owner = Workspaces(home.root, home.project_id)
    # One after the other: each takes the repository's lock, and looks again before it removes anything.
    return [task_id for task_id in task_ids if await owner.remove(task_id) is None]


def _document(snapshot: Snapshot, left: LeftWorkspace) -> dict[str, Any]:
    known = snapshot.state.tasks.get(left.task_id)
    return {
        "task_id": left.task_id,
        "task_status": None if known is None else known.status.value,
        "state": left.state.value,
        "branch": left.branch,
        "path": None if left.path is None else str(left.path),
    }


def _lines(
    place: Place, snapshot: Snapshot, left: Sequence[LeftWorkspace], removed: Sequence[str], *, has_cleaned: bool
) -> list[Text]:
    ascii_only = is_ascii_only(sys.stdout)
    lines = columns([_cells(snapshot, one) for one in left], width=width_of(sys.stdout), ascii_only=ascii_only)
    if lines:
        lines.append(Text())
    for one in left:
        lines += [Text(in_ascii(step) if ascii_only else step) for step in _steps(snapshot.home, one)]
    if removed:
        lines.append(Text(f"removed {count(len(removed), 'workspace')}: {', '.join(removed)}", "green"))
    if idle := sum(one.state is LeftState.MERGED for one in left):
        verb = "holds" if idle == 1 else "hold"
        lines.append(Text(f"{count(idle, 'workspace')} {verb} nothing: {place.command('workspaces', '--clean')}"))
    if not lines:
        lines.append(Text("No task has left a workspace."))
    elif has_cleaned and not removed:
        lines.append(Text("There was nothing to remove."))
    return lines


def _cells(snapshot: Snapshot, left: LeftWorkspace) -> list[Cell]:
    known = snapshot.state.tasks.get(left.task_id)
    status = (_whose(snapshot, left), "dim") if known is None else standing(known.status, is_parked=bool(known.parked))
    folder = "" if left.path is None else str(left.path.relative_to(snapshot.home.root.resolve()))
    return [(left.task_id, "bold"), status, _HOLDS[left.state], (left.branch, ""), (folder, "dim")]


def _whose(snapshot: Snapshot, left: LeftWorkspace) -> str:
    """Say what a branch is that no task of this id has: what an earlier attempt has left is called `task+left1`."""
    task_id = left.task_id.rpartition("+left")[0]
    return "an earlier attempt" if task_id in snapshot.state.tasks else "no such task"


def _steps(home: Home, left: LeftWorkspace) -> list[str]:
    """Return how to look at what it holds, and how to take it over."""
    there = "" if left.path is None else shlex.quote(str(left.path))
    root, branch = shlex.quote(str(home.root)), shlex.quote(left.branch)
    match left.state:
        case LeftState.UNCOMMITTED:
            return [
                f"{left.task_id}: see it with: git -C {there} status",
                f"  keep it: git -C {there} add -A && git -C {there} commit -m {shlex.quote(left.task_id)}",
            ]
        case LeftState.UNMERGED:
            return [
                f"{left.task_id}: see it with: git -C {root} log -p HEAD..{branch}",
                f"  take it over: git -C {root} merge {branch}",
            ]
        case LeftState.SUBMODULE | LeftState.BROKEN:
            return [f"{left.task_id}: look into {there}, and remove the folder when you have what you need of it"]
        case _:
            return []
