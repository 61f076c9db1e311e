"""What each agent of a project still needs before it can work, without giving it work or importing any of it."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import asdict, dataclass
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llm_abstractions.factory import LlmFactory
from orchestration.agent_registry import LLM_TYPES, AgentConfig, AgentType
from orchestration.cli.compose import run_async
from orchestration.cli.output import print_json, print_lines
from orchestration.cli.place import Place, json_option, load, project_options
from orchestration.runners.cli_probe import CliProbe, probe
from orchestration.runners.script import STANDIN_SCRIPTS
from orchestration.views.table import Cell, columns

if TYPE_CHECKING:
    from orchestration.project_file import ProjectFile

__all__ = ["AgentReport", "agents", "inspect_agent"]


@dataclass(frozen=True, kw_only=True)
class AgentReport:
    """One agent: what it is, whether it can work here, and if not, what to do about it (`fix`).

    `tool`, `version`, `is_signed_in` (None: it cannot be told without asking the provider) and `permissions` are those
    of coding agents.
    """

    name: str
    type: str
    is_enabled: bool
    model: str = ""
    sdk: str = ""
    is_ready: bool = True
    note: str = ""
    fix: str = ""
    tool: str | None = None
    program: str | None = None
    version: str | None = None
    is_signed_in: bool | None = None
    permissions: str | None = None


@click.command
@project_options
@json_option
def agents(place: Place, *, as_json: bool) -> None:
    """List the agents and what each still needs.

    Which SDK, key, model, script, program or module is missing and how to get it; of coding agents also the version,
    whether they are signed in, and what they may do. Nobody is given work; a key's value is never shown.
    """
    project = load(place)
    found = run_async(_probe(project))
    reports = [inspect_agent(agent, project, found.get(agent.name)) for agent in project.agents]
    if as_json:
        print_json({"agents": [asdict(report) for report in reports]})
        return
    if not reports:
        print_lines([f"{place.path} names no agents"])
        return
    print_lines(columns([_cells(report) for report in reports]))


async def _probe(project: ProjectFile) -> dict[str, CliProbe]:
    """Look at all coding agents at once: some take seconds to say their version."""
    agents = [agent for agent in project.agents if agent.tool is not None]
    async with asyncio.TaskGroup() as group:
        probes = {agent.name: group.create_task(probe(agent, project.root)) for agent in agents}
    return {name: task.result() for name, task in probes.items()}


def inspect_agent(agent: AgentConfig, project: ProjectFile, found: CliProbe | None = None) -> AgentReport:
    """Say whether an agent can work on this machine. `found`: what is known of it, where it is a coding agent."""
    common: dict[str, Any] = {"name": agent.name, "type": agent.agent_type.value, "is_enabled": agent.enabled}
    if agent.agent_type in LLM_TYPES:
        return _inspect_model(agent, project, common)
    if agent.agent_type is AgentType.HUMAN:
        return AgentReport(**common, note="a person: orchestrate answer")
    if found is not None:
        return _inspect_tool(agent, found, common)
    fix = _missing_function(agent, project.root) if agent.function else _missing_program(agent, project.root)
    return AgentReport(**common, note=agent.function or " ".join(agent.command), is_ready=not fix, fix=fix)


def _inspect_model(agent: AgentConfig, project: ProjectFile, common: dict[str, Any]) -> AgentReport:
    path = None if agent.model_path is None else str(project.root / agent.model_path)
    options = {"api_key_env": agent.api_key_env, "base_url": agent.base_url, "model_path": path}
    status = LlmFactory.describe(agent.agent_type, **{name: given for name, given in options.items() if given})
    sdk = f"{status.sdk} {status.sdk_version or '(not installed)'}" if status.sdk else ""
    fix, note = status.fix or "", ""
    script = None if project.scripts_dir is None else project.scripts_dir / STANDIN_SCRIPTS[agent.agent_type]
    if fix and script is not None and script.is_file():
        note, fix = f"the script {script.name} stands in; for the model itself: {fix}", ""
    return AgentReport(
        **common,
        model=agent.model or (Path(path).name if path else status.default_model) or "",
        sdk=sdk,
        is_ready=not fix,
        note=note or agent.base_url or "",
        fix=fix,
    )


def _inspect_tool(agent: AgentConfig, found: CliProbe, common: dict[str, Any]) -> AgentReport:
    signed_in = {True: f"signed in by {found.sign_in}", None: f"signed in or not: {found.sign_in}", False: ""}
    return AgentReport(
        **common,
        model=agent.model or "",
        is_ready=not found.fix,
        note=signed_in[found.is_signed_in] if found.path else "",
        fix=found.fix,
        tool=str(agent.tool),
        program=found.path or found.program,
        version=found.version or None,
        is_signed_in=found.is_signed_in if found.path else None,
        permissions=agent.permissions,
    )


def _missing_function(agent: AgentConfig, root: Path) -> str:
    """Look for the module without importing it: that would run the project's code."""
    top = (agent.function or "").partition(":")[0].partition(".")[0]
    if PathFinder.find_spec(top, [str(root)]) or find_spec(top):
        return ""
    return f"add the module {top!r} as {root / top}.py, or install the package that has it"


def _missing_program(agent: AgentConfig, root: Path) -> str:
    program = agent.command[0] if agent.command else str(agent.tool)
    if "/" in program:
        found = shutil.which(root / program)
        return "" if found else f"add the program {str(root / program)!r} and make it executable (chmod +x)"
    return "" if shutil.which(program) else f"install the program {program!r}, or put its folder on PATH"


def _cells(report: AgentReport) -> list[Cell]:
    if not report.is_enabled:
        state, style = "- disabled", "dim"
    elif report.is_ready:
        state, style = "ready", "green"
    else:
        state, style = "needs", "bold red"
    return [
        (report.name, "bold"),
        (report.type, ""),
        (report.model, ""),
        (report.sdk or _tool(report), "dim"),
        (report.permissions or "", "yellow" if report.permissions == "full" else "dim"),
        (state, style),
        (report.fix or report.note, ""),
    ]


def _tool(report: AgentReport) -> str:
    """Name the coding agent and its version; nothing for other agents."""
    if report.tool is None:
        return ""
    return f"{report.tool} {report.version or ('' if report.is_ready else '(not found)')}".rstrip()
