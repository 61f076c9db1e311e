"""What holds for every coding agent."""

import asyncio

import pytest

from orchestration.attempt import Session
from orchestration.errors import FailureKind, InvalidTaskError
from orchestration.prompt import with_correction
from orchestration.runners import cli_listener

WORKED = [{"use": "Bash ls"}, {"write": {"a.txt": "hi\n"}}, {"say": "All done."}]
SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}


async def test_it_works_in_its_folder_and_its_last_words_are_the_result(stage):
    folder = stage.root / "tree"
    folder.mkdir()

    outcome = await stage.play(WORKED).run(cwd=folder)

    assert "All done." in outcome.output
    assert (folder / "a.txt").read_text() == "hi\n"
    assert outcome.metadata["provider"] == stage.tool.value


async def test_what_it_does_is_told_while_it_works(stage):
    await stage.play(WORKED).run()

    kinds = {kind for kind, _ in stage.reports.texts}
    assert kinds == {"text", "tool"}
    assert any("a.txt" in text for kind, text in stage.reports.texts if kind == "tool")
    assert all(fact.attempt == 2 and fact.task_id == "draft" for fact in stage.reports if fact != "durable")


async def test_what_it_used_is_told_once(stage):
    outcome = await stage.play(WORKED).run()

    (*_, call) = stage.reports.calls
    assert (call.provider, call.agent, call.finish_reason) == (stage.tool.value, "writer", "stop")
    used = outcome.metadata["usage"]
    assert used["input_tokens"] == sum(call.input_tokens for call in stage.reports.calls) > 0
    assert used["output_tokens"] == sum(call.output_tokens for call in stage.reports.calls) > 0


async def test_the_prompt_comes_whole_and_is_on_no_command_line(stage):
    prompt = "Zähle: " + "x" * 300_000

    await stage.play(WORKED).run(prompt, system="Be brief.")

    (call,) = stage.calls
    assert prompt in call["prompt"]
    assert not any("xxxx" in word for word in call["args"])


async def test_a_prompt_that_looks_like_a_flag_or_a_command_is_still_a_prompt(stage):
    await stage.play(WORKED).run("/help --version")

    assert stage.calls[0]["prompt"].endswith("/help --version")


async def test_the_model_of_the_task_goes_before_that_of_the_agent(stage):
    await stage.play(WORKED).run(task={"metadata": {"model": "big"}}, model="small")

    assert "big" in stage.calls[0]["args"]
    assert "small" not in stage.calls[0]["args"]


async def test_it_sees_the_variables_that_are_allowed_and_no_others(stage, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://secret")
    monkeypatch.setenv("MY_SETTING", "42")
    monkeypatch.setenv("CLAUDECODE", "1")

    await stage.play(WORKED).run(env=("MY_SETTING",))

    env = stage.calls[0]["env"]
    assert "DATABASE_URL" not in env
    assert "CLAUDECODE" not in env
    assert env["MY_SETTING"] == "42"
    assert (env["TERM"], env["NO_COLOR"]) == ("dumb", "1")
    assert (env["ORCHESTRATION_TASK_ID"], env["ORCHESTRATION_RUN_ID"]) == ("draft", "run-1")
    assert (env["ORCHESTRATION_ATTEMPT"], env["ORCHESTRATION_IDEMPOTENCY_KEY"]) == ("2", "run-1/draft/2")


@pytest.mark.parametrize("permissions", ["read-only", "edit"])
async def test_no_limit_is_taken_away_unless_everything_is_permitted(stage, permissions):
    await stage.play(WORKED).run(permissions=permissions)

    words = stage.calls[0]["args"]
    assert not any(bypass in word for bypass in stage.ways.bypasses if len(bypass) > 2 for word in words)


async def test_the_three_permissions_differ_but_for_aider_which_has_two(stage):
    for permissions in ("read-only", "edit", "full"):
        await stage.play(WORKED).run(permissions=permissions)

    told = {(*limits(call["args"]), call["env"].get("OPENCODE_PERMISSION")) for call in stage.calls}
    assert len(told) == (2 if stage.tool == "aider" else 3)


def limits(args):
    """Return the arguments without those that differ from call to call."""
    return tuple(word for word in args if "/" not in word and word.count("-") < 4)


async def test_arguments_of_the_user_reach_the_tool(stage):
    await stage.play(WORKED).run(extras={"args": ["--model" if stage.tool in ("claude", "aider") else "-m", "mine"]})

    assert "mine" in stage.calls[0]["args"]


@pytest.mark.parametrize("extras", [{"args": "--fast"}, {"args": [1]}, {"flags": []}, {"args": ["a\0b"]}])
async def test_arguments_that_are_no_words_are_refused_before_anything_starts(stage, extras):
    with pytest.raises(InvalidTaskError, match="writer"):
        await stage.play(WORKED).run(extras=extras)

    assert stage.calls == []


async def test_arguments_that_take_limits_away_are_refused(stage):
    if not stage.ways.bypasses:
        return
    bypass = stage.ways.bypasses[-1]
    with pytest.raises(InvalidTaskError, match="takes away the limits"):
        await stage.play(WORKED).run(extras={"args": [bypass]}, permissions="edit")

    await stage.play([{"exit": 0}]).failure(extras={"args": []}, permissions="full")


async def test_an_answer_that_has_to_meet_a_schema_is_asked_for_by_flag_or_prompt(stage):
    outcome = await stage.play([{"data": {"n": 3}}]).run(task={"output_schema": SCHEMA})

    (call,) = stage.calls
    has_flag = any(word in call["args"] for word in ("--json-schema", "--output-schema"))
    assert has_flag is (stage.tool in {"claude", "codex"})
    assert ("JSON Schema" in call["prompt"]) is not has_flag
    assert outcome.output == '{"n": 3}'


# sessions


async def test_its_conversation_is_known_before_it_works_or_at_its_first_word(stage):
    outcome = await stage.play(WORKED).run()

    if not stage.ways.resumes:
        assert stage.reports.sessions == []
        return
    first = stage.reports[0]
    assert first.session_id == outcome.metadata["session_id"]
    assert (first.agent, first.workspace) == ("writer", str(stage.root))
    assert len(stage.reports.sessions) == 1
    if stage.ways.starts_named:
        assert stage.reports[1] == "durable"
        assert first.session_id in stage.calls[0]["args"]


async def test_a_conversation_that_was_broken_off_is_gone_on_with(stage):
    if not stage.ways.resumes:
        return
    await stage.play(WORKED).run("A long prompt.")
    session = Session(agent="writer", session_id=stage.reports.sessions[0], workspace=str(stage.root))

    outcome = await stage.run("A long prompt.", context={"session": session})

    again = stage.calls[1]
    assert session.session_id in again["args"]
    assert "A long prompt." not in again["prompt"]
    assert "interrupted" in again["prompt"]
    assert outcome.metadata["session_id"] == session.session_id
    assert stage.reports.sessions == [session.session_id] * 2


async def test_a_conversation_that_is_gone_on_with_hears_what_was_wrong(stage):
    if not stage.ways.resumes:
        return
    await stage.play(WORKED).run("A long prompt.")
    session = Session(agent="writer", session_id=stage.reports.sessions[0], workspace=str(stage.root))
    corrected = with_correction("A long prompt.", "No JSON.")

    await stage.run(corrected, context={"session": session})

    assert stage.calls[1]["prompt"] == with_correction("", "No JSON.").lstrip()


async def test_a_conversation_that_is_gone_on_with_hears_what_a_person_said(stage):
    if not stage.ways.resumes:
        return
    await stage.play(WORKED).run()
    session = Session(agent="writer", session_id=stage.reports.sessions[0], workspace=str(stage.root))

    await stage.run("All of it, and <comment>No!</comment>", context={"session": session, "comment": "No!"})

    assert stage.calls[1]["prompt"] == "All of it, and <comment>No!</comment>"


async def test_a_conversation_that_the_tool_does_not_know_begins_anew_with_the_whole_prompt(stage):
    lost = Session(agent="writer", session_id="11111111-2222-4333-8444-555555555555", workspace=str(stage.root))

    outcome = await stage.play(WORKED).run("A long prompt.", context={"session": lost})

    assert "All done." in outcome.output
    assert "A long prompt." in stage.calls[-1]["prompt"]
    assert len(stage.calls) == (2 if stage.ways.resumes else 1)
    assert outcome.metadata.get("session_id") != lost.session_id


async def test_another_agents_conversation_is_left_alone(stage):
    other = Session(agent="reader", session_id="11111111-2222-4333-8444-555555555555", workspace=str(stage.root))

    await stage.play(WORKED).run(context={"session": other})

    (call,) = stage.calls
    assert other.session_id not in call["args"]


# failures


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, FailureKind.AUTH), (429, FailureKind.RATE_LIMIT), (529, FailureKind.OVERLOADED)],
)
async def test_a_provider_that_refuses_is_told_by_kind(stage, status, kind):
    failure = await stage.play([{"fail": status}]).failure()

    assert failure.kind is kind
    assert "the fake says no" in str(failure)
    assert stage.tool.value in str(failure)
    assert "'writer'" in str(failure)


async def test_a_refused_sign_in_says_how_to_sign_in(stage):
    failure = await stage.play([{"fail": 401}]).failure()

    assert stage.ways.login in str(failure)


async def test_a_limit_of_use_says_until_when(stage):
    message = "You've hit your usage limit. Please try again in 3 hours 5 minutes."

    failure = await stage.play([{"error": message}]).failure()

    assert failure.retry_after_s == 11_100
    assert failure.kind in {FailureKind.QUOTA, FailureKind.RATE_LIMIT}


@pytest.mark.parametrize(
    "play",
    [[{"exit": 0}], [{"print": "not JSON"}, {"exit": 0}], [{"print": "\udcff\udcfe{"}, {"exit": 0}]],
    ids=["silence", "noise", "invalid UTF-8"],
)
async def test_exit_code_0_without_a_word_of_success_is_none(stage, play):
    failure = await stage.play(play).failure()

    assert failure.kind is FailureKind.BAD_OUTPUT


async def test_half_a_record_is_no_success(stage):
    failure = await stage.play([{"half": True}]).failure()

    assert failure.kind is FailureKind.BAD_OUTPUT


async def test_an_exit_code_that_says_nothing_is_told(stage):
    failure = await stage.play([{"exit": 3}]).failure()

    assert failure.kind is FailureKind.TASK_ERROR
    assert "exit code 3" in str(failure)
    assert failure.details["exit_code"] == 3


async def test_a_signal_that_killed_it_is_named(stage):
    failure = await stage.play([{"kill": 9}]).failure()

    assert "SIGKILL" in str(failure)


async def test_noise_between_its_records_does_no_harm(stage):
    noise = [{"print": "npm warn"}, {"print": "\udcff\udcfe"}, {"print": '{"type":"brand_new"}'}, {"print": "[1]"}]

    outcome = await stage.play([*noise, *WORKED]).run()

    assert "All done." in outcome.output


async def test_a_line_of_50_mb_does_no_harm(stage):
    outcome = await stage.play([{"flood": 50}, *WORKED]).run()

    assert "All done." in outcome.output
    assert outcome.metadata["lines_dropped"] == 1


async def test_a_program_that_is_not_there_says_how_to_install_it(stage, monkeypatch):
    monkeypatch.setenv("PATH", str(stage.folder))
    work = stage.play(WORKED).work()
    object.__setattr__(work.agent, "command", ())

    with pytest.raises(Exception, match="no such program on the PATH") as caught:
        await stage.runner.run(work)

    assert caught.value.kind is FailureKind.UNAVAILABLE
    assert stage.ways.install in str(caught.value)


# bounds


async def test_one_that_falls_silent_is_stopped(stage, alive):
    failure = await stage.play([{"hang": True}]).failure(idle_timeout_s=1.5, context={"owner": stage.mark})

    assert failure.kind is FailureKind.TIMEOUT
    assert "said nothing for 1.5 s" in str(failure)
    assert alive(stage.mark) == []


async def test_one_that_is_deaf_and_has_forked_is_gone_when_cancelled(stage, alive):
    stage.play([{"fork": 60}, {"deaf": True}, {"say": "Begun."}, {"hang": True}])
    async with asyncio.TaskGroup() as group:
        task = group.create_task(stage.run(context={"owner": stage.mark}))
        await asyncio.wait_for(stage.reports.has_begun.wait(), 20)
        assert len(alive(stage.mark)) >= 2
        before = asyncio.get_running_loop().time()
        task.cancel()
    assert task.cancelled()
    assert asyncio.get_running_loop().time() - before < 2
    assert alive(stage.mark) == []


async def test_what_was_used_before_it_was_cancelled_is_told(stage):
    stage.play([{"say": "Begun."}, {"hang": True}])
    async with asyncio.TaskGroup() as group:
        task = group.create_task(stage.run())
        await asyncio.wait_for(stage.reports.has_begun.wait(), 20)
        task.cancel()

    assert len(stage.reports.calls) == 1


async def test_a_chatty_one_does_not_fill_the_projects_file(stage):
    await stage.play([{"chatter": 1_000}, {"say": "All done."}]).run()

    assert len(stage.reports.texts) == cli_listener.REPORTS_MAX


async def test_long_words_are_cut_and_secrets_kept_out(stage, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "tok-1234567890")

    outcome = await stage.play([{"say": "the token is tok-1234567890 " + "y" * 500}]).run(env=("MY_TOKEN",))

    assert all(len(text) <= cli_listener.REPORT_CHARS for _, text in stage.reports.texts)
    assert not any("tok-1234567890" in text for _, text in stage.reports.texts)
    assert "tok-1234567890" not in outcome.output


async def test_all_it_said_is_kept_where_the_attempt_is_told_to(stage):
    folder = stage.folder / "raw"

    outcome = await stage.play(WORKED).run(context={"artefacts": folder})

    assert "done." in (folder / "stdout.log").read_text()
    assert outcome.metadata["artefacts"] == str(folder)


async def test_nothing_is_left_in_the_temporary_folder_or_the_project(stage, monkeypatch, tmp_path):
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))

    await stage.play([{"say": "All done."}]).run(system="Be brief.", task={"output_schema": None})

    assert list(place.iterdir()) == []
    assert list(stage.root.iterdir()) == []
