"""A git worktree and branch of its own for each task that writes, and the way back into the user's branch.

Knows git, paths, ids and globs; no task record, no event, no executor.

Its names are loaded when they are first asked for (PEP 562): most projects need no worktree.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    from orchestration.workspace.workspaces import Workspaces, recover

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
    "recover",
]

_HOMES = {
    "Change": "records",
    "Conflict": "records",
    "LeftState": "records",
    "LeftWorkspace": "records",
    "Merged": "records",
    "ProducedFile": "records",
    "ProducedFiles": "records",
    "Refusal": "errors",
    "Workspace": "workspace",
    "WorkspaceError": "errors",
    "Workspaces": "workspaces",
    "check_scope": "scopes",
    "is_inside": "scopes",
    "overlap": "scopes",
    "produced_since": "produced",
    "recover": "workspaces",
}


def __getattr__(name: str) -> object:
    """Load a name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
