from datetime import UTC, datetime

import pytest

from llm_abstractions.errors import FailureKind, OverloadedError, RateLimitError
from llm_abstractions.failures import Failure, error_from, kind_of, parse_retry_after, redact, transport_failure

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)

RETRY_AFTER = [
    ({}, None),
    ({"retry-after": "7"}, 7),
    ({"retry-after": "0.5"}, 0.5),
    ({"retry-after": "0"}, 0),
    ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
    ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
    ({"retry-after": "Sun, 22 Nov 2026 12:01:30 GMT"}, 90),
    ({"retry-after": "Sun, 22 Nov 2026 11:00:00 GMT"}, 0),
    ({"retry-after": "Sun, 22 Nov 2026 12:01:30 -0000"}, None),
    ({"retry-after": "soon"}, None),
    ({"retry-after": "-5"}, None),
    ({"retry-after": "inf"}, None),
    ({"retry-after": "nan"}, None),
]


@pytest.mark.parametrize(("headers", "seconds"), RETRY_AFTER)
def test_retry_after_is_read_in_seconds_or_as_a_date(headers, seconds):
    assert parse_retry_after(headers, now=NOW) == seconds


def test_without_a_clock_a_date_counts_from_now():
    assert parse_retry_after({"retry-after": "Sun, 22 Nov 2020 12:00:00 GMT"}) == 0


def test_a_kind_that_was_set_beats_all_else():
    assert kind_of(Failure(message="", kind=FailureKind.AUTH, status_code=429)) is FailureKind.AUTH


def test_a_code_beats_the_status():
    assert kind_of(Failure(message="", status_code=429, codes=("x", "insufficient_quota"))) is FailureKind.QUOTA


def test_words_about_context_count_only_where_the_status_says_little():
    assert kind_of(Failure(message="maximum context length", status_code=400)) is FailureKind.CONTEXT_LENGTH
    assert kind_of(Failure(message="maximum context length", status_code=429)) is FailureKind.RATE_LIMIT


@pytest.mark.parametrize("status", [None, 200])
def test_an_event_of_a_type_nobody_knows_may_go_better_next_time(status):
    assert kind_of(Failure(message="", status_code=status, codes=("brand_new",))) is FailureKind.OVERLOADED


def test_a_redirect_nobody_followed_is_a_wrong_address():
    assert kind_of(Failure(message="", status_code=302)) is FailureKind.BAD_REQUEST


def test_an_error_says_who_failed_how_and_what_to_do_next():
    failure = Failure(
        message="slow down", status_code=429, codes=("rate_limit_error",), request_id="r", retry_after_s=7
    )

    error = error_from(failure, provider="openai", model="gpt-x")

    assert isinstance(error, RateLimitError)
    assert str(error) == (
        "openai call to 'gpt-x' failed (rate_limit; 429 rate_limit_error): slow down. The provider asks to wait 7 s. "
        "Wait and call again, or run fewer calls at once."
    )
    assert (error.request_id, error.retry_after_s) == ("r", 7)


def test_a_web_page_is_called_one_and_a_long_reason_is_cut():
    page = error_from(Failure(message="<html>\n <p>no", status_code=502), provider="p", model="m")
    long = error_from(Failure(message="x" * 5000, status_code=502), provider="p", model="m")
    silent = error_from(Failure(message="", status_code=502), provider="p", model="m")

    assert isinstance(page, OverloadedError)
    assert "a web page, not an API answer: '<html> <p>no'" in str(page)
    assert len(str(long)) < 900
    assert "the provider gave no reason" in str(silent)


def test_a_secret_is_masked_and_the_rest_untouched():
    failure = Failure(message="bad key sk-1", status_code=401)

    assert redact(failure, ["sk-1"]).message == "bad key ***"
    assert redact(failure, ["other"]) is failure


def test_an_exception_of_no_transport_is_not_read():
    assert transport_failure(KeyError("x")) is None
    assert transport_failure(RuntimeError("something else")) is None


def test_causes_in_a_circle_end_the_search():
    first, second = KeyError("a"), KeyError("b")
    first.__cause__, second.__cause__ = second, first

    assert transport_failure(first) is None
