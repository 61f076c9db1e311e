"""The pure core, over generated projects: the codec, the fold, the graph, the schedule."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration import events as ev
from orchestration import graph
from orchestration.errors import CycleError, DependencyError, OrchestrationError, TransitionError, UnknownTaskError
from orchestration.fold import apply, fold
from orchestration.run_state import RunState, blocked_tasks, is_blocked
from orchestration.schedule import Schedule
from orchestration.task import AgentTask, ExecutionResult, ExecutionStatus, FailureKind, TaskPriority, TaskStatus

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
IDS = "abcdef"

moments = st.integers(0, 10**12).map(lambda us: EPOCH + timedelta(microseconds=us))
texts = st.text(st.characters(codec="utf-8"), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
metadata = st.dictionaries(texts, json_values, max_size=3)
ids = st.sampled_from(IDS)
attempts = st.integers(1, 99)
tasks = st.builds(
    AgentTask,
    task_id=ids,
    title=texts,
    description=texts,
    agent=st.none() | st.sampled_from(["x", "y"]),
    dependencies=st.lists(ids, max_size=3).map(tuple),
    priority=st.sampled_from(TaskPriority),
    metadata=metadata,
    timeout_s=st.none() | st.floats(0.001, 1e9),
    output_schema=st.none() | metadata,
)
results = st.builds(
    ExecutionResult,
    task_id=ids,
    agent=texts,
    status=st.sampled_from(ExecutionStatus),
    started_at=st.none() | moments,
    completed_at=st.none() | moments,
    output=texts,
    error=texts,
    metadata=metadata,
)
events = st.one_of(
    st.builds(ev.TaskAdded, at=moments, task=tasks),
    st.builds(ev.TaskChanged, at=moments, task=tasks),
    st.builds(ev.TaskRemoved, at=moments, task_id=ids),
    st.builds(ev.TaskStarted, at=moments, task_id=ids, attempt=attempts, agent=texts, run_id=texts),
    st.builds(
        ev.TaskRetrying,
        at=moments,
        task_id=ids,
        attempt=attempts,
        kind=st.sampled_from(FailureKind),
        error=texts,
        delay_s=st.floats(0, 1e6),
    ),
    st.builds(
        ev.CallFinished,
        at=moments,
        task_id=ids,
        attempt=attempts,
        provider=texts,
        model=texts,
        input_tokens=st.integers(0, 10**9),
        cost_usd=st.none() | st.decimals(0, 1000, places=6).map(str),
    ),
    st.builds(ev.SessionStarted, at=moments, task_id=ids, attempt=attempts, agent=texts, session_id=texts),
    st.builds(ev.WorkerReported, at=moments, task_id=ids, attempt=attempts, kind=st.just("tool"), text=texts),
    st.builds(ev.TaskVerifying, at=moments, task_id=ids, attempt=attempts, result=results),
    st.builds(ev.CheckFinished, at=moments, task_id=ids, attempt=attempts, check=texts, is_passed=st.booleans()),
    st.builds(ev.TaskNeedsReview, at=moments, task_id=ids, cause=st.just("effect"), reason=texts),
    st.builds(ev.TaskSkipped, at=moments, task_id=ids, reason=texts),
    st.builds(ev.TaskExpanded, at=moments, task_id=ids, instances=st.lists(tasks, max_size=2).map(tuple)),
    st.builds(ev.TaskReopened, at=moments, task_id=ids, result=results),
    st.builds(ev.PersonNotified, at=moments, task_id=ids, occasion=st.just("asked")),
    st.builds(ev.TaskCompleted, at=moments, task_id=ids, result=results, added=st.lists(tasks, max_size=2).map(tuple)),
    st.builds(ev.TaskWaiting, at=moments, task_id=ids, need=st.sampled_from(["answer", "approval"]), result=results),
    st.builds(ev.TaskCompleted, at=moments, task_id=ids, result=results),
    st.builds(ev.TaskFailed, at=moments, task_id=ids, result=results),
    st.builds(ev.TaskCancelled, at=moments, task_id=ids),
    st.builds(ev.TaskInterrupted, at=moments, task_id=ids),
    st.builds(ev.TaskRejected, at=moments, task_id=ids, comment=texts),
    st.builds(ev.TaskReset, at=moments, task_ids=st.lists(ids, max_size=3).map(tuple), reason=texts),
    st.builds(ev.RunStarted, at=moments, run_id=texts),
    st.builds(
        ev.RunEnded,
        at=moments,
        run_id=texts,
        status=st.sampled_from(["completed", "failed", "waiting", "cancelled", "interrupted"]),
    ),
)
# Most generated facts are about tasks that exist: the first ones add some.
histories = st.tuples(
    st.lists(tasks, min_size=1, max_size=6, unique_by=lambda task: task.task_id), st.lists(events, max_size=60)
).map(lambda parts: [*(ev.TaskAdded(at=EPOCH, task=task) for task in parts[0]), *parts[1]])
graphs = st.dictionaries(ids, st.lists(ids, max_size=3, unique=True), max_size=6)


def legal(history):
    """Return the facts that may follow each other, with the state before and after each."""
    state = RunState()
    for event in history:
        try:
            after = apply(state, event)
        except (TransitionError, UnknownTaskError):
            continue
        yield event, state, after
        state = after


@given(events)
def test_every_fact_comes_back_from_json_as_it_was(event):
    assert ev.decode(ev.encode(event)) == event


@given(histories)
def test_the_fold_of_the_stored_facts_is_the_fold_of_the_facts(history):
    facts = [event for event, _, _ in legal(history)]
    assert fold(ev.decode(ev.encode(event)) for event in facts) == fold(facts)


@given(histories, st.integers(0, 60))
def test_a_fold_can_stop_anywhere_and_go_on(history, cut):
    facts = [event for event, _, _ in legal(history)]
    assert fold(facts[cut:], fold(facts[:cut])) == fold(facts)


@given(histories)
def test_a_fact_is_taken_or_refused_with_an_error_of_ours_and_never_changes_the_state_it_came_to(history):
    state = RunState()
    for event in history:
        before = {task_id: state.tasks[task_id] for task_id in state.tasks}
        try:
            after = apply(state, event)
        except OrchestrationError:
            after = state
        assert {task_id: state.tasks[task_id] for task_id in state.tasks} == before
        state = after


@given(histories)
def test_what_is_known_of_a_task_makes_sense_after_every_fact(history):
    for _, before, after in legal(history):
        assert after.spend.calls >= before.spend.calls
        for task_id in after.tasks:
            known = after.tasks[task_id]
            assert known.task.task_id == task_id
            assert known.status is not TaskStatus.BLOCKED
            if known.status is not TaskStatus.NEEDS_REVIEW:  # there, a result is what it claims, if it came so far
                assert (known.result is not None) == (
                    known.status in {TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.WAITING}
                )
            assert bool(known.need) == (known.status in {TaskStatus.WAITING, TaskStatus.NEEDS_REVIEW})
            assert (known.asked_at is None) == (not known.need)
            assert known.retry_at is None or known.status in {TaskStatus.IN_PROGRESS, TaskStatus.VERIFYING}
            assert known.status is not TaskStatus.VERIFYING or known.claim is not None
            assert not known.origin or known.origin in after.tasks
            assert 0 <= known.position < after.added
        positions = [known.position for known in after.ordered()]
        assert positions == sorted(set(positions))


@given(histories)
def test_the_blocked_tasks_are_those_that_are_blocked_each_for_itself(history):
    for _, _, after in legal(history):
        assert blocked_tasks(after) == {task_id for task_id in after.tasks if is_blocked(after, task_id)}


@given(histories, st.data())
def test_a_schedule_kept_up_to_date_is_a_schedule_built_anew(history, data):
    kept, taken = Schedule(), set()
    for event, _, after in legal(history):
        kept.update(after, event)
        if not isinstance(event, ev.CallFinished | ev.CallReserved):  # said of a call, not of where the task stands
            taken.discard(getattr(event, "task_id", None))
        rebuilds = isinstance(event, ev.TaskAdded | ev.TaskChanged | ev.TaskRemoved | ev.TaskReset | ev.TaskExpanded)
        if rebuilds or getattr(event, "added", ()):
            taken.clear()
        if data.draw(st.booleans()):  # a schedule that is never asked builds itself anew each time
            fresh = Schedule().ready(after)
            assert kept.ready(after) == [task_id for task_id in fresh if task_id not in taken]
        if data.draw(st.integers(0, 9)) == 0:
            free = data.draw(st.frozensets(st.sampled_from(["x", "y", None])))
            expected = [name for name in kept.ready(after) if after.tasks[name].task.agent in free]
            assert kept.take(after, free.__contains__) == (expected[0] if expected else None)
            taken.update(expected[:1])


@given(histories)
def test_what_is_ready_is_pending_with_every_dependency_completed(history):
    for _, _, after in legal(history):
        done = {name for name in after.tasks if after.tasks[name].status in {TaskStatus.COMPLETED, TaskStatus.SKIPPED}}
        expected = {
            name
            for name in after.tasks
            if after.tasks[name].status is TaskStatus.PENDING and done.issuperset(after.edges_of(after.tasks[name]))
        }
        ready = Schedule().ready(after)
        assert set(ready) == expected
        ranks = [(-after.tasks[name].task.priority, after.tasks[name].position) for name in ready]
        assert ranks == sorted(ranks)


@given(graphs)
def test_a_graph_is_ordered_or_its_cycle_is_a_real_one(edges):
    known = {name: [other for other in needs if other in edges] for name, needs in edges.items()}
    try:
        order = graph.topological_order(known)
    except CycleError as exc:
        cycle = exc.cycle
        assert cycle[0] == cycle[-1]
        assert len(cycle) > 1
        assert all(after in known[before] for before, after in pairwise(cycle))
    else:
        assert sorted(order) == sorted(known)
        place = {name: index for index, name in enumerate(order)}
        assert all(place[need] < place[name] for name, needs in known.items() for need in needs)


@given(graphs)
def test_a_cycle_is_found_if_and_only_if_some_task_is_downstream_of_itself(edges):
    known = {name: [other for other in needs if other in edges] for name, needs in edges.items()}
    turned = graph.dependents(known)
    is_cyclic = any(name in graph.downstream(turned[name], turned) or name in turned[name] for name in known)
    if is_cyclic:
        with pytest.raises(CycleError):
            graph.check(known)
    else:
        graph.check(known)


@given(graphs)
def test_every_unknown_dependency_is_named_with_its_task(edges):
    unknown = [(name, need) for name, needs in edges.items() for need in needs if need not in edges]
    if not unknown:
        return
    with pytest.raises(DependencyError) as caught:
        graph.check(edges)
    assert all(f"task {name!r} depends on {need!r}" in str(caught.value) for name, need in unknown)


@given(graphs, ids)
def test_downstream_is_the_closure_of_the_edges(edges, start):
    reached = graph.downstream([start], edges)
    closure, last = {start}, None
    while closure != last:
        last = set(closure)
        closure |= {need for name in last for need in edges.get(name, ())}
    assert set(reached) | {start} == closure
    assert len(reached) == len(set(reached))
    assert start not in reached
