"""Resuming: what of an earlier run still holds for the program that runs now."""

import pytest

from orchestration import events as ev
from orchestration.definition import Definition
from orchestration.errors import CycleError, DuplicateError, TransitionError, UnknownTaskError
from orchestration.fold import fold
from orchestration.journal import Journal, now
from orchestration.store.memory import MemoryStore
from orchestration.task import AgentTask, ExecutionResult, ExecutionStatus, TaskStatus


def task(task_id, *dependencies, **fields):
    return AgentTask(task_id, "T", dependencies=dependencies, **fields)


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
async def journal(store):
    journal = Journal(store)
    journal.open()
    yield journal
    await journal.aclose()


@pytest.fixture
def definition(journal):
    return Definition(journal)


def complete(journal, *task_ids):
    for task_id in task_ids:
        result = ExecutionResult(task_id, status=ExecutionStatus.SUCCESS)
        journal.record(ev.TaskCompleted(at=now(), task_id=task_id, result=result))


def statuses(journal):
    return {known.task.task_id: known.status.value for known in journal.state.ordered()}


async def test_an_equal_definition_in_json_s_eyes_is_the_same(journal, definition):
    definition.add(task("a", metadata={"k": (1, {"b": 2, "a": 1})}))
    definition.add(task("a", metadata={"k": [1, {"a": 1, "b": 2}]}, status="failed"))
    assert len(journal.state.tasks) == 1


async def test_metadata_that_json_cannot_say_is_compared_as_it_is(definition):
    thing = object()
    definition.add(task("a", metadata={"k": thing}))
    definition.add(task("a", metadata={"k": thing}))
    with pytest.raises(DuplicateError):
        definition.add(task("a", metadata={"k": object()}))


async def test_a_change_survives_a_crash_between_any_two_of_its_facts(journal, store):
    first = Definition(journal)
    for given in (task("a"), task("b", "a"), task("c", "b")):
        first.add(given)
    complete(journal, "a", "b", "c")
    before = len(store._events)
    Definition(journal).add(task("a", description="new"))
    for cut in range(before, len(store._events) + 1):
        crashed = MemoryStore()
        crashed._events = store._events[:cut]
        again = Journal(crashed)
        again.open()
        Definition(again).add(task("a", description="new"))
        assert statuses(again) == {"a": "pending", "b": "pending", "c": "pending"}, cut
        assert again.state.find("a").task.description == "new"


async def test_a_change_is_refused_whole_while_a_dependent_runs(journal):
    first = Definition(journal)
    first.add(task("a"))
    first.add(task("b", "a"))
    complete(journal, "a")
    journal.record(ev.TaskStarted(at=now(), task_id="b", attempt=1))
    with pytest.raises(TransitionError, match="task 'b' is in_progress"):
        Definition(journal).add(task("a", description="new"))
    assert journal.state.find("a").task.description == ""
    assert statuses(journal) == {"a": "completed", "b": "in_progress"}


async def test_a_change_is_made_once_and_a_second_different_one_is_refused(journal):
    Definition(journal).add(task("a"))
    second = Definition(journal)
    second.add(task("a", description="new"))
    second.add(task("a", description="new"))
    with pytest.raises(DuplicateError, match="give one of the two another id"):
        second.add(task("a", description="newer"))


async def test_a_removed_id_can_be_defined_anew_by_the_same_program(definition, journal):
    definition.add(task("a"))
    definition.remove("a")
    definition.add(task("a", description="new"))
    assert journal.state.find("a").task.description == "new"
    with pytest.raises(UnknownTaskError):
        definition.remove("ghost")


async def test_a_circle_through_tasks_of_an_earlier_run_is_found(journal):
    first = Definition(journal)
    first.add(task("a"))
    first.add(task("b", "a"))
    first.add(task("c", "b"))
    with pytest.raises(CycleError) as caught:
        Definition(journal).add(task("a", "c"))
    assert caught.value.cycle == ("a", "c", "b", "a")
    assert journal.state.find("a").task.dependencies == ()


async def test_a_definition_that_loses_a_dependency_closes_no_circle(journal):
    first = Definition(journal)
    for given in (task("a"), task("b"), task("c", "a", "b")):
        first.add(given)
    Definition(journal).add(task("c", "b"))
    assert journal.state.find("c").task.dependencies == ("b",)


async def test_diamonds_and_dangling_names_are_no_circle(definition, journal):
    for given in (task("d", "b", "c"), task("b", "a", "ghost"), task("c", "a"), task("a", "ghost"), task("ghost")):
        definition.add(given)
    assert len(journal.state.tasks) == 5


async def test_reset_reaches_everything_after_once_and_leaves_the_rest(definition, journal):
    for given in (task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c"), task("x")):
        definition.add(given)
    complete(journal, *"abcdx")
    assert sorted(definition.reset("a", reason="r")) == ["a", "b", "c", "d"]
    assert statuses(journal) == {"a": "pending", "b": "pending", "c": "pending", "d": "pending", "x": "completed"}
    assert definition.reset("b", reason="r") == ["b"]
    with pytest.raises(UnknownTaskError):
        definition.reset("ghost", reason="r")


async def test_the_facts_of_a_definition_fold_to_its_state(definition, journal, store):
    definition.add(task("a"))
    definition.add(task("b", "a"))
    complete(journal, "a")
    definition.reset("a", reason="r")
    definition.remove("b")
    assert fold(store._events) == journal.state
    assert journal.state.find("a").status is TaskStatus.PENDING


async def test_a_change_of_the_cache_alone_is_no_reason_to_do_again_what_is_done(journal, store):
    first = Definition(journal)
    first.add(task("done", metadata={"cache": True, "k": 1}))
    first.add(task("open", metadata={"cache": True}))
    complete(journal, "done")

    second = Definition(journal)
    second.add(task("done", metadata={"k": 1}))
    second.add(task("open", metadata={"cache": {"max_age_s": 60}}))

    assert statuses(journal) == {"done": "completed", "open": "pending"}
    assert journal.state.tasks["open"].task.metadata == {"cache": {"max_age_s": 60}}

    third = Definition(journal)
    third.add(task("done", metadata={"k": 2}))
    assert statuses(journal)["done"] == "pending"
