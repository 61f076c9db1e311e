"""Any program as a coding agent."""

import os
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.agent_registry import AgentType
from orchestration.errors import AttemptError, FailureKind, InvalidTaskError
from orchestration.runners.cli_agent import CliAgentRunner
from orchestration.runners.cli_tools.command import invocation, picked
from orchestration.runners.program import cannot_start

SAY = (sys.executable, "-c")
ARGUMENT = "import sys; print(sys.argv[1])"
CONTENT = "import sys, pathlib; print(pathlib.Path(sys.argv[1]).read_text())"
WRITES = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text('the result\\n'); print('chatter')"


@pytest.fixture
def run(make_work, tmp_path):
    runner = CliAgentRunner(tmp_path)

    async def run(*command, **options):
        return await runner.run(make_work(AgentType.CLI, command=command, **options))

    return run


async def failure(run, *command, kind, **options):
    with pytest.raises(AttemptError) as caught:
        await run(*command, **options)
    assert caught.value.kind is kind
    return str(caught.value)


@pytest.mark.parametrize(("system", "text"), [("Be brief.", "Be brief.\n\nDö it"), (None, "Dö it")])
async def test_the_prompt_goes_to_stdin_unless_an_argument_asks_for_it(run, system, text):
    assert (await run("cat", prompt="Dö it", system=system)).output == text


async def test_an_argument_may_ask_for_the_prompt_or_for_a_file_with_it(run):
    assert (await run(*SAY, ARGUMENT, "say: {prompt}!", prompt="Dö it")).output == "say: Dö it!"
    assert (await run(*SAY, CONTENT, "{prompt_file}", prompt="Dö it")).output == "Dö it"


async def test_a_program_that_has_the_prompt_gets_nothing_on_stdin(run):
    code = "import sys; print(repr(sys.stdin.read()))"

    assert (await run(*SAY, code, "{prompt}")).output == "''"


async def test_the_result_is_in_the_file_that_it_was_told_to_write(run):
    assert (await run(*SAY, WRITES, "{result_file}")).output == "the result"


async def test_a_part_of_the_result_can_be_picked(run):
    code = 'print(\'{"choices": [{"text": "hello", "n": [1, 2]}]}\')'

    assert (await run(*SAY, code, result="choices.0.text")).output == "hello"
    outcome = await run(*SAY, code, result="choices.0.n")
    assert (outcome.output, outcome.data) == ("[1,2]", [1, 2])


async def test_a_schema_is_told_in_the_prompt(run):
    told = (await run("cat", task_output_schema={"type": "object"})).output

    assert "It must meet this JSON Schema" in told


async def test_it_works_where_the_task_works_and_is_found_in_the_project(run, tmp_path, make_work):
    program = tmp_path / "bin" / "tool.sh"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\npwd\n")
    program.chmod(0o755)
    folder = tmp_path / "tree"
    folder.mkdir()
    work = make_work(AgentType.CLI, command=("bin/tool.sh",))
    work = msgspec.structs.replace(work, cwd=folder)

    assert (await CliAgentRunner(tmp_path).run(work)).output == str(folder.resolve())


async def test_it_sees_what_is_allowed_and_whose_work_it_does(run, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://secret")
    monkeypatch.setenv("AWS_REGION", "eu-1")
    code = "import os, json; print(json.dumps(dict(os.environ)))"

    env = (await run(*SAY, code, env=("AWS_*",))).output

    assert "postgres" not in env
    assert '"AWS_REGION": "eu-1"' in env
    assert '"ORCHESTRATION_IDEMPOTENCY_KEY": "run-1/draft/2"' in env


async def test_all_it_said_is_kept_where_the_attempt_is_told_to(run, tmp_path):
    outcome = await run("echo", "hello", context={"artefacts": tmp_path / "raw"})

    assert (tmp_path / "raw" / "stdout.log").read_text() == "hello\n"
    assert outcome.metadata == {"artefacts": str(tmp_path / "raw")}


async def test_nothing_is_left_in_the_temporary_folder(run, tmp_path, monkeypatch):
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))

    await run(*SAY, WRITES, "{result_file}", "{prompt_file}")

    assert list(place.iterdir()) == []


async def test_an_agent_without_a_command_or_tool_is_the_callers_mistake(run):
    with pytest.raises(InvalidTaskError, match="agent 'writer' of type 'cli' has neither a command nor a tool"):
        await run()


async def test_a_failure_is_told_with_its_exit_code_and_last_words(run):
    said = await failure(run, *SAY, "import sys; sys.exit('no luck')", kind=FailureKind.TASK_ERROR)

    assert "exit code 1; its stderr ends: no luck" in said


async def test_one_that_falls_silent_is_stopped(run):
    said = await failure(run, "sleep", "60", kind=FailureKind.TIMEOUT, idle_timeout_s=0.2)

    assert "said nothing for so long that it was stopped" in said


async def test_one_that_says_too_much_is_stopped(run):
    said = await failure(run, "yes", kind=FailureKind.TASK_ERROR)

    assert "have it write its result to {result_file}" in said


async def test_a_program_that_is_not_there_is_named(run):
    said = await failure(run, "no-such-program", kind=FailureKind.UNAVAILABLE)

    assert "cannot start 'no-such-program' for task 'draft': no such program on the PATH" in said


def test_a_folder_that_is_gone_is_not_blamed_on_the_program(tmp_path):
    error = cannot_start("python", "draft", FileNotFoundError(), cwd=tmp_path / "gone", install="get it")

    assert "/gone', is gone; find out what removed it" in str(error)
    assert "get it" not in str(error)


async def test_a_prompt_too_long_for_an_argument_is_told_with_the_way_out(run):
    said = await failure(run, "echo", "{prompt}", prompt="x" * 4_000_000, kind=FailureKind.UNAVAILABLE)

    assert "use {prompt_file} in place of {prompt}" in said


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("pass", "did not write its {result_file}"),
        ("import sys, pathlib; pathlib.Path(sys.argv[1]).write_bytes(b'x' * 10_000_001)", "more than 10,000,000 bytes"),
    ],
)
async def test_a_result_file_that_is_missing_or_too_large_is_told(run, code, problem):
    assert problem in await failure(run, *SAY, code, "{result_file}", kind=FailureKind.BAD_OUTPUT)


@pytest.mark.parametrize(
    ("text", "path", "problem"),
    [
        ("hello", "a", "its output is not JSON"),
        ('{"b": 1}', "a", "there is an object with 'b'"),
        ("{}", "a", "there is an object with no names"),
        ("[1, 2]", "7", "there is a list of 2"),
        ("[1, 2]", "a", "there is a list of 2"),
        ('{"a": "text"}', "a.b", "there is 'text'"),
        ("[" * 100_000, "a", "its output is not JSON"),
    ],
)
def test_a_part_that_is_not_there_is_told_with_what_is(text, path, problem):
    with pytest.raises(AttemptError) as caught:
        picked(text, path)

    assert caught.value.kind is FailureKind.BAD_OUTPUT
    assert problem in str(caught.value)
    assert f"result: {path}" in str(caught.value)


@given(st.text(alphabet=st.sampled_from("{}prom_tflesu ab"), max_size=60))
def test_a_prompt_is_handed_over_as_it_is_whatever_it_looks_like(prompt):
    from pathlib import Path

    call = invocation(("tool", "{prompt}", "{other}"), prompt, Path(os.sep))

    assert call.command == ("tool", prompt, "{other}")
    assert call.stdin == ""
