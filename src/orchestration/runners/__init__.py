"""One file per kind of worker. Each runner takes `Work` and returns an `Outcome` or raises `AttemptError`.

`LlmRunner` is loaded when it is first asked for (PEP 562): it brings `llm_abstractions` along, which a project without
models does not need.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestration.runners.llm import LlmRunner

__all__ = ["LlmRunner"]


def __getattr__(name: str) -> object:
    """Load the runner of models on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.llm"), name)
