"""The accounts: what was spent, and what is set aside for calls under way."""

from decimal import Decimal

import pytest

from orchestration.ledger import NO_SPEND, PROJECT, Account, Ledger, Reservation, Spend, scopes_of

SCOPES = ("project", "task:a")


def reserved(cost_usd="0.25", **fields):
    money = None if cost_usd is None else Decimal(cost_usd)
    return Reservation(
        **({"task_id": "a", "scopes": SCOPES, "input_tokens": 10, "output_tokens": 5} | fields), cost_usd=money
    )


def test_a_call_goes_to_the_accounts_of_project_task_agent_and_tags():
    assert scopes_of("a") == ("project", "task:a")
    assert scopes_of("a", "gpt", ("x", "y")) == ("project", "task:a", "agent:gpt", "tag:x", "tag:y")


def test_what_is_spent_is_on_each_of_its_accounts_and_on_no_other():
    spend = Spend(calls=1, input_tokens=3, output_tokens=4, cost_usd=Decimal("0.5"))
    ledger = Ledger().spend(SCOPES, spend).spend((PROJECT,), spend)

    assert ledger.account("task:a").spend == spend
    assert ledger.account(PROJECT).spend == spend + spend
    assert ledger.account(PROJECT).spend.tokens == 14
    assert ledger.account("task:b") == Account(spend=NO_SPEND)


def test_a_reservation_is_set_aside_until_it_is_released():
    ledger = Ledger().reserve("c1", reserved()).reserve("c2", reserved("1", scopes=(PROJECT,)))

    assert (ledger.account(PROJECT).reserved_usd, ledger.account(PROJECT).reserved_tokens) == (Decimal("1.25"), 30)
    assert ledger.account("task:a").reserved_usd == Decimal("0.25")
    left = ledger.release("c1")
    assert (left.account(PROJECT).reserved_usd, left.account("task:a").reserved_tokens) == (Decimal(1), 0)
    assert list(left.reservations) == ["c2"]
    assert left.account(PROJECT).spend == NO_SPEND


def test_to_release_what_is_not_there_changes_nothing():
    ledger = Ledger().reserve("c1", reserved())
    assert ledger.release("c2") is ledger


def test_an_unknown_price_sets_tokens_aside_and_no_money():
    account = Ledger().reserve("c1", reserved(None)).account(PROJECT)
    assert (account.reserved_usd, account.reserved_tokens) == (0, 15)


@pytest.mark.parametrize(("cost_usd", "booked", "unpriced"), [("0.25", "0.25", 0), (None, "0", 1)])
def test_a_lost_call_is_booked_at_its_worst_case(cost_usd, booked, unpriced):
    assert reserved(cost_usd).as_spend == Spend(
        calls=1,
        input_tokens=10,
        output_tokens=5,
        cost_usd=Decimal(booked),
        unpriced_calls=unpriced,
        lost_calls=1,
    )


def test_the_share_of_input_that_a_provider_s_cache_served_is_known_where_there_was_input():
    assert Spend(input_tokens=200, cached_tokens=150).cached_share == 0.75
    assert Spend(input_tokens=200).cached_share == 0
    assert NO_SPEND.cached_share is None
