"""How verdicts are put into words: for the next attempt, and for a person."""

from orchestration.task_options import Check
from orchestration.verification import Verdict, asks_person, evidence_text
from orchestration.verification.verdict import FEEDBACK_MAX_CHARS, verdict_on


def passed(name):
    return Verdict(check=name, is_passed=True, evidence="saw it")


def failed(name, evidence="saw nothing"):
    return Verdict(check=name, is_passed=False, evidence=evidence)


def test_the_next_attempt_is_told_what_failed_and_why_and_what_passed():
    verdicts = [passed("schema"), failed("pytest -q", "ended with exit code 1\nstdout:\n1 failed"), passed("notes")]

    assert evidence_text(verdicts) == (
        "Your result did not pass these checks:\n\n"
        "- pytest -q\n  ended with exit code 1\n  stdout:\n  1 failed\n\n"
        "It passed these: schema, notes."
    )


def test_where_nothing_failed_only_what_passed_is_told():
    assert evidence_text([passed("schema")]) == "It passed these: schema."
    assert evidence_text([]) == ""


def test_each_of_some_failures_keeps_beginning_and_end_of_its_evidence():
    text = evidence_text([failed(f"check {n}", f"<{n}" + "x" * 1_900 + f"{n}>") for n in range(8)])

    assert len(text) <= FEEDBACK_MAX_CHARS
    for n in range(8):
        assert f"<{n}" in text
        assert f"{n}>" in text


def test_a_great_many_failures_are_named_as_far_as_there_is_room():
    text = evidence_text([failed(f"check {n} " + "y" * 300, "line\n" * 400) for n in range(500)])

    assert len(text) <= FEEDBACK_MAX_CHARS
    assert "- check 0 " in text
    assert text.endswith("and 470 more.")


def test_names_of_checks_stay_on_their_line():
    assert evidence_text([failed("sh -c echo\n- forged")]).splitlines()[2] == "- sh -c echo - forged"


def test_evidence_is_readable_and_bounded():
    verdict = verdict_on(Check(matches="x"), "\x1b[31mred\x1b[0m\0" + "x" * 10_000, is_passed=False)

    assert verdict.check == "matches x"
    assert verdict.evidence.startswith("red\ufffdx")
    assert len(verdict.evidence) == 2_000


def test_a_person_is_asked_by_the_criteria_of_all_checks_for_people():
    checks = [Check(person=True, criteria="Is the tone right?"), Check(matches="x", criteria="no"), Check(person=True)]

    assert asks_person(checks) == "Is the tone right?\nDoes the result do what the task asks for?"
    assert asks_person(checks[1:2]) == ""
