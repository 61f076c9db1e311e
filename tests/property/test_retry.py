"""What holds for every retry decision, whatever the numbers."""

import math

from hypothesis import given
from hypothesis import strategies as st

from orchestration.retry import PARKABLE, RETRYABLE, RetryPolicy, decide, park_s
from orchestration.task import FailureKind

seconds = st.floats(min_value=0, max_value=1e6, allow_nan=False)
policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 10_000),
    base_delay_s=seconds,
    max_delay_s=seconds,
    max_retry_after_s=seconds,
    max_parked_s=seconds,
)
kinds = st.sampled_from(FailureKind)
attempts = st.integers(1, 20_000)
jitters = st.floats(min_value=0, max_value=1, exclude_max=True)
asked = st.none() | st.floats()


@given(kinds, attempts, policies, asked, jitters)
def test_a_decision_is_none_or_a_finite_wait(kind, attempt, policy, retry_after_s, jitter):
    delay_s = decide(kind, attempt, policy, retry_after_s=retry_after_s, jitter=jitter)

    assert delay_s is None or (math.isfinite(delay_s) and delay_s >= 0)


@given(kinds, attempts, policies, asked, jitters)
def test_there_are_never_more_attempts_than_allowed_and_only_of_retryable_kinds(
    kind, attempt, policy, retry_after_s, jitter
):
    delay_s = decide(kind, attempt, policy, retry_after_s=retry_after_s, jitter=jitter)

    if attempt >= policy.max_attempts or kind not in RETRYABLE:
        assert delay_s is None
    elif retry_after_s is None:
        assert delay_s is not None


@given(st.sampled_from(sorted(RETRYABLE)), policies, seconds, jitters)
def test_a_wait_is_never_shorter_than_the_other_side_asked_for(kind, policy, retry_after_s, jitter):
    delay_s = decide(kind, 1, policy, retry_after_s=retry_after_s, jitter=jitter)

    if policy.max_attempts > 1:
        assert (delay_s is None) == (retry_after_s > policy.max_retry_after_s)
    assert delay_s is None or delay_s >= retry_after_s


@given(st.sampled_from(sorted(RETRYABLE)), attempts, policies, jitters)
def test_without_a_wish_of_the_other_side_the_wait_stays_below_the_ceiling(kind, attempt, policy, jitter):
    delay_s = decide(kind, attempt, policy, jitter=jitter)

    assert delay_s is None or delay_s <= policy.max_delay_s


@given(attempts, policies, jitters)
def test_waits_do_not_get_shorter_from_attempt_to_attempt(attempt, policy, jitter):
    first = decide(FailureKind.CONNECTION, attempt, policy, jitter=jitter)
    second = decide(FailureKind.CONNECTION, attempt + 1, policy, jitter=jitter)

    assert second is None or second >= first


@given(kinds, attempts, seconds, policies, asked, jitters)
def test_a_parked_task_waits_a_finite_time_for_what_time_can_mend(
    kind, parked, parked_s, policy, retry_after_s, jitter
):
    wait_s = park_s(kind, parked, parked_s, policy, retry_after_s=retry_after_s, jitter=jitter)

    if wait_s is not None:
        assert kind in PARKABLE
        assert math.isfinite(wait_s)
        assert parked_s + wait_s <= policy.max_parked_s + max(policy.base_delay_s, wait_s / 2)
        assert retry_after_s is None or wait_s >= retry_after_s


def test_no_kind_of_failure_both_uses_up_attempts_and_is_parked():
    assert not RETRYABLE & PARKABLE
