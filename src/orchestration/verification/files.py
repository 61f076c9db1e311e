"""Checks of kinds `files` and `changed`: what lies in the worker's folder. Only looks, and never outside of it."""

from __future__ import annotations

import asyncio
import math
import os
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.errors import AttemptError, FailureKind
from orchestration.task import is_inner_path
from orchestration.verification.excerpt import listed
from orchestration.verification.verdict import verdict_on
from orchestration.workspace.scopes import check_scope, fixed_folder, is_inside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestration.task_options import Check
    from orchestration.verification.verdict import Claim, Verdict

__all__ = ["find_changes", "find_files"]

# Not the worker's work: the version control's files and the orchestrator's own.
_NOT_WORK = frozenset({".git", ".orchestration"})
# A file gets the moment of the last tick of the system's clock, which may lie so long before the moment it was written.
_TICK_S = 0.01
_FOUND_MAX = 10


async def find_files(check: Check, cwd: Path | None) -> Verdict:
    """Tell whether all the paths exist below `cwd`, as files or folders; an empty file exists.

    Raises:
        AttemptError: of kind `bad_request`, if there is no folder, or a path leads out of it.

    """
    folder = _folder(check, cwd)
    for path in check.files:
        if not is_inner_path(path):
            raise _mistake(check, f"{path!r} is not a path inside the project's folder, such as 'out/report.md'")
    findings = await asyncio.to_thread(lambda: [_look(folder, path) for path in check.files])
    # What is missing comes first, where it is not cut off.
    lines = [line for _, line in sorted(findings, key=lambda finding: finding[0])]
    return verdict_on(check, "\n".join(lines), is_passed=all(is_there for is_there, _ in findings))


async def find_changes(check: Check, claim: Claim, cwd: Path | None) -> Verdict:
    """Tell whether each glob matches a path that changed.

    Without a workspace that knows what changed, these are the files below `cwd` that were written since the work began;
    one that was deleted leaves no trace there.

    Raises:
        AttemptError: of kind `bad_request`, if there is no folder to look in, or a glob leads out of it.

    """
    for glob in check.changed:
        try:
            check_scope(glob)
        except ValueError as exc:
            raise _mistake(check, str(exc)) from exc
    if claim.changed is None:
        folder, since_s = _folder(check, cwd), claim.since.timestamp() - _TICK_S
        found = await asyncio.to_thread(lambda: {glob: _written(folder, glob, since_s) for glob in check.changed})
        nothing = "no file was written"
    else:
        changed = claim.changed
        found = {glob: [path for path in changed if is_inside(path, [glob])] for glob in check.changed}
        nothing = f"no change among {listed(changed)}" if changed else "nothing was changed"
    lines = [f"{glob}: {listed(paths) if paths else nothing}" for glob, paths in found.items()]
    return verdict_on(check, "\n".join(lines), is_passed=all(found.values()))


def _folder(check: Check, cwd: Path | None) -> Path:
    if cwd is None:
        raise _mistake(check, "this project has no folder; open it with a project_root")
    return cwd.resolve()


def _look(folder: Path, path: str) -> tuple[bool, str]:
    """Return whether it is there, and what there is to say of it."""
    try:
        found = (folder / path).resolve()  # follows symlinks, so that they cannot lead out either
        if not found.is_relative_to(folder):
            return False, f"{path}: leads out of the folder {str(folder)!r}; only what lies in it counts"
        size_bytes = found.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return False, f"{path}: does not exist"
    except (OSError, RuntimeError, ValueError) as exc:  # a circle of links; a name the file system has no bytes for
        return False, f"{path}: cannot be looked at: {exc}"
    return True, f"{path}: " + ("is a folder" if found.is_dir() else f"{size_bytes:,} bytes")


def _written(folder: Path, glob: str, since_s: float) -> list[str]:
    """Return the first few files that the glob matches and that were written since."""
    written = (path for path in _files_below(folder, fixed_folder(glob)) if _changed_at(folder / path) >= since_s)
    return list(islice((path for path in written if is_inside(path, [glob])), _FOUND_MAX))


def _files_below(folder: Path, start: str) -> Iterator[str]:
    """Yield the paths, relative to the folder, of all files from `start` on; links are files and not followed."""
    top = folder / start
    if not top.resolve().is_relative_to(folder):
        return
    if not top.is_dir():
        yield start  # a file, or nothing
    for base, folders, names in os.walk(top):
        folders[:] = sorted(set(folders) - _NOT_WORK)
        below = Path(base).relative_to(folder)
        links = [name for name in folders if (folder / below / name).is_symlink()]
        yield from ((below / name).as_posix() for name in sorted([*names, *links]))


def _changed_at(path: Path) -> float:
    """Return when the file was last written, moved or unpacked to its place; long ago if there is none.

    The inode's own time tells. That of the contents is kept by `mv`, `cp -p` and archives.
    """
    try:
        return path.lstat().st_ctime
    except OSError:
        return -math.inf


def _mistake(check: Check, problem: str) -> AttemptError:
    return AttemptError(
        f"check {check.label!r} cannot be made: {problem}",
        kind=FailureKind.BAD_REQUEST,
        details={"check": check.label},
    )
