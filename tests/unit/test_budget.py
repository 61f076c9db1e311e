"""The one question about budgets: may this call be made? And why not, in words a person can act on."""

from decimal import Decimal

import pytest

from orchestration.budget import Budget, Budgets, refusal
from orchestration.errors import InvalidTaskError
from orchestration.ledger import Ledger, Reservation, Spend, scopes_of


def worst(cost_usd="0.30", tokens=100, task_id="a"):
    return Reservation(
        task_id=task_id,
        scopes=scopes_of(task_id, "gpt", ("docs",)),
        input_tokens=tokens - 10,
        output_tokens=10,
        cost_usd=None if cost_usd is None else Decimal(cost_usd),
    )


def ledger(spent="0", reserved=None, tokens=0, scopes=("project", "agent:gpt", "tag:docs", "task:a")):
    known = Ledger().spend(scopes, Spend(calls=1, input_tokens=tokens, cost_usd=Decimal(spent)))
    if reserved is not None:
        known = known.reserve("c1", worst(reserved))
    return known


def usd(amount):
    return Budget(usd=Decimal(amount))


def test_what_a_task_has_become_is_held_by_its_budget_and_has_its_tags():
    budgets = Budgets(tasks={"each": usd("1")}, tags={"docs": usd("2")}, tagged={"each": ("docs",)})
    scopes = budgets.scopes("each.1", "gpt", ("each",))
    assert scopes == ("project", "task:each.1", "task:each", "agent:gpt", "tag:docs")
    assert [name for name, _ in budgets.limits(scopes)] == ["task:each", "tag:docs"]


@pytest.mark.parametrize(
    ("limit", "spent", "reserved", "is_final"),
    [
        ("1", "0", None, None),
        ("0.30", "0", None, None),  # to the last cent
        ("1", "0.70", None, None),
        ("1", "0.71", None, True),
        ("0.29", "0", None, True),
        ("1", "0.40", "0.30", None),
        ("1", "0.40", "0.31", False),
        ("1", "0.71", "0.29", True),  # would not fit either if the call under way used nothing
    ],
)
@pytest.mark.parametrize("scope", ["project", "agents", "tasks", "tags"])
def test_a_call_is_made_only_if_its_worst_case_fits_beside_what_is_spent_and_set_aside(
    scope, limit, spent, reserved, is_final
):
    name = {"agents": "gpt", "tasks": "a", "tags": "docs"}
    known = usd(limit) if scope == "project" else {name[scope]: usd(limit)}
    budgets = Budgets(**{scope: known}, tagged={"a": ("docs",)})

    found = refusal(budgets, ledger(spent, reserved), worst())

    assert (found and found.is_final) == is_final


@pytest.mark.parametrize(("used", "is_refused"), [(900, False), (901, True)])
def test_tokens_count_input_and_output_together(used, is_refused):
    budgets = Budgets(project=Budget(tokens=1_000))
    found = refusal(budgets, ledger(tokens=used), worst(None))
    assert bool(found) == is_refused


def test_tokens_set_aside_count_as_well():
    found = refusal(Budgets(project=Budget(tokens=150)), ledger(reserved="0"), worst())
    assert not found.is_final
    assert "150 tokens, does not hold this call's worst case of 100: 0 used, 100 set aside" in found.reason


def test_a_refusal_names_the_budget_and_the_amounts():
    found = refusal(Budgets(project=usd("1.00")), ledger("0.5", "0.25"), worst("0.3"))
    assert found.reason == (
        "the budget of the project, $1.00, does not hold this call's worst case of $0.3000: "
        "$0.5000 spent, $0.2500 set aside for calls under way"
    )
    assert (
        "the budget of tag docs"
        in refusal(Budgets(tags={"docs": usd("0.1")}, tagged={"a": ("docs",)}), Ledger(), worst()).reason
    )


def test_an_unknown_price_is_refused_under_a_budget_in_money_unless_it_is_allowed():
    found = refusal(Budgets(project=usd(1)), Ledger(), worst(None))
    assert found.is_final
    assert "the price of this call is unknown; set allow_unknown_price" in found.reason
    assert refusal(Budgets(project=usd(1), allow_unknown_price=True), Ledger(), worst(None)) is None
    assert refusal(Budgets(project=Budget(tokens=1_000)), Ledger(), worst(None)) is None


def test_a_final_reason_comes_before_one_that_may_pass():
    budgets = Budgets(project=usd(1), tasks={"a": usd("0.1")})
    found = refusal(budgets, ledger("0.5", "0.30", scopes=("project",)), worst())
    assert found.is_final
    assert "the budget of task a" in found.reason


def test_only_budgets_that_concern_a_call_are_asked():
    budgets = Budgets(agents={"claude": usd("0.01")}, tasks={"b": usd("0.01")}, tags={"web": usd("0.01")})
    assert budgets.limits(budgets.scopes("a", "gpt")) == []
    assert refusal(budgets, Ledger(), worst("1000")) is None


@pytest.mark.parametrize(
    "limits",
    [{}, {"usd": Decimal(0)}, {"tokens": -1}, {"tokens": 1.5}, {"usd": Decimal("NaN")}, {"usd": "1"}, {"usd": 1e999}],
)
def test_a_budget_without_a_limit_above_zero_is_refused(limits):
    with pytest.raises(InvalidTaskError, match=r"a budget('s| needs) (usd|tokens)"):
        Budget(**limits)


def test_an_amount_given_as_a_number_is_taken_as_it_was_written():
    assert (Budget(usd=0.1).usd, Budget(usd=2).usd) == (Decimal("0.1"), Decimal(2))


def test_budgets_that_limit_nothing_are_false():
    assert not Budgets(tagged={"a": ("docs",)})
    assert Budgets(tags={"docs": usd(1)})
