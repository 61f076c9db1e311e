"""What does not go together: two commits, merged without touching a file; and what is left of that in the files."""

from __future__ import annotations

import asyncio
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestration.workspace.produced import shown
from orchestration.workspace.records import Conflict

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from orchestration.workspace.git import Git

__all__ = ["Blend", "blend", "conflict_of", "unresolved_paths"]

_DIFF_MAX_BYTES = 200_000
_MARKED = re.compile(rb"^<{7} .*?^>{7} ", re.MULTILINE | re.DOTALL)
_SEARCHED_MAX_BYTES = 64_000_000


@dataclass(frozen=True, kw_only=True)
class Blend:
    """The merge of two commits: a tree, which has markers in the files of `paths`."""

    tree: str
    paths: tuple[str, ...]
    reasons: tuple[str, ...]


async def blend(git: Git, ours: str, theirs: str) -> Blend:
    """Merge two commits into a tree; neither index nor files are touched.

    Raises:
        WorkspaceError: if git cannot, for instance because the two have no history in common.

    """
    reply = await git("merge-tree", "--write-tree", "-z", "--name-only", "--messages", ours, theirs, codes=(0, 1))
    tree, *rest = os.fsdecode(reply.out).split("\0")
    if reply.code == 0:
        return Blend(tree=tree, paths=(), reasons=())
    end = rest.index("")
    return Blend(tree=tree, paths=tuple(dict.fromkeys(rest[:end])), reasons=tuple(_reasons(rest[end + 1 :])))


def _reasons(fields: list[str]) -> Iterable[str]:
    """Yield git's messages about conflicts. Each is: a number of paths, the paths, its type, its text."""
    at = 0
    while at < len(fields) and fields[at].isdigit():
        at += 1 + int(fields[at])
        kind, text = fields[at], fields[at + 1]
        at += 2
        if not kind.startswith("Auto-merging"):
            yield shown(text.strip())


async def conflict_of(git: Git, ours: str, found: Blend) -> Conflict:
    """Describe a merge that did not work out."""
    diff = await git(
        *("diff-tree", "-p", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", ours, found.tree),
        *("--", *found.paths[:1000]),
        limit_bytes=_DIFF_MAX_BYTES,
    )
    cut = "\n... (cut)\n" if diff.is_cut else ""
    return Conflict(
        paths=tuple(map(shown, found.paths)),
        diff=diff.out.decode(errors="backslashreplace") + cut,
        reasons=found.reasons,
    )


async def unresolved_paths(git: Git, ours: str, theirs: str) -> tuple[str, ...]:
    """Return the files of the merge of these two, in the folder of `git`, in which the conflict is still there.

    In text that means markers. Where git could make none (one side deleted the file, or it is binary), it means that
    the file was not added or removed since.
    """
    found = await blend(git, ours, theirs)
    if not found.paths:
        return ()
    marked = await asyncio.to_thread(_marked, git.folder, found.paths)
    grep = await git(
        "grep", "-G", "--no-color", "-z", "-l", "-I", "-e", "^<<<<<<< ", found.tree, "--", *found.paths, codes=(0, 1)
    )
    had_markers = {name.split(":", 1)[1] for name in grep.names}
    stages = (entry.split("\t", 1) for entry in (await git("ls-files", "--unmerged", "-z")).names)
    unmerged = {path for _, path in stages}
    return tuple(sorted(marked | (unmerged - had_markers)))


def _marked(folder: Path, paths: Iterable[str]) -> set[str]:
    return {path for path in paths if _has_markers(folder / path)}


def _has_markers(file: Path) -> bool:
    if file.is_symlink() or not file.is_file():
        return False
    with file.open("rb") as opened:
        return _MARKED.search(opened.read(_SEARCHED_MAX_BYTES)) is not None
