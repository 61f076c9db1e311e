"""Talk to language models of several vendors through one small interface. Importing this loads no vendor's SDK."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm_abstractions.base_llm import BaseLlm, TextStream
    from llm_abstractions.clients import ClientPool
    from llm_abstractions.errors import (
        AuthError,
        BadOutputError,
        BadRequestError,
        CallTimeoutError,
        ConnectionFailedError,
        ContextLengthError,
        FailureKind,
        LlmError,
        MissingKeyError,
        MissingSdkError,
        OverloadedError,
        QuotaError,
        RateLimitError,
        RefusalError,
        TruncatedError,
    )
    from llm_abstractions.factory import LlmFactory, ProviderStatus
    from llm_abstractions.lane import Cost, Lane, LaneLimits, LaneStatus, Permit
    from llm_abstractions.lanes import Lanes
    from llm_abstractions.prices import cost_usd
    from llm_abstractions.providers.anthropic import AnthropicLlm
    from llm_abstractions.providers.gemini import GeminiLlm
    from llm_abstractions.providers.local import LocalLlm
    from llm_abstractions.providers.openai import OpenAILlm
    from llm_abstractions.rate_limits import Quota, RateLimits
    from llm_abstractions.types import Completion, FinishReason, Message, Usage

__all__ = [
    "AnthropicLlm",
    "AuthError",
    "BadOutputError",
    "BadRequestError",
    "BaseLlm",
    "CallTimeoutError",
    "ClientPool",
    "Completion",
    "ConnectionFailedError",
    "ContextLengthError",
    "Cost",
    "FailureKind",
    "FinishReason",
    "GeminiLlm",
    "Lane",
    "LaneLimits",
    "LaneStatus",
    "Lanes",
    "LlmError",
    "LlmFactory",
    "LocalLlm",
    "Message",
    "MissingKeyError",
    "MissingSdkError",
    "OpenAILlm",
    "OverloadedError",
    "Permit",
    "ProviderStatus",
    "Quota",
    "QuotaError",
    "RateLimitError",
    "RateLimits",
    "RefusalError",
    "TextStream",
    "TruncatedError",
    "Usage",
    "cost_usd",
]

_MODULES = {
    "base_llm": ("BaseLlm", "TextStream"),
    "clients": ("ClientPool",),
    "factory": ("LlmFactory", "ProviderStatus"),
    "lane": ("Cost", "Lane", "LaneLimits", "LaneStatus", "Permit"),
    "lanes": ("Lanes",),
    "prices": ("cost_usd",),
    "providers.anthropic": ("AnthropicLlm",),
    "providers.gemini": ("GeminiLlm",),
    "providers.local": ("LocalLlm",),
    "providers.openai": ("OpenAILlm",),
    "rate_limits": ("Quota", "RateLimits"),
    "types": ("Completion", "FinishReason", "Message", "Usage"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
