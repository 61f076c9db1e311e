"""A git worktree and branch of its own for each task that writes, and the way back into the user's branch.

Knows git, paths, ids and globs; no task record, no event, no executor.
"""

from orchestration.workspace.errors import Refusal, WorkspaceError
from orchestration.workspace.produced import produced_since
from orchestration.workspace.records import (
    Change,
    Conflict,
    LeftState,
    LeftWorkspace,
    Merged,
    ProducedFile,
    ProducedFiles,
)
from orchestration.workspace.scopes import check_scope, is_inside, overlap
from orchestration.workspace.workspace import Workspace
from orchestration.workspace.workspaces import Workspaces

__all__ = [
    "Change",
    "Conflict",
    "LeftState",
    "LeftWorkspace",
    "Merged",
    "ProducedFile",
    "ProducedFiles",
    "Refusal",
    "Workspace",
    "WorkspaceError",
    "Workspaces",
    "check_scope",
    "is_inside",
    "overlap",
    "produced_since",
]
