import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_abstractions.cost import Cost, Estimates

AMOUNTS = {"input_tokens": 100, "output_tokens": 50}


def test_a_call_needs_a_request_and_its_tokens():
    assert Cost(**AMOUNTS).amounts() == (1, 150, 100, 50)


def test_without_history_four_characters_are_a_token_and_the_answer_is_modest():
    estimates = Estimates()

    assert estimates.estimate(4_001, None, "a") == Cost(
        input_tokens=1_001, output_tokens=1_000, prompt_chars=4_001, key="a"
    )
    assert estimates.estimate(0, 50_000, "a").output_tokens == 1_000
    assert estimates.estimate(0, 200, "a").output_tokens == 200


def test_input_is_corrected_by_what_was_used_whoever_asks():
    estimates = Estimates()
    cost = estimates.estimate(1_000, None, "a")

    estimates.learn(cost, Cost(input_tokens=1_000))

    assert estimates.estimate(1_000, None, "b").input_tokens == 1_000


def test_output_is_learned_for_each_agent_and_never_more_than_allowed():
    estimates = Estimates()

    for _ in range(30):
        estimates.learn(estimates.estimate(100, 8_000, "poet"), Cost(input_tokens=25, output_tokens=40))
        estimates.learn(estimates.estimate(100, 8_000, "novelist"), Cost(input_tokens=25, output_tokens=6_000))

    assert estimates.estimate(100, 8_000, "poet").output_tokens == 40
    assert estimates.estimate(100, 8_000, "novelist").output_tokens == 6_000
    assert estimates.estimate(100, 500, "novelist").output_tokens == 500
    assert estimates.estimate(100, None, "stranger").output_tokens == 1_000


def test_one_odd_call_does_not_turn_an_average_over():
    estimates = Estimates()
    for output_tokens in (100, 100, 100, 1_000):
        estimates.learn(estimates.estimate(100, None, "a"), Cost(output_tokens=output_tokens))

    assert estimates.estimate(100, None, "a").output_tokens == pytest.approx(370, abs=1)


def test_a_cost_that_was_not_estimated_teaches_nothing():
    estimates = Estimates()

    estimates.learn(Cost(**AMOUNTS), Cost(input_tokens=9_999, output_tokens=9_999))

    assert estimates.estimate(400, None, "").input_tokens == 100


def test_it_remembers_a_thousand_agents_and_no_more():
    estimates = Estimates()
    for number in range(1_001):
        estimates.learn(Cost(prompt_chars=4, key=str(number)), Cost(input_tokens=1, output_tokens=7))

    assert estimates.estimate(4, None, "0").output_tokens == 1_000
    assert estimates.estimate(4, None, "1000").output_tokens == 7


@given(st.lists(st.tuples(st.integers(1, 10**7), st.integers(0, 10**7), st.integers(0, 10**6))), st.integers(1, 10**6))
def test_whatever_was_learned_an_estimate_is_a_sound_number(history, max_tokens):
    estimates = Estimates()
    for chars, input_tokens, output_tokens in history:
        actual = Cost(input_tokens=input_tokens, output_tokens=output_tokens)
        estimates.learn(estimates.estimate(chars, max_tokens, "a"), actual)

    cost = estimates.estimate(1_000, max_tokens, "a")

    assert 1 <= cost.input_tokens <= 1_000 / 4 * 20
    assert 0 <= cost.output_tokens <= max_tokens
