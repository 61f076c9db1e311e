"""The end of a run."""

from decimal import Decimal

import pytest
from msgspec import structs

from orchestration import events as ev
from orchestration.budget import Budget, Budgets
from orchestration.ledger import Spend
from orchestration.orchestrator import Totals
from orchestration.run_state import RunState
from orchestration.task import Check, FailureKind
from orchestration.views.advice import asked, doubt, next_step
from orchestration.views.summary import Ending, problem_lines, summary_lines, waiting_lines


def command(*words):
    return " ".join(["orchestrate", *words])


def lines_of(state, status, **more):
    ending = Ending(status=status, **more)
    return [line.plain for line in summary_lines(state, ending, command=command, width=None)]


@pytest.mark.parametrize(
    ("names", "says"),
    [([], "The project has no tasks."), (["a"], "The only task is done."), (["a", "b"], "All 2 tasks done.")],
)
def test_when_all_is_done_it_says_so(history, names, says):
    for name in names:
        history.task(name).start(name).complete(name)
    assert says in lines_of(history.state if names else RunState(), "completed")


def test_what_a_run_spent_is_told_apart_from_what_all_runs_did(history):
    history.task("a").call("a", input_tokens=10, cost_usd="0.1").call("a", input_tokens=5, cost_usd="0.1")
    totals = Totals(tasks={}, duration_s=2.0, spend=Spend(calls=1, input_tokens=5))
    lines = lines_of(history.state, "interrupted", totals=totals)
    assert "this run:  2.0 s  1 model call  5 tokens (5 in, 0 out)  $0" in lines
    assert "in all:  2 model calls  15 tokens (15 in, 0 out)  $0.2000" in lines
    assert "Stopped before the end: 1 task left. Go on with: orchestrate run" in lines


class TestARunThatABudgetStopped:
    def test_is_no_failure_and_says_with_which_command_it_goes_on(self, history):
        history.task("a").call("a", cost_usd="1.9")
        budgets = Budgets(project=Budget(usd=Decimal("2.00")))
        lines = lines_of(history.state, "over_budget", budgets=budgets, problems=("it does not fit",))
        assert lines[2:] == [
            "Stopped by the budget: 1 task left.",
            "budget: $1.90 of $2.00 spent, $0.1000 left",
            "problem: it does not fit",
            "  go on with more for the project: orchestrate run --budget 4.00",
            "  see what was used: orchestrate budget",
        ]

    def test_names_the_file_where_another_budget_may_be_the_one(self, history):
        budgets = Budgets(project=Budget(usd=Decimal(1)), agents={"a": Budget(tokens=5)})
        lines = lines_of(history.task("a").state, "over_budget", budgets=budgets)
        assert "  go on with more for the project: orchestrate run --budget 2" in lines
        assert "  raise another budget in the project file, then: orchestrate run" in lines

    def test_of_tokens_is_not_helped_by_money(self, history):
        budgets = Budgets(project=Budget(tokens=500))
        lines = lines_of(history.task("a").state, "over_budget", budgets=budgets)
        assert not any("--budget" in line for line in lines)
        assert "budget: 0 of 500 tokens used, 500 left" in lines

    def test_for_want_of_a_price_is_told_about_prices(self, history):
        problem = "task 'a' cannot go on: the price of this call is unknown; set allow_unknown_price to allow it"
        budgets = Budgets(project=Budget(usd=Decimal(1)))
        lines = lines_of(history.task("a").state, "over_budget", budgets=budgets, problems=(problem,))
        assert "  set allow_unknown_price: true under budget, or name a model whose price is known" in lines
        assert not any("--budget" in line for line in lines)


def test_problems_beside_the_tasks_are_told(history):
    lines = lines_of(history.task("a").start("a").complete("a").state, "completed", problems=("cannot write x",))
    assert "problem: cannot write x" in lines


def test_a_large_project_is_cut_and_says_where_the_rest_is(history):
    for n in range(50):
        history.task(f"t{n}")
    lines = lines_of(history.state, "cancelled")
    assert "... and 10 more tasks: orchestrate status --all" in lines
    assert "Cancelled: 50 tasks left. Go on with: orchestrate run" in lines


def test_of_many_failures_ten_are_told_with_their_reasons_once_each(history):
    for n in range(12):
        history.task(f"t{n}").start(f"t{n}").fail(f"t{n}", f"error {n}", FailureKind.AUTH)
    lines = [line.plain for line in problem_lines(history.state, command)]
    assert "failed: t0  auth: error 0" in lines
    assert "failed: t9  auth: error 9" in lines
    assert "failed: t10  auth: error 10" not in lines
    assert "... and 2 failed tasks more: orchestrate status --all" in lines
    assert "  details: orchestrate show t0" in lines
    assert "  try again: orchestrate run" in lines


def test_a_failure_stated_by_a_caller_has_its_text_alone(history):
    history.task("a").fail("a", "as I said")
    history.facts[-1].result.metadata.clear()
    assert problem_lines(history.state, command)[0].plain == "failed: a  as I said"


def test_what_waits_is_told_with_the_commands(history):
    history.task("a").start("a").wait("a").task("b").start("b").wait("b", need="approval")
    lines = [line.plain for line in waiting_lines(history.state, command)]
    assert lines[0].startswith("waits for you: a  needs your answer, for ")
    assert "  orchestrate answer a" in lines
    assert "  orchestrate approve b" in lines
    assert lines_of(history.state, "waiting")[3] == "Nothing more can run until you decide: 2 tasks wait for you."


@pytest.mark.parametrize("kind", FailureKind)
def test_every_kind_of_failure_has_a_next_step(history, kind):
    history.task("a").start("a").fail("a", kind=kind)
    assert next_step(history.state.tasks["a"])


def test_an_answer_of_the_wrong_form_names_the_schema_only_where_there_is_one(history):
    history.task("a", output_schema={"type": "object"}).start("a").fail("a", kind=FailureKind.BAD_OUTPUT)
    history.task("b").start("b").fail("b", kind=FailureKind.BAD_OUTPUT)
    assert "output_schema" in next_step(history.state.tasks["a"])
    assert next_step(history.state.tasks["b"]) == "correct what the message names, or use a stronger agent"


def test_a_workspace_that_is_refused_says_itself_what_to_do(history):
    history.task("a").start("a").fail("a", kind=FailureKind.UNAVAILABLE)
    history.state.tasks["a"].result.metadata["refusal"] = "dirty"
    assert next_step(history.state.tasks["a"]) == ""


class TestWhatNeedsReview:
    def test_is_told_with_the_reason_and_the_commands(self, history):
        history.task("a").start("a").review("a", "effect", "it was\nstopped")
        lines = [line.plain for line in waiting_lines(history.state, command)]
        assert lines[0].startswith("needs review: a  unclear whether it happened, for ")
        assert lines[0].endswith(": it was stopped")
        assert "  orchestrate approve a  (it has happened: the task is done)" in lines
        assert lines_of(history.state, "waiting")[2] == "Nothing more can run until you decide: 1 task waits for you."

    def test_that_it_happened_does_not_spare_the_checks(self, history):
        history.task("a", checks=(Check(matches="x"),)).start("a").review("a", "effect", "so")
        lines = [line.plain for line in waiting_lines(history.state, command)]
        assert "  orchestrate approve a  (it has happened: its checks are made again, not the work)" in lines

    def test_for_a_reason_of_a_later_release_is_told_all_the_same(self, history):
        history.task("a").start("a").review("a", "effect", "so")
        known = structs.replace(history.state.tasks["a"], cause="something")
        assert asked(known) == "your decision: unclear how things stand"
        assert doubt("workspace") == "its changes cannot be merged now"


def test_what_is_asked_of_a_result_is_told(history):
    history.task("a").start("a").wait("a", need="approval")
    assert asked(history.state.tasks["a"]) == "your approval of its draft"
    history.facts[-1].result.metadata["asks"] = "adds 2 tasks:\n- x"
    assert asked(history.state.tasks["a"]) == "your approval: adds 2 tasks: - x"


def test_skipped_tasks_are_done_with_and_told_apart(history):
    history.task("a").task("b").start("a").complete("a").add(ev.TaskSkipped, task_id="b", reason="no")
    assert "All done: 1 task, and 1 skipped." in lines_of(history.state, "completed")
    assert "Cancelled: 0 tasks left. Go on with: orchestrate run" in lines_of(history.state, "cancelled")
