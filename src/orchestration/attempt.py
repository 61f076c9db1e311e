"""What an attempt may know beyond its task: its number, its dependencies' outputs, where to report.

The orchestrator sets `current` around `TaskExecutor.execute`, whose signature the contract fixes; outside an
orchestrator the default stands. Runners receive the same as part of `Work`.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 -- part of a public record
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestration.agent_registry import AgentConfig
    from orchestration.events import Event, Reporter
    from orchestration.task import AgentTask

__all__ = ["AttemptContext", "Outcome", "TaskInput", "Work", "current"]


@dataclass(frozen=True, kw_only=True)
class TaskInput:
    """What a dependency came to: its output as text and, where it is JSON, as `data`."""

    output: str
    data: Any = None


def _ignore(_event: Event) -> None:
    """Drop a report: nobody listens outside an orchestrator."""


@dataclass(frozen=True, kw_only=True)
class AttemptContext:
    """The circumstances of one execution.

    `inputs` maps each dependency's id to its outcome, in the order the task names them. `draft` and `comment` are set
    when a person rejected an earlier draft.
    """

    run_id: str = ""
    attempt: int = 1
    inputs: Mapping[str, TaskInput] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    draft: str = ""
    comment: str = ""
    report: Reporter = _ignore


current: ContextVar[AttemptContext] = ContextVar("orchestration_attempt", default=AttemptContext())  # noqa: B039 -- frozen


@dataclass(frozen=True, kw_only=True)
class Work:
    """One attempt's task as a worker gets it: who, what, with which inputs.

    `prompt` is rendered. `root` is the project's folder, None for a project in memory. `timeout_s` is not in
    here: the executor cancels the worker when it is over.
    """

    task: AgentTask
    agent: AgentConfig
    prompt: str
    system: str | None = None
    context: AttemptContext = field(default_factory=AttemptContext)
    root: Path | None = None

    @property
    def inputs(self) -> Mapping[str, TaskInput]:
        """The dependencies' outcomes by task id."""
        return self.context.inputs

    @property
    def idempotency_key(self) -> str:
        """`run/task/attempt`: the same key never names two attempts."""
        return f"{self.context.run_id}/{self.task.task_id}/{self.context.attempt}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a worker made: text, the same as JSON where it has that form, and facts worth keeping (JSON)."""

    output: str
    data: Any = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
