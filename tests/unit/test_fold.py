"""The fold: which facts may follow which, and what each of them leaves behind."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from orchestration import events as ev
from orchestration.errors import TransitionError, UnknownTaskError
from orchestration.fold import apply, fold
from orchestration.ledger import NO_SPEND, Spend
from orchestration.run_state import RunState
from orchestration.task import AgentTask, ExecutionResult, ExecutionStatus, FailureKind, TaskStatus

AT = datetime(2026, 1, 2, tzinfo=UTC)
LATER = AT + timedelta(seconds=5)
DONE = ExecutionResult("a", "agent", ExecutionStatus.SUCCESS, output="out")
FAILED = ExecutionResult("a", status=ExecutionStatus.FAILED, error="no")
DRAFT = ExecutionResult("a", output="draft")

ADDED = ev.TaskAdded(at=AT, task=AgentTask("a", "A"))
STARTED = ev.TaskStarted(at=AT, task_id="a", attempt=1, agent="x")
WAITING = ev.TaskWaiting(at=AT, task_id="a", need="approval", result=DRAFT)

CLAIM = ExecutionResult("a", "agent", ExecutionStatus.SUCCESS, output="claimed")
VERIFYING = ev.TaskVerifying(at=AT, task_id="a", attempt=1, result=CLAIM)
REVIEW = ev.TaskNeedsReview(at=AT, task_id="a", cause="workspace", reason="who knows")
DOUBT = ev.TaskNeedsReview(at=AT, task_id="a", cause="effect", reason="who knows")

# How to bring the one task into each status, and which facts may follow there.
PATHS = {
    "pending": [],
    "in_progress": [STARTED],
    "verifying": [STARTED, VERIFYING],
    "waiting": [STARTED, WAITING],
    "needs_review": [STARTED, REVIEW],
    "completed": [ev.TaskCompleted(at=AT, task_id="a", result=DONE)],
    "skipped": [ev.TaskSkipped(at=AT, task_id="a", reason="not today")],
    "failed": [ev.TaskFailed(at=AT, task_id="a", result=FAILED)],
    "cancelled": [ev.TaskCancelled(at=AT, task_id="a")],
}
FACTS = {
    "started": ev.TaskStarted(at=LATER, task_id="a", attempt=2),
    "retrying": ev.TaskRetrying(at=LATER, task_id="a", attempt=2, kind=FailureKind.TIMEOUT, error="slow", delay_s=2),
    "parked": ev.TaskParked(at=LATER, task_id="a", kind=FailureKind.QUOTA, reason="no money", until=LATER),
    "session": ev.SessionStarted(at=LATER, task_id="a", attempt=1, agent="x", session_id="s1", workspace="w"),
    "reported": ev.WorkerReported(at=LATER, task_id="a", attempt=1, kind="tool", text="reads b.txt"),
    "verifying": ev.TaskVerifying(at=LATER, task_id="a", attempt=1, result=CLAIM),
    "checked": ev.CheckFinished(at=LATER, task_id="a", attempt=1, check="lint", is_passed=False, evidence="line 3"),
    "review": ev.TaskNeedsReview(at=LATER, task_id="a", cause="conflict", reason="b.txt", result=CLAIM),
    "notified": ev.PersonNotified(at=LATER, task_id="a", occasion="reminder"),
    "reopened": ev.TaskReopened(at=LATER, task_id="a", result=DONE),
    "skipped": ev.TaskSkipped(at=LATER, task_id="a", reason="not today"),
    "expanded": ev.TaskExpanded(at=LATER, task_id="a", instances=(AgentTask("a.1", "A: 1", item="x"),)),
    "waiting": WAITING,
    "completed": ev.TaskCompleted(at=LATER, task_id="a", result=DONE),
    "failed": ev.TaskFailed(at=LATER, task_id="a", result=FAILED),
    "cancelled": ev.TaskCancelled(at=LATER, task_id="a"),
    "interrupted": ev.TaskInterrupted(at=LATER, task_id="a"),
    "rejected": ev.TaskRejected(at=LATER, task_id="a", comment="shorter"),
    "changed": ev.TaskChanged(at=LATER, task=AgentTask("a", "B")),
    "removed": ev.TaskRemoved(at=LATER, task_id="a"),
    "reset": ev.TaskReset(at=LATER, task_ids=("a",)),
    "added": ev.TaskAdded(at=LATER, task=AgentTask("a", "B")),
    "call": ev.CallFinished(at=LATER, task_id="a", attempt=1, provider="p", model="m"),
}
AT_WORK = (
    "retrying parked session reported verifying checked review waiting completed failed cancelled interrupted call"
)
ASKED = "notified reopened completed failed cancelled rejected changed removed reset call"
MAY_FOLLOW = {
    "pending": "started skipped expanded completed failed cancelled changed removed reset call",
    "in_progress": AT_WORK,
    "verifying": AT_WORK,
    "waiting": ASKED,
    "needs_review": ASKED,
    "completed": "notified changed removed reset call",
    "skipped": "changed removed reset call",
    "failed": "notified started completed changed removed reset call",
    "cancelled": "started completed changed removed reset call",
}


def test_the_table_has_every_status_and_every_fact_about_a_task():
    assert {*PATHS} == {status.value for status in TaskStatus} - {"blocked"}
    of_runs_and_calls = {ev.RunStarted, ev.RunEnded, ev.CallReserved, ev.CallReleased, ev.CallLost}
    assert {type(fact) for fact in FACTS.values()} == {*ev.Event.__args__} - of_runs_and_calls


def at(status):
    return fold([ADDED, *PATHS[status]])


@pytest.mark.parametrize("status", PATHS)
@pytest.mark.parametrize("name", FACTS)
def test_a_fact_follows_where_it_may_and_is_refused_with_the_reason_where_not(status, name):
    state = at(status)
    assert state.find("a").status == status
    if name in MAY_FOLLOW[status].split():
        apply(state, FACTS[name])
    else:
        with pytest.raises(TransitionError, match=f"task 'a' is {status}: .* can follow only from|task 'a' exists"):
            apply(state, FACTS[name])
        assert state == at(status)


@pytest.mark.parametrize("name", sorted(set(FACTS) - {"added", "call"}))
def test_every_fact_about_a_task_that_does_not_exist_is_refused(name):
    with pytest.raises(UnknownTaskError, match="unknown task 'a'; there are no tasks yet"):
        apply(RunState(), FACTS[name])


def test_what_a_call_used_counts_also_when_its_task_is_gone():
    state = fold([FACTS["call"], FACTS["removed"], FACTS["call"]], at("pending"))
    assert state.spend.calls == 2


def test_a_start_forgets_the_last_outcome_and_keeps_the_comment():
    state = fold([*PATHS["waiting"], FACTS["rejected"], FACTS["started"]], fold([ADDED]))
    known = state.find("a")
    assert (known.attempt, known.started_at, known.result) == (2, LATER, None)
    assert (known.comment, known.draft) == ("shorter", "draft")


def test_a_retry_counts_and_names_the_moment():
    known = fold([FACTS["retrying"]], at("in_progress")).find("a")
    assert (known.attempt, known.last_error, known.retry_at) == (2, "slow", LATER + timedelta(seconds=2))


def test_an_outcome_names_who_and_when_and_clears_what_was_open():
    known = fold([FACTS["completed"]], at("waiting")).find("a")
    assert (known.result, known.agent, known.ended_at, known.need) == (DONE, "agent", LATER, "")
    known = fold([FACTS["failed"]], at("in_progress")).find("a")
    assert (known.agent, known.last_error, known.retry_at) == ("x", "no", None)


def test_a_reset_forgets_everything_but_the_attempts_the_money_and_the_place():
    call = ev.CallFinished(at=AT, task_id="a", attempt=1, provider="p", model="m", input_tokens=3, cost_usd="0.25")
    before = fold([STARTED, call, FACTS["completed"]], fold([ADDED]))
    known = fold([FACTS["reset"]], before).find("a")
    assert (known.status, known.result, known.started_at, known.ended_at) == (TaskStatus.PENDING, None, None, None)
    assert (known.attempt, known.spend.cost_usd, known.position) == (1, Decimal("0.25"), 0)


def test_a_reset_of_several_of_which_one_runs_changes_none():
    state = fold([ev.TaskAdded(at=AT, task=AgentTask("b", "B"))], at("completed"))
    state = apply(state, ev.TaskStarted(at=AT, task_id="b", attempt=1))
    with pytest.raises(TransitionError):
        apply(state, ev.TaskReset(at=AT, task_ids=("a", "b")))
    assert state.find("a").status is TaskStatus.COMPLETED


def test_money_adds_up_over_tasks_and_attempts_and_unknown_prices_are_counted():
    calls = [
        ev.CallFinished(at=AT, task_id="a", attempt=1, provider="p", model="m", input_tokens=1, cost_usd="0.1"),
        ev.CallFinished(at=AT, task_id="a", attempt=1, provider="p", model="m", output_tokens=2, cached_tokens=4),
        ev.CallFinished(at=AT, task_id="a", attempt=2, provider="p", model="m", cost_usd="0.2"),
    ]
    state = fold(calls, at("in_progress"))
    expected = Spend(
        calls=3, input_tokens=1, output_tokens=2, cached_tokens=4, cost_usd=Decimal("0.3"), unpriced_calls=1
    )
    assert state.spend == state.find("a").spend == expected
    assert expected - expected == NO_SPEND
    assert expected + NO_SPEND == expected


def test_an_answer_from_the_cache_is_no_call_and_costs_nothing():
    again = ev.CallFinished(at=AT, task_id="a", attempt=1, provider="p", model="m", cost_usd="0", cached=True)
    assert fold([again], at("in_progress")).spend == NO_SPEND


def test_a_run_begins_and_ends():
    state = fold([ev.RunStarted(at=AT, run_id="r1")])
    assert (state.run_id, state.run_status, state.run_started_at) == ("r1", None, AT)
    state = apply(state, ev.RunEnded(at=LATER, run_id="r1", status="failed"))
    assert (state.run_status, state.run_ended_at) == ("failed", LATER)
    assert apply(state, ev.RunStarted(at=LATER, run_id="r2")).run_status is None


def test_tasks_are_listed_in_the_order_added_also_after_one_was_removed():
    added = [ev.TaskAdded(at=AT, task=AgentTask(name, name)) for name in "cab"]
    state = fold([*added, ev.TaskRemoved(at=AT, task_id="a"), ev.TaskAdded(at=AT, task=AgentTask("a", "again"))])
    assert [known.task.task_id for known in state.ordered()] == ["c", "b", "a"]


def test_a_state_may_be_kept_while_the_project_goes_on():
    before = at("pending")
    apply(before, FACTS["started"])
    assert before.find("a").status is TaskStatus.PENDING


# -- what the newer facts leave behind


def test_a_claim_is_kept_with_its_verdicts_until_it_counts_or_is_found_wrong():
    state = fold([FACTS["verifying"], FACTS["checked"]], at("in_progress"))
    known = state.find("a")
    assert (known.status, known.claim, known.result) == (TaskStatus.VERIFYING, CLAIM, None)
    assert known.verdicts == (FACTS["checked"],)
    anew = apply(state, FACTS["verifying"]).find("a")
    assert anew.verdicts == ()
    completed = apply(state, FACTS["completed"]).find("a")
    assert (completed.claim, completed.verdicts, completed.result) == (None, (FACTS["checked"],), DONE)
    wrong = ev.TaskRetrying(at=LATER, task_id="a", attempt=2, kind=FailureKind.CHECK_FAILED, error="line 3")
    again = apply(state, wrong).find("a")
    assert (again.status, again.claim, again.verdicts, again.correction) == (
        TaskStatus.IN_PROGRESS,
        None,
        (),
        "line 3",
    )


def test_an_interrupted_claim_is_there_to_be_verified_when_the_task_runs_again():
    known = fold([FACTS["checked"], FACTS["interrupted"], FACTS["started"]], at("verifying")).find("a")
    assert (known.status, known.claim, known.verdicts) == (TaskStatus.IN_PROGRESS, CLAIM, ())


def test_work_that_could_not_be_verified_is_kept_for_the_next_run_unless_a_person_wants_it_anew():
    out = ExecutionResult("a", status=ExecutionStatus.FAILED, metadata={"failure_kind": "connection"})
    state = apply(at("verifying"), ev.TaskFailed(at=LATER, task_id="a", result=out))
    again = ev.TaskReset(at=LATER, task_ids=("a",), keeps_claims=True)
    assert apply(state, again).find("a").claim == CLAIM
    assert apply(state, FACTS["reset"]).find("a").claim is None
    assert apply(state, FACTS["completed"]).find("a").claim is None
    wrong = ExecutionResult("a", status=ExecutionStatus.FAILED, metadata={"failure_kind": "check_failed"})
    assert apply(at("verifying"), ev.TaskFailed(at=LATER, task_id="a", result=wrong)).find("a").claim is None


def test_a_correction_survives_failures_that_say_nothing_about_the_work():
    wrong = ev.TaskRetrying(at=LATER, task_id="a", attempt=2, kind=FailureKind.BAD_OUTPUT, error="no JSON")
    known = fold([wrong, FACTS["retrying"], FACTS["interrupted"], FACTS["started"]], at("in_progress")).find("a")
    assert (known.correction, known.last_error) == ("no JSON", "slow")
    assert apply(at("in_progress"), FACTS["completed"]).find("a").correction == ""


def test_a_review_says_why_and_what_was_claimed_and_ends_with_a_persons_word():
    state = fold([FACTS["review"]], at("verifying"))
    known = state.find("a")
    assert (known.need, known.cause, known.last_error, known.result, known.asked_at) == (
        "review",
        "conflict",
        "b.txt",
        CLAIM,
        LATER,
    )
    assert apply(state, FACTS["notified"]).find("a").reminded_at == LATER
    reopened = apply(state, FACTS["reopened"]).find("a")
    assert (reopened.status, reopened.claim, reopened.is_approved, reopened.result) == (
        TaskStatus.PENDING,
        DONE,
        True,
        None,
    )
    assert (reopened.need, reopened.cause, reopened.asked_at) == ("", "", None)
    done = apply(state, FACTS["completed"]).find("a")
    assert (done.need, done.cause, done.asked_at, done.is_approved) == ("", "", None, False)


def test_a_rejection_keeps_the_session_that_can_be_gone_on_with_and_a_reset_does_not():
    state = fold([FACTS["session"], WAITING], at("in_progress"))
    assert apply(state, FACTS["rejected"]).find("a").session.session_id == "s1"
    assert apply(state, FACTS["reset"]).find("a").session is None


def test_what_the_worker_said_last_is_known_while_it_works():
    state = fold([FACTS["reported"]], at("in_progress"))
    assert state.find("a").activity == "reads b.txt"
    for name in ("verifying", "completed", "cancelled", "interrupted"):
        assert apply(state, FACTS[name]).find("a").activity == ""


# -- the name of an effect


def key(*facts, state=None):
    return fold(facts, state or at("pending")).find("a").effect_key


def started(attempt, run_id="r"):
    return ev.TaskStarted(at=AT, task_id="a", attempt=attempt, run_id=run_id)


@pytest.mark.parametrize(
    "between",
    [
        ["interrupted"],
        ["retrying", "interrupted"],
        ["failed"],
        ["failed", "reset"],
        ["cancelled"],
        ["cancelled", "reset"],
        ["review", "rejected"],
        ["review", "reset"],
        ["waiting", "rejected"],
        ["verifying", "interrupted"],
        ["waiting", "reopened"],
    ],
    ids=" ".join,
)
def test_the_name_of_the_work_stays_the_same_until_it_is_done(between):
    first = key(started(1))
    assert first == "r/a/1"
    assert key(started(1), *(FACTS[name] for name in between), started(2, "s")) == first


@pytest.mark.parametrize("between", [["completed", "reset"], ["completed", "changed"], ["interrupted", "changed"]])
def test_after_a_completion_or_with_another_definition_the_work_has_a_new_name(between):
    assert key(started(1), *(FACTS[name] for name in between), started(2, "s")) == "s/a/2"


def test_a_new_definition_does_not_lose_the_question_whether_an_effect_happened():
    known = fold([DOUBT, FACTS["changed"]], at("in_progress")).find("a")
    assert (known.status, known.cause, known.task.title) == (TaskStatus.NEEDS_REVIEW, "effect", "B")
    conflict = fold([FACTS["review"], FACTS["changed"]], at("verifying")).find("a")
    assert conflict.status is TaskStatus.PENDING


@pytest.mark.parametrize("name", ["cancelled", "failed"])
def test_the_question_whether_an_effect_happened_is_for_a_person_to_answer(name):
    with pytest.raises(TransitionError, match="must not happen twice, and may have happened"):
        fold([DOUBT, FACTS[name]], at("in_progress"))


@pytest.mark.parametrize("stopped", ["cancelled", "failed"])
@pytest.mark.parametrize(("effects", "kept"), [("none", None), ("once", CLAIM)])
def test_only_what_must_not_happen_twice_keeps_its_claim_when_it_is_stopped(stopped, effects, kept):
    task = ev.TaskAdded(at=AT, task=AgentTask("a", "A", effects=effects))
    again = ev.TaskReset(at=LATER, task_ids=("a",), keeps_claims=True)
    state = fold([task, STARTED, FACTS["verifying"], FACTS["waiting"], FACTS[stopped], again])
    assert (state.find("a").status, state.find("a").claim) == (TaskStatus.PENDING, kept)


# -- tasks that come from others


def instances(*names):
    return tuple(AgentTask(name, name, item=name) for name in names)


def expanded(*names):
    return ev.TaskExpanded(at=AT, task_id="a", instances=instances(*names))


def completed(task_id, *names):
    new = tuple(AgentTask(name, name, dependencies=(task_id,)) for name in names)
    return ev.TaskCompleted(at=AT, task_id=task_id, result=DONE, added=new)


def reset(*task_ids):
    return ev.TaskReset(at=LATER, task_ids=task_ids)


def names(state):
    return [known.task.task_id for known in state.ordered()]


def test_what_comes_from_a_task_knows_it_and_how_deep_it_is():
    state = fold([completed("a", "a.x"), completed("a.x", "a.x.y")], at("pending"))
    assert [(known.origin, known.depth) for known in state.ordered()] == [("", 0), ("a", 1), ("a.x", 2)]
    state = fold([expanded("a.1"), completed("a.1", "a.1.x")], at("pending"))
    assert [(known.origin, known.depth) for known in state.ordered()] == [("", 0), ("a", 0), ("a.1", 1)]


def test_a_name_that_is_taken_cannot_be_given_to_what_a_task_becomes_or_adds():
    state = apply(at("pending"), ev.TaskAdded(at=AT, task=AgentTask("a.1", "mine")))
    with pytest.raises(TransitionError, match=r"'a\.1' exists"):
        apply(state, expanded("a.1"))
    with pytest.raises(TransitionError, match=r"'a\.1' exists"):
        apply(state, completed("a", "a.1"))
    assert state.find("a").status is TaskStatus.PENDING


@pytest.mark.parametrize("fact", ["reset", "changed", "removed"])
def test_what_came_from_a_task_goes_with_its_outcome(fact):
    state = fold([completed("a", "a.x"), completed("a.x", "a.x.y")], at("pending"))
    after = apply(state, FACTS[fact])
    assert names(after) == ([] if fact == "removed" else ["a"])
    state = fold([expanded("a.1", "a.2"), completed("a.1", "a.1.x")], at("pending"))
    assert names(apply(state, FACTS[fact])) == ([] if fact == "removed" else ["a"])


def test_what_came_from_a_task_cannot_go_while_it_is_at_work():
    state = fold([completed("a", "a.x"), completed("a.x", "a.x.y")], at("pending"))
    state = apply(state, ev.TaskStarted(at=AT, task_id="a.x.y", attempt=1))
    for fact in ("reset", "changed", "removed"):
        with pytest.raises(TransitionError, match=r"'a\.x\.y', which comes from 'a\.x', is in_progress; cancel it"):
            apply(state, FACTS[fact])


def test_a_task_of_the_program_is_not_taken_for_one_that_was_added():
    state = fold([completed("a", "a.x"), ev.TaskRemoved(at=AT, task_id="a.x")], at("pending"))
    state = apply(state, ev.TaskAdded(at=AT, task=AgentTask("a.x", "mine")))
    assert names(apply(state, FACTS["reset"])) == ["a", "a.x"]


def test_one_instance_runs_again_and_its_siblings_stand():
    state = fold([expanded("a.1", "a.2"), completed("a.1"), completed("a.2"), completed("a")], at("pending"))
    state = apply(state, reset("a.2", "a"))
    assert names(state) == ["a", "a.1", "a.2"]
    assert state.find("a").instances == ("a.1", "a.2")
    statuses = [known.status.value for known in state.ordered()]
    assert statuses == ["pending", "completed", "pending"]


def test_an_instance_that_runs_again_takes_what_it_added_with_it():
    state = fold([expanded("a.1"), completed("a.1", "a.1.x"), completed("a")], at("pending"))
    state = apply(state, reset("a.1", "a.1.x", "a"))
    assert (names(state), state.find("a").instances) == (["a", "a.1"], ("a.1",))


def test_the_instances_go_when_what_their_list_was_made_of_runs_again():
    needs = ev.TaskAdded(at=AT, task=AgentTask("a", "A", dependencies=("plan",)))
    plan = ev.TaskAdded(at=AT, task=AgentTask("plan", "P"))
    before = fold([plan, needs, completed("plan", "plan.x"), completed("plan.x"), expanded("a.1"), completed("a.1")])
    assert names(apply(before, reset("plan", "plan.x", "a", "a.1"))) == ["plan", "a"]
    assert names(apply(before, reset("plan.x", "a", "a.1"))) == ["plan", "a", "plan.x"]


def test_resetting_a_cancelled_expansion_beside_others_does_not_depend_on_their_order():
    other = ev.TaskAdded(at=AT, task=AgentTask("b", "B"))
    failed = ev.TaskFailed(at=AT, task_id="b", result=FAILED)
    before = fold([other, failed, expanded("a.1"), completed("a.1"), FACTS["cancelled"]], at("pending"))
    assert apply(before, reset("a", "b")) == apply(before, reset("b", "a"))


# -- files of earlier releases


def test_the_facts_that_an_earlier_release_wrote_still_make_the_same_project():
    recorded = Path(__file__).with_name("recorded") / "facts_before_workers.jsonl"
    facts = [ev.decode(line) for line in recorded.read_text().splitlines()]
    state = fold(facts)

    assert len({type(fact) for fact in facts}) == 16
    assert {known.task.task_id: known.status.value for known in state.ordered()} == {
        "outline": "completed",
        "facts": "completed",
        "draft": "waiting",
        "review": "pending",
        "broken": "failed",
    }
    assert (state.spend.calls, state.spend.lost_calls, state.spend.cost_usd) == (11, 2, Decimal("0.01242125"))
    assert state.find("draft").task.metadata == {"topic": "rivers"}
    assert (state.find("draft").need, state.find("draft").effect_key.count("/")) == ("approval", 2)
    assert fold(ev.decode(ev.encode(fact)) for fact in facts) == state


def test_what_a_task_leaves_open_takes_no_room_in_its_file():
    small = ev.encode(ev.TaskAdded(at=AT, task=AgentTask("a", "A", dependencies=("b",))))
    assert small == (
        b'{"type":"task_added","at":"2026-01-02T00:00:00Z",'
        b'"task":{"task_id":"a","title":"A","dependencies":["b"],"metadata":{}}}'
    )


@pytest.mark.parametrize("extra", ["", ',"status":"pending","prompt":null'])
def test_a_task_from_a_file_is_as_complete_as_one_that_was_made(extra):
    written = (
        b'{"type":"task_added","at":"2026-01-02T00:00:00Z","task":{"task_id":"a","title":"A"' + extra.encode() + b"}}"
    )
    read = ev.decode(written).task
    assert vars(read) == vars(AgentTask("a", "A"))
    assert msgspec.to_builtins(read) == msgspec.to_builtins(AgentTask("a", "A"))
