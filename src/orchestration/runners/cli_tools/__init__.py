"""The coding agents on the command line that are known by name: how each is called, and what it says. No processes."""

from orchestration.agent_registry import Tool
from orchestration.runners.cli_tools.aider import Aider
from orchestration.runners.cli_tools.base import CliTool
from orchestration.runners.cli_tools.claude import Claude
from orchestration.runners.cli_tools.codex import Codex
from orchestration.runners.cli_tools.gemini import Gemini
from orchestration.runners.cli_tools.opencode import OpenCode

__all__ = ["TOOLS"]

TOOLS: dict[Tool, CliTool] = {
    Tool.CLAUDE: Claude(),
    Tool.CODEX: Codex(),
    Tool.GEMINI: Gemini(),
    Tool.OPENCODE: OpenCode(),
    Tool.AIDER: Aider(),
}
