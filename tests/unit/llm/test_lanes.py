import asyncio
import random

import pytest

from llm_abstractions.errors import RateLimitError
from llm_abstractions.lane import LaneLimits
from llm_abstractions.lanes import LOCAL_LIMITS, Lanes, family_of

A, B, C, D = (LaneLimits(concurrency=number) for number in (1, 2, 3, 5))


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("claude-sonnet-5-5", "claude-sonnet"),
        ("claude-sonnet-5", "claude-sonnet"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet"),
        ("claude-3-5-sonnet-latest", "claude-sonnet"),
        ("gpt-6-sol", "gpt-sol"),
        ("gpt-6.2-astra", "gpt-astra"),
        ("gpt-5.4-mini", "gpt-mini"),
        ("o4-mini", "o4-mini"),
        ("gemini-3.8-flash", "gemini-flash"),
        ("gemini-flash-latest", "gemini-flash"),
        ("SmolLM2-135M-Instruct.Q4_1", "smollm2-instruct"),
        ("meta-llama/Llama-3.3-70B", "meta-llama-llama"),
        ("claude-sonnet", "claude-sonnet"),
        ("", ""),
    ],
)
def test_a_family_is_a_model_without_versions_dates_and_sizes(model, family):
    assert family_of(model) == family


def test_models_of_a_family_share_a_lane_and_others_do_not():
    lanes = Lanes()
    lane = lanes.lane_of("anthropic", "k", "claude-sonnet-5")

    assert lane.name == "anthropic/claude-sonnet"
    assert lanes.lane_of("anthropic", "k", "claude-sonnet-5-5") is lane
    assert lanes.lane_of("anthropic", "k", "claude-sonnet-5") is lane
    assert lanes.lane_of("anthropic", "k", "claude-opus-5") is not lane
    assert lanes.lane_of("openai", "k", "claude-sonnet-5") is not lane


def test_a_second_account_has_lanes_of_its_own_named_after_it():
    lanes = Lanes()

    names = [lanes.lane_of("openai", account, "gpt-6-sol").name for account in ("a#1", "b#2", "", "a#1")]

    assert names == ["openai/gpt-sol", "openai/gpt-sol@b#2", "openai/gpt-sol@default", "openai/gpt-sol"]


def test_a_provider_without_models_has_one_lane():
    assert Lanes().lane_of("mine").name == "mine"


def test_the_longest_pattern_that_fits_is_in_force():
    lanes = Lanes({"*": D, "anthropic": A, "anthropic/claude-sonnet": B, "openai/gpt-6-sol": C})

    def limits(*lane: str) -> LaneLimits:
        return lanes.lane_of(*lane).limits

    assert limits("anthropic", "", "claude-opus-5") == A
    assert limits("anthropic", "", "claude-sonnet-5-5") == B
    assert limits("anthropic", "other", "claude-sonnet-5-5") == B
    assert limits("openai", "", "gpt-6.1-sol") == C  # named by a model of its family
    assert limits("anthropic2", "", "m") == D
    assert Lanes({"anthropic": A}).lane_of("gemini", "", "m").limits == LaneLimits()


def test_a_local_model_runs_few_calls_at_once_unless_told_otherwise():
    assert Lanes().lane_of("local", "", "smol").limits == LOCAL_LIMITS
    assert Lanes({"local": D}).lane_of("local", "", "smol").limits == D
    assert Lanes({"*": D}).lane_of("local", "", "smol").limits == LOCAL_LIMITS


def test_limits_change_for_lanes_there_and_lanes_to_come():
    lanes = Lanes({"anthropic/claude-opus": C})
    sonnet, opus = (lanes.lane_of("anthropic", "", f"claude-{name}-5") for name in ("sonnet", "opus"))

    lanes.change("anthropic", A)

    assert (sonnet.limits, opus.limits) == (A, C)
    assert lanes.lane_of("anthropic", "", "claude-haiku-5").limits == A
    lanes.change("anthropic/claude-opus-5", B)
    assert (sonnet.limits, opus.limits) == (A, B)


def test_lanes_are_listed_by_name():
    lanes = Lanes()
    for provider, model in (("openai", "gpt-6-sol"), ("anthropic", "claude-opus-5"), ("openai", "gpt-6.1-sol")):
        lanes.lane_of(provider, "", model)

    assert [status.name for status in lanes.status()] == ["anthropic/claude-opus", "openai/gpt-sol"]
    assert [lane.name for lane in lanes.matching("openai/gpt-6-sol")] == ["openai/gpt-sol"]
    assert lanes.matching("open") == []


@pytest.mark.looptime
async def test_one_lanes_pause_holds_up_no_other():
    lanes = Lanes(rng=random.Random(1))
    first, second = lanes.lane_of("openai", "", "gpt-6-sol"), lanes.lane_of("anthropic", "", "claude-opus-5")
    with pytest.raises(RateLimitError), await first.acquire():
        raise RateLimitError("slow down", retry_after_s=100)

    with await second.acquire():
        assert asyncio.get_running_loop().time() == 0


@pytest.mark.looptime
@pytest.mark.parametrize(("provider", "used"), [("anthropic", 100), ("openai", 1_000)])
async def test_only_anthropic_does_not_count_what_it_read_from_its_cache(provider, used):
    from llm_abstractions.types import Usage

    lane = Lanes({provider: LaneLimits(input_tokens_per_minute=1_000)}).lane_of(provider, "", "m")
    cost = lane.estimate(4_000)
    with await lane.acquire(cost) as permit:
        permit.succeed(Usage(input_tokens=1_000, cached_tokens=900))

    assert lane.estimate(4_000).input_tokens == used
