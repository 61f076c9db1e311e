"""What a task is, and what came of it: the records every other module speaks in.

Knows nothing of agents' configuration, of scheduling or of where anything is stored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, asdict, dataclass, field, fields
from datetime import datetime  # noqa: TC003 -- msgspec reads the annotations at run time
from enum import Enum, IntEnum, StrEnum
from pathlib import PurePath
from typing import Any, TypeVar

import msgspec

from orchestration.errors import FailureKind, InvalidTaskError
from orchestration.task_options import EFFECTS, WORKSPACES, AddsTasks, Check, Effects, Wait, WorkspaceKind

__all__ = [
    "EXECUTION_MODES",
    "SATISFIED",
    "AddsTasks",
    "AgentTask",
    "Check",
    "ExecutionResult",
    "ExecutionStatus",
    "FailureKind",
    "TaskPriority",
    "TaskStatus",
    "Wait",
    "check_mode",
    "check_name",
    "is_count",
    "is_duration",
    "is_inner_path",
    "max_age_s",
]

EXECUTION_MODES = ("interactive", "api", "hybrid")

# How old an answer may be that is used again, unless the one who allows it says.
DEFAULT_MAX_AGE_S = 7 * 24 * 3600.0

E = TypeVar("E", bound=Enum)

_NAME = re.compile(r"\w[\w.:@+-]*")
_NAME_MAX = 128


class TaskStatus(StrEnum):
    """Where a task stands. `blocked` is derived: something it depends on failed or was cancelled.

    `verifying`: the worker says it is done, and its checks are at it. `needs_review`: a person decides what became of
    it, after a crash or a conflict. `skipped`: its condition did not hold; what depends on it can run.
    """

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    VERIFYING = "verifying"
    WAITING = "waiting"
    NEEDS_REVIEW = "needs_review"
    COMPLETED = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"
    BLOCKED = "blocked"
    CANCELLED = "cancelled"


# What a task has come to when those that depend on it can run.
SATISFIED = frozenset({TaskStatus.COMPLETED, TaskStatus.SKIPPED})


class TaskPriority(IntEnum):
    """Which of several ready tasks starts first; the higher one does."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2
    CRITICAL = 3


class ExecutionStatus(StrEnum):
    """How one execution of a task stands; `pending` means that a person has the next word."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class AgentTask:
    """One piece of work for one worker.

    `prompt` is a Jinja2 template; without one the prompt is made of title, description and the dependencies' outputs.
    `output_schema` is a JSON Schema the answer has to meet. `output_file` is relative to the project's root.
    `timeout_s` spans all attempts. `metadata` is JSON and may hold `use_direct_llm` (default true), `model`, and
    `cache`, which stand for the agent's own: true, false or {"max_age_s": seconds}.

    `checks` decide whether a result counts. `effects` says what an interrupted attempt may have done to the world:
    nothing, the same as a repetition would do, or something that must not happen twice (`once`). `workspace` is where
    it works: the project's folder (`shared`), a git worktree of its own, or an empty folder (`none`); None leaves it to
    the kind of agent. `writes` are globs of what it may write there; tasks whose globs meet never run together.
    `on_conflict` names the agent that resolves a merge conflict; without one a person does.

    `when` is an expression on its dependencies' outcomes; if it is false the task is skipped. `for_each` is one that
    gives a list of at most `max_items`: the task then runs once for each `item`. `adds_tasks` lets its result add
    tasks to the project.

    `status` is not part of the definition: two tasks that differ only there are equal.

    Raises:
        InvalidTaskError: if an id is not a plain name, or a field is of the wrong type or out of range.

    """

    task_id: str
    title: str
    description: str = ""
    _: KW_ONLY
    agent: str | None = None
    dependencies: tuple[str, ...] = ()
    priority: TaskPriority = TaskPriority.MEDIUM
    metadata: Mapping[str, Any] = field(default_factory=dict)
    prompt: str | None = None
    system: str | None = None
    mode: str | None = None
    max_tokens: int | None = None
    output_schema: Mapping[str, Any] | None = None
    output_file: str | None = None
    timeout_s: float | None = None
    max_attempts: int | None = None
    checks: tuple[Check, ...] = ()
    effects: Effects = "none"
    workspace: WorkspaceKind | None = None
    writes: tuple[str, ...] = ()
    on_conflict: str | None = None
    when: str | None = None
    for_each: str | None = None
    max_items: int = 100
    item: Any = None
    adds_tasks: AddsTasks | None = None
    wait: Wait | None = None
    status: TaskStatus = field(default=TaskStatus.PENDING, compare=False)

    def __post_init__(self) -> None:
        check_name("task id", self.task_id)
        given = self.__dict__
        if len(given) < len(_DEFAULTS):  # msgspec sets only what it reads, and then writes only what is set
            given.update({**_DEFAULTS, **given})
        for name, default, is_right, expected in _FIELDS:
            if (value := given[name]) is not default and not is_right(value):
                raise InvalidTaskError(f"task {self.task_id!r}: {name} is {value!r}, expected {expected}")
        given["metadata"] = dict(self.metadata)  # the caller may go on to use the mapping for something else
        given["dependencies"] = self._clean_dependencies()
        if type(self.checks) is not tuple or type(self.writes) is not tuple:
            _set(self, "checks", tuple(self.checks))
            _set(self, "writes", tuple(self.writes))
        if type(self.priority) is not TaskPriority or type(self.status) is not TaskStatus:
            _set(self, "priority", _as_enum(self, "priority", self.priority, TaskPriority))
            _set(self, "status", _as_enum(self, "status", self.status, TaskStatus))
        if self.mode is not None:
            check_mode(self.mode)

    def _clean_dependencies(self) -> tuple[str, ...]:
        """Return the dependencies as a tuple without repeats, in the order given."""
        given = self.dependencies
        names = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (None,)
        if not all(isinstance(name, str) for name in names):
            raise InvalidTaskError(
                f"task {self.task_id!r}: dependencies is {given!r}, expected task ids such as ('outline',)"
            )
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True)
class ExecutionResult:
    """What came of executing a task: a value, also when the task failed.

    `metadata` is JSON. Keys this package sets: `execution_mode`, `attempts`, `failure_kind`, `model`, `usage`,
    `cost_usd`, `data` (the answer as JSON, where there is a schema or a function returned some), `fallback_reason`,
    `cached` (true where an earlier answer was used again).
    """

    task_id: str
    agent: str = ""
    status: ExecutionStatus = ExecutionStatus.PENDING
    started_at: datetime | None = None
    completed_at: datetime | None = None
    output: str = ""
    error: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to completion; None while either is missing."""
        if self.started_at is None or self.completed_at is None:
            return None
        return (self.completed_at - self.started_at).total_seconds()

    @property
    def failure_kind(self) -> FailureKind | None:
        """Why it failed, where it did."""
        kind = self.metadata.get("failure_kind")
        return None if kind is None else FailureKind(kind)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; moments as ISO 8601 text."""
        plain = asdict(self)
        plain["status"] = self.status.value
        for name in ("started_at", "completed_at"):
            moment = plain[name]
            plain[name] = None if moment is None else moment.isoformat()
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> ExecutionResult:
        """Rebuild what `to_dict` returned; unknown keys are left out.

        Raises:
            InvalidTaskError: if `task_id` is missing or a value cannot be read.

        """
        try:
            return msgspec.convert(dict(plain), cls)
        except (TypeError, ValueError) as exc:
            raise InvalidTaskError(f"not an execution result: {dict(plain)!r} ({exc})") from exc


def check_name(what: str, name: str) -> None:
    """Refuse a name that could not safely be part of a path, a template or a command line.

    Raises:
        InvalidTaskError: unless it is 1 to 128 letters, digits, `_`, `-`, `.`, `:`, `@`, `+`, starting with a letter,
            digit or `_`, without `..`.

    """
    if isinstance(name, str) and len(name) <= _NAME_MAX and _NAME.fullmatch(name) and ".." not in name:
        return
    shown = name if not isinstance(name, str) or len(name) <= _NAME_MAX else name[:_NAME_MAX] + "..."
    raise InvalidTaskError(
        f"{what} {shown!r} is not usable; expected 1 to {_NAME_MAX} letters, digits or _ - . : @ +, "
        "starting with a letter, digit or _, and without '..'"
    )


def check_mode(mode: str) -> None:
    """Refuse an unknown execution mode.

    Raises:
        InvalidTaskError: naming the three modes.

    """
    if mode not in EXECUTION_MODES:
        raise InvalidTaskError(
            f"unknown execution mode {mode!r}; expected one of {', '.join(map(repr, EXECUTION_MODES))}"
        )


def is_count(value: object) -> bool:
    """Tell whether it is a whole number above 0, or None."""
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0)


def is_duration(value: object) -> bool:
    """Tell whether it is a finite number above 0, or None."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf)


def max_age_s(whose: str, cache: object) -> float | None:
    """Return how old an answer may be to be used again, None where each time a new one is asked for.

    Raises:
        InvalidTaskError: naming `whose` setting it is, unless it is true, false, None or {"max_age_s": seconds}.

    """
    if cache is None or cache is False:
        return None
    age_s = cache.get("max_age_s", DEFAULT_MAX_AGE_S) if isinstance(cache, Mapping) else DEFAULT_MAX_AGE_S
    has_other_keys = isinstance(cache, Mapping) and bool(cache.keys() - {"max_age_s"})
    if (cache is not True and not isinstance(cache, Mapping)) or has_other_keys or age_s is None:
        raise InvalidTaskError(f"{whose}: cache is {cache!r}, expected true, false or {{'max_age_s': seconds}}")
    if not is_duration(age_s):
        raise InvalidTaskError(f"{whose}: the max_age_s of its cache is {age_s!r}, expected a number above 0")
    return float(age_s)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_optional_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_sequence_of(kind: type) -> Callable[[object], bool]:
    def is_right(value: object) -> bool:
        return value == () or (isinstance(value, tuple | list) and all(isinstance(one, kind) for one in value))

    return is_right


def _is_optional(kind: type) -> Callable[[object], bool]:
    return lambda value: value is None or isinstance(value, kind)


def _are_scopes(value: object) -> bool:
    if value == ():
        return True
    return isinstance(value, tuple | list) and all(glob is not None and is_inner_path(glob) for glob in value)


def _is_optional_mapping(value: object) -> bool:
    return value is None or isinstance(value, Mapping)


def is_inner_path(value: object) -> bool:
    """Tell whether a path stays below where it starts, or is None; symbolic links are looked at when it is used."""
    if value is None:
        return True
    if not isinstance(value, str) or "\0" in value:
        return False
    path = PurePath(value)
    return bool(path.name) and not path.is_absolute() and ".." not in path.parts


# What a stored fact must be able to say again; `msgspec` checks the same when it reads one.
_CHECKED: tuple[tuple[str, Callable[[object], bool], str], ...] = (
    ("title", _is_text, "text"),
    ("description", _is_text, "text"),
    ("agent", _is_optional_text, "the name of an agent"),
    ("prompt", _is_optional_text, "text"),
    ("system", _is_optional_text, "text"),
    ("metadata", _is_mapping, "a mapping"),
    ("output_schema", _is_optional_mapping, "a JSON Schema as a mapping"),
    ("output_file", is_inner_path, "a path inside the project's folder, such as 'out/report.md'"),
    ("max_tokens", is_count, "a whole number above 0"),
    ("max_attempts", is_count, "a whole number above 0"),
    ("timeout_s", is_duration, "a number above 0"),
    ("checks", _is_sequence_of(Check), "a sequence of Check records"),
    ("effects", EFFECTS.__contains__, f"one of {', '.join(EFFECTS)}"),
    ("workspace", (None, *WORKSPACES).__contains__, f"one of {', '.join(WORKSPACES)}"),
    ("writes", _are_scopes, "globs inside the project's folder, such as ('src/**', 'docs/*.md')"),
    ("on_conflict", _is_optional_text, "the name of an agent"),
    ("when", _is_optional_text, 'an expression, such as "tasks.review.data.score < 7"'),
    ("for_each", _is_optional_text, "an expression that gives a list, such as 'tasks.plan.data.files'"),
    ("max_items", lambda value: value is not None and is_count(value), "a whole number above 0"),
    ("adds_tasks", _is_optional(AddsTasks), "an AddsTasks record"),
    ("wait", _is_optional(Wait), "a Wait record"),
)


# With what each field is where nothing is given, which need not be looked at: most of most tasks.
_DEFAULTS = {field.name: field.default for field in fields(AgentTask)}
_FIELDS = tuple((name, AgentTask.__dict__.get(name, ...), is_right, expected) for name, is_right, expected in _CHECKED)


def _as_enum(task: AgentTask, name: str, value: E, enum: type[E]) -> E:
    if isinstance(value, enum):
        return value
    try:
        return enum(value)
    except ValueError:
        expected = ", ".join(str(member.value) for member in enum)
        raise InvalidTaskError(f"task {task.task_id!r}: {name} is {value!r}, expected one of {expected}") from None


def _set(record: object, name: str, value: object) -> None:
    """Set a field of a frozen record while it is being made."""
    object.__setattr__(record, name, value)
