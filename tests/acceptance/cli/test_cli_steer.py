"""A person's word from another shell: while a run is live, and while none is."""

import json
import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.acceptance

SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}


def end(process, timeout=20):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


@pytest.fixture(params=["nobody runs it", "a run is live"])
def waiting(request, project):
    """A project with a question and a draft that wait, and in one of the cases a run that goes on meanwhile."""
    project.write(
        {"ask": ("person",), "after-ask": ("say", "ask"), "draft": ("drafter",), "after-draft": ("say", "draft")}
        | {"gate": ("hold",), "broken": ("fail",)}
    )
    if request.param == "nobody runs it":
        project.let_go("gate")
        project("run")
        project.live = None
    else:
        project.live = project.start("run")
        project.began("gate")
        project.until(lambda: project.statuses()["draft"] == "waiting" and project.statuses()["broken"] == "failed")
    return project


def finish(project):
    """Go on to the end, with the live run or a new one, and return the tasks' statuses."""
    if project.live is not None:
        project.let_go("gate")
        end(project.live)
    else:
        project("run")
    return project.statuses()


def test_an_answer_is_recorded_and_what_follows_runs(waiting):
    done = waiting("answer", "ask", "yes, do")
    assert done.returncode == 0
    assert "the answer to 'ask' is recorded" in done.stdout
    if waiting.live is None:
        assert "Go on with: orchestrate run" in done.stdout
    else:
        assert f"process {waiting.live.pid}" in done.stdout
        waiting.until(lambda: "did after-ask" in waiting.ledger())
    assert finish(waiting)["after-ask"] == "completed"
    assert waiting.json("show", "ask")["result"]["output"] == "yes, do"


def test_a_draft_is_approved(waiting):
    assert waiting.json("approve", "draft")["task_ids"] == ["draft"]
    assert finish(waiting)["after-draft"] == "completed"


def test_a_rejected_draft_is_made_again_with_the_comment(waiting):
    done = waiting("reject", "draft", "name the dates")
    assert done.returncode == 0
    assert "the draft of 'draft' is rejected" in done.stdout
    assert finish(waiting)["draft"] == "waiting"
    assert waiting.json("show", "draft")["result"]["output"] == "out of draft (name the dates)"


def test_an_edited_draft_is_an_answer(waiting):
    assert waiting("answer", "draft", "better").returncode == 0
    finish(waiting)
    assert waiting.json("show", "draft")["result"]["output"] == "better"


def test_a_task_is_cancelled_and_what_depends_on_it_is_blocked(waiting):
    done = waiting("cancel", "ask")
    assert done.returncode == 0
    assert "'ask' is cancelled; the next run tries it again" in done.stdout
    assert waiting.statuses()["ask"] == "cancelled"
    assert waiting.statuses()["after-ask"] == "blocked"


def test_a_reset_task_runs_again(waiting):
    (waiting.folder / "mended").touch()
    assert waiting.json("reset", "broken")["task_ids"] == ["broken"]
    assert finish(waiting)["broken"] == "completed"


REFUSED = [
    (["answer", "nobody", "x"], "unknown task 'nobody'; known tasks: 'after-ask', 'after-draft'"),
    (["answer", "broken", "x"], "task 'broken' is failed; only a waiting task takes a person's word"),
    (["approve", "ask"], "waits for an answer, not for an approval"),
    (["reject", "after-ask", "x"], "task 'after-ask' is pending"),
    (["reset", "nobody"], "unknown task 'nobody'"),
    (["cancel", "nobody"], "unknown task 'nobody'"),
]


def test_what_cannot_be_done_is_refused_with_the_reason(waiting):
    before = waiting.statuses()
    for arguments, says in REFUSED:
        done = waiting(*arguments, "--json")
        assert done.returncode == 2
        assert says in done.stderr
        assert "Traceback" not in done.stderr
        assert says in json.loads(done.stdout)["error"]
    assert waiting.statuses() == before


def test_cancel_stops_the_whole_run(project):
    project.write({"one": ("script",), "two": ("block",), "three": ("say", "one")})
    run = project.start("run")
    project.began("two")
    project.until((project.folder / "script.pid").exists)
    done = project("cancel")
    assert done.returncode == 0
    assert "the run is being cancelled" in done.stdout
    code, out, _ = end(run)
    assert code == 130
    assert "Cancelled: 3 tasks left. Go on with: orchestrate run" in out
    assert project.statuses() == {"one": "cancelled", "two": "cancelled", "three": "blocked"}


def test_a_running_task_is_cancelled_alone(project):
    project.write({"one": ("block",), "two": ("hold",)})
    run = project.start("run")
    project.began("one")
    project.began("two")
    assert project("cancel", "one").returncode == 0
    project.until(lambda: project.statuses()["one"] == "cancelled")
    project.let_go("two")
    assert end(run)[0] == 1
    assert project.statuses() == {"one": "cancelled", "two": "completed"}


def test_cancelling_what_does_not_run_is_no_mistake(project):
    project.write({"one": ("say",)})
    done = project("cancel")
    assert done.returncode == 0
    assert "nothing is running" in done.stdout


def test_a_word_before_the_first_run_is_refused(project):
    project.write({"ask": ("person",)})
    done = project("answer", "ask", "yes")
    assert done.returncode == 2
    assert "the project has not run yet" in done.stderr
    assert not (project.folder / ".orchestration").exists()


def test_when_the_live_run_dies_before_it_took_the_request_the_command_does_it_itself(project):
    project.write({"ask": ("person",), "gate": ("hold",)})
    run = project.start("run")
    project.began("gate")
    project.until(lambda: project.statuses()["ask"] == "waiting")
    run.send_signal(signal.SIGSTOP)
    answer = project.start("answer", "ask", "yes")
    inbox = project.folder / ".orchestration" / "trial.inbox"
    project.until(lambda: inbox.exists() and any(inbox.glob("*.request.json")))
    run.kill()
    run.wait()
    code, out, err = end(answer)
    assert code == 0, err
    assert "Go on with: orchestrate run" in out
    assert project.statuses()["ask"] == "completed"
    assert list(inbox.iterdir()) == []


def test_an_abandoned_request_is_dropped_with_a_warning(project):
    project.write({"ask": ("person",)})
    project("run")
    inbox = project.folder / ".orchestration" / "trial.inbox"
    inbox.mkdir()
    left = inbox / "0-1-x.request.json"
    left.write_text('{"command": "answer", "task_id": "ask", "text": "too late"}')
    os.utime(left, (0, 0))
    done = project("run")
    assert "nobody was there to take an earlier `answer ask`" in done.stderr
    assert project.statuses() == {"ask": "waiting"}
    assert list(inbox.iterdir()) == []


class TestAnswers:
    @pytest.fixture
    def asked(self, project):
        project.write({"ask": ("person",), "form": {"agent": "person", "output_schema": SCHEMA}})
        project("run")
        return project

    def output(self, project, task):
        return project.json("show", task)["result"]

    def test_from_stdin(self, asked):
        assert asked("answer", "ask", "-", stdin="two\nlines\n").returncode == 0
        assert self.output(asked, "ask")["output"] == "two\nlines"

    def test_from_a_file(self, asked):
        (asked.folder / "answer.md").write_text("grüße\n", encoding="utf-8")
        assert asked("answer", "ask", "--file", "answer.md").returncode == 0
        assert self.output(asked, "ask")["output"] == "grüße"

    def test_that_look_like_options(self, asked):
        assert asked("answer", "ask", "--", "--json").returncode == 0
        assert self.output(asked, "ask")["output"] == "--json"

    def test_in_the_form_their_schema_asks_for(self, asked):
        assert asked("answer", "form", '{"ok": true}').returncode == 0
        assert self.output(asked, "form")["metadata"]["data"] == {"ok": True}

    def test_in_another_form_are_refused(self, asked):
        for wrong in ("yes", "{}"):
            done = asked("answer", "form", wrong)
            assert done.returncode == 2
            assert "the answer" in done.stderr
            assert "Traceback" not in done.stderr
        assert asked.statuses()["form"] == "waiting"

    @pytest.mark.parametrize(
        ("arguments", "stdin", "says"),
        [
            ([], "", "no answer given; give it as TEXT, as --file FILE, or as -"),
            ([""], "", "the answer is empty"),
            (["-"], " \n", "the answer is empty"),
            (["x", "--file", "y"], "", "given twice"),
            (["--file", "missing.md"], "", "missing.md"),
        ],
    )
    def test_that_are_none_are_refused(self, asked, arguments, stdin, says):
        done = asked("answer", "ask", *arguments, stdin=stdin)
        assert done.returncode == 2
        assert says in done.stderr
        assert "Traceback" not in done.stderr
        assert asked.statuses()["ask"] == "waiting"

    def test_that_are_not_utf8_are_refused(self, asked):
        (asked.folder / "answer.bin").write_bytes(b"\xff\xfe")
        done = asked("answer", "ask", "--file", "answer.bin")
        assert done.returncode == 2
        assert "not UTF-8" in done.stderr

    def test_in_a_file_that_is_not_there_are_refused_with_its_name(self, asked):
        done = asked("answer", "ask", "--file", "nowhere.md")
        assert done.returncode == 2
        assert "the answer in nowhere.md cannot be read: No such file or directory" in done.stderr


class TestTheEditor:
    def edit(self, project, task, script):
        """Answer in a terminal with a script as the editor; return the exit code and all that was printed."""
        editor = project.folder / "editor.sh"
        editor.write_text(f"#!/bin/sh\n{script}\n")
        editor.chmod(0o755)
        ours, theirs = pty.openpty()
        process = project.start(
            "answer",
            task,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**project.env, "EDITOR": str(editor), "VISUAL": ""},
        )
        os.close(theirs)
        code, out, _ = end(process)
        os.close(ours)
        return code, out

    @pytest.fixture
    def asked(self, project):
        project.write(
            {
                "ask": {"agent": "person", "description": "Is it good?"},
                "draft": ("drafter",),
                "form": {"agent": "person", "output_schema": SCHEMA},
            }
        )
        project("run")
        return project

    def test_shows_the_question_and_takes_what_is_above_the_line(self, asked):
        code, out = self.edit(asked, "ask", 'cp "$1" seen.md; { echo "very good"; cat seen.md; } > "$1"')
        assert code == 0, out
        assert "Is it good?" in (asked.folder / "seen.md").read_text()
        assert asked.json("show", "ask")["result"]["output"] == "very good"

    def test_shows_the_draft_to_be_changed(self, asked):
        code, out = self.edit(asked, "draft", 'sed -i "s/out of draft/better/" "$1"')
        assert code == 0, out
        assert asked.json("show", "draft")["result"]["output"] == "better"

    def test_left_without_saving_records_nothing(self, asked):
        code, out = self.edit(asked, "draft", "true")
        assert code == 2
        assert "nothing was saved in the editor" in out
        assert "orchestrate approve draft" in out
        assert asked.statuses()["draft"] == "waiting"

    def test_that_fails_records_nothing(self, asked):
        code, out = self.edit(asked, "ask", "exit 3")
        assert code == 2
        assert "Editing failed" in out

    def test_that_saves_another_encoding_records_nothing_and_keeps_the_text(self, asked):
        code, out = self.edit(asked, "ask", "printf 'sch\\366n' > \"$1\"")
        assert code == 2
        assert "not UTF-8 text" in out
        kept = Path(out.split("kept in ")[1].split(":")[0])
        assert kept.read_bytes() == b"sch\xf6n"
        kept.unlink()
        assert asked.statuses()["ask"] == "waiting"

    def test_that_removes_its_file_records_nothing(self, asked):
        code, out = self.edit(asked, "ask", 'rm "$1"')
        assert code == 2
        assert "what the editor saved cannot be read" in out

    def test_is_not_opened_for_a_task_that_does_not_wait(self, asked):
        asked("answer", "ask", "done")
        code, out = self.edit(asked, "ask", "touch opened")
        assert code == 2
        assert "only a waiting task takes a person's word" in out
        assert not (asked.folder / "opened").exists()

    def test_keeps_the_text_when_it_is_refused(self, asked):
        code, out = self.edit(asked, "form", 'echo "long thoughts" > "$1"')
        assert code == 2
        kept = Path(out.split("kept in ")[1].split(";")[0])
        assert kept.read_text() == "long thoughts"
        kept.unlink()
