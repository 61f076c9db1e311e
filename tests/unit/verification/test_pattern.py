"""Checks by regular expression."""

import asyncio

import pytest

from orchestration.errors import AttemptError, FailureKind
from orchestration.task_options import Check
from orchestration.verification import pattern


@pytest.mark.parametrize(
    ("matches", "output", "is_passed"),
    [
        ("DONE", "all DONE here", True),
        ("DONE", "done", False),
        ("^DONE$", "DONE", True),
        (r"\d+ passed", "12 passed in 3 s", True),
        (r"\d+ passed", "no tests", False),
        (r"(?im)^verdict: yes$", "Why.\nVerdict: yes\nThat is all.", True),
        (r"^\s*$", "", True),
        ("ü.\N{SNOWMAN}?", "grüße", True),
        (r"x\0?y", "x\0y", True),
        ("\ud800*$", "any", True),
    ],
)
async def test_the_pattern_is_searched_for_in_the_output(check_one, matches, output, is_passed):
    assert (await check_one(Check(matches=matches), of=output)).is_passed is is_passed


async def test_the_evidence_is_the_place_or_the_end_of_the_output(check_one):
    found = await check_one(Check(matches="b+"), of="aabb")
    missing = await check_one(Check(matches="b+"), of="a" * 1_000 + "the end")

    assert found.evidence == "`b+` was found at character 2 of 4"
    assert missing.evidence.startswith("`b+` was not found in the output (1,007 characters), which ends: 'aaa")
    assert missing.evidence.endswith("the end'")
    assert (await check_one(Check(matches="b"))).evidence == "`b` was not found in the output, which is empty"


async def test_the_pattern_is_shown_as_it_is_written(check_one):
    assert (await check_one(Check(matches=r"\[\d+\]"), of="none")).evidence.startswith(r"`\[\d+\]` was not found")


async def test_a_long_output_is_searched_to_its_end(check_one):
    text = "x" * 5_000_000

    assert (await check_one(Check(matches="y$"), of=text + "y")).is_passed
    assert not (await check_one(Check(matches="y"), of=text)).is_passed


async def test_a_pattern_that_goes_on_for_ever_is_stopped_and_holds_nobody_up(check_one):
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(tick())
        verdict = await check_one(Check(matches="(a+)+$", timeout_s=0.3), of="a" * 60 + "b")
        ticking.cancel()

    assert not verdict.is_passed
    assert "`(a+)+$` in 61 characters took more than 0.3 s" in verdict.evidence
    assert ticks >= 5


async def test_a_search_that_breaks_down_has_found_nothing(check_one, monkeypatch):
    monkeypatch.setattr(pattern, "_SEARCH", "raise MemoryError('no room')")

    verdict = await check_one(Check(matches="a+"), of="a")

    assert not verdict.is_passed
    assert "ended with exit code 1: " in verdict.evidence
    assert "no room" in verdict.evidence


async def test_a_pattern_without_repetition_needs_no_process_for_a_text_of_usual_length(check_one, monkeypatch):
    monkeypatch.setattr(pattern.sys, "executable", "/nowhere/python")

    assert (await check_one(Check(matches="^DONE|b$"), of="x" * 99_999 + "b")).is_passed
    with pytest.raises(AttemptError):
        await check_one(Check(matches="DONE"), of="x" * 100_001)


async def test_an_interpreter_that_cannot_be_started_is_not_the_workers_fault(check_one, monkeypatch):
    monkeypatch.setattr(pattern.sys, "executable", "/nowhere/python")

    with pytest.raises(AttemptError, match="cannot start '/nowhere/python'") as caught:
        await check_one(Check(matches="a+"), of="a")

    assert caught.value.kind is FailureKind.TASK_ERROR
