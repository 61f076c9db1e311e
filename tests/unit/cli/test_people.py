"""The inbox, and questions that go out as files: read off real facts, answered through the real orchestrator."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestration import events as ev
from orchestration.cli import main
from orchestration.cli.people import are_packages, import_packages
from orchestration.cli.place import Place
from orchestration.cli.snapshot import read_snapshot
from orchestration.cli.steer import RefusedError
from orchestration.journal import Journal
from orchestration.orchestrator import state_path
from orchestration.store.sqlite import SqliteStore
from orchestration.task import AgentTask, ExecutionResult, TaskStatus, Wait
from orchestration.views.asked import ago

SCHEMA = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
NOW = datetime.now(UTC)

FILE = {
    "project": "trial",
    "agents": {"me": {"type": "human"}},
    "tasks": {
        "ask": {"agent": "me", "title": "Find a headline", "dependencies": ["notes"]},
        "form": {"agent": "me", "output_schema": SCHEMA},
        "draft": {"agent": "me"},
        "notes": {"agent": "me", "output_file": "notes.md"},
        "later": {"agent": "me", "dependencies": ["ask"]},
        "paid": {"agent": "me"},
        "merge": {"agent": "me"},
        "folder": {"agent": "me"},
    },
}


def tasks():
    return [
        AgentTask("ask", "Find a headline", agent="me", dependencies=("notes",)),
        AgentTask("form", "form", agent="me", output_schema=SCHEMA),
        AgentTask("draft", "draft", agent="me", wait=Wait(deadline_s=60, default="approve")),
        AgentTask("notes", "notes", agent="me", output_file="notes.md"),
        AgentTask("later", "later", agent="me", dependencies=("ask",)),
        AgentTask("paid", "paid", agent="me", effects="once"),
        AgentTask("merge", "merge", agent="me"),
        AgentTask("folder", "folder", agent="me"),
    ]


def started(task_id, attempt=1, at=NOW):
    return ev.TaskStarted(at=at, task_id=task_id, attempt=attempt, agent="me")


def waits(task_id, output, need="answer", at=NOW, **metadata):
    result = ExecutionResult(task_id, output=output, metadata=metadata)
    return ev.TaskWaiting(at=at, task_id=task_id, need=need, result=result)


@pytest.fixture
async def trial(tmp_path, monkeypatch):
    """A project in which people are asked everything they can be asked."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "orchestrate.yaml").write_text(json.dumps(FILE))
    journal = Journal(SqliteStore(state_path(tmp_path, "trial")))
    journal.open()
    files = [{"path": "a.py", "change": "changed"}, {"path": "gone.py", "change": "deleted"}]
    notes = ExecutionResult("notes", output="noted", metadata={"files": files})
    diff = ExecutionResult("merge", output="what it did", metadata={"diff": "<<<<<<< ours"})
    two_hours_ago = NOW - timedelta(hours=2)
    facts = [
        *(ev.TaskAdded(at=NOW, task=task) for task in tasks()),
        *(started("notes"), ev.TaskCompleted(at=NOW, task_id="notes", result=notes)),
        *(started("ask"), waits("ask", "# Find a headline\n")),
        *(started("form", attempt=3), waits("form", "# form\n")),
        started("draft"),
        ev.CheckFinished(at=NOW, task_id="draft", attempt=1, check="pytest", is_passed=True, evidence="3 passed"),
        ev.CheckFinished(at=NOW, task_id="draft", attempt=1, check="lint", is_passed=False),
        waits("draft", "a draft", "approval", at=two_hours_ago, asks="Is it short?"),
        *(started("paid"), ev.TaskNeedsReview(at=NOW, task_id="paid", cause="effect", reason="it was broken off")),
        started("merge"),
        ev.TaskNeedsReview(at=NOW, task_id="merge", cause="conflict", reason="a.py conflicts", result=diff),
        *(started("folder"), ev.TaskNeedsReview(at=NOW, task_id="folder", cause="workspace", reason="dirty tree")),
    ]
    for event in facts:
        journal.record(event)
    await journal.aclose()
    return tmp_path


@pytest.fixture
def state(trial):
    def read():
        return read_snapshot(Place(folder=str(trial))).state

    return read


def run(capsys, *words):
    code = main(list(words))
    said = capsys.readouterr()
    return code, said.out, said.err


class TestInbox:
    def test_what_is_overdue_comes_first_with_what_becomes_of_it(self, trial, capsys):
        code, out, _ = run(capsys, "inbox")
        assert code == 0
        assert out.startswith("6 tasks wait for you, 1 of them past the deadline.\n\ndraft")
        assert "for 2 h, since" in out
        assert "has passed: 'approve' counts as your word as soon as it runs (orchestrate run)" in out

    def test_what_it_holds_up_is_named(self, trial, capsys):
        assert "holds up 1 task; these could start at once: later" in run(capsys, "inbox")[1]

    def test_until_when_there_is_time_is_said_with_what_counts_then(self, trial, capsys):
        wait = {"deadline_s": 1_000_000}
        (trial / "orchestrate.yaml").write_text(json.dumps(FILE | {"tasks": {"new": {"agent": "me", "wait": wait}}}))
        assert run(capsys, "run")[0] == 0
        assert re.search(r"\n  until \d{4}-\d\d-\d\d \d\d:\d\d; then the task fails\n", run(capsys, "inbox")[1])

    def test_of_many_that_it_holds_up_a_few_are_named(self, trial, capsys):
        later = {f"later-{number}": {"agent": "me", "dependencies": ["form"]} for number in range(8)}
        (trial / "orchestrate.yaml").write_text(json.dumps(FILE | {"tasks": FILE["tasks"] | later}))
        held = "holds up 8 tasks; these could start at once: later-0, later-1, later-2, later-3, later-4 and 3 more"
        assert held in run(capsys, "inbox")[1]

    def test_a_question_that_was_asked_before_its_inputs_were_reset_has_no_files(self, trial, capsys):
        assert run(capsys, "reset", "notes")[0] == 0
        journal = Journal(SqliteStore(state_path(trial, "trial")))
        journal.open()
        for event in (started("ask", attempt=2), waits("ask", "again")):
            journal.record(event)
        asyncio.run(journal.aclose())
        assert json.loads(run(capsys, "inbox", "ask", "--json")[1])["files"] == []

    def test_each_cause_of_a_review_has_its_own_question_and_words(self, trial, capsys):
        out = run(capsys, "inbox")[1]
        of = {name: out.split(f"\n{name}  ")[1].split("\n\n")[0] for name in ("paid", "merge", "folder")}
        assert "orchestrate approve paid" in of["paid"]
        assert "orchestrate reset paid" in of["paid"]
        assert "it was broken off" in of["paid"]
        for name in ("merge", "folder"):
            assert f"orchestrate approve {name}" in of[name]
            assert f"orchestrate reject {name}" in of[name]
            assert f"orchestrate answer {name}" not in of[name]
        assert len({text.split("needs ")[1].split("\n")[0] for text in of.values()}) == 3

    def test_one_task_is_shown_whole_with_the_evidence_and_the_files(self, trial, capsys):
        out = run(capsys, "inbox", "draft")[1]
        for expected in ("Check pytest  passed", "3 passed", "Check lint  failed", "Is it short?", "a draft"):
            assert expected in out
        assert "<<<<<<< ours" in run(capsys, "inbox", "merge")[1]
        asked = run(capsys, "inbox", "ask")[1]
        assert "a.py\nnotes.md" in asked
        assert "gone.py" not in asked
        assert "it was broken off" in run(capsys, "inbox", "paid")[1]

    def test_programs_get_the_same_as_json(self, trial, capsys):
        listed = json.loads(run(capsys, "inbox", "--json")[1])
        assert listed["pid"] is None
        first = listed["waiting"][0]
        assert (first["task_id"], first["need"], first["is_overdue"], first["default"]) == (
            "draft",
            "approval",
            True,
            "approve",
        )
        whole = json.loads(run(capsys, "inbox", "merge", "--json")[1])
        assert (whole["cause"], whole["reason"], whole["diff"]) == ("conflict", "a.py conflicts", "<<<<<<< ours")
        assert json.loads(run(capsys, "inbox", "draft", "--json")[1])["checks"][0]["passed"] is True
        assert json.loads(run(capsys, "inbox", "paid", "--json")[1])["output"] is None

    def test_a_task_that_waits_for_nobody_is_said_to(self, trial, capsys):
        code, _, err = run(capsys, "inbox", "notes")
        assert code == 2
        assert "task 'notes' is completed and waits for nobody; orchestrate show notes shows it" in err

    def test_an_empty_inbox_says_so(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "orchestrate.yaml").write_text(json.dumps(FILE))
        assert run(capsys, "inbox")[1] == "Nothing waits for you.\n"

    def test_what_differs_from_the_file_is_noted(self, trial, capsys):
        (trial / "orchestrate.yaml").write_text(json.dumps(FILE | {"tasks": {"ask": {"agent": "me"}}}))
        assert "note: no longer in orchestrate.yaml" in run(capsys, "inbox")[2]

    @pytest.mark.parametrize(
        ("seconds", "said"),
        [(0.4, "0 s"), (59, "59 s"), (60, "1 min"), (7300, "2 h"), (86_400, "1 day"), (3 * 86_400, "3 days")],
    )
    def test_how_long_is_said_roughly(self, seconds, said):
        assert ago(seconds) == said


class TestExport:
    def test_every_task_that_waits_for_a_text_becomes_a_file(self, trial, capsys):
        code, out, err = run(capsys, "export", "--all", "--to", "out")
        assert code == 0
        assert sorted(path.name for path in Path("out").iterdir()) == ["ask.md", "draft.md", "form.md"]
        assert "wrote out/ask.md" in out
        assert "orchestrate import out" in out
        assert "task 'paid' needs a decision, not a text, and is not exported: orchestrate approve paid" in err
        assert "- `notes.md`" in Path("out/ask.md").read_text()

    def test_a_task_that_cannot_be_exported_is_a_mistake_if_it_was_named(self, trial, capsys):
        code, out, err = run(capsys, "export", "ask", "later", "--json")
        assert code == 2
        document = json.loads(out)
        assert list(document["written"]) == ["ask"]
        assert "'later' is pending and waits for nobody" in document["left_out"][0]
        assert document["left_out"][0] in err

    @pytest.mark.parametrize("words", [[], ["ask", "--all"]])
    def test_one_way_of_naming_tasks_is_enough(self, trial, capsys, words):
        code, _, err = run(capsys, "export", *words)
        assert code == 2
        assert "name the tasks to export, or give --all" in err

    def test_a_file_somebody_works_on_is_never_overwritten(self, trial, capsys):
        run(capsys, "export", "ask", "form", "--to", "out")
        fill(Path("out/ask.md"), "half an answer")
        Path("out/form.md").write_text("# my own notes")
        before = [Path(f"out/{name}.md").read_text() for name in ("ask", "form")]
        code, out, err = run(capsys, "export", "ask", "form", "--to", "out")
        assert (code, out) == (2, "Nothing was exported.\n")
        assert "ask.md: is filled in; import it, remove it" in err
        assert "form.md: is there already, and is no package" in err
        assert [Path(f"out/{name}.md").read_text() for name in ("ask", "form")] == before

    def test_one_nobody_has_touched_is_written_anew(self, trial, capsys):
        assert [run(capsys, "export", "ask")[0] for _ in range(2)] == [0, 0]


def fill(path, answer):
    text = path.read_text()
    if "```json\n\n```" in text:
        path.write_text(text.replace("```json\n\n```", f"```json\n{answer}\n```"))
    else:
        lines = text.split("\n")
        begin = max(index for index, line in enumerate(lines) if line.endswith("from the next line on -->"))
        path.write_text("\n".join([*lines[: begin + 1], answer, *lines[begin + 1 :]]))


class TestImport:
    @pytest.fixture
    def out(self, trial, capsys):
        run(capsys, "export", "--all", "--to", "out")
        return Path("out")

    def take_in(self, *paths, as_json=False):
        return import_packages(Place(), paths, as_json=as_json)

    def test_what_is_filled_in_is_recorded_and_the_rest_left_alone(self, out, state, capsys):
        fill(out / "ask.md", "Short and done")
        fill(out / "form.md", '{"ok": true}')
        assert self.take_in(out) == 0
        said = capsys.readouterr().out
        assert "the answer to 'ask' is recorded" in said
        assert "the draft is unchanged, left alone; to take it as it is: orchestrate approve draft" in said
        assert "Go on with: orchestrate run" in said
        assert state().tasks["ask"].result.output == "Short and done"
        assert state().tasks["form"].result.metadata["data"] == {"ok": True}
        assert state().tasks["draft"].status is TaskStatus.WAITING

    def test_nothing_filled_in_is_nothing_done(self, out, state, capsys):
        assert self.take_in(out / "ask.md") == 0
        assert "nothing is filled in, left alone" in capsys.readouterr().out
        assert state().tasks["ask"].status is TaskStatus.WAITING

    def test_an_edited_draft_is_an_answer(self, out, state):
        (out / "draft.md").write_text((out / "draft.md").read_text().replace("a draft", "a better one"))
        assert self.take_in(out / "draft.md") == 0
        assert state().tasks["draft"].result.output == "a better one"

    def test_a_folder_may_be_imported_again(self, out, capsys):
        fill(out / "ask.md", "Short and done")
        fill(out / "form.md", '{"ok": true}')
        assert [self.take_in(out), self.take_in(out)] == [0, 0]
        assert capsys.readouterr().out.count("is recorded already") == 2

    @pytest.mark.parametrize("answer", ['{"ok": false}', "perhaps"])
    def test_another_answer_to_what_is_answered_is_refused(self, out, state, capsys, answer):
        fill(out / "form.md", '{"ok": true}')
        self.take_in(out)
        (out / "form.md").write_text((out / "form.md").read_text().replace('{"ok": true}', answer))
        assert self.take_in(out) == 2
        assert "out/form.md: " in capsys.readouterr().err
        assert state().tasks["form"].result.metadata["data"] == {"ok": True}

    def test_one_that_is_refused_keeps_no_other_from_being_taken(self, out, state, capsys):
        fill(out / "ask.md", "Short and done")
        fill(out / "form.md", '{"ok": "perhaps"}')
        assert self.take_in(out, as_json=True) == 2
        said = capsys.readouterr()
        outcomes = {each["task_id"]: each["outcome"] for each in json.loads(said.out)["files"]}
        assert outcomes == {"ask": "recorded", "draft": "left_alone", "form": "refused"}
        assert "the answer does not meet the output schema: at $.ok" in said.err
        assert state().tasks["form"].status is TaskStatus.WAITING

    def test_an_answer_to_an_earlier_attempt_is_refused(self, out, state, capsys):
        fill(out / "form.md", '{"ok": true}')
        (out / "form.md").write_text((out / "form.md").read_text().replace('"attempt":3', '"attempt":2'))
        assert self.take_in(out / "form.md") == 2
        assert "this answers attempt 2 of task 'form', which is at attempt 3 now" in capsys.readouterr().err
        assert state().tasks["form"].status is TaskStatus.WAITING

    def test_what_is_for_another_project_or_task_is_refused(self, out, capsys):
        fill(out / "ask.md", "x")
        text = (out / "ask.md").read_text()
        (out / "ask.md").write_text(text.replace('"trial"', '"other"'))
        (out / "form.md").write_text(text.replace('"task":"ask"', '"task":"nobody"'))
        assert self.take_in(out) == 2
        said = capsys.readouterr().err
        assert "is for project 'other', and this is 'trial'" in said
        assert "unknown task 'nobody'" in said

    @pytest.mark.parametrize(
        ("content", "says"),
        [(b"\xff\xfe\x00", "is not UTF-8 text"), (b"# a list", "its first line is"), (b"x" * 20_000_001, "is larger")],
    )
    def test_a_file_that_is_no_package_is_refused(self, trial, capsys, content, says):
        Path("odd.md").write_bytes(content)
        assert self.take_in(Path("odd.md")) == 2
        assert says in capsys.readouterr().err

    def test_a_file_that_is_not_there_is_refused(self, trial, capsys):
        assert self.take_in(Path("nowhere.md")) == 2
        assert "nowhere.md: cannot be read: No such file" in capsys.readouterr().err

    def test_a_folder_without_packages_is_a_mistake(self, trial):
        Path("empty").mkdir()
        Path("empty/notes.md").write_text("# notes")
        with pytest.raises(RefusedError, match="there are no packages in empty"):
            self.take_in(Path("empty"))

    def test_a_project_that_has_not_run_has_asked_nothing(self, out, trial):
        state_path(trial, "trial").unlink()
        with pytest.raises(RefusedError, match="has not run yet, so nothing waits"):
            self.take_in(out)

    def test_packages_are_told_from_plans(self, out, trial):
        Path("plan.md").write_text("- [ ] a task")
        assert are_packages([out])
        assert are_packages([out / "ask.md", Path("plan.md")])
        assert not are_packages([Path("plan.md"), Path("nowhere.md")])


class TestAPersonsWord:
    @pytest.mark.parametrize(
        ("words", "says", "status"),
        [
            (["approve", "paid"], "'paid' is done, as you say: it happened, and is not done again", "completed"),
            (["answer", "paid", "receipt 7"], "it happened, and your text is its output", "completed"),
            (["reset", "paid"], "runs again: paid", "pending"),
            (["reject", "paid", "wrong sum"], "as you say: it did not happen", "pending"),
            (["reject", "merge", "on top of main"], "the work of 'merge' is dropped and done again", "pending"),
            (["reject", "folder", "again"], "the work of 'folder' is dropped and done again", "pending"),
            (["approve", "merge"], "the work of 'merge' is merged again", None),
            (["approve", "folder"], "is taken into the project's folder again", None),
            (["approve", "draft"], "the draft of 'draft' is approved", "completed"),
        ],
    )
    def test_a_review_is_settled_by_a_word_that_says_what_it_means(self, state, capsys, words, says, status):
        code, out, err = run(capsys, *words)
        assert code == 0, err
        assert says in out
        if status is not None:
            assert state().tasks[words[1]].status == status

    def test_a_review_can_be_answered_in_the_editor_which_says_what_is_in_doubt(self, state, capsys, monkeypatch):
        sheets = []

        def edit(sheet, **_):
            sheets.append(sheet)
            return "receipt 7" + sheet

        monkeypatch.setattr("click.edit", edit)
        monkeypatch.setattr("sys.stdin.isatty", lambda: True)
        assert run(capsys, "answer", "paid")[0] == 0
        assert "it was broken off" in sheets[0]
        assert state().tasks["paid"].result.output == "receipt 7"

    @pytest.mark.parametrize(("task", "hint"), [("paid", "only that it happened"), ("draft", "as it is"), ("ask", "")])
    def test_an_editor_that_saved_nothing_names_the_shorter_way(self, trial, capsys, monkeypatch, task, hint):
        monkeypatch.setattr("click.edit", lambda _sheet, **_: None)
        monkeypatch.setattr("sys.stdin.isatty", lambda: True)
        code, _, err = run(capsys, "answer", task)
        assert code == 2
        assert hint in err
        assert (f"orchestrate approve {task}" in err) is bool(hint)
