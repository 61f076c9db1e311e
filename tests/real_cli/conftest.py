"""The real coding agents, against a provider on this machine. Opt in with `make test-cli`, which installs them.

Tried with @anthropic-ai/claude-code 2.1.330, @openai/codex 0.169.0, @google/gemini-cli 0.61.0, opencode-ai 1.18.33.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from orchestration.agent_registry import AgentConfig, AgentType, Tool
from orchestration.attempt import AttemptContext, Work
from orchestration.errors import AttemptError
from orchestration.events import CallFinished, SessionStarted, WorkerReported
from orchestration.runners.cli_agent import CliAgentRunner
from orchestration.runners.cli_tools import TOOLS
from orchestration.task import AgentTask

sys.path.insert(0, str(Path(__file__).parent))  # test folders are no packages
from mock_provider import MockProvider, Say, Use

_ASKED_FOR = "ORCHESTRATION_REAL_CLI"
_NPM = Path(__file__).parents[2] / ".tools" / "npm" / "node_modules" / ".bin"


class Rig:
    """One real tool in a home of its own, and its provider."""

    def __init__(self, tool, folder, provider):
        self.tool = Tool(tool)
        self.ways = TOOLS[self.tool]
        self.provider = provider
        self.home, self.root = folder / "home", folder / "project"
        for place in (self.home, self.root):
            place.mkdir()
        self.reports = []
        self.runner = CliAgentRunner(self.root)
        self.mark = f"rig-{tool}-{os.getpid()}-{folder.name}"
        self.model, self.extra_env = _SETTINGS[self.tool](self.home, provider.url)

    def writes(self, name, text):
        """Return the turn in which the model has a file written by a tool of its own."""
        path = str(self.root / name)
        match self.tool:
            case Tool.CLAUDE:
                return Use("Write", {"file_path": path, "content": text}, "I will write it.")
            case Tool.CODEX:
                return Use("exec_command", {"cmd": f"printf '%s' '{text}' > '{path}'"}, "I will write it.")
            case Tool.GEMINI:
                return Use("write_file", {"file_path": path, "content": text}, "I will write it.")
            case _:
                return Use("write", {"filePath": path, "content": text}, "I will write it.")

    def gives(self, value):
        """Return the turn in which the model gives an answer of a form."""
        return Use("StructuredOutput", value) if self.tool is Tool.CLAUDE else Say(json.dumps(value))

    async def run(self, prompt="Write the file.", *, task=None, context=None, **agent):
        names = {"model": self.model, "env": tuple(self.extra_env), "permissions": "edit", "idle_timeout_s": 30} | agent
        work = Work(
            task=AgentTask("draft", "Write a draft", **(task or {})),
            agent=AgentConfig("writer", AgentType.CLI, tool=self.tool, **names),
            prompt=prompt,
            root=self.root,
            context=AttemptContext(run_id="run-1", owner=self.mark, report=self.reports.append, **(context or {})),
        )
        return await self.runner.run(work)

    async def failure(self, *args, **options):
        with pytest.raises(AttemptError) as caught:
            await self.run(*args, **options)
        return caught.value

    def of(self, kind):
        return [fact for fact in self.reports if isinstance(fact, kind)]

    @property
    def sessions(self):
        return [fact.session_id for fact in self.of(SessionStarted)]

    @property
    def told(self):
        return [(fact.kind, fact.text) for fact in self.of(WorkerReported)]

    @property
    def calls(self):
        return self.of(CallFinished)

    def pids(self):
        """Return the live processes that carry the mark."""
        found = []
        for folder in Path("/proc").iterdir():
            try:
                is_marked = folder.name.isdigit() and self.mark.encode() in (folder / "environ").read_bytes()
                is_zombie = is_marked and (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:  # it is gone
                continue
            if is_marked and not is_zombie:
                found.append(int(folder.name))
        return found


def _claude(_home, url):
    return None, {"ANTHROPIC_API_KEY": "sk-mock-123456", "ANTHROPIC_BASE_URL": url}


def _codex(home, url):
    folder = home / ".codex"
    folder.mkdir()
    (folder / "config.toml").write_text(
        'model_provider = "mock"\nmodel = "gpt-5.1-codex"\n[model_providers.mock]\nname = "mock"\n'
        f'base_url = "{url}/v1"\nenv_key = "MOCK_KEY"\nwire_api = "responses"\n'
        "request_max_retries = 1\nstream_max_retries = 1\n"
    )
    return None, {"MOCK_KEY": "mock-key-123456", "CODEX_HOME": str(folder)}


def _gemini(home, url):
    folder = home / ".gemini"
    folder.mkdir()
    # With an address of one's own it does not take the key as the choice of how to sign in.
    auth = {"security": {"auth": {"selectedType": "gemini-api-key"}}}
    (folder / "settings.json").write_text(json.dumps(auth))
    return "gemini-2.5-pro", {"GEMINI_API_KEY": "mock-key-123456", "GOOGLE_GEMINI_BASE_URL": url}


def _opencode(_home, url):
    options = {"baseURL": f"{url}/v1", "apiKey": "mock-key-123456"}
    models = {"m1": {"name": "m1"}}
    provider = {"npm": "@ai-sdk/openai-compatible", "name": "mock", "options": options, "models": models}
    config = {"provider": {"mock": provider}}
    return "mock/m1", {"OPENCODE_CONFIG_CONTENT": json.dumps(config), "OPENCODE_DISABLE_MODELS_FETCH": "1"}


_SETTINGS = {Tool.CLAUDE: _claude, Tool.CODEX: _codex, Tool.GEMINI: _gemini, Tool.OPENCODE: _opencode}


@pytest.fixture(params=[tool.value for tool in _SETTINGS])
async def rig(request, tmp_path, monkeypatch):
    """Each tool in turn, where it is installed."""
    if not os.environ.get(_ASKED_FOR):
        pytest.skip(f"the real coding agents are tried on request: make test-cli (it sets {_ASKED_FOR})")
    monkeypatch.setenv("PATH", f"{_NPM}{os.pathsep}{os.environ['PATH']}")
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed: {TOOLS[Tool(request.param)].install}")
    async with MockProvider() as provider:
        rig = Rig(request.param, tmp_path, provider)
        monkeypatch.setenv("HOME", str(rig.home))
        for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in rig.extra_env.items():
            monkeypatch.setenv(name, value)
        yield rig
