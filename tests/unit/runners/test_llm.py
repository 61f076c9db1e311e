"""The runner for models: what it asks of the factory and of a provider, and what it makes of their answers."""

import asyncio
import socket
from decimal import Decimal
from unittest.mock import AsyncMock, MagicMock, patch

import pytest

import llm_abstractions.prices
from llm_abstractions.errors import ERRORS_BY_KIND, MissingKeyError, MissingSdkError
from llm_abstractions.factory import LlmFactory
from llm_abstractions.types import Completion, FinishReason, Usage
from orchestration.agent_registry import AgentType
from orchestration.errors import AttemptError, InvalidTaskError, ProviderUnavailableError
from orchestration.runners.llm import LlmRunner
from orchestration.task import FailureKind

GET_PROVIDER = "llm_abstractions.factory.LlmFactory.get_provider"
USAGE = Usage(input_tokens=1_000, cached_tokens=100, output_tokens=50)


@pytest.fixture
async def runner():
    made = LlmRunner()
    yield made
    await made.aclose()


@pytest.fixture
def provider():
    """Return a caller's own provider, in place of every other."""
    made = MagicMock()
    made.generate_content_async = AsyncMock(return_value="an answer")
    with patch(GET_PROVIDER, return_value=made) as made.get_provider:
        yield made


@pytest.fixture
def claude(make_work):
    return lambda **options: make_work(AgentType.ANTHROPIC_CLAUDE, **options)


def completion(text="an answer", **facts):
    known = {"usage": USAGE, "model": "claude-sonnet-4-5", "provider": "anthropic", "request_id": "req-1"}
    return Completion(text, **(known | facts))


async def failure(runner, work):
    with pytest.raises(AttemptError) as caught:
        await runner.run(work)
    return caught.value


async def test_a_plain_text_is_answer_enough(runner, provider, claude, reports):
    outcome = await runner.run(claude(model="m1"))

    assert outcome.output == "an answer"
    assert outcome.metadata == {"provider": "anthropic", "model": "m1"}
    provider.generate_content_async.assert_awaited_once_with([{"role": "user", "content": "Do it"}])
    assert [(fact.model, fact.cost_usd, fact.input_tokens, fact.attempt) for fact in reports] == [("m1", None, 0, 2)]


async def test_the_factory_is_asked_with_the_agent_s_type_and_model_and_only_with_what_is_set(runner, provider, claude):
    await runner.run(claude())
    provider.get_provider.assert_called_once_with("anthropic", model=None, clients=runner._clients)

    await runner.run(
        claude(model="m1", task_metadata={"model": "m2"}, base_url="http://x", api_key_env="K", headers={"a": "b"})
    )
    provider.get_provider.assert_called_with(
        "anthropic", model="m2", clients=runner._clients, base_url="http://x", api_key_env="K", headers={"a": "b"}
    )


async def test_a_model_file_is_looked_for_in_the_project(runner, provider, make_work, tmp_path):
    await runner.run(make_work(AgentType.LOCAL, model_path="models/a.gguf"))
    assert provider.get_provider.call_args.kwargs["model_path"] == str(tmp_path / "models/a.gguf")

    await runner.run(make_work(AgentType.LOCAL, model_path="/models/a.gguf", root=None))
    assert provider.get_provider.call_args.kwargs["model_path"] == "/models/a.gguf"


async def test_options_are_passed_where_they_are_set_and_the_task_s_come_first(runner, provider, claude):
    schema = {"type": "object"}
    await runner.run(
        claude(
            system="Be brief.",
            max_tokens=7,
            task_max_tokens=9,
            temperature=0.0,
            timeout_s=5,
            extras={"top_k": 3},
            task_output_schema=schema,
        )
    )

    provider.generate_content_async.assert_awaited_once_with(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Do it"}],
        max_tokens=9,
        temperature=0.0,
        timeout_s=5,
        extras={"top_k": 3},
        json_schema=schema,
    )


async def test_what_a_call_used_and_cost_is_reported_and_kept(runner, provider, claude, reports):
    provider.generate_content_async.return_value = completion()

    outcome = await runner.run(claude())

    cost = await llm_abstractions.prices.cost_usd("anthropic", "claude-sonnet-4-5", USAGE)
    assert cost > 0
    assert type(outcome.output) is str
    assert outcome.metadata == {
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "finish_reason": "stop",
        "request_id": "req-1",
        "usage": {
            "input_tokens": 1_000,
            "cached_tokens": 100,
            "cache_write_tokens": 0,
            "output_tokens": 50,
            "reasoning_tokens": 0,
        },
        "cost_usd": str(cost),
    }
    (fact,) = reports
    assert (fact.input_tokens, fact.cached_tokens, fact.output_tokens) == (1_000, 100, 50)
    assert (fact.cost_usd, fact.request_id, fact.finish_reason) == (str(cost), "req-1", "stop")
    assert fact.duration_s >= 0


async def test_an_unknown_price_is_told_apart_from_no_cost(runner, provider, claude, reports):
    provider.generate_content_async.return_value = completion(model="no-such-model")
    assert (await runner.run(claude())).metadata["cost_usd"] is None

    provider.generate_content_async.return_value = completion(provider="local", model="m")
    assert (await runner.run(claude())).metadata["cost_usd"] == "0"
    assert [fact.cost_usd for fact in reports] == [None, "0"]


async def test_a_price_that_cannot_be_worked_out_does_not_lose_the_answer(runner, provider, claude, caplog):
    provider.generate_content_async.return_value = completion()

    with patch("llm_abstractions.prices.cost_usd", side_effect=ValueError("odd usage")):
        outcome = await runner.run(claude())

    assert outcome.output == "an answer"
    assert outcome.metadata["cost_usd"] is None
    assert "price of a call of 'claude-sonnet-4-5'" in caplog.text


async def test_a_call_is_reported_even_if_cancelled_while_its_price_is_looked_up(runner, provider, claude, reports):
    provider.generate_content_async.return_value = completion()
    asked = asyncio.Event()

    async def slow(*_args):
        asked.set()
        await asyncio.Event().wait()

    with patch("llm_abstractions.prices.cost_usd", slow):
        task = asyncio.create_task(runner.run(claude()))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert [(fact.output_tokens, fact.cost_usd) for fact in reports] == [(50, None)]


async def test_an_answer_cut_at_max_tokens_is_a_failure_with_its_cost_unless_the_agent_accepts_it(
    runner, provider, claude, reports
):
    provider.generate_content_async.return_value = completion(finish_reason=FinishReason.LENGTH)

    error = await failure(runner, claude())

    assert error.kind is FailureKind.TRUNCATED
    assert "raise max_tokens of task 'draft' or agent 'writer', or set allow_truncated" in str(error)
    assert error.details["answer"] == "an answer"
    assert error.details["usage"]["output_tokens"] == 50
    assert Decimal(error.details["cost_usd"]) > 0
    assert len(reports) == 1
    assert (await runner.run(claude(allow_truncated=True))).output == "an answer"


@pytest.mark.parametrize("kind", ERRORS_BY_KIND)
async def test_an_error_of_a_provider_keeps_its_kind(runner, provider, claude, reports, kind):
    provider.generate_content_async.side_effect = ERRORS_BY_KIND[kind](
        "no", provider="anthropic", model="m", status_code=429, request_id="req-1", retry_after_s=7
    )

    error = await failure(runner, claude())

    assert error.kind.value == kind.value
    assert str(error) == "agent 'writer': no"
    assert error.retry_after_s == 7
    assert error.details == {"provider": "anthropic", "model": "m", "status_code": 429, "request_id": "req-1"}
    assert reports == []


async def test_a_failure_that_is_billed_is_reported_with_its_cost(runner, provider, claude, reports):
    error_type = ERRORS_BY_KIND[next(kind for kind in ERRORS_BY_KIND if kind.value == "bad_output")]
    provider.generate_content_async.side_effect = error_type("not JSON", answer=completion("{"))

    error = await failure(runner, claude())

    assert error.details["usage"]["input_tokens"] == 1_000
    assert Decimal(error.details["cost_usd"]) > 0
    assert [fact.output_tokens for fact in reports] == [50]


async def test_a_timeout_of_a_caller_s_own_provider_may_be_tried_again(runner, provider, claude):
    provider.generate_content_async.side_effect = TimeoutError

    assert (await failure(runner, claude())).kind is FailureKind.TIMEOUT


async def test_an_answer_that_is_no_text_is_refused(runner, provider, claude):
    provider.generate_content_async.return_value = MagicMock()

    error = await failure(runner, claude())

    assert error.kind is FailureKind.TASK_ERROR
    assert "returned MagicMock, expected text" in str(error)


@pytest.mark.parametrize(
    ("when", "raised", "reason"),
    [
        ("get_provider", ImportError("no SDK"), "missing_dependencies"),
        ("get_provider", MissingSdkError("no SDK"), "missing_dependencies"),
        ("get_provider", RuntimeError("no key"), "missing_api_key"),
        ("get_provider", MissingKeyError("no key"), "missing_api_key"),
        ("generate_content_async", MissingSdkError("no SDK"), "missing_dependencies"),
        ("generate_content_async", MissingKeyError("no key"), "missing_api_key"),
    ],
)
async def test_a_missing_sdk_or_key_is_told_apart_from_a_failure(runner, provider, claude, when, raised, reason):
    getattr(provider, when).side_effect = raised

    error = await failure(runner, claude())

    assert isinstance(error, ProviderUnavailableError)
    assert (error.kind, error.reason) == (FailureKind.UNAVAILABLE, reason)
    assert str(error) == str(raised)


async def test_a_type_without_a_provider_is_the_caller_s_mistake(runner, make_work):
    with pytest.raises(InvalidTaskError, match="agent 'writer': no provider for agent type 'python'"):
        await runner.run(make_work(AgentType.PYTHON))


async def test_a_provider_registered_by_the_caller_is_used(runner, make_work, provider_of_our_own):
    LlmFactory.register("openai", provider_of_our_own, replace=True)
    try:
        outcome = await runner.run(make_work(AgentType.OPENAI_GPT, model="m1"))
    finally:
        LlmFactory.unregister("openai")

    assert outcome.output == "m1 says: Do it"


@pytest.fixture
def provider_of_our_own():
    class Echo:
        def __init__(self, *, model, **_options):
            self.model = model

        async def generate_content_async(self, messages, **_options):
            return f"{self.model} says: {messages[-1]['content']}"

    return Echo


async def test_a_server_that_is_not_there_has_not_charged_for_the_call(runner, make_work, reports, monkeypatch):
    """Through the real SDK: under a budget, a wrong address must not use it up."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    released = []

    class Purse:
        tags_of = staticmethod(lambda _task: ())
        applies_to = staticmethod(lambda _task, _agent: True)
        release = staticmethod(released.append)

        async def reserve(self, *_):
            return "c1"

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        work = make_work(AgentType.OPENAI_GPT, model="m", base_url=address, context={"purse": Purse()})
        error = await failure(runner, work)

    assert (error.kind, released, reports) == (FailureKind.CONNECTION, ["c1"], [])


async def test_closing_twice_is_fine():
    runner = LlmRunner()
    await runner.aclose()
    await runner.aclose()
