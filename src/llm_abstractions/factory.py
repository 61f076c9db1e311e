"""Make providers by the name of their type, and say what is missing for one. Imports no SDK."""

from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Protocol

from llm_abstractions.base_llm import BaseLlm
from llm_abstractions.providers.anthropic import AnthropicLlm
from llm_abstractions.providers.gemini import GeminiLlm
from llm_abstractions.providers.local import LocalLlm
from llm_abstractions.providers.openai import OpenAILlm
from llm_abstractions.sdk_llm import SdkLlm
from llm_abstractions.vendor import DEFAULT_MODELS

__all__ = ["LlmFactory", "ProviderBuilder", "ProviderStatus"]

_SHIPPED: dict[str, type[SdkLlm]] = {llm.vendor.name: llm for llm in (AnthropicLlm, OpenAILlm, GeminiLlm, LocalLlm)}


class ProviderBuilder(Protocol):
    """What `LlmFactory.register` takes: a class or function that makes a provider of one's own."""

    def __call__(self, *, model: str | None, **options: object) -> BaseLlm:
        """Return the provider; `options` are those given to `get_provider`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProviderStatus:
    """Whether providers of a type can be made here, and if not, what to do.

    `missing_modules` are import names, `missing_variables` the environment variables of which one must be set;
    `fix` is the next thing to do, as a sentence a person can follow, None when nothing is missing.
    """

    agent_type: str
    is_available: bool
    default_model: str | None = None
    sdk: str | None = None
    sdk_version: str | None = None
    missing_modules: tuple[str, ...] = ()
    missing_variables: tuple[str, ...] = ()
    fix: str | None = None


class LlmFactory:
    """The providers known to this process: the shipped ones, and those registered by a caller."""

    _registered: ClassVar[dict[str, ProviderBuilder]] = {}

    @classmethod
    def get_provider(cls, agent_type: str, model: str | None = None, **options: Any) -> BaseLlm:
        """Return a provider of `agent_type`; cheap enough (microseconds) to call for every attempt.

        Options of the shipped ones: api_key, api_key_env (the variable that holds it), base_url, timeout_s, headers,
        clients (the run's `ClientPool`), and model_path for "local".

        Raises: ValueError: for a type without a provider. MissingSdkError (an ImportError), MissingKeyError (a
            RuntimeError): for what is not installed or not set. TypeError: for an unknown option.
        """
        name = _name_of(agent_type)
        if builder := cls._registered.get(name):
            return builder(model=model, **options)
        if shipped := _SHIPPED.get(name):
            return shipped(model, **options)
        raise ValueError(_unknown(agent_type, cls._names()))

    @classmethod
    def is_provider_available(cls, agent_type: str, **options: Any) -> bool:
        """Say whether `get_provider` would succeed with these options; False for an unknown type."""
        name = _name_of(agent_type)
        return name in cls._names() and cls.describe(name, **options).is_available

    @classmethod
    def list_available_providers(cls) -> list[str]:
        """Return the types that can be used here and now, in alphabetical order."""
        return [name for name in cls._names() if cls.describe(name).is_available]

    @classmethod
    def describe(cls, agent_type: str, **options: Any) -> ProviderStatus:
        """Return what is there and what is missing for a type with these options; imports no SDK, calls nobody.

        Raises: ValueError: for a type without a provider.
        """
        name = _name_of(agent_type)
        if name in cls._registered:
            return ProviderStatus(agent_type=name, is_available=True)
        if name not in _SHIPPED:
            raise ValueError(_unknown(agent_type, cls._names()))
        llm = _SHIPPED[name]
        missing_modules = llm.vendor.missing_modules()
        missing_variables = llm.missing_variables(**options)
        fix = llm.fix_for(missing_modules, missing_variables, **options)
        return ProviderStatus(
            agent_type=name,
            is_available=fix is None,
            default_model=DEFAULT_MODELS[name],
            sdk=llm.vendor.sdk,
            sdk_version=llm.vendor.installed_version(),
            missing_modules=missing_modules,
            missing_variables=missing_variables,
            fix=fix,
        )

    @classmethod
    def register(cls, agent_type: str, builder: ProviderBuilder, *, replace: bool = False) -> None:
        """Make `builder` the provider of `agent_type`; with `replace`, also in place of a known one.

        Raises: ValueError: when the type has a provider already and `replace` is not set.
        """
        name = _name_of(agent_type)
        if not callable(builder):
            raise TypeError(f"the provider of {name!r} must be a class or function, not {type(builder).__name__}")
        if name in cls._names() and not replace:
            raise ValueError(
                f"agent type {name!r} has a provider already; pass replace=True to put this one in its place"
            )
        cls._registered[name] = builder

    @classmethod
    def unregister(cls, agent_type: str) -> None:
        """Forget a registered provider; a shipped one it replaced is back. Nothing happens when there is none."""
        cls._registered.pop(_name_of(agent_type), None)

    @classmethod
    def _names(cls) -> list[str]:
        return sorted(_SHIPPED.keys() | cls._registered.keys())


def _name_of(agent_type: object) -> str:
    name = agent_type.value if isinstance(agent_type, Enum) else agent_type
    if not isinstance(name, str) or not name:
        raise ValueError(f"agent_type must be a name such as 'openai', not {agent_type!r}")
    return name


def _unknown(agent_type: object, known: list[str]) -> str:
    return (
        f"no provider for agent type {_name_of(agent_type)!r}; expected one of {', '.join(known)}, "
        "or one added with LlmFactory.register"
    )
