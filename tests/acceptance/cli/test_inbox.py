"""People in their own time, with the real command: questions wait without a process, machines go on, words arrive."""

import contextlib
import json
import os
import signal

import pytest

pytestmark = pytest.mark.acceptance


def end(process, timeout=20):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def waiting(project):
    return {each["task_id"]: each for each in project.json("inbox")["waiting"]}


@pytest.fixture
def mixed(project):
    """A project of a person, a drafter, and machines that need neither."""
    project.write(
        {
            "ask": {"agent": "person", "title": "Find a headline", "description": "One line."},
            "draft": ("drafter",),
            "alone": ("say",),
            "print": ("say", "ask", "draft"),
            "file": ("say", "ask"),
        }
    )
    return project


def test_what_needs_nobody_goes_on_and_the_rest_waits_without_a_process(mixed):
    done = mixed("run")
    assert done.returncode == 0
    assert sorted(mixed.ledger()) == ["did alone", "did draft"]
    found = waiting(mixed)
    assert list(found) == ["ask", "draft"]
    assert (found["ask"]["blocks"], found["ask"]["frees"]) == (2, ["file"])
    assert mixed.json("inbox")["pid"] is None


def test_the_inbox_can_be_read_and_answered_beside_a_live_run(mixed):
    document = json.loads((mixed.folder / "orchestrate.yaml").read_text())
    document["tasks"]["gate"] = {"agent": "hold"}
    (mixed.folder / "orchestrate.yaml").write_text(json.dumps(document))
    run = mixed.start("run")
    mixed.began("gate")
    mixed.until(lambda: mixed.statuses()["draft"] == "waiting")
    assert mixed.json("inbox")["pid"] == run.pid
    for command in (line.split()[1:] for line in waiting(mixed)["draft"]["commands"] if "approve" in line):
        assert mixed(*command[:2]).returncode == 0
    assert mixed("answer", "ask", "Short and done").returncode == 0
    mixed.until(lambda: "did print" in mixed.ledger())
    assert waiting(mixed) == {}
    mixed.let_go("gate")
    assert end(run)[0] == 0


def test_questions_survive_a_run_that_is_killed(mixed):
    document = json.loads((mixed.folder / "orchestrate.yaml").read_text())
    document["tasks"]["gate"] = {"agent": "hold"}
    (mixed.folder / "orchestrate.yaml").write_text(json.dumps(document))
    run = mixed.start("run")
    mixed.began("gate")
    mixed.until(lambda: mixed.statuses()["draft"] == "waiting" and mixed.statuses()["ask"] == "waiting")
    before = waiting(mixed)
    run.send_signal(signal.SIGKILL)
    run.wait()
    after = waiting(mixed)
    assert {name: each["asked_at"] for name, each in after.items()} == {
        name: each["asked_at"] for name, each in before.items()
    }
    assert mixed("answer", "ask", "Short and done").returncode == 0
    assert mixed("approve", "draft").returncode == 0
    mixed.let_go("gate")
    assert mixed("run").returncode == 0
    assert set(mixed.statuses().values()) == {"completed"}
    assert mixed.ledger().count("did draft") == 1


def test_everything_asked_of_one_task_is_on_one_page(mixed):
    mixed("run")
    asked = mixed("inbox", "ask").stdout
    assert "Find a headline" in asked
    assert "One line." in asked
    assert "orchestrate answer ask" in asked
    assert "out of draft" in mixed("inbox", "draft").stdout
    refused = mixed("inbox", "print")
    assert refused.returncode == 2
    assert "waits for nobody" in refused.stderr


class TestDeadlines:
    def write(self, project, **wait):
        project.write(
            {"ask": {"agent": "person", "wait": wait}, "after": ("say", "ask"), "gate": ("hold",)},
        )

    def test_the_default_counts_while_the_run_goes_on(self, project):
        self.write(project, deadline_s=0.5, default="go on")
        run = project.start("run")
        project.began("gate")
        project.until(lambda: "did after" in project.ledger())
        project.let_go("gate")
        assert end(run)[0] == 0
        assert project.json("show", "ask")["result"]["output"] == "go on"

    def test_a_deadline_that_passed_while_nobody_ran_is_made_up_by_the_next_run(self, project):
        self.write(project, deadline_s=0.5, default="go on")
        project.let_go("gate")
        assert project("run").returncode == 0
        project.until(lambda: waiting(project)["ask"]["is_overdue"])
        assert "has passed: 'go on' counts as your word" in project("inbox").stdout
        assert project("run").returncode == 0
        assert project.statuses() == {"ask": "completed", "after": "completed", "gate": "completed"}

    def test_an_answer_that_comes_late_still_counts_while_nobody_ran(self, project):
        self.write(project, deadline_s=0.5, default="go on")
        project.let_go("gate")
        project("run")
        project.until(lambda: waiting(project)["ask"]["is_overdue"])
        assert project("answer", "ask", "my own words").returncode == 0
        project("run")
        assert project.json("show", "ask")["result"]["output"] == "my own words"

    def test_without_a_default_the_run_fails_and_the_next_one_asks_again(self, project):
        self.write(project, deadline_s=0.5)
        project.let_go("gate")
        project("run")
        project.until(lambda: waiting(project)["ask"]["is_overdue"])
        failed = project("run")
        assert failed.returncode == 1
        assert "it waited for a person since" in failed.stdout
        assert project("run").returncode == 0
        assert project.statuses()["ask"] == "waiting"


class TestReviews:
    @pytest.fixture
    def broken_off(self, project):
        """A project whose run was killed while a task was at something that must not be done twice."""
        project.write({"pay": {"agent": "script", "effects": "once"}, "after": ("say", "pay")})
        run = project.start("run")
        pid = int(
            project.until(
                lambda: (project.folder / "script.pid").exists() and (project.folder / "script.pid").read_text()
            )
        )
        run.send_signal(signal.SIGKILL)
        run.wait()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        (project.folder / "script.pid").unlink()
        return project

    def test_it_is_not_done_again_but_asked_about(self, broken_off):
        assert broken_off("run").returncode == 0
        assert not (broken_off.folder / "script.pid").exists()
        found = waiting(broken_off)["pay"]
        assert (found["need"], found["cause"], found["frees"]) == ("review", "effect", ["after"])
        assert "its effects must not happen twice" in broken_off("inbox", "pay").stdout

    @pytest.mark.parametrize("words", [("approve", "pay"), ("answer", "pay", "receipt 7")])
    def test_whoever_says_that_it_happened_has_what_follows_run(self, broken_off, words):
        done = broken_off(*words)
        assert "'pay' is done, as you say: it happened" in done.stdout
        assert broken_off("run").returncode == 0
        assert broken_off.statuses() == {"pay": "completed", "after": "completed"}
        assert not (broken_off.folder / "script.pid").exists()

    @pytest.mark.parametrize("words", [("reset", "pay"), ("reject", "pay", "it was the wrong account")])
    def test_whoever_says_that_it_did_not_happen_has_it_done(self, broken_off, words):
        assert broken_off(*words).returncode == 0
        (broken_off.folder / "hold.sh").write_text("#!/bin/sh\necho paid\n")
        assert broken_off("run").returncode == 0
        assert broken_off.json("show", "pay")["result"]["output"] == "paid"
