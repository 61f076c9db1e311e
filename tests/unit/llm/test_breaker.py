import pytest

from llm_abstractions.breaker import Breaker, repeated
from llm_abstractions.errors import (
    AuthError,
    BadRequestError,
    ContextLengthError,
    MissingKeyError,
    OverloadedError,
    RateLimitError,
)
from llm_abstractions.rate_limits import RateLimits
from llm_abstractions.types import Completion


def fail(breaker: Breaker, *texts: str, error=BadRequestError, model="m", now=0.0):
    return [breaker.on_failure(model, error(text, status_code=400), now) for text in texts]


def test_the_third_same_failure_in_a_row_stops_a_models_calls():
    breaker = Breaker()

    opened = fail(breaker, "no field 'x' (request req-1a)", "no field 'x' (request req-2b)", "no field 'x' (req 17)")
    assert opened == [None, None, None]  # the third differs in more than ids
    opened = fail(breaker, *["no field 'x' (request req-4d)"] * 2)
    assert opened == [None, None]
    (opened,) = fail(breaker, "no field 'x' (request req-5e)")

    refusal = breaker.refusal("m", 10)
    assert isinstance(refusal, BadRequestError)
    assert str(refusal) == (
        "not sent: 3 calls to 'm' in a row failed in the same way, so the next try is in 50 s. "
        "The failure: no field 'x' (request req-5e)"
    )
    assert str(opened) == str(refusal).replace("50 s", "60 s")
    assert breaker.refusal("other", 10) is None


def test_a_success_between_begins_the_count_anew():
    breaker = Breaker()

    fail(breaker, "no", "no")
    breaker.on_success("m")

    assert fail(breaker, "no", "no") == [None, None]
    assert breaker.refusal("m", 0) is None


def test_another_failure_begins_the_count_anew():
    breaker = Breaker()

    fail(breaker, "no", "no", "something else", "no", "no")
    fail(breaker, "no", error=AuthError)

    assert breaker.refusal("m", 0) is None


@pytest.mark.parametrize("error", [RateLimitError, OverloadedError, ContextLengthError])
def test_what_depends_on_the_moment_or_the_prompt_stops_nobody(error):
    breaker = Breaker()

    assert fail(breaker, *["no"] * 9, error=error) == [None] * 9
    assert breaker.refusal("m", 0) is None


def test_after_a_minute_one_call_tries_and_its_success_lets_all_go():
    breaker = Breaker()
    fail(breaker, "no", "no", "no")

    assert breaker.refusal("m", 59) is not None
    assert breaker.refusal("m", 60) is None
    assert breaker.refusal("m", 60) is not None
    breaker.on_success("m")
    assert breaker.refusal("m", 60) is None


def test_a_try_that_fails_the_same_way_stops_them_for_another_minute():
    breaker = Breaker()
    fail(breaker, "no", "no", "no")
    assert breaker.refusal("m", 61) is None

    assert fail(breaker, "no", now=62) == [None]  # it was open before: nobody waits

    assert breaker.refusal("m", 121) is not None
    assert breaker.refusal("m", 122) is None


def test_a_reset_forgets_all():
    breaker = Breaker()
    fail(breaker, "no", "no", "no")

    breaker.reset()

    assert breaker.refusal("m", 0) is None


def test_an_error_for_a_call_not_sent_has_cost_nothing_and_keeps_the_rest():
    error = MissingKeyError(
        "no key", provider="p", model="m", status_code=401, request_id="r", answer=Completion("x"),
        rate_limits=RateLimits(),
    )  # fmt: skip

    again = repeated(error, "not sent")

    assert type(again) is MissingKeyError
    assert (str(again), again.provider, again.model, again.status_code) == ("not sent", "p", "m", 401)
    assert (again.answer, again.rate_limits, again.request_id) == (None, None, None)
    assert (str(error), error.request_id) == ("no key", "r")
