"""The parts of a task that are records of their own: its checks, what it may add to the project, how a person is asked.

Pure. Knows nothing of tasks, agents or how any of this is carried out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003 -- msgspec reads the annotations at run time
from dataclasses import dataclass
from typing import Any, Literal, get_args

from orchestration.errors import InvalidTaskError

__all__ = ["ACCEPT", "EFFECTS", "WORKSPACES", "AddsTasks", "Check", "Effects", "Wait", "WorkspaceKind"]

Effects = Literal["none", "idempotent", "once"]
WorkspaceKind = Literal["shared", "worktree", "none"]
Approval = Literal["costly", "always", "never"]

EFFECTS: tuple[str, ...] = get_args(Effects)
WORKSPACES: tuple[str, ...] = get_args(WorkspaceKind)
ACCEPT = "approve"  # the default of `wait` that takes a draft as it is

_KINDS = ("command", "schema", "matches", "files", "changed", "judge", "person")


@dataclass(frozen=True, kw_only=True)
class Check:
    """One condition a result has to meet before its task is completed.

    Exactly one of these says which: `command` (program and arguments; exit code 0), `schema` (a JSON Schema for the
    result's data), `matches` (a regular expression found in the output), `files` (paths that must exist), `changed`
    (globs of which each must match a file that changed), `judge` (an agent that scores the result from 0 to 1;
    `criteria` says by what, `threshold` is the least score that passes), or `person` (someone approves; `criteria` is
    what they are asked).
    """

    command: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    matches: str | None = None
    files: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    judge: str | None = None
    person: bool = False
    name: str = ""
    criteria: str = ""
    threshold: float = 0.7
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        for field in ("command", "files", "changed"):
            words = getattr(self, field)
            if isinstance(words, str) or not all(isinstance(word, str) for word in words):
                raise InvalidTaskError(f"check {self.name!r}: {field} is {words!r}, expected a sequence of words")
            object.__setattr__(self, field, tuple(words))
        given = [kind for kind in _KINDS if getattr(self, kind)]
        if len(given) != 1:
            raise InvalidTaskError(
                f"check {self.name!r} has {' and '.join(given) or 'none'} of {', '.join(_KINDS)}; expected exactly one"
            )
        if not 0 <= self.threshold <= 1:
            raise InvalidTaskError(f"check {self.label!r}: threshold is {self.threshold!r}, expected 0 to 1")
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise InvalidTaskError(f"check {self.label!r}: timeout_s is {self.timeout_s!r}, expected a number above 0")
        if self.matches is not None:
            try:
                re.compile(self.matches)
            except re.error as exc:
                raise InvalidTaskError(
                    f"check {self.label!r}: {self.matches!r} is not a regular expression: {exc}"
                ) from exc

    @property
    def kind(self) -> str:
        """Which of the conditions it is."""
        return next(kind for kind in _KINDS if getattr(self, kind))

    @property
    def label(self) -> str:
        """What messages call it: its name or, without one, what it looks at."""
        if self.name:
            return self.name
        match self.kind:
            case "command":
                return " ".join(self.command)
            case "files" | "changed" as kind:
                return f"{kind}: {', '.join(getattr(self, kind))}"
            case "matches":
                return f"matches {self.matches}"
            case "judge":
                return f"judge {self.judge}"
            case kind:
                return kind


@dataclass(frozen=True, kw_only=True)
class AddsTasks:
    """How a task's result may add tasks to the project.

    At most `max_tasks`, which may add tasks themselves `max_depth - 1` levels deep. With `approval` a person sees them
    before they run: `costly` where one of them is given to a model or a coding agent, `always`, or `never`.
    """

    max_tasks: int = 20
    max_depth: int = 1
    approval: Approval = "costly"

    def __post_init__(self) -> None:
        for name in ("max_tasks", "max_depth"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidTaskError(f"adds_tasks: {name} is {value!r}, expected a whole number above 0")
        if self.approval not in get_args(Approval):
            raise InvalidTaskError(
                f"adds_tasks: approval is {self.approval!r}, expected one of {', '.join(get_args(Approval))}"
            )


@dataclass(frozen=True, kw_only=True)
class Wait:
    """How long a task waits for a person: reminded every `remind_every_s`, given up at `deadline_s` after the asking.

    `default` is what counts as the answer then; for a draft, `ACCEPT` takes it as it is. Without it the task fails.
    """

    deadline_s: float | None = None
    remind_every_s: float | None = None
    default: str | None = None

    def __post_init__(self) -> None:
        for name in ("deadline_s", "remind_every_s"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and 0 < value < float("inf")):
                raise InvalidTaskError(f"wait: {name} is {value!r}, expected seconds above 0")
        if self.default is not None and self.deadline_s is None:
            raise InvalidTaskError("wait: default without deadline_s would never count; give a deadline_s")
