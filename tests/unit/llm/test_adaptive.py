from itertools import pairwise
from math import inf

import pytest

from llm_abstractions.adaptive import START, TROUBLE_S, Window


def fill(window: Window, now: float, *, until: float = inf) -> tuple[int, float]:
    """Start calls as soon as the window lets them, up to a moment; return how many are under way, and when."""
    under_way = 0
    while (wait_s := window.wait_s(under_way, now)) < inf and now + wait_s <= until and under_way < 5_000:
        now += wait_s
        under_way += 1
        window.on_start(under_way, now)
    return under_way, now


def a_round(window: Window, now: float = 0) -> None:
    """Fill the window, and answer all of it."""
    limit = window.limit
    for under_way in range(1, limit + 1):
        window.on_start(under_way, now)
    for _ in range(limit):
        window.on_success(now)


def test_slow_start_begins_with_a_few_and_doubles_every_100_ms():
    window = Window()

    assert window.wait_s(START, 0) == 0  # nothing was full before
    assert [fill(Window(), 0, until=until)[0] for until in (0, 0.1, 0.2)] == pytest.approx([4, 8, 16], abs=2)


def test_a_thousand_calls_are_under_way_within_a_second():
    assert fill(Window(), 0, until=0.9)[0] >= 1_000


def test_the_ceiling_holds():
    window = Window(ceiling=7)

    assert fill(window, 0)[0] == 7
    window.set_ceiling(2)
    assert window.limit == 2
    assert window.wait_s(2, 100) == inf


def test_a_rate_limit_cuts_to_four_fifths_and_ends_slow_start():
    window = Window()
    fill(window, 0, until=0.6)
    limit = window.limit

    window.on_rate_limit()

    assert window.limit == int(limit * 0.8)
    assert not window.is_slow_start
    assert window.wait_s(window.limit, 100) == inf


def test_what_was_tried_is_too_much_even_where_the_window_allows_more():
    window = Window()
    fill(window, 0, until=0.6)

    window.on_rate_limit(tried=10)

    assert window.limit == 8


def test_one_call_may_always_be_under_way():
    window = Window()
    for _ in range(50):
        window.on_rate_limit()

    assert window.limit == 1
    assert window.wait_s(0, 0) == 0


def test_clean_rounds_let_it_grow_ever_faster():
    window = Window()
    fill(window, 0, until=1.0)
    window.on_rate_limit()
    limits = [window.limit]
    for _ in range(6):
        a_round(window)
        limits.append(window.limit)

    ratios = [later / earlier for earlier, later in pairwise(limits)]
    assert ratios == sorted(ratios)
    assert ratios[0] == pytest.approx(1.05, abs=0.02)
    assert ratios[-1] == pytest.approx(2, abs=0.05)


def test_a_window_that_is_not_used_does_not_grow():
    window = Window()
    fill(window, 0, until=0.6)
    window.on_rate_limit()
    limit = window.limit

    for _ in range(20 * limit):
        window.on_start(limit // 2, 0)
        window.on_success(0)

    assert window.limit == limit


def test_retried_successes_are_neutral():
    window = Window()
    window.on_rate_limit()
    limit = window.limit

    for _ in range(20 * limit):
        window.on_start(window.limit, 0)
        window.on_success(0, is_first_try=False)

    assert window.limit == limit


def test_server_errors_pause_growth_without_shrinking():
    window = Window()
    fill(window, 0, until=0.3)
    limit = window.limit

    window.on_server_error(1)

    assert window.limit == limit
    assert window.wait_s(limit, 2) == inf
    assert window.wait_s(limit, 1 + TROUBLE_S + 1) < inf


def test_it_grows_no_further_than_its_ceiling():
    window = Window(ceiling=10)
    window.on_rate_limit()
    for _ in range(2_000):  # doubled each time, it would be beyond any number
        a_round(window)

    window.set_ceiling(inf)

    assert window.limit == 10


def test_after_a_storm_it_starts_slowly_once_more():
    window = Window()
    for _ in range(20):
        window.on_rate_limit()

    window.on_recovery(8)

    assert window.is_slow_start
    assert fill(window, 0, until=1.2)[0] > 500
