"""Why a workspace cannot be had, kept or merged. One error; its `kind` says what a caller can do about it.

OrchestrationError
└── WorkspaceError      refused, with nothing changed; the message says what to do next
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from orchestration.errors import OrchestrationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Refusal", "WorkspaceError", "listed"]

_NAMED_MAX = 10


class Refusal(StrEnum):
    """What stands in the way."""

    GIT_MISSING = "git_missing"
    GIT_TOO_OLD = "git_too_old"
    NOT_A_REPOSITORY = "not_a_repository"
    NOT_TOP_LEVEL = "not_top_level"
    OUTSIDE_ROOT = "outside_root"  # what would be written lies outside the project's folder
    BARE = "bare"
    SPARSE = "sparse"
    NO_COMMIT = "no_commit"
    DETACHED = "detached"
    IN_PROGRESS = "in_progress"  # a merge, rebase, cherry-pick, revert or bisect is not finished
    DIRTY = "dirty"  # uncommitted changes stand in the way
    BRANCH_SWITCHED = "branch_switched"
    CHECKED_OUT_ELSEWHERE = "checked_out_elsewhere"
    FOLDER_TAKEN = "folder_taken"
    UNCOMMITTED = "uncommitted"  # the worktree's own work has to be committed first
    UNRESOLVED = "unresolved"  # conflict markers or unmerged files are left
    NESTED_REPOSITORY = "nested_repository"  # git would keep a link in place of the files
    SUBMODULE = "submodule"
    BUSY = "busy"  # somebody else's git holds a lock
    GIT_FAILED = "git_failed"  # git said no for a reason of its own, which the message quotes


class WorkspaceError(OrchestrationError):
    """A workspace was refused. `paths` holds the files in the way, relative to their tree; may be empty."""

    def __init__(self, message: str, *, kind: Refusal, paths: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.paths = tuple(paths)


def listed(paths: Iterable[str]) -> str:
    """Name the paths in a message; long lists are cut."""
    names = sorted(paths)
    more = f" and {len(names) - _NAMED_MAX} more" if len(names) > _NAMED_MAX else ""
    return ", ".join(map(repr, names[:_NAMED_MAX])) + more
