"""What a workspace tells its caller: files, merges, conflicts, leftovers. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path  # noqa: TC003 -- msgspec and typing.get_type_hints resolve the records' fields

__all__ = ["Change", "Conflict", "LeftState", "LeftWorkspace", "Merged", "ProducedFile", "ProducedFiles"]


class Change(StrEnum):
    """How a file differs from what it was before."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"


@dataclass(frozen=True, kw_only=True)
class ProducedFile:
    """A file a task made, changed or removed.

    `path` is relative, with `/`; bytes that are no UTF-8 are spelled out. `sha256` is that of the content, of a
    symbolic link's target for a link, and None for what has no content: a deleted file, a submodule.
    """

    path: str
    change: Change
    sha256: str | None
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class ProducedFiles:
    """Files by path, and how many more there were than were looked at."""

    files: tuple[ProducedFile, ...]
    omitted: int


@dataclass(frozen=True, kw_only=True)
class Merged:
    """The task's work is in the root's branch. `commit` brought it there."""

    commit: str


@dataclass(frozen=True, kw_only=True)
class Conflict:
    """The task's work and the root's branch do not go together; nothing was changed.

    `diff` shows the files in conflict with git's markers, against the root's branch, cut when it is long. `reasons`
    are git's own words, one per conflict, which also tell of conflicts that no diff shows (a file deleted here and
    changed there, binary files).
    """

    paths: tuple[str, ...]
    diff: str
    reasons: tuple[str, ...]


class LeftState(StrEnum):
    """What a workspace that was left behind still holds; the first that applies."""

    UNCOMMITTED = "uncommitted"  # files that are in no commit
    UNMERGED = "unmerged"  # commits that are not in the root's branch
    SUBMODULE = "submodule"  # initialised submodules, whose commits may exist nowhere else
    BROKEN = "broken"  # git does not know the folder any more
    MERGED = "merged"  # nothing: it can be removed


@dataclass(frozen=True, kw_only=True)
class LeftWorkspace:
    """A workspace that was left behind. `path` is None when only its branch is left."""

    task_id: str
    path: Path | None
    branch: str
    state: LeftState
