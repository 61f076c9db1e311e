"""The order of checks, and what follows from one that fails."""

import sys

import pytest

from orchestration.errors import AttemptError
from orchestration.task_options import Check

FAILS = Check(command=(sys.executable, "-c", "raise SystemExit(1)"), name="fails")
HOLDS = Check(command=(sys.executable, "-c", "pass"), name="holds")
SEES = Check(matches="yes", name="sees")
JUDGE = Check(judge="critic", name="first judge")
OTHER = Check(judge="critic", name="other judge")


def scoring(*scores):
    left = iter(scores)

    async def judge(check, prompt, schema):
        return {"score": next(left), "reason": "because"}

    return judge


def names(verdicts):
    return [verdict.check for verdict in verdicts]


async def test_without_checks_there_are_no_verdicts(check_all):
    assert await check_all() == ()


async def test_what_is_free_comes_first_and_what_costs_money_last(check_all):
    verdicts = await check_all(JUDGE, HOLDS, SEES, of="yes", judge=scoring(1))

    assert names(verdicts) == ["sees", "holds", "first judge"]
    assert all(verdict.is_passed for verdict in verdicts)


async def test_a_failure_spares_the_judges_and_nothing_else(check_all):
    verdicts = await check_all(JUDGE, FAILS, HOLDS, SEES, of="no")

    assert [(verdict.check, verdict.is_passed) for verdict in verdicts] == [
        ("sees", False),
        ("fails", False),
        ("holds", True),
    ]


async def test_a_judge_who_says_no_spares_the_next(check_all):
    assert names(await check_all(JUDGE, OTHER, judge=scoring(0))) == ["first judge"]
    assert names(await check_all(JUDGE, OTHER, judge=scoring(1, 0))) == ["first judge", "other judge"]


async def test_people_are_left_to_the_caller(check_all):
    assert names(await check_all(Check(person=True), SEES)) == ["sees"]


async def test_each_verdict_is_reported_as_soon_as_it_is_known(check_all):
    heard = []

    async def judge(check, prompt, schema):
        assert names(heard) == ["sees", "holds"]
        return {"score": 1, "reason": "because"}

    verdicts = await check_all(JUDGE, HOLDS, SEES, of="yes", judge=judge, report=heard.append)

    assert tuple(heard) == verdicts


async def test_what_was_found_before_a_check_could_not_be_made_is_reported(check_all):
    heard = []

    with pytest.raises(AttemptError):
        await check_all(Check(command=("no-such-program",)), SEES, report=heard.append)

    assert names(heard) == ["sees"]
