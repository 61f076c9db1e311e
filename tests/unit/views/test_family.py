"""Tasks that come from others: where they stand, how far they are, and who is told of them."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestration import events as ev
from orchestration.task import AgentTask, TaskStatus
from orchestration.views import diagrams, table
from orchestration.views.family import folded, growth, item_label, placing, progress
from orchestration.views.lines import describe
from orchestration.views.model import view


def instances_of(task, items):
    return tuple(
        replace(task, task_id=f"{task.task_id}.{n}", title=f"{task.title}: {item}", for_each=None, item=item)
        for n, item in enumerate(items, 1)
    )


@pytest.fixture
def mapped(history):
    """`plan`, then `review` once for each of 12 files, then `sum`."""
    history.task("plan").task("review", "plan", title="Review", agent="ann", for_each="tasks.plan.data")
    history.task("sum", "review").start("plan").complete("plan")
    task = history.state.tasks["review"].task
    return history.add(
        ev.TaskExpanded, task_id="review", instances=instances_of(task, [f"f{n}.py" for n in range(1, 13)])
    )


@pytest.fixture
def grown(history):
    """`plan` has added two tasks, the second after the first; `use` comes after `plan`."""
    history.task("plan").task("use", "plan").start("plan")
    first = AgentTask("plan.a", "A", agent="ann", dependencies=("plan",))
    second = AgentTask("plan.b", "B", dependencies=("plan", "plan.a"))
    return history.complete("plan", added=(first, second))


def rows_of(history, rows_max=None):
    return [f"{row.guide}{row.task_id}" for row in view(history.state, history.at, rows_max=rows_max).rows]


def note(history, name):
    return next(row.note for row in view(history.state, history.at).rows if row.task_id == name)


class TestInstances:
    def test_stand_below_their_task_and_before_what_comes_after_it(self, mapped):
        rows = rows_of(mapped)
        assert rows[:4] == ["plan", "└ review", "  ├ review.1", "  ├ review.2"]
        assert rows[-2:] == ["  ├ review.12", "  └ sum"]

    def test_are_counted_on_the_line_of_their_task(self, mapped):
        assert note(mapped, "review") == "0 of 12 done"
        mapped.start("review.1").complete("review.1").start("review.2").start("review.3").fail("review.3")
        mapped.start("review.4").wait("review.4").add(ev.TaskSkipped, task_id="review.5", reason="no")
        mapped.add(ev.TaskCancelled, task_id="review.6")
        known = mapped.state.tasks["review"]
        said = "1 of 12 done, 1 running, 1 waiting for you, 1 failed, 1 cancelled, 1 skipped"
        assert progress(mapped.state, known) == said
        assert note(mapped, "review") == f"{said}: review.3 failed"

    def test_are_told_apart_by_their_items(self, mapped):
        mapped.start("review.1")
        assert note(mapped, "review.1") == "f1.py"
        assert note(mapped, "review.2") == "f2.py: ready"
        mapped.add(ev.WorkerReported, task_id="review.1", attempt=1, kind="tool", text="Read f1.py\nand more")
        assert note(mapped, "review.1") == "f1.py: Read f1.py and more"

    def test_are_told_by_number_where_their_items_have_no_name(self, history):
        task = history.task("t", title="T", for_each="x").state.tasks["t"].task
        instances = (replace(task, task_id="t.1", title="T: 1", for_each=None, item=[1]),)
        history.add(ev.TaskExpanded, task_id="t", instances=instances)
        assert item_label(history.state, history.state.tasks["t.1"]) == ""
        assert item_label(history.state, history.state.tasks["t"]) == ""

    def test_that_are_many_are_folded_into_the_line_of_their_task_but_for_those_worth_a_look(self, mapped):
        mapped.start("review.7").start("review.9").fail("review.9").start("review.1").complete("review.1")
        assert rows_of(mapped, rows_max=40) == ["plan", "└ review", "  ├ review.7", "  ├ review.9", "  └ sum"]
        seen = view(mapped.state, mapped.at, rows_max=40)
        assert seen.hidden == 10
        assert sum(seen.counts.values()) == 15
        assert len(rows_of(mapped)) == 15

    def test_that_are_few_are_all_shown(self, history):
        task = history.task("t", for_each="x").state.tasks["t"].task
        history.add(ev.TaskExpanded, task_id="t", instances=instances_of(task, "abc"))
        assert rows_of(history, rows_max=40) == ["t", "├ t.1", "├ t.2", "└ t.3"]
        assert folded(history.state) == frozenset()

    def test_do_not_push_their_task_off_a_small_screen(self, mapped):
        for n in range(1, 7):
            mapped.start(f"review.{n}").complete(f"review.{n}")
        mapped.start("review.7")
        assert rows_of(mapped, rows_max=3) == ["plan", "review", "review.7"]

    def test_once_done_are_told_with_the_time_they_took_together(self, mapped):
        for n in range(1, 13):
            mapped.start(f"review.{n}").complete(f"review.{n}")
        mapped.complete("review", '<result task="review.1">')
        mapped.facts[-1] = ev.TaskCompleted(
            at=mapped.at,
            task_id="review",
            result=replace(mapped.facts[-1].result, started_at=mapped.at - timedelta(seconds=25)),
        )
        row = next(row for row in view(mapped.state, mapped.at).rows if row.task_id == "review")
        assert row.note == "12 of 12 done"
        assert row.elapsed_s == 25

    def test_have_edges_of_their_own_in_diagrams(self, mapped):
        document = {task["task_id"]: task for task in diagrams.document(mapped.state)["tasks"]}
        assert document["review.1"]["origin"] == "review"
        assert document["review"]["dependencies"] == ["plan"]
        assert document["review"]["waits_for"][:2] == ["plan", "review.1"]
        assert '  "review.1" -> "review";' in diagrams.dot(mapped.state)
        tree = [line.plain for line in diagrams.tree(mapped.state)]
        assert tree[2] == "  ├ review.1   · pending  ann"

    def test_are_announced_with_their_number_and_agent_before_they_run(self, mapped):
        said = "becomes 12 tasks, one for each item, for ann: review.1, review.2, review.3 and 9 more"
        assert growth(mapped.facts[-1]) == f"review {said}"
        assert describe(mapped.facts[-1], mapped.state, "".join) == f"review  {said}"

    def test_of_one_item_are_announced_as_one_task(self, history):
        task = history.task("t", for_each="x").state.tasks["t"].task
        history.add(ev.TaskExpanded, task_id="t", instances=instances_of(task, "a"))
        assert growth(history.facts[-1]) == "t becomes 1 task, for the default agent: t.1"


class TestAddedTasks:
    def test_stand_below_the_task_that_added_them(self, grown):
        assert rows_of(grown) == ["plan", "├ plan.a", "│ └ plan.b", "└ use"]
        tree = [line.plain for line in diagrams.tree(grown.state)]
        assert tree[2] == "│ └ plan.b  · pending"

    def test_are_announced_with_what_each_agent_gets(self, grown):
        said = "adds 2 tasks, 1 for ann, 1 for the default agent: plan.a, plan.b"
        assert growth(grown.facts[-1]) == f"plan {said}"
        assert describe(grown.facts[-1], grown.state, "".join) == f"plan  done  1.0 s  {said}"

    def test_are_what_others_wait_for(self, grown):
        assert note(grown, "use") == "after plan.a, plan.b, which plan has added"
        grown.start("plan.a").complete("plan.a")
        assert note(grown, "use") == "after plan.b, which plan has added"

    def test_that_failed_block_those_others(self, grown):
        grown.start("plan.a").fail("plan.a")
        assert note(grown, "use") == "plan.a failed"

    def test_whose_origin_is_gone_stand_under_what_they_depend_on(self, history):
        history.task("a").task("b", "a")
        assert placing(history.state) == {"a": (), "b": ("a",)}


def test_what_waits_for_its_own_dependencies_names_these_before_what_they_added(grown):
    grown.task("more", "plan", "use")
    assert note(grown, "more") == "after use, plan.a, plan.b"


def test_other_facts_bring_no_tasks(history):
    history.task("a").start("a").complete("a")
    assert [growth(fact) for fact in history.facts] == ["", "", ""]


def test_counts_have_words_for_what_is_checked_reviewed_and_skipped(history):
    for name in ("a", "b", "c", "d", "e"):
        history.task(name)
    history.add(ev.TaskSkipped, task_id="a", reason="no")
    for name in ("b", "c", "d"):
        history.start(name)
    for name in ("b", "c"):
        history.review(name)
    history.claim("d")
    seen = view(history.state, history.at)
    assert table.counts_line(seen).plain == "· 1 pending  ◐ 1 checking  ! 2 need review  » 1 skipped"
    assert table.counts_line(seen, ascii_only=True).plain == ". 1 pending  o 1 checking  ! 2 need review  / 1 skipped"
    history.add(ev.TaskReset, task_ids=("c",))
    assert "! 1 needs review" in table.counts_line(view(history.state, history.at)).plain
    assert seen.counts[TaskStatus.NEEDS_REVIEW] == 2
