import math

import pytest

from orchestration.agent_registry import LLM_TYPES, AgentConfig, AgentRegistry, AgentType
from orchestration.errors import DuplicateError, InvalidTaskError, UnknownAgentError


@pytest.fixture
def registry():
    registry = AgentRegistry()
    registry.register_agent(AgentConfig("writer", AgentType.ANTHROPIC_CLAUDE, capabilities=["prose", "code"]))
    registry.register_agent(AgentConfig("coder", "openai", capabilities=("code",)))
    registry.register_agent(AgentConfig("off", AgentType.LOCAL, enabled=False, capabilities=("code",)))
    return registry


def test_the_contract_s_kinds_of_agent_exist():
    names = ["ANTHROPIC_CLAUDE", "OPENAI_GPT", "GOOGLE_GEMINI", "LOCAL", "SCRIPT", "CLI", "PYTHON", "HUMAN"]
    assert [kind.name for kind in AgentType] == names
    assert {AgentType.SCRIPT, AgentType.CLI, AgentType.PYTHON, AgentType.HUMAN} == set(AgentType) - LLM_TYPES


def test_agents_are_found_by_name_and_listed_in_the_order_registered(registry):
    assert registry.get_agent("coder").agent_type is AgentType.OPENAI_GPT
    assert registry.get_agent("nobody") is None
    assert [agent.name for agent in registry.list_agents()] == ["writer", "coder", "off"]


def test_the_enabled_agents_with_a_capability_are_found(registry):
    assert [agent.name for agent in registry.find(capability="code")] == ["writer", "coder"]
    assert registry.find("dance") == []


def test_registering_a_name_twice_is_an_error_unless_it_is_said_to_replace(registry):
    again = AgentConfig("writer", AgentType.LOCAL)
    with pytest.raises(DuplicateError, match="agent 'writer' is registered already; pass replace=True"):
        registry.register_agent(again)
    registry.register_agent(again, replace=True)
    assert registry.get_agent("writer") is again


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nobody", "agent 'nobody' is unknown; enabled agents: 'writer', 'coder'"),
        ("off", "agent 'off' is disabled; enabled agents: 'writer', 'coder'"),
        (None, r"no agent given for the task; name one \(enabled agents: 'writer', 'coder'\)"),
    ],
)
def test_an_agent_that_is_required_but_not_there_is_named_with_the_known_ones(registry, name, expected):
    with pytest.raises(UnknownAgentError, match=expected):
        registry.require(name)
    assert registry.require("coder").name == "coder"


def test_an_empty_registry_says_so():
    with pytest.raises(ValueError, match="enabled agents: none"):
        AgentRegistry().require("x")


@pytest.mark.parametrize(
    ("kind", "limit"), [("local", 4), ("script", 8), ("cli", 4), ("python", None), ("anthropic", None)]
)
def test_kinds_that_load_this_machine_have_a_limit_of_their_own_unless_they_name_one(kind, limit):
    assert AgentConfig("a", kind).concurrency_limit == limit
    assert AgentConfig("a", kind, max_concurrent=2).concurrency_limit == 2


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("agent_type", "robot", "type 'robot' is unknown; known: 'anthropic', 'openai'"),
        ("agent_type", [], "type .* is unknown"),
        ("mode", "fast", "unknown execution mode 'fast'"),
        ("max_concurrent", 0, "max_concurrent is 0, expected a whole number above 0"),
        ("max_concurrent", "two", "max_concurrent is 'two', expected a whole number above 0"),
        ("max_attempts", 1.5, r"max_attempts is 1\.5, expected a whole number above 0"),
        ("max_tokens", True, "max_tokens is True, expected a whole number above 0"),
        ("timeout_s", -1, "timeout_s is -1, expected a number above 0"),
        ("timeout_s", math.inf, "timeout_s is inf, expected a number above 0"),
        ("command", "python x.py", "command is 'python x.py', expected a sequence of words"),
        ("command", [1], r"command is \[1\], expected a sequence of words"),
        ("capabilities", "code", "capabilities is 'code', expected a sequence of words"),
        ("name", "a/b", "agent name 'a/b' is not usable"),
    ],
)
def test_a_field_of_the_wrong_type_or_range_is_refused_by_name(field, value, expected):
    fields = {"name": "a", "agent_type": "local"} | {field: value}
    with pytest.raises(InvalidTaskError, match=expected):
        AgentConfig(**fields)


def test_headers_that_may_hold_a_key_are_not_shown():
    assert "s3cret" not in repr(AgentConfig("a", "openai", headers={"Authorization": "s3cret"}))
