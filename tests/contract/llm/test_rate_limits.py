"""What a response says of the provider's limits leaves with the answer, or with the error, on every path."""

import asyncio

import pytest

from llm_abstractions.errors import ConnectionFailedError, LlmError, RefusalError
from llm_abstractions.rate_limits import Quota, RateLimits

KEY = "sk-secret-0123456789"
USER = [{"role": "user", "content": "What is the capital of Japan?"}]
OPENAI = {
    "x-ratelimit-limit-requests": "600",
    "x-ratelimit-remaining-requests": "599",
    "x-ratelimit-reset-requests": "100ms",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "600",
    "anthropic-ratelimit-requests-remaining": "599",
    "anthropic-ratelimit-requests-reset": "2020-01-01T00:00:00Z",
}
# Gemini itself sends none, but servers that speak its wire copy OpenAI's.
HEADERS = {"openai": OPENAI, "anthropic": ANTHROPIC, "gemini": OPENAI}


@pytest.fixture(params=["plain", "streamed"])
def options(request) -> dict[str, object]:
    return {"on_text": lambda _: None} if request.param == "streamed" else {}


@pytest.fixture
def headers(wire) -> dict[str, str]:
    return HEADERS[wire.name]


@pytest.fixture
def stated(wire) -> RateLimits:
    reset_s = 0.0 if wire.name == "anthropic" else 0.1
    return RateLimits(requests=Quota(limit=600, remaining=599, reset_s=reset_s))


def say(server, wire, options, text, headers, reason="stop"):
    if options:
        server.streams(*wire.events(text, reason=reason), headers=headers)
    else:
        server.says(wire.answer(text, reason), headers=headers)


async def test_an_answer_tells_the_providers_limits(wire, server, llm, options, headers, stated):
    say(server, wire, options, "Tokyo.", headers)

    answer = await llm.generate_content_async(USER, **options)

    assert answer.rate_limits == stated


async def test_a_server_that_states_no_limits_has_none(wire, server, llm, options):
    say(server, wire, options, "Tokyo.", {})

    assert (await llm.generate_content_async(USER, **options)).rate_limits is None


@pytest.mark.parametrize("status", [429, 400, 500])
async def test_an_error_tells_them_too(wire, server, llm, options, headers, stated, status):
    server.says(wire.error("No such luck"), status=status, headers=headers)

    with pytest.raises(LlmError) as caught:
        await llm.generate_content_async(USER, **options)

    assert caught.value.rate_limits == stated


async def test_and_an_answer_that_was_refused(wire, server, llm, options, headers, stated):
    say(server, wire, options, "I'd rather not", headers, reason="refusal")

    with pytest.raises(RefusalError) as caught:
        await llm.generate_content_async(USER, **options)

    assert caught.value.rate_limits == caught.value.answer.rate_limits == stated


async def test_a_server_that_cannot_be_reached_states_none(server, llm, options):
    server.hangs_up()

    with pytest.raises(ConnectionFailedError) as caught:
        await llm.generate_content_async(USER, **options)

    assert caught.value.rate_limits is None


async def test_an_account_is_a_server_and_a_key_without_showing_either_key(wire, server, pool):
    def account(key: str, url: str) -> str:
        return wire.llm("m-0", api_key=key, base_url=url, clients=pool).account

    here, there = server.url + wire.base, "https://example.com" + wire.base
    accounts = {account(KEY, here), account(KEY, here), account(KEY + "x", here), account(KEY, there)}

    assert len(accounts) == 3
    assert not any(KEY[3:] in name for name in accounts)
    assert wire.llm("m-0", api_key=KEY, clients=pool).account.startswith(f"{wire.name}#")
    await asyncio.sleep(0)
