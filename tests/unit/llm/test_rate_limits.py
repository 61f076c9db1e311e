from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_abstractions.rate_limits import Quota, RateLimits, parse_rate_limits

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def anthropic(**limits: tuple[str, str, str]) -> dict[str, str]:
    return {
        f"anthropic-ratelimit-{what.replace('_', '-')}-{part}": value
        for what, values in limits.items()
        for part, value in zip(("limit", "remaining", "reset"), values, strict=True)
    }


def test_anthropics_headers_are_read():
    headers = anthropic(requests=("50", "49", "2026-11-22T12:00:01Z"), input_tokens=("50000", "0", "2026-11-22T13:00Z"))

    assert parse_rate_limits(headers, now=NOW) == RateLimits(
        requests=Quota(limit=50, remaining=49, reset_s=1),
        input_tokens=Quota(limit=50_000, remaining=0, reset_s=3600),
    )


def test_a_total_beside_input_and_output_only_repeats_them():
    same = ("10", "5", "2026-11-22T12:00:01Z")

    both = parse_rate_limits(anthropic(tokens=same, input_tokens=same, output_tokens=same), now=NOW)
    alone = parse_rate_limits(anthropic(tokens=same), now=NOW)

    quota = Quota(limit=10, remaining=5, reset_s=1)
    assert both == RateLimits(input_tokens=quota, output_tokens=quota)
    assert alone == RateLimits(tokens=quota)


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [("1s", 1), ("6m0s", 360), ("20ms", 0.02), ("1h2m3.5s", 3723.5), ("1d", 86400), ("soon", None), ("1s!", None)],
)
def test_openais_headers_are_read_in_any_case(reset, seconds):
    headers = {
        "X-RateLimit-Limit-Tokens": "100000",
        "x-ratelimit-remaining-tokens": "99990",
        "x-ratelimit-reset-tokens": reset,
    }

    assert parse_rate_limits(headers) == RateLimits(tokens=Quota(limit=100_000, remaining=99_990, reset_s=seconds))


def test_a_moment_that_has_passed_is_now():
    headers = anthropic(requests=("50", "49", "2020-01-01T00:00:00Z"))

    assert parse_rate_limits(headers) == RateLimits(requests=Quota(limit=50, remaining=49, reset_s=0))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "application/json"},
        {"x-ratelimit-limit-requests": "many", "x-ratelimit-remaining-requests": "-1"},
        {"x-ratelimit-limit-images": "5"},
        {"x-ratelimit-reset-requests": "1s"},
        {"anthropic-ratelimit-requests-limit": "5.0"},
        {"anthropic-ratelimit-unified-status": "allowed"},
    ],
)
def test_what_says_nothing_readable_counts_as_not_said(headers):
    assert parse_rate_limits(headers) is None


@pytest.mark.parametrize("reset", ["2026-11-22T12:00:01", "12:61"])
def test_a_moment_without_a_zone_or_meaning_is_left_out(reset):
    headers = anthropic(requests=("50", "49", reset))

    assert parse_rate_limits(headers, now=NOW) == RateLimits(requests=Quota(limit=50, remaining=49))


parts = st.sampled_from(["limit", "remaining", "reset", "x", ""])
whats = st.sampled_from(["requests", "tokens", "input-tokens", "output_tokens", ""])
names = st.one_of(
    st.builds("x-ratelimit-{}-{}".format, parts, whats), st.builds("anthropic-ratelimit-{}-{}".format, whats, parts)
)


@given(st.dictionaries(names, st.text() | st.integers().map(str)))
def test_no_header_makes_reading_fail(headers):
    limits = parse_rate_limits(headers, now=NOW)

    assert limits is None or limits != RateLimits()
