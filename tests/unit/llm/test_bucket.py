import pytest

from llm_abstractions.bucket import Bucket
from llm_abstractions.rate_limits import Quota


def test_a_bucket_starts_full_and_refills_in_a_minute():
    bucket = Bucket(60, now=0)

    bucket.take(60, 0)

    assert bucket.level(0) == 0
    assert bucket.level(30) == 30
    assert bucket.level(600) == 60


def test_what_is_there_is_not_waited_for_and_the_rest_as_long_as_it_takes():
    bucket = Bucket(60, now=0, is_estimated=False)
    bucket.take(60, 0)

    assert Bucket(60, now=0).wait_s(50, 0) == 0
    assert bucket.wait_s(10, 0) == pytest.approx(10.25)  # with the margin for being early


def test_more_than_the_bucket_holds_waits_for_a_full_one():
    bucket = Bucket(60, now=0)
    assert bucket.wait_s(1_000, 0) == 0

    bucket.take(1_000, 0)

    assert bucket.wait_s(1, 0) > 940
    assert bucket.refill_s(600, 0) == 1_540


def test_an_estimate_is_replaced_by_what_was_used_but_never_beyond_the_brim():
    bucket = Bucket(100, now=0)
    bucket.take(50, 0)

    bucket.correct(50, 20)
    assert bucket.level(0) == 80
    bucket.correct(50, 0)
    assert bucket.level(0) == 100
    bucket.correct(0, 150)
    assert bucket.level(0) == -50


@pytest.mark.parametrize(("size", "level"), [(10, 1), (1_000, 100)])
def test_a_bucket_of_another_size_stays_as_full_as_it_was(size, level):
    bucket = Bucket(100, now=0)
    bucket.take(90, 0)

    bucket.change(size, 0)

    assert (bucket.per_minute, bucket.level(0)) == (size, pytest.approx(level))


def test_time_that_goes_backwards_takes_nothing_away():
    bucket = Bucket(60, now=100)
    bucket.take(30, 100)

    assert bucket.level(50) == 30
    assert bucket.level(101) == 31


def test_the_provider_knows_the_level_better():
    bucket = Bucket(100, now=0, is_estimated=False)
    bucket.take(1, 0)

    # Others use the account, too: 40 are left. Since then 2 more were sent, and one second's worth came back.
    bucket.take(2, 0.5)
    bucket.learn(Quota(limit=100, remaining=40), sent_at=0, before=1, since=3, now=1)

    assert bucket.level(1) == pytest.approx(40 + 100 / 60 - 2)


def test_an_older_answer_says_nothing_new():
    bucket = Bucket(100, now=0)
    bucket.learn(Quota(limit=100, remaining=40), sent_at=2, before=1, since=1, now=3)
    level = bucket.level(3)

    bucket.learn(Quota(limit=100, remaining=90), sent_at=1, before=1, since=1, now=3)

    assert bucket.level(3) == level


def test_a_changed_limit_is_taken_over_and_none_changes_nothing():
    bucket = Bucket(100, now=0)

    bucket.learn(Quota(limit=50), sent_at=0, before=0, since=0, now=0)
    assert (bucket.per_minute, bucket.level(0)) == (50, 50)
    bucket.learn(Quota(limit=0, remaining=10), sent_at=0, before=0, since=0, now=0)
    assert (bucket.per_minute, bucket.level(0)) == (50, 10)


def test_the_bucket_finds_out_that_the_provider_counts_three_times_our_estimates():
    bucket = Bucket(60_000, now=0)
    taken, theirs = 0.0, 60_000.0
    for call in range(1, 6):
        bucket.take(100, call)
        taken, theirs = taken + 100, theirs - 300
        bucket.learn(Quota(limit=60_000, remaining=int(theirs)), sent_at=call, before=taken, since=taken, now=call)
        theirs += 1_000 if theirs < 59_000 else 60_000 - theirs

    level = bucket.level(5)
    bucket.take(100, 5)

    assert level - bucket.level(5) == pytest.approx(300, rel=0.05)


def test_requests_are_counted_alike_and_a_full_bucket_compares_nothing():
    requests, tokens = Bucket(60, now=0, is_estimated=False), Bucket(60, now=0)
    for bucket in (requests, tokens):
        bucket.take(1, 0)
        bucket.learn(Quota(limit=60, remaining=50), sent_at=0, before=1, since=1, now=0)
    tokens.learn(Quota(limit=60, remaining=60), sent_at=500, before=2, since=2, now=500)

    requests.take(1, 0)

    assert requests.level(0) == 49
    tokens.take(1, 500)
    assert tokens.level(500) == 50  # the factor of ten that the first answer taught
