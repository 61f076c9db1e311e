"""Everything about one task."""

import msgspec

from orchestration import events as ev
from orchestration.task import FailureKind
from orchestration.views.details import task_document, task_lines
from orchestration.views.history import attempts


def command(*words):
    return " ".join(["orchestrate", *words])


def lines_of(history, name):
    return "\n".join(str(line) for line in task_lines(history.state, history.facts, name, command=command))


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
