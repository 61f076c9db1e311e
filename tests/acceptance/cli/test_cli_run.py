"""`orchestrate run` as its users meet it: real processes, real signals."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.acceptance


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def end(process, timeout=20):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def test_a_run_says_each_change_and_ends_with_the_totals(project):
    project.write({"one": ("say",), "two": ("say", "one")})
    done = project("run")
    assert done.returncode == 0
    lines = [line.split(maxsplit=1)[1] for line in done.stdout.splitlines() if line[:2].isdigit()]
    assert [line.split()[:2] for line in lines] == [
        ["one", "running"],
        ["one", "done"],
        ["two", "running"],
        ["two", "done"],
    ]
    assert "All 2 tasks done." in done.stdout
    assert done.stderr == "printed by one\nprinted by two\n"


def test_running_again_does_nothing_again(project):
    project.write({"one": ("say",), "two": ("say", "one")})
    project("run")
    again = project("run")
    assert again.returncode == 0
    assert "All 2 tasks done." in again.stdout
    assert project.ledger() == ["did one", "did two"]


def test_a_failed_task_ends_with_1_and_says_what_to_do(project):
    project.write({"one": ("fail",), "two": ("say", "one"), "three": ("say",)})
    done = project("run")
    assert done.returncode == 1
    assert "failed: one  task_error: function 'work:fail' raised ValueError: it is broken \\x1b[31mred" in done.stdout
    assert "two" in done.stdout
    assert "blocked" in done.stdout
    assert "orchestrate show one" in done.stdout
    assert "\x1b" not in done.stdout
    assert project.statuses() == {"one": "failed", "two": "blocked", "three": "completed"}


def test_what_failed_is_tried_again_and_what_was_done_is_not(project):
    project.write({"one": ("fail",), "two": ("say", "one"), "three": ("say",)})
    project("run")
    (project.folder / "mended").touch()
    done = project("run")
    assert done.returncode == 0
    assert sorted(project.ledger()) == ["did one", "did three", "did two"]


def test_a_killed_run_goes_on_where_it_was(project):
    project.write({"one": ("say",), "two": ("hold", "one"), "three": ("say", "two")})
    process = project.start("run")
    project.began("two")
    process.kill()
    process.wait()
    status = project("status")
    assert "was cut off. Go on with: orchestrate run" in status.stdout
    assert project.statuses() == {"one": "completed", "two": "pending", "three": "pending"}
    project.let_go("two")
    assert project("run").returncode == 0
    assert project.ledger() == ["did one", "began two", "began two", "did two", "did three"]


def test_ctrl_c_lets_what_runs_finish_and_says_how_to_go_on(project):
    project.write({"one": ("hold",), "two": ("say", "one")})
    process = project.start("run")
    project.began("one")
    process.send_signal(signal.SIGINT)
    line = process.stderr.readline()
    assert "1 running task may finish, no other starts" in line
    assert "orchestrate run" in line
    project.let_go("one")
    code, out, _ = end(process)
    assert code == 130
    assert "Stopped before the end: 1 task left. Go on with: orchestrate run" in out
    assert project.statuses() == {"one": "completed", "two": "pending"}
    assert project("run").returncode == 0
    assert project.ledger() == ["began one", "did one", "did two"]


def test_ctrl_c_with_nothing_left_to_do_is_no_interruption(project):
    project.write({"one": ("hold",)})
    process = project.start("run")
    project.began("one")
    process.send_signal(signal.SIGINT)
    process.stderr.readline()
    project.let_go("one")
    code, out, _ = end(process)
    assert code == 0
    assert "The only task is done." in out


@pytest.mark.parametrize("signals", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM,), (signal.SIGHUP,)])
def test_the_second_ctrl_c_and_a_supervisor_stop_it_now_and_nothing_is_left_behind(project, signals):
    project.write({"one": ("script",), "two": ("block",), "three": ("hold",)})
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, also by what is started
    process = project.start("run")
    signal.signal(signal.SIGHUP, before)
    project.began("two")
    project.began("three")
    script = project.folder / "script.pid"
    project.until(script.exists)
    pid = int(script.read_text())
    asked_at = time.monotonic()
    for signum in signals:
        process.send_signal(signum)
        assert "stopping" in process.stderr.readline()
    code, out, err = end(process)
    assert time.monotonic() - asked_at < 2
    assert code == 130, err
    assert not is_alive(pid)
    assert "Go on with: orchestrate run" in out
    assert set(project.statuses().values()) == {"pending"}
    assert project.json("status")["run"]["status"] == "interrupted"


def test_the_third_ctrl_c_ends_it_even_when_a_function_holds_the_event_loop(project):
    project.write({"one": ("say",), "two": ("freeze", "one")})
    process = project.start("run")
    project.began("two")
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)  # two of the same signal at once are delivered as one
    assert end(process)[0] == 130
    assert project.statuses() == {"one": "completed", "two": "pending"}


def test_a_second_run_is_refused_and_told_the_process(project):
    project.write({"one": ("hold",)})
    process = project.start("run")
    project.began("one")
    second = project("run")
    assert second.returncode == 2
    assert f"process {process.pid}" in second.stderr
    assert "Traceback" not in second.stderr
    assert f"It is running now, in process {process.pid}." in project("status").stdout
    project.let_go("one")
    assert end(process)[0] == 0


def test_what_waits_for_a_person_is_no_failure_and_is_said_with_the_commands(project):
    project.write({"ask": ("person",), "draft": ("drafter",), "last": ("say", "ask", "draft")})
    done = project("run")
    assert done.returncode == 0
    assert "Nothing more can run until you decide: 2 tasks wait for you." in done.stdout
    for command in ("answer ask", "approve draft", "reject draft 'what to change'", "show draft"):
        assert f"orchestrate {command}" in done.stdout


def test_json_is_one_document_whatever_the_tasks_print(project):
    project.write({"one": ("say",), "two": ("fail",)})
    done = project("run", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == document["exit_code"] == 1
    assert document["status"] == "failed"
    assert {task["task_id"]: task["status"] for task in document["tasks"]} == {"one": "completed", "two": "failed"}
    assert document["this_run"]["duration_s"] > 0
    assert "printed by one" in done.stderr
    assert "one  done" in done.stderr


def test_a_reader_that_goes_away_does_not_stop_the_work(project):
    project.write({"one": ("hold",), **{f"task-{n}": ("say", "one") for n in range(20)}})
    process = project.start("run")
    assert "one  running" in process.stdout.readline()
    process.stdout.close()
    project.let_go("one")
    process.stdout = None
    code, _, err = end(process)
    assert code == 0
    assert "rror" not in err
    assert set(project.statuses().values()) == {"completed"}


def test_a_reader_that_stops_reading_does_not_stop_the_work(project):
    project.write({f"task-{n}": {"agent": "say", "description": "x"} for n in range(1500)})
    process = project.start("run", stderr=subprocess.DEVNULL)
    project.until(lambda: set(project.statuses().values()) == {"completed"})
    code, out, _ = end(process)
    assert code == 0
    assert "All 1,500 tasks done." in out


def test_tasks_that_left_the_file_are_removed_and_changed_ones_run_again(project):
    project.write({"one": ("say",), "two": ("say", "one"), "three": ("say",)})
    project("run")
    project.write({"one": {"agent": "say", "title": "Another"}, "two": ("say", "one")})
    assert "the next run removes: three" in project("status").stderr
    done = project("run")
    assert done.returncode == 0
    assert "task 'three' is no longer in orchestrate.yaml; it was removed" in done.stderr
    assert "task 'one' changed since the last run; tasks that run again: one, two" in done.stderr
    assert project.statuses() == {"one": "completed", "two": "completed"}
    assert project.ledger()[3:] == ["did one", "did two"]


def test_dependencies_can_be_turned_round_between_runs(project):
    project.write({"one": ("say",), "two": ("say", "one")})
    project("run")
    project.write({"one": ("say", "two"), "two": ("say",)})
    done = project("run")
    assert done.returncode == 0, done.stderr
    assert project.ledger()[2:] == ["did two", "did one"]


def test_variables_reach_the_prompts(project):
    tasks = {"one": {"agent": "person", "prompt": "Write for {{ vars.reader }}"}}
    project.write(tasks, variables={"reader": "all"})
    project("run", "--var", "reader=Ada")
    assert "Write for Ada" in project("show", "one").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--var", "reader"], "expected NAME=VALUE"),
        (["--var", "=x"], "expected NAME=VALUE"),
        (["--var", "reader=a", "--var", "reader=b"], "given twice"),
        (["--var", "raeder=x"], "did you mean"),
        (["--max-concurrent", "0"], "0 is not in the range"),
        (["--mode", "fast"], "'fast' is not one of 'interactive', 'api', 'hybrid'"),
        (["extra"], "unexpected extra argument"),
    ],
)
def test_mistakes_on_the_command_line_end_with_2_before_anything_runs(project, arguments, says):
    project.write({"one": ("say",)}, variables={"reader": "all"})
    done = project("run", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project.folder / ".orchestration").exists()


def test_no_more_than_max_concurrent_run_at_once(project):
    project.write(dict.fromkeys(("one", "two", "three"), ("hold",)))
    project.let_go("one", "two", "three")
    assert project("run", "--max-concurrent", "1").returncode == 0
    assert project.ledger() == ["began one", "did one", "began two", "did two", "began three", "did three"]


def test_mode_interactive_hands_everything_to_a_person(project):
    project.write({"one": ("say",)})
    assert project("run", "--mode", "interactive").returncode == 0
    assert project.statuses() == {"one": "waiting"}


def test_a_damaged_state_file_is_named(project):
    project.write({"one": ("say",)})
    project("run")
    (project.folder / ".orchestration" / "trial.db").write_bytes(b"not a database at all" * 500)
    for command in ("run", "status"):
        done = project(command)
        assert done.returncode == 2
        assert "trial.db" in done.stderr
        assert "Traceback" not in done.stderr
    assert project("doctor").returncode == 1
