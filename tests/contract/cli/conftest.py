"""Every coding agent, played by its fake: real processes, real flags, real shapes of output."""

import asyncio
import json
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from orchestration.agent_registry import AgentConfig, AgentType, Tool
from orchestration.attempt import AttemptContext, Work
from orchestration.errors import AttemptError
from orchestration.events import CallFinished, SessionStarted, WorkerReported
from orchestration.runners.cli_agent import CliAgentRunner
from orchestration.runners.cli_tools import TOOLS
from orchestration.task import AgentTask
from orchestration.testing.cli_agents import calls_of


class Reports(list):
    """The facts that were reported, and a word where it was waited until they were on the disk."""

    def __init__(self):
        self.has_begun = asyncio.Event()  # to work, as its words show

    def append(self, fact):
        super().append(fact)
        if isinstance(fact, WorkerReported):
            self.has_begun.set()

    async def durable(self):
        self.append("durable")

    def of(self, kind):
        return [fact for fact in self if isinstance(fact, kind)]

    @property
    def texts(self):
        return [(fact.kind, fact.text) for fact in self.of(WorkerReported)]

    @property
    def sessions(self):
        return [fact.session_id for fact in self.of(SessionStarted)]

    @property
    def calls(self):
        return self.of(CallFinished)


class Stage:
    """One tool, its script, and the runner under test."""

    def __init__(self, tool, folder):
        self.tool = Tool(tool)
        self.ways = TOOLS[self.tool]
        self.folder = folder
        self.root = folder / "project"
        self.root.mkdir()
        self.script = folder / "script.json"
        self.reports = Reports()
        self.mark = f"stage-{uuid4()}"  # of this stage's processes
        self.runner = CliAgentRunner(self.root)

    def play(self, *plays):
        """Say what the agent does, call by call."""
        self.script.write_text(json.dumps({"*": plays}), encoding="utf-8")
        return self

    def work(self, prompt="Do it", *, task=None, context=None, system=None, cwd=None, **agent):
        program = (sys.executable, "-m", "orchestration.testing.cli_agents")
        command = (*program, self.tool.value, "--script", str(self.script))
        return Work(
            task=AgentTask("draft", "Write a draft", **(task or {})),
            agent=AgentConfig("writer", AgentType.CLI, tool=self.tool, command=command, **agent),
            prompt=prompt,
            system=system,
            root=self.root,
            cwd=cwd,
            context=AttemptContext(
                run_id="run-1",
                attempt=2,
                report=self.reports.append,
                durable=self.reports.durable,
                **(context or {}),
            ),
        )

    async def run(self, *args, **options):
        return await self.runner.run(self.work(*args, **options))

    async def failure(self, *args, **options):
        with pytest.raises(AttemptError) as caught:
            await self.run(*args, **options)
        return caught.value

    @property
    def calls(self):
        """What the fake was asked, call by call."""
        return calls_of(self.script)


def pids_of(mark):
    """Return the live processes whose environment holds the mark."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            is_marked = folder.name.isdigit() and mark.encode() in (folder / "environ").read_bytes()
            is_zombie = is_marked and (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:  # it is gone
            continue
        if is_marked and not is_zombie:
            found.append(int(folder.name))
    return found


@pytest.fixture
def alive():
    return pids_of


@pytest.fixture(params=[tool.value for tool in Tool])
def stage(request, tmp_path):
    """Each tool in turn."""
    return Stage(request.param, tmp_path)


@pytest.fixture
def stage_of(tmp_path):
    """One named tool."""
    return lambda tool: Stage(tool, tmp_path)
