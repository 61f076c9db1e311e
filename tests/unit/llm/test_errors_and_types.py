import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_abstractions import errors
from llm_abstractions.errors import ERRORS_BY_KIND, FailureKind, LlmError, MissingKeyError, MissingSdkError
from llm_abstractions.types import Completion, FinishReason, Usage

counts = st.integers(min_value=0, max_value=10**9)
usages = st.builds(
    Usage,
    input_tokens=counts,
    cached_tokens=counts,
    cache_write_tokens=counts,
    output_tokens=counts,
    reasoning_tokens=counts,
)


def test_every_kind_has_one_error_that_says_so():
    assert set(ERRORS_BY_KIND) == set(FailureKind)
    assert all(error.kind is kind for kind, error in ERRORS_BY_KIND.items())


def test_the_tree_in_the_docstring_names_every_error():
    named = {name for name in errors.__all__ if name.endswith("Error")}

    assert {name for name in named if name not in (errors.__doc__ or "")} == set()


def test_what_is_missing_can_be_caught_the_way_the_contract_says():
    assert issubclass(MissingSdkError, ImportError)
    assert issubclass(MissingKeyError, RuntimeError)


@pytest.mark.parametrize("error", [*ERRORS_BY_KIND.values(), MissingSdkError, MissingKeyError])
def test_an_error_survives_pickling_with_its_facts(error):
    again = pickle.loads(pickle.dumps(error("no", provider="p", model="m", status_code=429, retry_after_s=2.5)))  # noqa: S301

    assert isinstance(again, LlmError)
    assert str(again) == "no"
    assert (again.kind, again.provider, again.model) == (error.kind, "p", "m")
    assert (again.status_code, again.retry_after_s, again.request_id, again.answer) == (429, 2.5, None, None)


@given(usages, usages, usages)
def test_usage_adds_up_in_any_order(a, b, c):
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + Usage() == a
    assert (a + b).output_tokens == a.output_tokens + b.output_tokens


def test_usage_adds_to_nothing_else():
    with pytest.raises(TypeError):
        Usage() + 1


def test_a_completion_is_text_and_keeps_its_facts_when_copied_or_pickled():
    answer = Completion(
        "Tokyo", usage=Usage(input_tokens=3), model="m", provider="p", finish_reason=FinishReason.LENGTH
    )

    for again in (copy.deepcopy(answer), pickle.loads(pickle.dumps(answer))):  # noqa: S301
        assert again == "Tokyo"
        assert again.usage.input_tokens == 3
        assert (again.model, again.provider, again.finish_reason) == ("m", "p", FinishReason.LENGTH)


def test_a_completion_needs_nothing_but_its_text():
    answer = Completion("Tokyo")

    assert answer.finish_reason is FinishReason.STOP
    assert answer.usage == Usage()
    assert answer.upper() == "TOKYO"
