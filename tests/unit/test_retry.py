import pytest

from orchestration.errors import InvalidTaskError
from orchestration.retry import RetryPolicy, decide
from orchestration.task import FailureKind


@pytest.mark.parametrize(
    ("attempt", "jitter", "delay_s"),
    [(1, 0.0, 0.5), (1, 0.5, 0.75), (2, 0.0, 1.0), (3, 0.0, 2.0), (7, 0.0, 30.0), (50, 0.5, 45.0)],
)
def test_the_delay_doubles_up_to_the_ceiling_and_is_spread_over_its_upper_half(attempt, jitter, delay_s):
    assert decide(FailureKind.CONNECTION, attempt, RetryPolicy(max_attempts=99), jitter=jitter) == delay_s


@pytest.mark.parametrize(
    ("kind", "is_retried"),
    [
        (FailureKind.RATE_LIMIT, False),
        (FailureKind.OVERLOADED, False),
        (FailureKind.CONNECTION, True),
        (FailureKind.TIMEOUT, True),
        (FailureKind.BAD_OUTPUT, True),
        (FailureKind.QUOTA, False),
        (FailureKind.AUTH, False),
        (FailureKind.CONTEXT_LENGTH, False),
        (FailureKind.REFUSAL, False),
        (FailureKind.TRUNCATED, False),
        (FailureKind.BAD_REQUEST, False),
        (FailureKind.UNAVAILABLE, False),
        (FailureKind.BUDGET, False),
        (FailureKind.TASK_ERROR, False),
    ],
)
def test_only_what_may_go_away_by_itself_is_tried_again(kind, is_retried):
    assert (decide(kind, 1, RetryPolicy(), jitter=0) is not None) == is_retried


def test_the_last_attempt_is_not_followed_by_another():
    assert decide(FailureKind.CONNECTION, 2, RetryPolicy(), jitter=0) is not None
    assert decide(FailureKind.CONNECTION, 3, RetryPolicy(), jitter=0) is None


def test_a_named_moment_is_honoured_and_those_who_wait_for_it_are_spread():
    policy = RetryPolicy(base_delay_s=2)

    assert decide(FailureKind.TIMEOUT, 1, policy, retry_after_s=20, jitter=0) == 20
    assert decide(FailureKind.TIMEOUT, 1, policy, retry_after_s=20, jitter=0.5) == 21


def test_a_moment_too_far_away_is_given_up_at_once():
    assert decide(FailureKind.TIMEOUT, 1, RetryPolicy(), retry_after_s=301, jitter=0) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_attempts", 0),
        ("base_delay_s", -1),
        ("max_delay_s", float("inf")),
        ("max_retry_after_s", float("nan")),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_by_name(field, value):
    with pytest.raises(InvalidTaskError, match=f"{field} is {value!r}"):
        RetryPolicy(**{field: value})
