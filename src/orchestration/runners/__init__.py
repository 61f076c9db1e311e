"""One file per kind of worker. Each runner takes `Work` and returns an `Outcome` or raises `AttemptError`.

`LlmRunner` and `CliAgentRunner` are loaded when they are first asked for (PEP 562): what they bring along, such as
`llm_abstractions`, is not needed by a project without models or coding agents.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestration.runners.cli_agent import CliAgentRunner
    from orchestration.runners.llm import LlmRunner

__all__ = ["CliAgentRunner", "LlmRunner"]

_HOMES = {"CliAgentRunner": "cli_agent", "LlmRunner": "llm"}


def __getattr__(name: str) -> object:
    """Load a runner on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
