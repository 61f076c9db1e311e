import pytest

from orchestration.errors import InvalidTaskError
from orchestration.retry import PARKABLE, RetryPolicy, decide, later_s, park_s
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
        ("max_parked_s", -1),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused_by_name(field, value):
    with pytest.raises(InvalidTaskError, match=f"{field} is {value!r}"):
        RetryPolicy(**{field: value})


@pytest.mark.parametrize(
    ("parked", "jitter", "delay_s"),
    [(0, 0.0, 0.5), (0, 0.5, 0.75), (1, 0.0, 1.0), (3, 0.5, 6.0), (4, 0.0, 7.5), (10_000, 0.5, 11.25)],
)
def test_an_overloaded_provider_is_asked_again_ever_later_but_soon_enough(parked, jitter, delay_s):
    assert park_s(FailureKind.OVERLOADED, parked, 0, RetryPolicy(), jitter=jitter) == delay_s


@pytest.mark.parametrize("kind", sorted(PARKABLE))
def test_a_moment_the_provider_names_is_waited_for_however_often(kind):
    policy = RetryPolicy(base_delay_s=2)
    assert park_s(kind, 100, 0, policy, retry_after_s=600, jitter=0.5) == 601


def test_money_does_not_come_back_by_itself():
    assert park_s(FailureKind.QUOTA, 0, 0, RetryPolicy(), jitter=0) is None


@pytest.mark.parametrize("kind", sorted(set(FailureKind) - PARKABLE))
def test_what_time_does_not_mend_is_not_waited_for(kind):
    assert park_s(kind, 0, 0, RetryPolicy(), retry_after_s=1, jitter=0) is None


@pytest.mark.parametrize(
    ("parked_s", "retry_after_s", "is_waited_for"),
    [(0, 3_600, True), (0, 3_601, False), (3_000, 600, True), (3_000, 601, False), (3_600, None, False)],
)
def test_it_is_waited_for_no_longer_than_the_policy_says(parked_s, retry_after_s, is_waited_for):
    policy = RetryPolicy(max_parked_s=3_600)
    wait_s = park_s(FailureKind.OVERLOADED, 3, parked_s, policy, retry_after_s=retry_after_s, jitter=0.5)
    assert (wait_s is not None) == is_waited_for


def test_a_moment_that_is_no_number_is_not_waited_for():
    assert park_s(FailureKind.QUOTA, 0, 0, RetryPolicy(), retry_after_s=float("nan"), jitter=0) is None


def test_a_retry_that_is_put_off_comes_after_the_longest_delay():
    policy = RetryPolicy(max_delay_s=60)
    assert later_s(2, policy, jitter=0) == 30
    assert later_s(2, policy, jitter=0.5) == 45
    assert later_s(200, policy, jitter=0) == 200
