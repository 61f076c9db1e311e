"""Looks at a coding agent without using it or the network: its program, its version, whether it is signed in."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.runners.cli_tools import TOOLS
from orchestration.runners.environment import environment
from orchestration.runners.process import run_process
from orchestration.runners.program import located

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestration.agent_registry import AgentConfig

__all__ = ["CliProbe", "probe"]

_TIMEOUT_S = 20.0  # some of them are slow to start, and several may be asked at once
_VERSION = re.compile(r"\d+(?:\.\d+)+\S*")
_versions: dict[tuple[tuple[str, ...], int], str] = {}  # by command and the moment its program was changed


@dataclass(frozen=True, kw_only=True)
class CliProbe:
    """What can be known of an agent of type `cli` without using it.

    `path` is empty where there is no such program, `version` where it has not said one. `is_signed_in` None: files and
    variables do not tell. `sign_in` is what tells so, or the way to sign in. `fix` says what to do before it can work.
    """

    program: str
    path: str = ""
    version: str = ""
    is_signed_in: bool | None = None
    sign_in: str = ""
    fix: str = ""


async def probe(agent: AgentConfig, root: Path | None = None, *, env: Mapping[str, str] | None = None) -> CliProbe:
    """Look at an agent of type `cli`; the first time its program is asked for its version, for 20 seconds at most."""
    given = os.environ if env is None else env
    tool = None if agent.tool is None else TOOLS[agent.tool]
    if tool is None and not agent.command:
        return CliProbe(program="", fix="give the agent a `tool` or a `command`")
    command = located(agent.command or ("" if tool is None else tool.program,), root)
    path = await asyncio.to_thread(shutil.which, command[0], path=given.get("PATH"))
    if path is None:
        install = f"install it: {tool.install}" if tool else "install it, or correct the agent's `command`"
        return CliProbe(program=command[0], fix=install)
    if tool is None:
        return CliProbe(program=command[0], path=path)
    allowed = environment(given, (*tool.variables, *agent.env))
    state = await asyncio.to_thread(tool.sign_in, allowed, Path(given.get("HOME") or Path.home()))
    version = await _version((path, *command[1:]), allowed)
    fix = "" if version else f"`{path} --version` does not answer; install it anew: {tool.install}"
    return CliProbe(
        program=command[0],
        path=path,
        version=version,
        is_signed_in=state.is_signed_in,
        sign_in=state.how,
        fix=fix or (state.how if state.is_signed_in is False else ""),
    )


async def _version(command: tuple[str, ...], env: Mapping[str, str]) -> str:
    """Return what the program says of its version; empty where it does not."""
    try:
        key = (command, (await asyncio.to_thread(os.stat, command[0])).st_mtime_ns)
        if key not in _versions:
            async with asyncio.timeout(_TIMEOUT_S):
                end = await run_process([*command, "--version"], stdin=b"", env=env, cwd=None)
            found = _VERSION.search(end.stdout.decode(errors="replace"))
            if end.exit_code != 0 or not found:
                return ""
            _versions[key] = found[0]
    except (OSError, TimeoutError):
        return ""
    return _versions[key]
