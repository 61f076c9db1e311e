"""Every error this package raises on purpose. Imports nothing of its own; knows no wording of other modules.

OrchestrationError
├── InvalidTaskError (ValueError)       a task, agent or mode is not well formed
├── UnknownTaskError (ValueError)       no task of that id
├── UnknownAgentError (ValueError)      no agent of that name, or it is disabled
├── DuplicateError (ValueError)         the id or name is taken by something different
├── DependencyError                     a dependency is unknown, or not completed yet
│   └── CycleError                      dependencies that lead back to their start
├── TransitionError                     a fact that cannot follow what happened before
├── AttemptError                        one attempt at a task failed; carries its kind
│   ├── ProviderUnavailableError        the model's SDK or key is missing; a script may stand in
│   └── ReviewNeededError               a person has to find out how things stand before it goes on
├── RunStopError                    the run has to end before a task can go on; it can be resumed
├── ProjectFileError                    mistakes in a project file, all at once
└── StoreError                          the project's state cannot be read or written
    ├── StoreVersionError               written by a newer release
    └── ProjectLockedError              another orchestrator has the project open
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


__all__ = [
    "AttemptError",
    "CycleError",
    "DependencyError",
    "DuplicateError",
    "FailureKind",
    "InvalidTaskError",
    "OrchestrationError",
    "ProjectFileError",
    "ProjectLockedError",
    "ProviderUnavailableError",
    "ReviewNeededError",
    "RunStopError",
    "StoreError",
    "StoreVersionError",
    "TransitionError",
    "UnknownAgentError",
    "UnknownTaskError",
]


class FailureKind(StrEnum):
    """Why an attempt failed. Stored with it; drives retry, fallback and resume (DESIGN decision 8)."""

    RATE_LIMIT = "rate_limit"
    QUOTA = "quota"
    OVERLOADED = "overloaded"
    CONNECTION = "connection"
    TIMEOUT = "timeout"
    AUTH = "auth"
    CONTEXT_LENGTH = "context_length"
    REFUSAL = "refusal"
    TRUNCATED = "truncated"
    BAD_OUTPUT = "bad_output"
    CHECK_FAILED = "check_failed"  # the worker says it is done, and a check of the task says it is not
    CONFLICT = "conflict"  # the work is done, and cannot be merged with what others did
    BAD_REQUEST = "bad_request"
    BUDGET = "budget"  # the call's worst case does not fit the budgets: nothing was called
    UNAVAILABLE = "unavailable"  # an SDK, a key or a script is missing: nothing was called
    TASK_ERROR = "task_error"  # the worker itself said no: an exit code, an exception of the user's function


class OrchestrationError(Exception):
    """Base of all errors of this package."""


class InvalidTaskError(OrchestrationError, ValueError):
    """A task, agent or mode that is not well formed."""


class UnknownTaskError(OrchestrationError, ValueError):
    """No task of that id."""

    def __init__(self, task_id: str, known: Iterable[str] = ()) -> None:
        super().__init__(f"unknown task {task_id!r}; {_known('tasks', known)}")
        self.task_id = task_id


class UnknownAgentError(OrchestrationError, ValueError):
    """No agent of that name, or it is disabled."""


class DuplicateError(OrchestrationError, ValueError):
    """An id or name that is already taken by something different."""


class DependencyError(OrchestrationError):
    """A dependency that is unknown, or that is not completed yet."""


class CycleError(DependencyError):
    """Dependencies that lead back to their start. `cycle` holds the ids in order, the first one again at the end."""

    def __init__(self, cycle: Sequence[str]) -> None:
        super().__init__(
            f"tasks depend on each other in a circle: {' -> '.join(cycle)} (read '->' as 'depends on'); "
            "remove one of these dependencies"
        )
        self.cycle = tuple(cycle)


class TransitionError(OrchestrationError):
    """A fact that cannot follow what happened before, such as failing a completed task."""


class AttemptError(OrchestrationError):
    """One attempt at a task failed.

    `kind` decides whether it is tried again; `retry_after_s` is the earliest moment the other side named, in seconds
    from now; `details` is JSON kept with the result.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: FailureKind,
        retry_after_s: float | None = None,
        details: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after_s = retry_after_s
        self.details = details or {}


class ProviderUnavailableError(AttemptError):
    """The model's SDK is not installed or its key is not set; `reason` is the contract's `fallback_reason`."""

    def __init__(self, message: str, *, kind: FailureKind, reason: str) -> None:
        super().__init__(message, kind=kind)
        self.reason = reason


class ReviewNeededError(AttemptError):
    """A person has to find out how things stand. `cause` is as in `TaskNeedsReview`, `outcome` what was done so far."""

    def __init__(self, message: str, *, cause: str, outcome: object = None) -> None:
        super().__init__(message, kind=FailureKind.CONFLICT)
        self.cause = cause
        self.outcome = outcome


class RunStopError(OrchestrationError):
    """A task can go on only after a person has changed something; it is not failed, and a new run goes on with it.

    `kind` says what for: `budget`, or what would have been parked were parking not switched off.
    """

    def __init__(self, message: str, *, kind: FailureKind) -> None:
        super().__init__(message)
        self.kind = kind


class ProjectFileError(OrchestrationError):
    """Mistakes in a project file. `problems` holds one line each: file, line, path, what was found and expected."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class StoreError(OrchestrationError):
    """The project's state cannot be read or written."""


class StoreVersionError(StoreError):
    """The state was written by a newer release than this one."""


class ProjectLockedError(StoreError):
    """Another orchestrator has the project open; `pid` is its process, where known."""

    def __init__(self, message: str, *, pid: int | None) -> None:
        super().__init__(message)
        self.pid = pid


def _known(what: str, names: Iterable[str], limit: int = 20) -> str:
    """List what exists, for a message; long lists are cut."""
    listed = sorted(names)
    if not listed:
        return f"there are no {what} yet"
    more = f", and {len(listed) - limit} more" if len(listed) > limit else ""
    return f"known {what}: {', '.join(map(repr, listed[:limit]))}{more}"
