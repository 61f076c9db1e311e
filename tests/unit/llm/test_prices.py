import asyncio
import sys
from decimal import Decimal

import pytest

from llm_abstractions import prices
from llm_abstractions.prices import cost_usd
from llm_abstractions.types import Usage
from llm_abstractions.vendor import DEFAULT_MODELS

USAGE = Usage(input_tokens=1000, output_tokens=100)


@pytest.mark.parametrize("provider", ["anthropic", "openai", "gemini"])
async def test_every_default_model_has_a_price(provider):
    cost = await cost_usd(provider, DEFAULT_MODELS[provider], USAGE)

    assert isinstance(cost, Decimal)
    assert Decimal("0.0001") < cost < Decimal("0.1")


async def test_a_model_on_this_machine_costs_nothing():
    assert await cost_usd("local", "anything", USAGE) == Decimal(0)


@pytest.mark.parametrize(("provider", "model"), [("openai", "my-own-model"), ("my-own-provider", "x"), ("openai", "")])
async def test_an_unknown_price_is_none_and_never_zero(provider, model):
    assert await cost_usd(provider, model, USAGE) is None
    assert await cost_usd(provider, model, USAGE) is None


async def test_cached_input_is_cheaper_than_fresh_input():
    fresh = await cost_usd("anthropic", "claude-sonnet-5-5", Usage(input_tokens=1000))
    cached = await cost_usd("anthropic", "claude-sonnet-5-5", Usage(input_tokens=1000, cached_tokens=1000))

    assert cached < fresh


async def test_a_large_call_has_its_own_tier():
    small = await cost_usd("openai", "gpt-6-sol", Usage(input_tokens=1000))
    large = await cost_usd("openai", "gpt-6-sol", Usage(input_tokens=1_000_000))

    assert large > 1000 * small


async def test_counts_that_contradict_each_other_have_no_price():
    assert await cost_usd("anthropic", "claude-sonnet-5-5", Usage(input_tokens=1, cached_tokens=50)) is None


async def test_without_the_price_list_a_price_is_unknown(monkeypatch):
    monkeypatch.setitem(sys.modules, "genai_prices", None)

    assert await cost_usd("openai", "gpt-6-sol", USAGE) is None


async def test_the_first_price_is_worked_out_in_a_thread(monkeypatch):
    monkeypatch.setitem(prices._state, "is_loaded", False)
    calls = []
    to_thread = asyncio.to_thread

    async def spy(*args):
        calls.append(args)
        return await to_thread(*args)

    monkeypatch.setattr(prices.asyncio, "to_thread", spy)
    await cost_usd("openai", "gpt-6-sol", USAGE)
    await cost_usd("openai", "gpt-6-sol", USAGE)

    assert len(calls) == 1
