"""What a project file says, as records. Knows nothing of YAML or of where the values came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestration.budget import Budgets
from orchestration.errors import ProjectFileError
from orchestration.project_file.wording import did_you_mean, one_of, shown
from orchestration.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestration.agent_registry import AgentConfig
    from orchestration.notice import Notice
    from orchestration.task import AgentTask

__all__ = ["LaneCeilings", "ProjectFile", "Variable", "resolve_variables"]


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A value that prompts use as `vars.<name>`. Without a `default` a run has to give one."""

    name: str
    default: str | None = None
    description: str = ""

    @property
    def is_required(self) -> bool:
        """Whether a run has to give it a value."""
        return self.default is None


@dataclass(frozen=True, kw_only=True)
class LaneCeilings:
    """What the calls of a lane are held to: requests and tokens per minute, calls under way. None: no ceiling."""

    rpm: int | None = None
    tpm: int | None = None
    input_tpm: int | None = None
    output_tpm: int | None = None
    concurrency: int | None = None


@dataclass(frozen=True, kw_only=True)
class ProjectFile:
    """A project file that has been checked: everything it names exists and fits together.

    `root` is the file's folder, absolute. Tasks, agents and variables are in the file's order. `scripts_dir` is
    absolute. `limits` are by the name of a lane or its beginning. `sandbox` is what the author says keeps programs
    with full permissions from doing harm; None: nothing, and no agent has them.
    """

    path: Path
    root: Path
    project_id: str = "default"
    description: str = ""
    tasks: tuple[AgentTask, ...] = ()
    agents: tuple[AgentConfig, ...] = ()
    variables: tuple[Variable, ...] = ()
    default_agent: str | None = None
    mode: str = "api"
    max_concurrent: int | None = None
    scripts_dir: Path | None = None
    limits: Mapping[str, LaneCeilings] = field(default_factory=dict)
    budgets: Budgets = field(default_factory=Budgets)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    sandbox: str | None = None
    notify: Notice | None = None


def resolve_variables(project: ProjectFile, given: Mapping[str, str]) -> dict[str, str]:
    """Return a value for every variable of the project: the one given, else its default.

    Raises:
        ProjectFileError: one line for each name that is not declared and each required variable without a value.

    """
    declared = {variable.name: variable for variable in project.variables}
    problems = [_unknown(project, name, declared) for name in given if name not in declared]
    problems += [
        _missing(project, variable)
        for variable in project.variables
        if variable.is_required and variable.name not in given
    ]
    if problems:
        raise ProjectFileError(problems)
    return {name: given.get(name, variable.default or "") for name, variable in declared.items()}


def _unknown(project: ProjectFile, name: str, declared: Mapping[str, Variable]) -> str:
    known = f"; declared: {one_of(declared)}" if declared else "; the project declares none"
    return f"{project.path}: variables: {shown(name)} is not declared{did_you_mean(name, declared) or known}"


def _missing(project: ProjectFile, variable: Variable) -> str:
    meaning = f" ({' '.join(variable.description.split())})" if variable.description else ""
    return (
        f"{project.path}: variables.{variable.name}: has no value{meaning}; give one as {variable.name}=VALUE, "
        "or a default in the file"
    )
