"""What holds for one coding agent, or for what only one of them does."""

import pytest

from orchestration.attempt import Session
from orchestration.errors import FailureKind
from orchestration.prompt import with_schema

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


async def test_claude_that_ignores_the_schema_has_not_answered(stage_of):
    failure = await stage_of("claude").play([{"say": "Three, I think."}]).failure(task={"output_schema": SCHEMA})

    assert failure.kind is FailureKind.BAD_OUTPUT
    assert "did not give its answer the form that was asked for: 'Three, I think.'" in str(failure)
    assert failure.details["answer"] == "Three, I think."


async def test_a_schema_that_claude_cannot_hold_is_told_in_the_prompt(stage_of):
    stage = stage_of("claude").play([{"say": "[1, 2]"}])

    outcome = await stage.run("Count.", task={"output_schema": {"type": "array"}})

    assert outcome.output == "[1, 2]"
    assert stage.calls[0]["prompt"] == with_schema("Count.", {"type": "array"})


async def test_claude_that_took_no_turn_has_not_worked(stage_of):
    failure = await stage_of("claude").play([{"say": "Unknown command"}, {"turns": 0}]).failure()

    assert (failure.kind, "Unknown command" in str(failure)) == (FailureKind.BAD_OUTPUT, True)


async def test_claude_that_would_retry_a_refused_sign_in_is_ended_at_once(stage_of):
    stage = stage_of("claude").play([{"retry": 401}, {"hang": True}])

    failure = await stage.failure()

    assert failure.kind is FailureKind.AUTH
    assert "was stopped: the provider refuses the sign-in (401)" in str(failure)
    assert "exit_code" not in failure.details


async def test_a_retry_of_its_own_is_told(stage_of):
    stage = stage_of("claude").play([{"retry": 429}, {"say": "All done."}])

    await stage.run()

    assert ("retry", "rate_limit 429 (try 1), again in 1 s") in stage.reports.texts


async def test_gemini_that_retries_in_silence_is_told_by_its_stderr(stage_of):
    stage = stage_of("gemini").play([{"retry": 429}, {"hang": True}])

    failure = await stage.failure(idle_timeout_s=1)

    assert failure.kind is FailureKind.RATE_LIMIT
    assert "it said nothing for 1 s, and before that: Attempt 1 failed with status 429" in str(failure)


async def test_gemini_does_not_know_its_conversation_in_another_folder(stage_of):
    stage = stage_of("gemini").play([{"say": "All done."}])
    await stage.run()
    session = Session(agent="writer", session_id=stage.reports.sessions[0], workspace=str(stage.folder))

    await stage.run(context={"session": session})

    assert len(stage.calls) == 2
    assert stage.calls[1]["prompt"] == "Do it"


async def test_an_answer_lost_in_a_line_too_long_says_so(stage_of):
    failure = await stage_of("codex").play([{"flood": 11}, {"exit": 0}]).failure()

    assert "(lines of more than 10 MB were dropped)" in str(failure)


async def test_a_prompt_too_long_says_what_to_do(stage_of):
    failure = await stage_of("codex").play([{"print": "context window exceeded"}, {"exit": 1}]).failure()

    assert failure.kind is FailureKind.CONTEXT_LENGTH
    assert "shorten what its dependencies hand over" in str(failure)


async def test_a_failure_says_where_all_that_was_said_is(stage_of, tmp_path):
    folder = tmp_path / "raw"

    failure = await stage_of("claude").play([{"fail": 529}]).failure(context={"artefacts": folder})

    assert f"all it said is in {folder}" in str(failure)
    assert failure.details["artefacts"] == str(folder)
    assert failure.details["session_id"]


@pytest.mark.parametrize("permissions", ["read-only", "edit", "full"])
async def test_words_about_permissions_are_refused_in_the_command_too(stage_of, permissions):
    stage = stage_of("codex").play([{"say": "All done."}])
    work = stage.work(permissions=permissions)
    object.__setattr__(work.agent, "command", (*work.agent.command, "-c", "sandbox_mode=danger-full-access"))

    if permissions == "full":
        assert (await stage.runner.run(work)).output == "All done."
    else:
        with pytest.raises(ValueError, match="takes away the limits"):
            await stage.runner.run(work)
    await stage.runner.aclose()


@pytest.mark.parametrize("is_there_before", [False, True])
async def test_the_cache_that_aider_leaves_in_the_project_is_swept_unless_it_was_there(stage_of, is_there_before):
    stage = stage_of("aider").play([{"write": {".aider.tags.cache.v4/cache.db": "x", "a.txt": "hi"}}])
    if is_there_before:
        (stage.root / ".aider.tags.cache.v4").mkdir()

    await stage.run()

    assert (stage.root / ".aider.tags.cache.v4").exists() is is_there_before
    assert (stage.root / "a.txt").exists()


async def test_usage_is_booked_under_the_tasks_tags(stage_of):
    class Purse:
        def tags_of(self, task_id):
            return (f"tag of {task_id}",)

        def applies_to(self, _task_id, _agent):
            return False

    stage = stage_of("claude").play([{"say": "All done."}])

    await stage.run(context={"purse": Purse()})

    assert stage.reports.calls[0].tags == ("tag of draft",)


async def test_the_fakes_refuse_what_the_real_ones_refuse(stage_of):
    failure = await stage_of("claude").play([]).failure(extras={"args": ["--no-such-flag"]})

    assert "unknown option '--no-such-flag'" in str(failure)
