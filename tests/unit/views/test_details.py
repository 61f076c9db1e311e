"""Everything about one task."""

import msgspec
import pytest

from orchestration import events as ev
from orchestration.task import AddsTasks, AgentTask, Check, FailureKind, Wait
from orchestration.views.details import task_document, task_lines
from orchestration.views.history import attempts


def command(*words):
    return " ".join(["orchestrate", *words])


def lines_of(history, name, **more):
    return "\n".join(str(line) for line in task_lines(history.state, history.facts, name, command=command, **more))


def document_of(history, name):
    return msgspec.json.decode(msgspec.json.encode(task_document(history.state, history.facts, name)))


def test_attempts_are_told_over_all_runs(history):
    history.task("a").task("b").start("b").start("a", agent="ann").add(
        ev.TaskRetrying, task_id="a", attempt=2, kind=FailureKind.TIMEOUT, error="late", delay_s=1
    )
    history.add(ev.TaskInterrupted, task_id="a").start("a", attempt=3).fail("a", "bad").start("a", attempt=4)
    history.complete("a", "done").add(ev.TaskReset, task_ids=("a",)).start("a", attempt=5)
    made = attempts(history.facts, "a")
    assert [(one.number, one.outcome, one.error) for one in made] == [
        (1, "failed (timeout)", "late"),
        (2, "interrupted", ""),
        (3, "failed", "bad"),
        (4, "done", ""),
        (5, "running", ""),
    ]
    assert [one.duration_s for one in made] == [1.0, 1.0, 1.0, 1.0, None]
    assert [one.agent for one in made[:2]] == ["ann", "ann"]


def test_a_persons_word_ends_no_attempt_twice(history):
    history.task("a").start("a").wait("a", need="approval", output="x").complete("a", "x", by="person", after_s=500)
    assert [(one.outcome, one.duration_s) for one in attempts(history.facts, "a")] == [("waits for a person", 1.0)]


def test_the_definition_is_told_with_what_is_set(history):
    history.task(
        "a",
        title="The title",
        description="two\nlines\x1b[0m",
        agent="ann",
        mode="hybrid",
        prompt="Say {{ vars.x }}",
        output_file="out.md",
        output_schema={"type": "object"},
        timeout_s=90,
        max_attempts=2,
        metadata={"model": "big"},
    )
    said = lines_of(history, "a")
    for part in (
        "The title",
        "two\n              lines\\x1b[0m",
        "ann",
        "hybrid",
        "Say {{ vars.x }}",
        "out.md",
        "1 min 30 s",
        "big",
    ):
        assert part in said
    assert said.endswith("Next\norchestrate run")


def test_inputs_comment_draft_and_spending_are_told(history):
    history.task("a").start("a").complete("a", "from a").task("gone").task("b", "a", "c", "gone")
    history.add(ev.TaskRemoved, task_id="gone").start("b").call("b", input_tokens=5, cost_usd="1.5")
    history.wait("b", need="approval", output="the draft").add(ev.TaskRejected, task_id="b", comment="longer")
    said = lines_of(history, "b")
    assert "a  done  from a" in said
    assert "Your comment on the last draft\nlonger" in said
    assert "1 model call  5 tokens (5 in, 0 out)  $1.50" in said
    history.start("b", attempt=2).wait("b", need="approval", output="the second draft")
    said = lines_of(history, "b")
    assert "The draft\nthe second draft" in said
    assert said.endswith("orchestrate answer b  (edit the draft)")


def test_each_status_has_a_next_step(history):
    history.task("a").task("b", "a").start("a")
    assert "it has been running for" in lines_of(history, "a")
    history.fail("a", "bad", FailureKind.AUTH)
    assert "orchestrate agents" in lines_of(history, "a")
    assert lines_of(history, "b").endswith("orchestrate show a  (blocks it)")
    history.start("a", attempt=2).complete("a", "x")
    assert lines_of(history, "a").endswith("orchestrate reset a  (to have it done again)")
    history.start("b").wait("b", output="What now?")
    assert "What you are asked\nWhat now?" in lines_of(history, "b")


def test_the_document_is_plain_json_with_everything(history):
    history.task("a").start("a").complete("a", "x").task("b", "a", prompt="p").start("b").fail("b", "bad")
    document = msgspec.json.decode(msgspec.json.encode(task_document(history.state, history.facts, "b")))
    assert document["status"] == "failed"
    assert document["definition"]["prompt"] == "p"
    assert document["inputs"] == {"a": "x"}
    assert document["result"]["error"] == "bad"
    assert document["attempts"][0]["outcome"] == "failed"
    assert document["next_step"]
    assert "status" not in document["definition"]


class TestSession:
    @pytest.fixture
    def at_work(self, history):
        history.task("a", agent="coder").start("a", agent="coder")
        return history.add(
            ev.SessionStarted, task_id="a", attempt=1, agent="coder", session_id="5e55", workspace="/w/my tree"
        )

    def test_is_told_with_the_command_to_go_on_by_hand(self, at_work):
        said = lines_of(at_work, "a", tools={"coder": "claude"})
        assert "Session\n5e55  of coder\nto go on by hand: cd '/w/my tree' && claude -r 5e55" in said

    @pytest.mark.parametrize("tools", [{}, {"coder": "aider"}])
    def test_of_a_tool_that_cannot_go_on_is_told_alone(self, at_work, tools):
        said = lines_of(at_work, "a", tools=tools)
        assert "5e55  of coder" in said
        assert "by hand" not in said

    def test_of_a_finished_task_is_still_known(self, at_work):
        at_work.complete("a", "x", metadata={"session_id": "5e55"})
        assert "to go on by hand: codex resume 5e55" in lines_of(at_work, "a", tools={"coder": "codex"})

    def test_stands_in_the_document_with_each_attempt(self, at_work):
        document = document_of(at_work, "a")
        assert document["session"] == {"agent": "coder", "session_id": "5e55", "workspace": "/w/my tree"}
        assert document["attempts"][0]["session_id"] == "5e55"

    def test_comes_with_what_the_worker_is_at(self, at_work):
        at_work.add(ev.WorkerReported, task_id="a", attempt=1, kind="tool", text="Edit\nsrc/a.py")
        assert "Next\nnow: Edit src/a.py\nit has been running for" in lines_of(at_work, "a")
        assert document_of(at_work, "a")["activity"] == "Edit\nsrc/a.py"


class TestChecks:
    @pytest.fixture
    def failed(self, history):
        history.task("a", checks=(Check(command=("pytest",)), Check(matches="x"))).start("a").claim("a", "I did it")
        history.check("a", "matches x").check("a", "pytest", is_passed=False, evidence="1 failed\nE  assert 0")
        return history

    def test_have_their_evidence_told_while_the_claim_stands(self, failed):
        said = lines_of(failed, "a")
        assert "checks        pytest\n              matches x" in said
        assert "Checks\npassed  matches x\nfailed  pytest\n  1 failed\n  E  assert 0" in said
        assert "What it says it did\nI did it" in said
        assert "now: 1 check failed" in said

    def test_of_an_attempt_before_are_told_as_such(self, failed):
        failed.add(ev.TaskRetrying, task_id="a", attempt=2, kind=FailureKind.CHECK_FAILED, error="Your result ...")
        said = lines_of(failed, "a")
        assert "failed (check_failed)  pytest" in said
        assert "Checks of attempt 1\npassed  matches x" in said
        verdicts = document_of(failed, "a")["attempts"][0]["checks"]
        assert verdicts[1] == {"check": "pytest", "is_passed": False, "evidence": "1 failed\nE  assert 0"}

    def test_are_forgotten_with_the_claim_they_were_about(self, failed):
        failed.claim("a", "again").check("a", "matches x")
        assert "pytest\n  1 failed" not in lines_of(failed, "a")


def test_how_and_when_a_task_may_work_is_told(history):
    history.task(
        "a",
        when="tasks.b.data",
        for_each="vars.files",
        effects="once",
        workspace="worktree",
        writes=("src/**", "docs/*.md"),
        on_conflict="merger",
        adds_tasks=AddsTasks(max_tasks=3),
        wait=Wait(deadline_s=3600, remind_every_s=600, default="approve"),
    )
    history.task("b", item={"path": "x"})
    said = lines_of(history, "a")
    for part in (
        "when          tasks.b.data",
        "for each      vars.files",
        "effects       once",
        "workspace     worktree",
        "writes        src/**, docs/*.md",
        "on conflict   merger",
        "adds tasks    at most 3, approval: costly",
        "waits         at most 1 h 00 min, reminds every 10 min 00 s, then: approve",
    ):
        assert part in said
    assert 'item          {"path":"x"}' in lines_of(history, "b")
    assert "effects" not in lines_of(history, "b")


FILES = [
    {"path": "src/a.py", "change": "added", "sha256": "0123456789abcdef", "size_bytes": 2_048},
    {"path": "big\x1b.bin", "change": "modified", "sha256": "f" * 64, "size_bytes": 3 * 1024 * 1024},
    {"path": "small", "change": "modified", "sha256": "e" * 64, "size_bytes": 12},
    {"path": "old.py", "change": "deleted", "sha256": None, "size_bytes": 0},
]


class TestWhatIsLeft:
    def test_files_are_told_with_size_and_the_beginning_of_their_hash(self, history):
        history.task("a").start("a").complete("a", "x", metadata={"files": FILES})
        assert (
            "Files\n"
            "added     src/a.py     2.0 kB  0123456789\n"
            "modified  big\\x1b.bin  3.0 MB  ffffffffff\n"
            "modified  small        12 B    eeeeeeeeee\n"
            "deleted   old.py"
        ) in lines_of(history, "a")
        assert document_of(history, "a")["files"] == FILES

    def test_many_files_are_cut(self, history):
        files = [{"path": f"f{n}", "change": "added", "sha256": "a", "size_bytes": None} for n in range(103)]
        history.task("a").start("a").complete("a", "x", metadata={"files": files})
        assert "... and 3 more; --json lists all" in lines_of(history, "a")

    def test_the_branch_and_folder_are_told_until_the_work_is_merged(self, history):
        place = {"branch": "orchestrate/p/a", "commit": "0123456789abcdef", "path": "/p/a"}
        history.task("a").start("a").review("a", "conflict", metadata={"workspace": place, "artefacts": "/raw/a"})
        assert (
            "Place\nbranch        orchestrate/p/a\ncommit        0123456789\nfolder        /p/a\nraw output    /raw/a"
        ) in lines_of(history, "a")
        history.complete("a", metadata={"workspace": place | {"merged": "fedcba9876543210"}})
        said = lines_of(history, "a")
        assert "Place\ncommit        0123456789\nmerged        fedcba9876\n" in said
        assert "folder" not in said
        assert document_of(history, "a")["workspace"]["merged"] == "fedcba9876543210"

    def test_many_instances_are_cut(self, history):
        task = history.task("t", for_each="x").state.tasks["t"].task
        instances = tuple(AgentTask(f"t.{n}", f"T: {n}") for n in range(45))
        history.add(ev.TaskExpanded, task_id=task.task_id, instances=instances)
        said = lines_of(history, "t")
        assert "One for each item\n0 of 45 done\nt.0 " in said
        assert "... and 5 more" in said
        assert document_of(history, "t")["instances"]["counts"] == {"pending": 45}

    def test_tasks_it_has_added_are_listed(self, history):
        history.task("a").start("a").complete("a", added=(AgentTask("a.x", "Do x", agent="ann"),))
        assert "Added tasks\na.x  · pending  ann  Do x" in lines_of(history, "a")
        assert document_of(history, "a")["added"] == ["a.x"]
        assert document_of(history, "a.x")["origin"] == "a"


class TestReview:
    def test_after_a_crash_asks_whether_it_happened(self, history):
        history.task("pay", effects="once").start("pay").review("pay", reason="the orchestrator ended")
        said = lines_of(history, "pay")
        assert said.startswith("pay  ! needs review")
        assert "To decide\nthe orchestrator ended" in said
        assert said.endswith(
            "Next\n"
            "orchestrate approve pay  (it has happened: the task is done)\n"
            "orchestrate answer pay  (it has happened, and this is its output)\n"
            "orchestrate reset pay  (it has not happened: run it again)"
        )
        document = document_of(history, "pay")
        assert (document["cause"], document["reason"]) == ("effect", "the orchestrator ended")
        assert document["attempts"][0]["outcome"] == "needs review"

    def test_of_a_conflict_shows_the_diff(self, history):
        diff = "@@ -1 +1 @@\n-a\n+b\x1b\n"
        history.task("a").start("a").review("a", "conflict", "it conflicts", metadata={"diff": diff})
        said = lines_of(history, "a")
        assert "Conflict\n@@ -1 +1 @@\n-a\n+b\\x1b" in said
        assert "orchestrate approve a  (you have mended it: merge its work now)" in said
        assert "orchestrate reject a what to change  (have it done again)" in said

    def test_of_a_result_shows_what_is_asked_and_the_result(self, history):
        history.task("a").start("a").wait("a", need="approval", output="the result")
        history.facts[-1].result.metadata["asks"] = "adds 1 task to the project:\n- a.x"
        said = lines_of(history, "a")
        assert "What you are asked\nadds 1 task to the project:\n- a.x" in said
        assert "The result\nthe result" in said


def test_why_a_task_was_skipped_is_told(history):
    history.task("a", when="vars.x > 3").add(ev.TaskSkipped, task_id="a", reason="`when` does not hold: vars.x > 3")
    said = lines_of(history, "a")
    assert "Why it was skipped\n" in said
    assert "vars.x > 3" in said
    assert said.endswith("orchestrate reset a  (to look at its condition again)")
