"""What the wire carries for a provider's prompt cache, and when a caller hears that an answer has begun."""

import asyncio
from dataclasses import replace

import pytest
from aiohttp import web

from llm_abstractions.base_llm import BaseLlm
from llm_abstractions.errors import LlmError
from llm_abstractions.providers.anthropic import AnthropicLlm
from llm_abstractions.providers.gemini import GeminiLlm
from llm_abstractions.providers.local import LocalLlm
from llm_abstractions.providers.openai import OpenAILlm

KEY = "sk-secret-0123456789"
FILES = "<file>\nWhat every task of an agent has before it.\n</file>\n\n"
MARK = {"type": "ephemeral"}
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"{FILES}Sum it up."}]

anthropic_only = pytest.mark.parametrize("wire", ["anthropic"], indirect=True)
openai_only = pytest.mark.parametrize("wire", ["openai"], indirect=True)


@pytest.fixture
def own_openai(monkeypatch, server):
    """The vendor's own API, as far as the provider can tell, on this machine."""
    monkeypatch.setattr(OpenAILlm, "vendor", replace(OpenAILlm.vendor, domains=("127.0.0.1",)))


@anthropic_only
async def test_claude_gets_the_shared_beginning_as_a_marked_block_of_its_own(wire, server, llm):
    server.says(wire.answer("short"))

    await llm.generate_content_async(ASKED, cache_prefix=FILES)

    (body,) = server.bodies
    assert body["system"] == "Be brief."
    (turn,) = body["messages"]
    assert turn["role"] == "user"
    assert turn["content"] == [
        {"type": "text", "text": FILES, "cache_control": MARK},
        {"type": "text", "text": "Sum it up."},
    ]


@anthropic_only
async def test_claude_gets_the_system_text_marked_where_nothing_else_is_shared(wire, server, llm):
    server.says(wire.answer("short"))

    await llm.generate_content_async(ASKED, cache_prefix="")
    await llm.generate_content_async(ASKED[1:], cache_prefix="")

    assert server.bodies[0]["system"] == [{"type": "text", "text": "Be brief.", "cache_control": MARK}]
    assert server.bodies[0]["messages"] == [ASKED[1]]
    assert "system" not in server.bodies[1]


@anthropic_only
async def test_no_block_without_words_is_sent_after_the_shared_beginning(wire, server, llm):
    server.says(wire.answer("short"))

    await llm.generate_content_async([{"role": "user", "content": "All of it \n"}], cache_prefix="All of it")

    assert server.bodies[0]["messages"][0]["content"] == [
        {"type": "text", "text": "All of it \n", "cache_control": MARK}
    ]


@anthropic_only
async def test_later_turns_follow_the_marked_one_unchanged(wire, server, llm):
    server.says(wire.answer("short"))
    more = [{"role": "assistant", "content": "What?"}, {"role": "user", "content": "That."}]

    await llm.generate_content_async([*ASKED, *more], cache_prefix=FILES)

    assert server.bodies[0]["messages"][1:] == more


async def test_the_words_a_model_reads_are_the_same_with_a_prefix_and_without(wire, server, llm):
    server.says(wire.answer("short"))

    await llm.generate_content_async(ASKED, cache_prefix=FILES)
    await llm.generate_content_async(ASKED)

    assert words_of(server.bodies[0]) == words_of(server.bodies[1]) == ["Be brief.", f"{FILES}Sum it up."]


async def test_without_a_prefix_nothing_is_marked(wire, server, llm):
    server.says(wire.answer("short"))

    await llm.generate_content_async(ASKED)

    assert "cache" not in str(server.bodies[0]).replace("cached", "")


@openai_only
@pytest.mark.usefixtures("own_openai")
async def test_openai_gets_a_key_that_only_the_shared_beginning_decides(wire, server, llm):
    server.says(wire.answer("short"))

    async def key_of(system="Be brief.", files=FILES, prompt="Sum it up.", **options):
        messages = [{"role": "system", "content": system}, {"role": "user", "content": f"{files}{prompt}"}]
        await llm.generate_content_async(messages, cache_prefix=files, **options)
        return server.bodies[-1].get("prompt_cache_key")

    first = await key_of()
    assert first == await key_of(prompt="Translate it.", temperature=0.5)
    assert len({first, await key_of(system="Be long."), await key_of(files="Others.\n"), await key_of(files="")}) == 4
    assert len(first) <= 64
    assert "brief" not in first
    assert await key_of(extras={"prompt_cache_key": "mine"}) == "mine"


@openai_only
async def test_a_compatible_server_is_sent_no_field_it_may_refuse(wire, server, llm):
    server.says(wire.answer("short"))

    await llm.generate_content_async(ASKED, cache_prefix=FILES)

    assert set(server.bodies[0]) == {"model", "messages", "stream"}


async def test_a_provider_says_whether_a_known_beginning_is_cheaper(monkeypatch):
    class Own(BaseLlm):
        async def generate_content_async(self, messages, **options):
            return ""

    for name in ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.setenv(name, KEY)
    elsewhere = "http://localhost:8000/v1"

    official = [llm.caches_prefixes for llm in (AnthropicLlm(), OpenAILlm(), GeminiLlm())]
    compatible = [llm(base_url=elsewhere).caches_prefixes for llm in (AnthropicLlm, OpenAILlm, GeminiLlm)]

    assert official == [True, True, True]
    assert compatible == [True, False, False]
    assert Own().caches_prefixes is False
    assert LocalLlm.caches_prefixes.fget(None) is False


async def test_a_prefix_the_first_message_does_not_begin_with_is_refused_before_anything_is_sent(server, llm):
    with pytest.raises(ValueError, match=r"first user message does not begin with cache_prefix.*'Something else'"):
        await llm.generate_content_async(ASKED, cache_prefix="Something else")
    with pytest.raises(TypeError, match="cache_prefix must be text, not bool"):
        await llm.generate_content_async(ASKED, cache_prefix=True)
    with pytest.raises(TypeError, match="on_start must be callable without arguments, not str"):
        await llm.generate_content_async(ASKED, on_start="begin")
    assert server.bodies == []


async def test_the_caller_hears_of_the_beginning_once_and_before_any_text(wire, server, llm):
    server.streams(*wire.events("Tok", "yo"))
    heard = []

    answer = await llm.generate_content_async(ASKED, on_start=lambda: heard.append("start"), on_text=heard.append)

    assert answer == "Tokyo"
    assert heard == ["start", "Tok", "yo"]


@pytest.mark.parametrize("wire", ["openai", "anthropic"], indirect=True)
async def test_an_answer_has_begun_when_its_first_event_is_there_though_it_holds_no_text(wire, server, llm):
    begun = asyncio.Event()
    head, *rest = wire.events("Tokyo")

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(head)
        await begun.wait()  # the rest comes only after the caller has heard of the beginning
        for event in rest:
            await response.write(event)
        return response

    server.handler = handler

    assert await llm.generate_content_async(ASKED, on_start=begun.set) == "Tokyo"


async def test_a_call_that_fails_has_never_begun(wire, server, llm):
    server.says(wire.error("no"), status=400)
    begun = asyncio.Event()

    with pytest.raises(LlmError):
        await llm.generate_content_async(ASKED, on_start=begun.set)

    assert not begun.is_set()


def words_of(body):
    """Return the system text and the first turn's, whatever blocks and parts they are sent in."""
    if "contents" in body:
        return [join(body["systemInstruction"]["parts"]), join(body["contents"][0]["parts"])]
    turns = [join(turn["content"]) for turn in body["messages"]]
    return [join(body["system"]), *turns] if "system" in body else turns


def join(content):
    return content if isinstance(content, str) else "".join(block["text"] for block in content)
