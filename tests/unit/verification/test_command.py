"""Checks by commands: real ones."""

import os
import sys

import pytest

from orchestration.errors import AttemptError, FailureKind
from orchestration.task_options import Check
from orchestration.verification import Verdict


def python(code, **options):
    return Check(command=(sys.executable, "-c", code), name="code", **options)


async def test_exit_code_0_passes_and_any_other_fails(check_one):
    passed, failed = await check_one(python("print('12 passed')")), await check_one(python("raise SystemExit(3)"))

    assert passed.is_passed
    assert passed.evidence.endswith("ended with exit code 0\nstdout:\n12 passed")
    assert not failed.is_passed
    assert failed.evidence.endswith("ended with exit code 3")


async def test_a_command_that_kills_itself_fails(check_one):
    verdict = await check_one(python("import os; os.kill(os.getpid(), 9)"))
    strange = await check_one(python("import os; os.kill(os.getpid(), 40)"))

    assert (verdict.is_passed, strange.is_passed) == (False, False)
    assert verdict.evidence.endswith("was killed by SIGKILL (signal 9)")
    assert strange.evidence.endswith("was killed by signal 40")


async def test_it_runs_in_the_folder_with_the_output_on_stdin_and_more_in_its_environment(check_one, tmp_path):
    code = (
        "import os, sys; print(os.getcwd(), sys.stdin.read(), os.environ['ORCHESTRATION_TASK_ID'], os.environ['PATH'])"
    )

    verdict = await check_one(python(code), of="the claim \ud800", env={"ORCHESTRATION_TASK_ID": "t"})

    assert verdict.evidence.endswith(f"stdout:\n{tmp_path} the claim ? t {os.environ['PATH']}")


async def test_both_streams_are_evidence(check_one):
    verdict = await check_one(python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(1)"))

    assert verdict.evidence.endswith("ended with exit code 1\nstdout:\nout\nstderr:\nerr")


@pytest.mark.parametrize("size", [1_000, 3_000, 20_000, 9_000_000])
async def test_of_a_long_output_the_beginning_and_the_end_are_kept(check_one, size):
    code = f"import sys; print('first', 'x' * {size}, 'last'); print('broken', file=sys.stderr); sys.exit(1)"

    verdict = await check_one(python(code))

    assert len(verdict.evidence) <= 2_000
    assert "stdout:\nfirst x" in verdict.evidence
    assert "x last\nstderr:\nbroken" in verdict.evidence


async def test_when_both_streams_are_long_each_has_its_share(check_one):
    code = "import sys; print('o' * 9000); print('e' * 9000, file=sys.stderr); sys.exit(1)"

    verdict = await check_one(python(code))

    assert 1_900 < len(verdict.evidence) <= 2_000
    assert verdict.evidence.count("o" * 500) == 1
    assert verdict.evidence.count("e" * 500) == 1


async def test_many_short_lines_are_kept_from_both_ends(check_one):
    verdict = await check_one(python("for n in range(100_000): print(n)"))

    assert "stdout:\n0\n1\n2\n" in verdict.evidence
    assert "left out" in verdict.evidence
    assert verdict.evidence.endswith("\n99998\n99999")


async def test_bytes_that_are_no_text_are_shown_as_such(check_one):
    verdict = await check_one(python(r"import sys; sys.stdout.buffer.write(b'\xff\xfe\0\x1b[31mred'); sys.exit(1)"))

    assert verdict.evidence.endswith("stdout:\n\ufffd\ufffd\ufffdred")


async def test_a_command_that_takes_too_long_fails_with_what_it_said(check_one):
    verdict = await check_one(python("import time; print('begun', flush=True); time.sleep(60)", timeout_s=1))

    assert not verdict.is_passed
    assert verdict.evidence.endswith("took more than 1 s and was stopped\nstdout:\nbegun")


async def test_a_program_named_by_a_path_lies_in_the_folder(check_one, tmp_path):
    script = tmp_path / "check.sh"
    script.write_text("#!/bin/sh\nexit 0\n")
    script.chmod(0o755)

    assert await check_one(Check(command=("./check.sh", "-v"))) == Verdict(
        check="./check.sh -v", is_passed=True, evidence="'./check.sh -v' ended with exit code 0"
    )


async def test_a_project_in_memory_can_run_commands_too(check_one):
    assert (await check_one(python("pass"), cwd=None)).is_passed


async def refusal_of(check_one, command, **options):
    with pytest.raises(AttemptError) as caught:
        await check_one(Check(command=command, name="c"), **options)
    assert caught.value.kind is FailureKind.TASK_ERROR
    assert caught.value.details == {"check": "c"}
    return str(caught.value)


async def test_a_command_that_cannot_be_started_is_not_the_workers_fault(check_one, tmp_path):
    for name, mode in (("plain.txt", 0o644), ("empty", 0o755), ("odd", 0o755)):
        (tmp_path / name).write_text("#!/no/such/shell\n" if name == "odd" else "text")
        (tmp_path / name).chmod(mode)

    assert "write './no-such-program' for a file" in await refusal_of(check_one, ("no-such-program",))
    assert "no such file, or none that its first line names" in await refusal_of(check_one, ("./missing",))
    assert "none that its first line names" in await refusal_of(check_one, ("./odd",))
    assert "it is not executable; run `chmod +x " in await refusal_of(check_one, ("./plain.txt",))
    assert "neither a program nor a script" in await refusal_of(check_one, ("./empty",))
    assert "embedded null byte; correct the check's command" in await refusal_of(check_one, ("echo", "a\0b"))
    assert "is gone" in await refusal_of(check_one, ("true",), cwd=tmp_path / "gone")
