"""What calls cost, by model, by attempt and by account, beside the budgets."""

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from orchestration import events as ev
from orchestration.budget import Budget, Budgets
from orchestration.fold import fold
from orchestration.ledger import Spend
from orchestration.task import AgentTask, FailureKind
from orchestration.views import table
from orchestration.views.budgets import BudgetRow, budget_lines, budget_rows, model_rows, project_line
from orchestration.views.costs import LOST, by_model
from orchestration.views.details import task_document, task_lines
from orchestration.views.history import attempts
from orchestration.views.live import LiveTable
from orchestration.views.model import as_if_interrupted, view
from orchestration.views.plain import project_document

AT = datetime(2026, 1, 2, tzinfo=UTC)


def command(*words):
    return " ".join(["orchestrate", *words])


def reserve(history, name, call_id, usd="0.5", **more):
    return history.add(
        ev.CallReserved,
        call_id=call_id,
        task_id=name,
        agent=more.pop("agent", "ann"),
        input_tokens=100,
        output_tokens=50,
        cost_usd=usd,
        **more,
    )


def call(history, name, model="m", **more):
    return history.add(ev.CallFinished, task_id=name, attempt=1, provider="p", model=model, **more)


@st.composite
def histories(draw):
    """Draw facts of calls: reserved or not, finished, released, lost or under way still."""
    at = AT
    facts = [ev.TaskAdded(at=at, task=AgentTask(name, name)) for name in "ab"]
    open_calls = []
    for number in range(draw(st.integers(0, 25))):
        at += timedelta(seconds=1)
        kind = draw(st.sampled_from(["reserve", "finish", "release", "lose", "plain"]))
        task_id = draw(st.sampled_from("ab"))
        cost = draw(st.none() | st.sampled_from(["0", "0.25", "1.5"]))
        if kind == "reserve":
            open_calls.append((f"c{number}", task_id))
            facts.append(
                ev.CallReserved(
                    at=at,
                    call_id=f"c{number}",
                    task_id=task_id,
                    agent="x",
                    input_tokens=9,
                    output_tokens=9,
                    cost_usd=cost,
                )
            )
        elif kind == "plain" or not open_calls:
            facts.append(ev.CallFinished(at=at, task_id=task_id, attempt=1, provider="p", model="m", cost_usd=cost))
        else:
            call_id, task_id = open_calls.pop(draw(st.integers(0, len(open_calls) - 1)))
            facts.append(
                {
                    "finish": ev.CallFinished(
                        at=at,
                        task_id=task_id,
                        attempt=1,
                        provider="p",
                        model=draw(st.sampled_from("mn")),
                        call_id=call_id,
                        cost_usd=cost,
                        input_tokens=3,
                    ),
                    "release": ev.CallReleased(at=at, call_id=call_id),
                    "lose": ev.CallLost(at=at, call_id=call_id),
                }[kind]
            )
    return facts


@given(histories())
@settings(deadline=None)
def test_what_the_models_used_is_what_the_project_did(facts):
    assert sum(by_model(facts).values(), Spend()) == fold(facts).spend


def test_models_come_costliest_first_and_calls_that_were_cut_off_by_themselves(history):
    history.task("a")
    call(history, "a", "small", cost_usd="0.1", input_tokens=5)
    call(history, "a", "large", cost_usd="0.7")
    reserve(history, "a", "r/1").add(ev.CallLost, call_id="r/1")
    reserve(history, "a", "r/2").add(ev.CallReleased, call_id="r/2")
    rows = model_rows(by_model(history.facts))
    assert [(row.name, row.spend.cost_usd) for row in rows] == [
        ("large", Decimal("0.7")),
        (LOST, Decimal("0.5")),
        ("small", Decimal("0.1")),
    ]
    assert rows[1].spend.lost_calls == 1


def test_a_loss_nobody_had_reserved_is_nothing(history):
    history.task("a").add(ev.CallLost, call_id="none")
    assert by_model(history.facts) == {}


@pytest.fixture
def spent(history):
    """Two tasks: `a` of agent ann, tagged, with a call under way; `b` of agent bob with a call of unknown price."""
    history.task("a").task("b")
    call(history, "a", agent="ann", tags=("x",), cost_usd="0.25", input_tokens=1000, output_tokens=200)
    reserve(history, "a", "r/1", "0.4", tags=("x",))
    call(history, "b", agent="bob", input_tokens=10)
    return history


BUDGETS = Budgets(
    project=Budget(usd=Decimal("2.00"), tokens=5000),
    agents={"ann": Budget(usd=Decimal("0.6")), "idle": Budget(tokens=7)},
    tasks={"b": Budget(tokens=100)},
    tags={"x": Budget(usd=Decimal(1))},
    tagged={"a": ("x",)},
)


def test_each_account_stands_beside_its_budget(spent):
    rows = {(row.scope, row.name): row for row in budget_rows(spent.state, BUDGETS)}
    assert list(rows) == [
        ("project", ""),
        ("agent", "ann"),
        ("agent", "bob"),
        ("agent", "idle"),
        ("tag", "x"),
        ("task", "b"),
        ("task", "a"),
    ]
    project, ann = rows["project", ""], rows["agent", "ann"]
    assert (project.left_usd, project.left_tokens) == (Decimal("1.35"), 5000 - 1210 - 150)
    assert ann.left_usd == Decimal("-0.05")
    assert ann.left_tokens is None
    assert rows["agent", "idle"].left_tokens == 7


def test_of_tasks_without_a_budget_the_costliest_are_told(history):
    for n in range(15):
        call(history.task(f"t{n:02}"), f"t{n:02}", cost_usd=f"0.{n:02}")
    names = [
        row.name for row in budget_rows(history.state, Budgets(tasks={"t00": Budget(tokens=1)})) if row.scope == "task"
    ]
    assert names == ["t00", *(f"t{n:02}" for n in range(14, 4, -1))]


def test_the_table_says_what_is_left_and_what_is_not_certain(spent):
    spent.add(ev.CallLost, call_id="r/1")
    lines = [line.plain for line in budget_lines(budget_rows(spent.state, BUDGETS))]
    assert lines[0].split() == ["spent", "budget", "left", "calls", "tokens", "budget", "left"]
    assert lines[1].split() == ["project", "≥", "$0.6500", "$2.00", "$1.35", "3", "1.4k", "5.0k", "3.6k"]
    assert lines[2].split() == ["agent", "ann", "$0.6500", "$0.6000", "$0", "2", "1.4k"]
    assert "no price is known for 1 call; they are not in the money" in lines
    assert "nobody knows what became of 1 call; counted at the worst case" in lines
    ascii_lines = [line.plain for line in budget_lines(budget_rows(spent.state, BUDGETS), ascii_only=True)]
    assert "".join(ascii_lines).isascii()


def test_rows_survive_the_way_to_another_process(spent):
    rows = budget_rows(spent.state, BUDGETS)
    sent = msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(rows)))
    assert msgspec.convert(sent, list[BudgetRow], strict=False) == rows


@pytest.mark.parametrize(
    ("budgets", "says"),
    [
        (Budgets(), ""),
        (
            Budgets(project=Budget(usd=Decimal("2.00"))),
            "budget: ≥ $0.2500 of $2.00 spent, $0.4000 set aside for calls under way, $1.35 left",
        ),
        (Budgets(project=Budget(usd=Decimal("0.1"))), "budget: ≥ $0.2500 of $0.1000 spent, $0.4000 set aside"),
        (Budgets(project=Budget(tokens=1000)), "budget: 1.2k of 1.0k tokens used, 0 left"),
    ],
)
def test_the_projects_budget_is_told_in_a_line(spent, budgets, says):
    line = project_line(spent.state, budgets)
    assert line.startswith(says)
    assert bool(line) == bool(says)


def test_what_a_dead_process_left_open_counts_as_lost(spent):
    state = as_if_interrupted(spent.state, spent.at)
    assert not state.ledger.reservations
    assert state.spend.lost_calls == 1
    assert state.tasks["a"].spend.cost_usd == Decimal("0.65")


def test_the_document_has_all_costs_with_money_to_the_last_digit(spent):
    spent.add(ev.CallReleased, call_id="r/1")
    document = msgspec.json.decode(msgspec.json.encode(project_document(spent.state, BUDGETS, by_model(spent.facts))))
    costs = {(row["scope"], row["name"]): row for row in document["costs"]}
    assert costs["project", ""]["budget_usd"] == "2"
    assert costs["project", ""]["left_usd"] == "1.75"
    assert costs["project", ""]["reserved_usd"] == "0"
    assert costs["task", "b"]["left_tokens"] == 90
    assert ("task", "a") not in costs  # each task's own is with the task
    assert costs["model", "m"]["spend"]["unpriced_calls"] == 1
    assert document["tasks"][0]["spend"]["cost_usd"] == "0.25"


class TestAttempts:
    @pytest.fixture
    def handed_over(self, history):
        """A task that was parked, was tried by ann, and done by bob."""
        history.task("a", agent="ann").start("a", agent="ann")
        history.add(ev.TaskParked, task_id="a", kind=FailureKind.RATE_LIMIT, reason="slow down", until=history.at)
        call(history, "a", "m-1", agent="ann", cost_usd="0.25", input_tokens=100)
        history.add(ev.TaskRetrying, task_id="a", attempt=2, kind=FailureKind.OVERLOADED, error="busy", agent="bob")
        call(history, "a", "m-2", agent="bob", cost_usd="0.5", input_tokens=200)
        history.complete("a", "done")
        history.facts[-1].result.metadata["fallback_from"] = ["ann"]
        return history

    def test_say_who_was_at_it_with_which_model_at_what_cost(self, handed_over):
        first, second = attempts(handed_over.facts, "a")
        assert (first.agent, first.model, first.spend.cost_usd) == ("ann", "m-1", Decimal("0.25"))
        assert (first.parked, first.parked_for) == (1, "rate_limit")
        assert (second.agent, second.model, second.spend.cost_usd) == ("bob", "m-2", Decimal("0.5"))

    def test_are_told_with_the_agent_that_took_over(self, handed_over):
        said = "\n".join(map(str, task_lines(handed_over.state, handed_over.facts, "a", command=command)))
        assert "m-1  100 tok  $0.2500  failed (overloaded)  parked 1 time (rate_limit)  busy" in said
        document = task_document(handed_over.state, handed_over.facts, "a")
        assert document["fallback_from"] == ["ann"]
        assert [one["spend"]["cost_usd"] for one in document["attempts"]] == ["0.25", "0.5"]
        assert [one["parked"] for one in document["attempts"]] == [1, 0]

    def test_show_a_call_that_was_cut_off(self, history):
        history.task("a").start("a")
        reserve(history, "a", "r/1").add(ev.TaskInterrupted, task_id="a").add(ev.CallLost, call_id="r/1")
        (only,) = attempts(history.facts, "a")
        assert (only.model, only.spend.lost_calls) == (LOST, 1)

    def test_a_row_names_who_stood_in_for_whom(self, handed_over):
        row = view(handed_over.state, handed_over.at).rows[0]
        assert row.stands_for == ("ann",)


class TestParked:
    def test_has_a_symbol_and_a_word_and_is_counted_by_itself(self, history):
        history.task("a").task("b").start("a").start("b")
        history.add(ev.TaskParked, task_id="a", kind=FailureKind.OVERLOADED, reason="busy", until=history.at)
        seen = view(history.state, history.at)
        assert [line.plain.split()[1:3] for line in table.task_lines(seen)] == [["‖", "parked"], ["●", "running"]]
        assert table.counts_line(seen).plain == "● 1 running  ‖ 1 parked"
        assert table.counts_line(seen, ascii_only=True).plain == "> 1 running  = 1 parked"
        document = project_document(history.state, Budgets(), {})
        assert document["tasks"][0]["parked"] == {"until": history.state.tasks["a"].parked_until, "reason": "busy"}
        assert document["tasks"][1]["parked"] is None

    def test_says_when_it_goes_on_by_itself(self, history):
        history.task("a").start("a")
        history.add(ev.TaskParked, task_id="a", kind=FailureKind.OVERLOADED, reason="busy", until=history.at)
        said = "\n".join(map(str, task_lines(history.state, history.facts, "a", command=command)))
        assert said.startswith("a  ‖ parked")
        assert "it is parked and goes on by itself at " in said
        assert task_document(history.state, history.facts, "a")["parked"]["reason"] == "busy"

    def test_says_which_command_raises_the_budget(self, history):
        history.task("a").start("a").add(ev.TaskParked, task_id="a", kind=FailureKind.BUDGET, reason="used up")
        said = "\n".join(map(str, task_lines(history.state, history.facts, "a", command=command)))
        assert said.endswith("it is parked until the budget is raised: used up\norchestrate budget USD")


def test_notes_stand_below_the_live_table(history):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, height=20, color_system=None, legacy_windows=False)
    table = LiveTable(console, hint=lambda: "the hint", notes=lambda state: [f"{len(state.tasks)} in all", ""])
    table.draw([], history.task("a").state)
    table.close()
    assert out.getvalue().index("1 in all") < out.getvalue().index("the hint")
