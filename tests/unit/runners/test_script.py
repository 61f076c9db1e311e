import json
import logging
import sys
import textwrap
import warnings

import pytest

from orchestration.agent_registry import AgentType
from orchestration.errors import AttemptError, InvalidTaskError
from orchestration.runners import script
from orchestration.runners.script import ScriptRunner
from orchestration.task import FailureKind

SAY = (sys.executable, "-c")


@pytest.fixture
def runner(tmp_path):
    return ScriptRunner(root=tmp_path)


@pytest.fixture
def say(make_work):
    """Return a function that makes the work of a script written in Python."""
    return lambda code, agent_type=AgentType.SCRIPT, **options: make_work(agent_type, command=(*SAY, code), **options)


@pytest.fixture
def file(tmp_path):
    def write(name, content, mode=0o644):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
        path.chmod(mode)
        return path

    return write


async def failure(runner, work, kind=FailureKind.TASK_ERROR):
    with pytest.raises(AttemptError) as caught:
        await runner.run(work)
    assert caught.value.kind is kind
    return caught.value


async def test_a_script_gets_the_task_as_one_json_object(runner, say):
    work = say(
        "import sys; print(sys.stdin.read())",
        system="Be brief.",
        model="m1",
        max_tokens=7,
        task_metadata={"topic": "x"},
        task_dependencies=("outline",),
        task_output_schema={"type": "object"},
    )

    sent = json.loads((await runner.run(work)).output)

    assert sent == {
        "task_id": "draft",
        "title": "Write a draft",
        "description": "In ten words.",
        "agent": "writer",
        "dependencies": ["outline"],
        "priority": 1,
        "metadata": {"topic": "x"},
        "prompt": "Do it",
        "system": "Be brief.",
        "mode": None,
        "model": "m1",
        "max_tokens": 7,
        "output_schema": {"type": "object"},
        "output_file": None,
        "timeout_s": None,
        "max_attempts": None,
        "status": "pending",
        "inputs": {
            "outline": {"output": "one, two", "data": ["one", "two"], "files": [], "skipped": False, "added": {}}
        },
        "variables": {"audience": "children"},
        "run_id": "run-1",
        "attempt": 2,
        "idempotency_key": "run-1/draft/2",
    }


async def test_a_task_s_own_model_and_limit_come_before_the_agent_s(runner, say):
    work = say(
        "import sys; print(sys.stdin.read())",
        model="m1",
        max_tokens=7,
        task_max_tokens=9,
        task_metadata={"model": "m2"},
    )

    sent = json.loads((await runner.run(work)).output)

    assert (sent["model"], sent["max_tokens"]) == ("m2", 9)


async def test_the_attempt_is_named_in_the_environment(runner, say, monkeypatch):
    monkeypatch.setenv("OF_THE_CALLER", "kept")
    code = """
        import os
        names = sorted(name for name in os.environ if name.startswith(("ORCHESTRATION_", "OF_THE_")))
        print(*[os.environ[name] for name in names if name != "ORCHESTRATION_OWNER"])
    """

    assert (await runner.run(say(textwrap.dedent(code)))).output == "kept 2 run-1/draft/2 run-1 draft"


async def test_a_program_runs_in_the_project_s_folder_and_is_found_there(runner, make_work, file, tmp_path):
    file("bin/tool.sh", "#!/bin/sh\npwd; echo $1\n", 0o755)

    outcome = await runner.run(make_work(AgentType.SCRIPT, command=("bin/tool.sh", "a b")))

    assert outcome.output == f"{tmp_path.resolve()}\na b"


async def test_only_the_line_ends_after_the_answer_are_left_out(runner, say):
    assert (await runner.run(say("print('  a\\n\\nb  \\n')"))).output == "  a\n\nb  "


async def test_bytes_that_are_no_text_are_replaced(runner, say):
    assert (
        await runner.run(say("import sys; sys.stdout.buffer.write(b'a\\xffb')"))
    ).output == "a\N{REPLACEMENT CHARACTER}b"


async def test_an_exit_code_is_told_with_the_end_of_stderr(runner, say):
    code = "import sys; print('no answer'); sys.stderr.write('x' * 9000 + ' the end\\xff'); sys.exit(3)"

    error = await failure(runner, say(code))

    assert "ended with exit code 3" in str(error)
    assert "the end" in str(error)
    assert len(str(error)) < 4_400
    assert error.details == {"exit_code": 3}


async def test_silence_is_told_as_well(runner, say):
    assert "exit code 1 and said nothing on stderr" in str(await failure(runner, say("raise SystemExit(1)")))


@pytest.mark.parametrize(
    ("signum", "name"), [(9, "SIGKILL (signal 9)"), (11, "SIGSEGV (signal 11)"), (40, "signal 40")]
)
async def test_a_signal_is_told_by_name(runner, say, signum, name):
    error = await failure(runner, say(f"import os; os.kill(os.getpid(), {signum})"))

    assert f"was killed by {name}" in str(error)


async def test_a_long_command_is_cut_in_the_message(runner, say):
    assert len(str(await failure(runner, say("raise SystemExit(1) # " + "long " * 1_000)))) < 300


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("no-such-program-here", "no such program on the PATH; install it, or write './no-such-program-here'"),
        ("./missing", "no such file"),
        ("./plain", "chmod +x"),
        ("./bare", "neither a program nor a script with a '#!' line"),
        ("./lost", "the interpreter its first line names"),
        (".", "not executable"),
        ("a\0b", "its name or arguments hold a NUL character; leave it out, or use {prompt_file}"),
        ("./plain/below", "Not a directory"),
    ],
)
async def test_what_cannot_be_started_is_told_with_the_reason_and_the_remedy(runner, make_work, file, program, words):
    file("plain", "echo hi\n")
    file("bare", "echo hi\n", 0o755)
    file("lost", "#!/no/such/interpreter\n", 0o755)

    error = await failure(runner, make_work(AgentType.SCRIPT, command=(program,)), FailureKind.UNAVAILABLE)

    assert "cannot start" in str(error)
    assert words in str(error)


async def test_an_agent_without_a_command_is_the_caller_s_mistake(runner, make_work):
    with pytest.raises(InvalidTaskError, match="agent 'writer' of type 'script' has no command"):
        await runner.run(make_work(AgentType.SCRIPT))


@pytest.mark.parametrize(
    ("agent_type", "name"),
    [
        (AgentType.ANTHROPIC_CLAUDE, "execute_claude.py"),
        (AgentType.OPENAI_GPT, "execute_gpt.py"),
        (AgentType.GOOGLE_GEMINI, "execute_gemini.py"),
        (AgentType.LOCAL, "execute_local.py"),
    ],
)
def test_each_provider_has_a_script_that_may_stand_in(tmp_path, agent_type, name):
    assert ScriptRunner("scripts", tmp_path).standin_path(agent_type) == tmp_path / "scripts" / name
    assert ScriptRunner(tmp_path / "scripts").standin_path(agent_type) == tmp_path / "scripts" / name
    assert ScriptRunner().standin_path(agent_type) is None


async def test_standing_in_is_deprecated_once_per_process(tmp_path, make_work, file, monkeypatch):
    monkeypatch.setattr(script, "_warned", False)
    path = file("execute_claude.py", "import json, sys; print(json.load(sys.stdin)['title'].upper())")
    runner = ScriptRunner(tmp_path, tmp_path)

    with pytest.warns(DeprecationWarning, match="execute_claude.py in place of a provider is deprecated") as seen:
        outcomes = [await runner.run_standin(make_work(AgentType.ANTHROPIC_CLAUDE), path) for _ in range(2)]

    assert [outcome.output for outcome in outcomes] == ["WRITE A DRAFT"] * 2
    assert outcomes[0].metadata == {"script": "execute_claude.py"}
    assert len(seen) == 1


async def test_warnings_as_errors_do_not_fail_a_task(tmp_path, make_work, file, monkeypatch, caplog):
    monkeypatch.setattr(script, "_warned", False)
    path = file("execute_claude.py", "print('done')")

    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        outcome = await ScriptRunner(tmp_path).run_standin(make_work(AgentType.ANTHROPIC_CLAUDE), path)

    assert outcome.output == "done"
    assert "deprecated" in caplog.text


async def test_closing_is_fine_at_any_time(runner):
    await runner.aclose()
    await runner.aclose()
