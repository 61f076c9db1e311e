"""What the real coding agents do when they are run as workers."""

import asyncio
import os
import signal
import time

import pytest
from mock_provider import Fail, Hang, Say

from orchestration.agent_registry import AgentConfig, AgentType, Tool
from orchestration.attempt import Session
from orchestration.errors import AttemptError, FailureKind
from orchestration.runners.cli_probe import probe

pytestmark = pytest.mark.timeout(180)

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}


async def test_it_edits_a_file_and_tells_what_it_did_and_used(rig):
    rig.provider.play(rig.writes("a.txt", "hello"), Say("I wrote a.txt."))

    outcome = await rig.run()

    assert (rig.root / "a.txt").read_text() == "hello"
    assert outcome.output == "I wrote a.txt."
    assert {"text", "tool"} <= {kind for kind, _ in rig.told}
    (call,) = rig.calls
    assert call.input_tokens >= 200  # two requests, and what the tool may ask on the side
    assert call.output_tokens >= 40
    assert outcome.metadata["session_id"] == rig.sessions[0]
    assert rig.pids() == []


async def test_one_that_may_only_read_does_not_write(rig):
    rig.provider.play(rig.writes("a.txt", "hello"), Say("I could not."))

    outcome = await rig.run(permissions="read-only")

    assert not (rig.root / "a.txt").exists()
    assert outcome.output == "I could not."


async def test_one_that_may_edit_does_not_write_elsewhere(rig, monkeypatch):
    if rig.tool is Tool.CODEX:
        pytest.skip("its sandbox lets it write to the temporary folder, in which this test runs")
    rig.provider.play(rig.writes("../outside.txt", "hello"), Say("I could not."))

    await rig.run()

    assert not (rig.root.parent / "outside.txt").exists()


async def test_one_that_may_do_anything_writes_elsewhere(rig):
    rig.provider.play(rig.writes("../outside.txt", "hello"), Say("Done."))

    await rig.run(permissions="full")

    if rig.tool is not Tool.GEMINI:  # whose file tools keep to its folder whatever it may
        assert (rig.root.parent / "outside.txt").read_text() == "hello"


async def test_an_answer_has_the_form_that_was_asked_for(rig):
    rig.provider.play(rig.gives({"n": 3}), Say("ok"))

    outcome = await rig.run(task={"output_schema": SCHEMA})

    assert outcome.output.replace(" ", "") == '{"n":3}'


async def test_a_refused_sign_in_ends_it_at_once(rig):
    rig.provider.play(Fail(401))
    began = time.monotonic()

    failure = await rig.failure()

    assert failure.kind is FailureKind.AUTH
    assert rig.ways.login in str(failure)
    assert time.monotonic() - began < 20


async def test_an_overloaded_provider_is_told(rig):
    if rig.tool in {Tool.GEMINI, Tool.OPENCODE}:
        pytest.skip("it tries again for minutes; see the next test")
    rig.provider.play(Fail(529))

    failure = await rig.failure()

    assert failure.kind is FailureKind.OVERLOADED


async def test_a_rate_limit_is_told(rig):
    if rig.tool is Tool.OPENCODE:
        pytest.skip("it tries again for ever, and says nothing")
    rig.provider.play(Fail(429, headers={"retry-after": "1"}))

    failure = await rig.failure(idle_timeout_s=4)

    assert failure.kind is FailureKind.RATE_LIMIT


async def test_a_prompt_too_long_is_told(rig):
    if rig.tool is Tool.OPENCODE:
        pytest.skip("it makes the conversation shorter and tries again for ever")
    rig.provider.play(Fail(400, "prompt is too long: 250000 tokens > 200000 maximum"))

    failure = await rig.failure()

    assert failure.kind is FailureKind.CONTEXT_LENGTH


async def test_all_its_processes_are_gone_two_seconds_after_it_was_cancelled(rig):
    rig.provider.play(Hang())
    async with asyncio.TaskGroup() as group:
        task = group.create_task(rig.run())
        await asyncio.wait_for(rig.provider.hanging.wait(), 60)
        assert rig.pids()
        began = time.monotonic()
        task.cancel()
    assert time.monotonic() - began < 2
    assert rig.pids() == []


async def test_killed_it_goes_on_with_its_conversation(rig):
    rig.provider.play(rig.writes("a.txt", "hello"), Hang())
    async with asyncio.TaskGroup() as group:
        task = group.create_task(rig.failure("Write the file that was agreed on."))
        await asyncio.wait_for(rig.provider.hanging.wait(), 60)
        for pid in rig.pids():
            os.kill(pid, signal.SIGKILL)
    assert "SIGKILL" in str(task.result())
    session = Session(agent="writer", session_id=rig.sessions[0], workspace=str(rig.root))
    rig.provider.play(Say("Finished."))

    outcome = await rig.run("Write the file that was agreed on.", context={"session": session})

    assert outcome.output == "Finished."
    assert rig.sessions == [session.session_id] * 2
    (request,) = rig.provider.requests
    assert "agreed on" in str(request)
    assert "interrupted" in str(request)


async def test_a_conversation_it_does_not_know_begins_anew(rig):
    rig.provider.play(Say("Finished."))
    unknown = "11111111-2222-4333-8444-555555555555"
    session = Session(agent="writer", session_id=unknown, workspace=str(rig.root))

    outcome = await rig.run("Write the file that was agreed on.", context={"session": session})

    assert outcome.output == "Finished."
    assert outcome.metadata["session_id"] != unknown
    assert "agreed on" in str(rig.provider.requests[-1])
    assert "interrupted while you worked" not in str(rig.provider.requests[-1])


async def test_its_version_and_sign_in_are_seen_without_a_word_to_its_provider(rig):
    agent = AgentConfig("writer", AgentType.CLI, tool=rig.tool, env=tuple(rig.extra_env))

    seen = await probe(agent, rig.root)

    assert seen.version[0].isdigit()
    assert seen.fix == ""
    assert rig.provider.requests == []


async def test_a_slash_at_the_beginning_is_no_command(rig):
    rig.provider.play(Say("Explained."))

    outcome = await rig.run("/help is what I want explained")

    assert outcome.output == "Explained."
    assert "is what I want explained" in str(rig.provider.requests[0])


async def test_without_a_sign_in_it_says_how_to_sign_in(rig, monkeypatch):
    if rig.tool is Tool.OPENCODE:
        pytest.skip("it has models that need none")
    for name in ("ANTHROPIC_API_KEY", "MOCK_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    failure = await rig.failure()

    assert isinstance(failure, AttemptError)
    assert failure.kind is FailureKind.AUTH
    assert rig.ways.login in str(failure)
