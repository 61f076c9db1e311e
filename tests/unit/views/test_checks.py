"""How far a result's checks are, and what they saw."""

from datetime import UTC, datetime

import pytest

from orchestration import events as ev
from orchestration.task import Check, ExecutionStatus
from orchestration.verification import Claim, verify
from orchestration.views.checks import check_progress, checks_in_order, verdict_lines
from orchestration.views.lines import describe, murmur
from orchestration.views.model import view

CHECKS = (
    Check(judge="jo", criteria="Is it good?"),
    Check(command=("sh", "-c", "exit 0"), name="tests"),
    Check(person=True),
    Check(matches="good"),
    Check(command=("true",)),
    Check(schema={"type": "string"}),
)


def note(history, name):
    return next(row.note for row in view(history.state, history.at).rows if row.task_id == name)


async def test_the_check_that_is_said_to_be_made_next_is_the_one_that_is():
    made = []

    async def judge(*_):
        return {"score": 1.0, "reason": "fine"}

    claim = Claim(output="good", data="good", since=datetime.now(UTC))
    await verify(CHECKS, claim, cwd=None, env={}, owner="", judge=judge, report=made.append)
    assert [verdict.check for verdict in made] == [check.label for check in checks_in_order(CHECKS)]


class TestProgress:
    @pytest.fixture
    def checking(self, history):
        return history.task("a", checks=CHECKS).start("a").claim("a")

    def test_names_the_check_at_work_and_how_many_there_are(self, checking):
        assert note(checking, "a") == "check 1 of 5: matches good"
        checking.check("a", "matches good").check("a", "schema")
        assert note(checking, "a") == "check 3 of 5: tests"

    def test_tells_of_failures_while_others_go_on(self, checking):
        checking.check("a", "matches good", is_passed=False)
        assert note(checking, "a") == "check 2 of 5, 1 failed: schema"

    def test_does_not_wait_for_judges_that_are_not_asked_any_more(self, checking):
        for name in ("matches good", "schema", "tests"):
            checking.check("a", name)
        assert note(checking.check("a", "true", is_passed=False), "a") == "1 check failed"

    def test_ends_with_how_many_passed(self, checking):
        for name in ("matches good", "schema", "tests", "true"):
            checking.check("a", name)
        assert note(checking, "a") == "check 5 of 5: judge jo"
        assert note(checking.check("a", "judge jo"), "a") == "5 checks passed"

    def test_of_a_claim_without_checks_is_nothing(self, history):
        history.task("a").start("a").claim("a")
        assert check_progress(history.state.tasks["a"]) == ""


class TestLines:
    def test_tell_of_the_checks_that_begin_and_of_those_that_fail(self, history):
        def said():
            return describe(history.facts[-1], history.state, "".join)

        history.task("a", checks=CHECKS).start("a").claim("a")
        assert said() == "a  checking  5 checks"
        history.check("a", "tests", is_passed=False, evidence="exit code 1\nFAILED test_x")
        assert said() == "a  check failed  tests: exit code 1 FAILED test_x"
        history.check("a", "true")
        assert said() == ""
        assert murmur(history.facts[-1]) == "a  check passed  true"

    def test_say_nothing_of_a_claim_without_checks(self, history):
        history.task("a").start("a").claim("a")
        assert describe(history.facts[-1], history.state, "".join) == ""


def test_evidence_is_told_in_full_where_a_check_failed_and_in_a_line_where_it_passed(history):
    history.task("a").start("a").claim("a").check("a", "fine", evidence="one\ntwo")
    history.check("a", "bad", is_passed=False, evidence="\nfirst\n\n  last \x1b[0m\n").check(
        "a", "mute", is_passed=False
    )
    assert [str(line) for line in verdict_lines(history.state.tasks["a"].verdicts)] == [
        "passed  fine  one two",
        "failed  bad",
        "  first",
        "",
        "    last \\x1b[0m",
        "failed  mute",
    ]


def test_a_result_a_person_took_up_goes_on_to_its_checks(history):
    history.task("a", checks=CHECKS).start("a").review("a", "conflict", output="x")
    result = history._result("a", ExecutionStatus.SUCCESS, output="x")
    history.add(ev.TaskReopened, task_id="a", result=result)
    assert note(history, "a") == "ready: its result is there and goes on to its checks"
    assert describe(history.facts[-1], history.state, "".join) == "a  goes on, by a person's word"
