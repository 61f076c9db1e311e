"""One line per change."""

import io

import pytest

from orchestration import events as ev
from orchestration.fold import fold
from orchestration.task import FailureKind
from orchestration.views.lines import Lines, describe, murmur


def command(*words):
    return " ".join(["orchestrate", *words])


def said(history):
    """Return the line of the last fact."""
    return describe(history.facts[-1], history.state, command)


def test_every_change_of_a_task_has_a_line(history):
    history.task("a").task("b")
    assert said(history) == ""
    assert said(history.start("a", agent="ann")) == "a  running  ann"
    history.add(ev.TaskRetrying, task_id="a", attempt=2, kind=FailureKind.RATE_LIMIT, error="slow\ndown", delay_s=4)
    assert said(history) == "a  running  attempt 2 in 4.0 s  rate_limit: slow down"
    until = history.at.astimezone()
    history.add(ev.TaskParked, task_id="a", kind=FailureKind.QUOTA, reason="no money", until=history.at, after_s=0)
    assert said(history) == f"a  parked  until {until:%H:%M:%S}  quota: no money"
    history.add(ev.TaskParked, task_id="a", kind=FailureKind.QUOTA, reason="no money", after_s=0)
    assert said(history) == "a  parked  quota: no money"
    history.add(ev.TaskParked, task_id="a", kind=FailureKind.BUDGET, reason="it is used up", after_s=0)
    assert said(history) == "a  parked  until the budget is raised  budget: it is used up"
    assert said(history.call("a", input_tokens=1000, output_tokens=234, cost_usd="0.0123")) == ""
    assert said(history.complete("a")) == "a  done  3.0 s  1.2k tokens  $0.0123"
    assert said(history.add(ev.TaskReset, task_ids=("a",), reason="reset")) == "a  pending again  reset"
    assert said(history.start("a", attempt=2)) == "a  running  attempt 2"
    assert said(history.fail("a", "bad\x1b[0m")) == "a  failed  1.0 s  1.2k tokens  $0.0123  bad\\x1b[0m"
    assert said(history.start("b").wait("b")) == "b  waits for you  your answer: orchestrate show b"
    assert said(history.complete("b", by="person")).startswith("b  done  by a person")
    assert said(history.task("c").complete("c", by="caller")) == "c  done  by the caller"
    assert said(history.task("d").start("d").wait("d", need="approval")).endswith(
        "your approval of its draft: orchestrate show d"
    )
    assert said(history.add(ev.TaskRejected, task_id="d", comment="more")) == "d  draft rejected  more"
    assert said(history.start("d").add(ev.TaskInterrupted, task_id="d")) == "d  interrupted, runs again when resumed"
    assert said(history.add(ev.TaskCancelled, task_id="d")) == "d  cancelled"
    for run_fact in (ev.RunStarted(at=history.at, run_id="r"), ev.RunEnded(at=history.at, run_id="r", status="failed")):
        assert describe(run_fact, history.state, command) == ""


def test_whoever_takes_over_is_named_and_that_it_did(history):
    history.task("a").start("a", agent="ann")
    history.add(ev.TaskRetrying, task_id="a", attempt=2, kind=FailureKind.OVERLOADED, error="busy", agent="bob")
    assert said(history) == "a  running  bob takes over  overloaded: busy"
    history.complete("a")
    history.facts[-1].result.metadata["fallback_from"] = ["ann"]
    assert said(history) == "a  done  for ann  2.0 s"


def test_why_a_task_was_interrupted_is_told(history):
    history.task("a").start("a").add(ev.TaskInterrupted, task_id="a", reason="no budget")
    assert said(history) == "a  interrupted, runs again when resumed  no budget"


def test_a_reset_of_many_names_the_first_ten(history):
    names = tuple(f"t{n}" for n in range(12))
    for name in names:
        history.task(name)
    line = said(history.add(ev.TaskReset, task_ids=names))
    assert line == f"{', '.join(names[:10])} and 2 more  pending again"


def test_lines_and_messages_keep_their_order_each_on_its_stream(history):
    both = io.StringIO()
    lines = Lines(both, messages=both, command=command)
    history.task("a").start("a")
    started = history.facts[-1]
    history.complete("a")
    lines.draw([started, "warning: look", history.facts[-1]], history.state)
    lines.close()
    first, message, last = both.getvalue().splitlines()
    assert first.endswith("  a  running")
    assert message == "warning: look"
    assert last.endswith("  a  done  1.0 s")
    assert first[:8] == f"{started.at.astimezone():%H:%M:%S}"


def test_a_reader_who_is_gone_is_told_nothing_more_and_messages_go_on(history):
    class Gone(io.StringIO):
        tries = 0

        def flush(self):
            self.tries += 1
            raise BrokenPipeError

    out, messages = Gone(), io.StringIO()
    lines = Lines(out, messages=messages, command=command)
    history.task("a").start("a")
    for _ in range(3):
        lines.draw([history.facts[-1], "still here"], history.state)
    assert out.tries == 1
    assert messages.getvalue() == "still here\n" * 3


@pytest.mark.parametrize("kind", [ev.TaskAdded, ev.TaskChanged])
def test_definitions_are_no_news(history, kind):
    task = history.task("a").state.tasks["a"].task
    event = kind(at=history.at, task=task)
    assert describe(event, fold(history.facts), command) == ""


def test_an_answer_that_was_there_already_is_told_apart(history):
    history.task("a").start("a").call("a", cached=True, cost_usd="0").complete("a")
    history.facts[-1].result.metadata["cached"] = True
    assert said(history) == "a  done  answered from the cache  2.0 s"


def test_what_a_person_has_to_look_into_is_told(history):
    history.task("a").start("a")
    line = "a  needs review  your decision: a merge conflict: orchestrate show a"
    assert said(history.review("a", "conflict")) == line


def test_what_was_asked_is_told_also_when_it_was_answered_before_the_line_is_written(history):
    history.task("a").start("a").wait("a", need="approval")
    asking = history.facts[-1]
    history.complete("a", by="person")
    assert describe(asking, history.state, command).endswith("your approval of its draft: orchestrate show a")


def test_a_default_that_counted_is_told_as_such(history):
    history.task("a").start("a").wait("a").complete("a", by="default")
    assert said(history).startswith("a  done  by its default, for nobody answered in time")


def test_a_task_that_is_skipped_says_why(history):
    assert said(history.task("a").add(ev.TaskSkipped, task_id="a", reason="it\nis not")) == "a  skipped  it is not"


def test_only_a_notice_that_failed_is_news(history):
    history.task("a").start("a").wait("a").add(ev.PersonNotified, task_id="a", occasion="asked")
    assert said(history) == ""
    assert murmur(history.facts[-1]) == "a  you were told (asked)"
    history.add(ev.PersonNotified, task_id="a", occasion="reminder", error="no route")
    assert said(history) == "a  you could not be told  no route"


def test_what_workers_say_is_written_only_for_those_who_want_to_know(history):
    history.task("a").start("a", agent="ann")
    history.add(ev.SessionStarted, task_id="a", attempt=1, agent="ann", session_id="5e55")
    history.add(ev.WorkerReported, task_id="a", attempt=1, kind="text", text="I look\naround")
    history.add(ev.WorkerReported, task_id="a", attempt=1, kind="tool", text="Read x")
    written = {}
    for is_verbose in (False, True):
        out = io.StringIO()
        Lines(out, messages=out, command=command, is_verbose=is_verbose).draw(history.facts, history.state)
        written[is_verbose] = [line.split("  ", 1)[1] for line in out.getvalue().splitlines()]
    assert written[False] == ["a  running  ann"]
    assert written[True] == ["a  running  ann", "a  session 5e55 of ann", "a  I look around", "a  tool: Read x"]
