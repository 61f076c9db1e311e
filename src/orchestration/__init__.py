"""Projects of AI-agent tasks: a durable, concurrent, explainable graph on one event loop.

Names are loaded when first used (PEP 562), so that `import orchestration` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestration.agent_registry import AgentConfig, AgentRegistry, AgentType, Fallback
    from orchestration.attempt import Outcome, TaskInput, Work
    from orchestration.budget import Budget, Budgets
    from orchestration.errors import (
        AttemptError,
        CycleError,
        DependencyError,
        DuplicateError,
        InvalidTaskError,
        OrchestrationError,
        ProjectFileError,
        ProjectLockedError,
        ProviderUnavailableError,
        ReviewNeededError,
        RunStopError,
        StoreError,
        StoreVersionError,
        TransitionError,
        UnknownAgentError,
        UnknownTaskError,
    )
    from orchestration.executor import TaskExecutor
    from orchestration.orchestrator import ProjectOrchestrator, Totals, WorkflowResult
    from orchestration.parallel_executor import ParallelExecutor
    from orchestration.project_file import load_project
    from orchestration.retry import RetryPolicy
    from orchestration.task import (
        AgentTask,
        ExecutionResult,
        ExecutionStatus,
        FailureKind,
        TaskPriority,
        TaskStatus,
    )
    from orchestration.task_options import AddsTasks, Check, Wait

__all__ = [
    "AddsTasks",
    "AgentConfig",
    "AgentRegistry",
    "AgentTask",
    "AgentType",
    "AttemptError",
    "Budget",
    "Budgets",
    "Check",
    "CycleError",
    "DependencyError",
    "DuplicateError",
    "ExecutionResult",
    "ExecutionStatus",
    "FailureKind",
    "Fallback",
    "InvalidTaskError",
    "OrchestrationError",
    "Outcome",
    "ParallelExecutor",
    "ProjectFileError",
    "ProjectLockedError",
    "ProjectOrchestrator",
    "ProviderUnavailableError",
    "RetryPolicy",
    "ReviewNeededError",
    "RunStopError",
    "StoreError",
    "StoreVersionError",
    "TaskExecutor",
    "TaskInput",
    "TaskPriority",
    "TaskStatus",
    "Totals",
    "TransitionError",
    "UnknownAgentError",
    "UnknownTaskError",
    "Wait",
    "Work",
    "WorkflowResult",
    "load_project",
]

_HOMES = {
    "agent_registry": ("AgentConfig", "AgentRegistry", "AgentType", "Fallback"),
    "attempt": ("Outcome", "TaskInput", "Work"),
    "budget": ("Budget", "Budgets"),
    "errors": (
        "AttemptError",
        "CycleError",
        "DependencyError",
        "DuplicateError",
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
    ),
    "executor": ("TaskExecutor",),
    "orchestrator": ("ProjectOrchestrator", "Totals", "WorkflowResult"),
    "parallel_executor": ("ParallelExecutor",),
    "project_file": ("load_project",),
    "retry": ("RetryPolicy",),
    "task": ("AgentTask", "ExecutionResult", "ExecutionStatus", "FailureKind", "TaskPriority", "TaskStatus"),
    "task_options": ("AddsTasks", "Check", "Wait"),
}
_HOME_OF = {name: f"{__name__}.{module}" for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a public name from its module on first use."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
