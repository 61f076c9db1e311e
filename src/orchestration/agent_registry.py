"""Who can do the work: agents' configuration under their names.

Pure records. Knows which *kinds* of worker exist, not how any of them runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping  # noqa: TC003 -- msgspec reads the annotations at run time
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from typing import Any, Literal, cast, get_args

from orchestration.errors import DuplicateError, FailureKind, InvalidTaskError, UnknownAgentError
from orchestration.task import check_mode, check_name, is_count, is_duration, is_inner_path, max_age_s
from orchestration.task_options import WORKSPACES, WorkspaceKind

__all__ = [
    "FALLBACK_KINDS",
    "LLM_TYPES",
    "PERMISSIONS",
    "AgentConfig",
    "AgentRegistry",
    "AgentType",
    "Fallback",
    "Permissions",
    "Tool",
]


class AgentType(StrEnum):
    """The kinds of worker. The values are what a project file says under `type:`."""

    ANTHROPIC_CLAUDE = "anthropic"
    OPENAI_GPT = "openai"
    GOOGLE_GEMINI = "gemini"
    LOCAL = "local"
    SCRIPT = "script"
    CLI = "cli"
    PYTHON = "python"
    HUMAN = "human"


LLM_TYPES = frozenset(
    {
        AgentType.ANTHROPIC_CLAUDE,
        AgentType.OPENAI_GPT,
        AgentType.GOOGLE_GEMINI,
        AgentType.LOCAL,
    }
)

# Kinds that load this machine's processor have a limit of their own unless the agent names one.
_DEFAULT_CONCURRENCY = {AgentType.LOCAL: 4, AgentType.SCRIPT: 8, AgentType.CLI: 4}


class Tool(StrEnum):
    """The coding agents on the command line that are known by name."""

    CLAUDE = "claude"
    CODEX = "codex"
    GEMINI = "gemini"
    OPENCODE = "opencode"
    AIDER = "aider"


Permissions = Literal["read-only", "edit", "full"]
PERMISSIONS: tuple[str, ...] = get_args(Permissions)

# What another provider may well not suffer from.
FALLBACK_KINDS = frozenset(
    {
        FailureKind.RATE_LIMIT,
        FailureKind.QUOTA,
        FailureKind.OVERLOADED,
        FailureKind.CONNECTION,
        FailureKind.TIMEOUT,
        FailureKind.BUDGET,
    }
)


@dataclass(frozen=True, kw_only=True)
class Fallback:
    """Who takes over from an agent, and after which kinds of failure."""

    agent: str
    on: frozenset[FailureKind] = FALLBACK_KINDS

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "on", frozenset(FailureKind(kind) for kind in self.on))
        except ValueError as exc:
            known = ", ".join(kind.value for kind in FailureKind)
            raise InvalidTaskError(f"fallback to {self.agent!r}: {exc}; known kinds: {known}") from None


@dataclass(frozen=True)
class AgentConfig:
    """One agent: its name, kind and options; each kind of worker reads the options that concern it.

    `allow_truncated` accepts an answer that stopped at `max_tokens`. `max_concurrent` limits how many of this
    agent's tasks a workflow runs at once (default: 4 local model, 8 scripts, 4 programs, others unlimited). Secrets are
    never held, only the name of the environment variable (`api_key_env`). `fallback` names the agents that take over,
    in order, where this one cannot: plain names, or `Fallback` records that say after which kinds of failure.

    `files` are texts in the project's folder that stand before the prompt of each of its tasks, the same for all: what
    its calls share, and providers with a prompt cache charge once. `cache` lets an answer be used again for the very
    same request: true, or `{"max_age_s": seconds}`; without an age, for a week.

    Raises:
        InvalidTaskError: if a field is of the wrong type or out of range.

    """

    name: str
    agent_type: AgentType
    _: KW_ONLY
    enabled: bool = True
    description: str = ""
    capabilities: tuple[str, ...] = ()
    mode: str | None = None
    max_concurrent: int | None = None
    timeout_s: float | None = None
    max_attempts: int | None = None
    fallback: tuple[Fallback | str, ...] = ()
    # models
    model: str | None = None
    system: str | None = None
    files: tuple[str, ...] = ()
    max_tokens: int | None = None
    temperature: float | None = None
    allow_truncated: bool = False
    base_url: str | None = None
    api_key_env: str | None = None
    model_path: str | None = None
    cache: bool | Mapping[str, float] = False
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold a key
    extras: Mapping[str, Any] = field(default_factory=dict)
    # scripts and programs: the command and its arguments; Python: "module:function"
    command: tuple[str, ...] = ()
    function: str | None = None
    # programs of type `cli`
    tool: Tool | None = None
    permissions: Permissions = "read-only"
    env: tuple[str, ...] = ()
    idle_timeout_s: float | None = None
    result: str | None = None
    workspace: WorkspaceKind | None = None

    def __post_init__(self) -> None:
        check_name("agent name", self.name)
        try:
            object.__setattr__(self, "agent_type", AgentType(self.agent_type))
        except ValueError:
            known = ", ".join(repr(kind.value) for kind in AgentType)
            raise InvalidTaskError(
                f"agent {self.name!r}: type {self.agent_type!r} is unknown; known: {known}"
            ) from None
        if self.mode is not None:
            check_mode(self.mode)
        for name in ("capabilities", "files", "command", "env"):
            words = getattr(self, name)
            if isinstance(words, str) or not all(isinstance(word, str) for word in words):
                raise InvalidTaskError(f"agent {self.name!r}: {name} is {words!r}, expected a sequence of words")
            object.__setattr__(self, name, tuple(words))
        max_age_s(f"agent {self.name!r}", self.cache)
        object.__setattr__(self, "fallback", tuple(self._successors()))
        self._check_files()
        self._check_numbers()
        self._check_program()

    def _check_files(self) -> None:
        for path in self.files:
            if not is_inner_path(path):
                raise InvalidTaskError(
                    f"agent {self.name!r}: {path!r} of its files is not a path inside the project's folder; "
                    "name one such as 'docs/style.md'"
                )

    def _check_numbers(self) -> None:
        for name in ("max_concurrent", "max_attempts", "max_tokens"):
            if not is_count(value := getattr(self, name)):
                raise InvalidTaskError(f"agent {self.name!r}: {name} is {value!r}, expected a whole number above 0")
        for name in ("timeout_s", "idle_timeout_s"):
            if not is_duration(value := getattr(self, name)):
                raise InvalidTaskError(f"agent {self.name!r}: {name} is {value!r}, expected a number above 0")

    def _check_program(self) -> None:
        if self.tool is not None:
            try:
                object.__setattr__(self, "tool", Tool(self.tool))
            except ValueError:
                known = ", ".join(repr(tool.value) for tool in Tool)
                raise InvalidTaskError(f"agent {self.name!r}: tool is {self.tool!r}, expected one of {known}") from None
        for name, words in (("permissions", PERMISSIONS), ("workspace", WORKSPACES)):
            value = getattr(self, name)
            if value not in words and not (name == "workspace" and value is None):
                raise InvalidTaskError(f"agent {self.name!r}: {name} is {value!r}, expected one of {', '.join(words)}")

    @property
    def successors(self) -> tuple[Fallback, ...]:
        """The agents of `fallback`, in order, each with the kinds of failure it takes over after."""
        return cast("tuple[Fallback, ...]", self.fallback)

    def _successors(self) -> Iterator[Fallback]:
        given: object = self.fallback
        for one in given if isinstance(given, tuple | list) else (given,):
            if not isinstance(one, str | Fallback):
                raise InvalidTaskError(
                    f"agent {self.name!r}: fallback is {given!r}, expected names of agents, or Fallback records"
                )
            successor = Fallback(agent=one) if isinstance(one, str) else one
            if successor.agent == self.name:
                raise InvalidTaskError(f"agent {self.name!r} falls back to itself; name another agent")
            yield successor

    @property
    def concurrency_limit(self) -> int | None:
        """How many of its tasks may run at once; None is no limit."""
        return self.max_concurrent or _DEFAULT_CONCURRENCY.get(self.agent_type)


class AgentRegistry:
    """The agents of a project by name."""

    def __init__(self) -> None:
        self._agents: dict[str, AgentConfig] = {}

    def register_agent(self, config: AgentConfig, *, replace: bool = False) -> None:
        """Add an agent.

        Raises:
            DuplicateError: if the name is taken and `replace` is false.

        """
        if config.name in self._agents and not replace:
            raise DuplicateError(f"agent {config.name!r} is registered already; pass replace=True to replace it")
        self._agents[config.name] = config

    def get_agent(self, name: str) -> AgentConfig | None:
        """Return the agent of that name, enabled or not; None where there is none."""
        return self._agents.get(name)

    def require(self, name: str | None) -> AgentConfig:
        """Return the enabled agent of that name.

        Raises:
            UnknownAgentError: naming the agent and listing the known ones.

        """
        config = self._agents.get(name) if name is not None else None
        if config is not None and config.enabled:
            return config
        known = ", ".join(repr(agent.name) for agent in self.list_agents() if agent.enabled) or "none"
        if name is None:
            raise UnknownAgentError(f"no agent given for the task; name one (enabled agents: {known})")
        state = "disabled" if config is not None else "unknown"
        raise UnknownAgentError(f"agent {name!r} is {state}; enabled agents: {known}")

    def list_agents(self) -> list[AgentConfig]:
        """Return all agents in the order registered."""
        return list(self._agents.values())

    def find(self, capability: str) -> list[AgentConfig]:
        """Return the enabled agents that have the capability, in the order registered."""
        return [agent for agent in self._agents.values() if agent.enabled and capability in agent.capabilities]
