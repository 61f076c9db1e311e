"""What must not happen twice happens once, whatever happens: real effects, in a file, are counted."""

import asyncio
import itertools
import json
import sys
import textwrap
from contextlib import suppress
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llm_abstractions.errors import ConnectionFailedError, RateLimitError
from llm_abstractions.testing import Reply, ScriptedLlm
from orchestration import events as ev
from orchestration.agent_registry import AgentConfig, AgentRegistry, AgentType
from orchestration.errors import StoreError, TransitionError
from orchestration.executor import TaskExecutor
from orchestration.fold import fold
from orchestration.orchestrator import ProjectOrchestrator
from orchestration.retry import RetryPolicy
from orchestration.store.memory import MemoryStore
from orchestration.task import AddsTasks, AgentTask, Check, ExecutionStatus, TaskStatus

AT_ONCE = RetryPolicy(base_delay_s=0.0, max_delay_s=0.0)

WORKER = """
import asyncio, json
from pathlib import Path

async def pay(work):
    folder = Path(__file__).parent
    calls = folder / "calls"
    said = calls.read_text().splitlines() if calls.exists() else []
    acts = json.loads((folder / "acts").read_text())
    act = acts[len(said)] if len(said) < len(acts) else "paid"
    with calls.open("a") as file:
        file.write(f"{work.task.task_id} {work.idempotency_key}\\n")
    await asyncio.sleep(0)
    if act == "raises":
        raise RuntimeError("after it was paid")
    if act == "hangs":
        await asyncio.sleep(0.1)
    if act == "odd":
        return {"not json": {1, 2}}
    return "paid" if act == "hangs" else act
"""


class Dying(MemoryStore):
    """A disk that takes so many facts and then no more; `facts` are those that it has."""

    def __init__(self, facts=(), lasts=10**9):
        super().__init__()
        self._events.extend(facts)
        self._lasts = lasts

    @property
    def facts(self):
        return list(self._events)

    def append(self, event):
        if len(self._events) >= self._lasts:
            raise StoreError("the process has ended")
        return super().append(event)


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path)


def write(folder, acts=()):
    (folder / f"{module(folder)}.py").write_text(WORKER)
    (folder / "acts").write_text(json.dumps(list(acts)))
    return folder


def module(folder):
    """Return a name of its own: a process has one module of each."""
    return f"paying_{abs(hash(folder))}"


def paid(folder):
    calls = folder / "calls"
    return calls.read_text().splitlines() if calls.exists() else []


def open_project(folder, store, *tasks):
    registry = AgentRegistry()
    registry.register_agent(AgentConfig("payer", AgentType.PYTHON, function=f"{module(folder)}:pay"))
    executor = TaskExecutor(registry, root=folder, retry=AT_ONCE)
    project = ProjectOrchestrator(registry=registry, executor=executor, store=store)
    for task in tasks or [once()]:
        project.add_task(task)
    return project


def once(task_id="pay", **fields):
    return AgentTask(task_id, "Pay the bill", agent="payer", effects="once", **fields)


def known(project, task_id="pay"):
    return project.state.find(task_id)


async def live(folder, facts, *tasks, lasts=10**9, act=None):
    """Be one life of a process; return the facts it leaves."""
    store = Dying(facts, lasts)
    with suppress(StoreError):
        project = open_project(folder, store, *tasks)
        async with project.executor:
            if act is not None:
                act(project)
            await project.execute_workflow()
    return store.facts


# -- whatever happens


acts = st.lists(st.sampled_from(["paid", "raises", "hangs", "odd"]), max_size=3)
orders = st.none() | st.tuples(st.sampled_from(["cancel", "cancel task", "drain", "fail"]), st.integers(1, 12))
lives = st.lists(st.tuples(st.integers(1, 12), orders), max_size=4)
checks = st.sampled_from([(), (Check(matches="paid"),), (Check(person=True),)])


def order(what, place):
    """Say something of the task when so many facts of a life have come, before anything else can."""
    said = {
        "cancel": lambda project: project.cancel(),
        "cancel task": lambda project: project.cancel("pay"),
        "drain": lambda project: project.drain(),
        "fail": lambda project: project.fail_task("pay", "it is no use"),
    }[what]

    def act(project):
        came = itertools.count(1)

        def say():
            with suppress(TransitionError, StoreError):  # it was over already; the disk is full
                said(project)

        def on_fact(_event, _state):
            if next(came) == place:
                asyncio.get_running_loop().call_soon(say)

        project.subscribe(on_fact)

    return act


@settings(max_examples=150, deadline=None)
@given(acts, lives, checks, st.booleans())
@example([], [(1, None), (12, ("cancel task", 6)), (12, None)], (Check(person=True),), False)
@example(["raises"], [(12, ("cancel task", 5)), (12, None)], (), False)
@example(["raises"], [(10, ("fail", 2))], (Check(person=True),), True)
def test_it_happens_once_over_failures_timeouts_cancellations_and_crashes(
    tmp_path_factory, acts, lives, checks, is_limited
):
    folder = write(tmp_path_factory.mktemp("once"), acts)
    task = once(checks=checks, timeout_s=0.02 if is_limited else None)
    facts = []
    for more, said in lives:
        facts = asyncio.run(live(folder, facts, task, lasts=len(facts) + more, act=said and order(*said)))
        assert len(paid(folder)) <= 1
    facts = asyncio.run(live(folder, facts, task))
    assert len(paid(folder)) <= 1
    status = fold(facts).find("pay").status
    settled = {TaskStatus.COMPLETED, TaskStatus.NEEDS_REVIEW, TaskStatus.WAITING}
    assert status in settled or not paid(folder)


async def test_a_process_that_ends_at_any_fact_repeats_nothing_and_asks_only_where_it_may_have_happened(tmp_path):
    tasks = (once(checks=(Check(matches="paid"),)), AgentTask("after", "After", agent="payer", dependencies=("pay",)))
    (tmp_path / "whole").mkdir()
    whole = await live(write(tmp_path / "whole"), [], *tasks)
    asked = []
    for cut in range(1, len(whole)):
        (tmp_path / str(cut)).mkdir()
        folder = write(tmp_path / str(cut))
        facts = await live(folder, [], *tasks, lasts=cut)
        facts = await live(folder, facts, *tasks)
        assert sum(line.startswith("pay ") for line in paid(folder)) <= 1
        status = fold(facts).find("pay").status
        if status is TaskStatus.NEEDS_REVIEW:
            asked.append(type(whole[cut - 1]).__name__)
        else:
            assert (status, len(paid(folder)) >= 2) == (TaskStatus.COMPLETED, True)
    assert asked == ["TaskStarted"]


# -- what a person can say


async def reviewed(folder, *tasks):
    """Bring the task to a review: it was paid, and then something went wrong."""
    write(folder, ["raises"])
    facts = await live(folder, [], *tasks)
    assert fold(facts).find("pay").cause == "effect"
    return facts


async def test_it_happened_says_the_person_and_it_is_done(folder):
    facts = await reviewed(folder)
    project = open_project(folder, Dying(facts))
    project.approve("pay")
    assert known(project).status is TaskStatus.COMPLETED
    assert (await project.execute_workflow()).status == "completed"
    assert len(paid(folder)) == 1


async def test_a_person_says_what_came_of_it(folder):
    facts = await reviewed(folder)
    project = open_project(folder, Dying(facts))
    project.answer("pay", "receipt 7")
    assert known(project).result.output == "receipt 7"
    assert len(paid(folder)) == 1


async def test_what_a_person_says_came_of_it_is_checked_as_the_worker_would_be(folder):
    task = once(checks=(Check(matches="receipt"),))
    facts = await reviewed(folder, task)
    project = open_project(folder, Dying(facts), task)
    project.answer("pay", "nothing")
    assert (await project.execute_workflow()).status == "waiting"
    assert "receipt" in known(project).last_error
    project.answer("pay", "receipt 7")
    assert (await project.execute_workflow()).status == "completed"
    assert len(paid(folder)) == 1


@pytest.mark.parametrize("word", ["reject", "reset"])
async def test_run_it_again_says_the_person_and_it_runs_again_under_the_same_name(folder, word):
    facts = await reviewed(folder)
    project = open_project(folder, Dying(facts))
    if word == "reject":
        project.reject("pay", "it did not")
    else:
        project.reset("pay")
    assert (await project.execute_workflow()).status == "completed"
    first, second = paid(folder)
    assert first == second


async def test_without_a_persons_word_no_run_touches_it_again(folder):
    facts = await reviewed(folder)
    for _ in range(3):
        facts = await live(folder, facts)
    project = open_project(folder, Dying(facts), once(description="another one"))
    assert (await project.execute_workflow()).status == "waiting"
    assert (await project.execute_task("pay")).status is not ExecutionStatus.SUCCESS
    assert len(paid(folder)) == 1


@pytest.mark.parametrize("word", ["cancel", "fail_task"])
async def test_what_may_have_happened_is_not_set_aside_by_a_word_that_has_it_tried_again(folder, word):
    facts = await reviewed(folder)
    project = open_project(folder, Dying(facts))
    with pytest.raises(TransitionError, match="must not happen twice, and may have happened: say that it has"):
        project.cancel("pay") if word == "cancel" else project.fail_task("pay", "no use")
    assert (await project.execute_workflow()).status == "waiting"
    assert len(paid(folder)) == 1


@pytest.mark.parametrize("word", ["cancel", "fail_task"])
async def test_what_somebody_else_has_begun_may_have_happened_too(word):
    project = open_project(None, Dying(), once())
    project.start_task("pay")
    project.cancel("pay") if word == "cancel" else project.fail_task("pay", "exit code 1")
    assert (known(project).status, known(project).cause) == (TaskStatus.NEEDS_REVIEW, "effect")
    assert "attempt 1 was cancelled" in known(project).last_error or "(exit code 1)" in known(project).last_error


async def test_running_again_what_it_depends_on_leaves_the_question_open(folder):
    write(folder, ["paid", "raises"])
    tasks = (AgentTask("bill", "Write the bill", agent="payer"), once(dependencies=("bill",)))
    facts = await live(folder, [], *tasks)
    assert fold(facts).find("pay").cause == "effect"
    project = open_project(folder, Dying(facts), *tasks)
    assert project.reset("bill") == ["bill"]
    assert (await project.execute_workflow()).status == "waiting"
    assert [line.split()[0] for line in paid(folder)] == ["bill", "pay", "bill"]


async def test_instances_that_may_have_happened_are_not_made_anew(folder):
    write(folder, ["paid", "raises"])
    task = once(for_each="{{ ['ann', 'bob'] }}")
    facts = await live(folder, [], task)
    doubtful = [known.task.task_id for known in fold(facts).unordered() if known.cause == "effect"]
    assert len(doubtful) == 1
    project = open_project(folder, Dying(facts), task)
    with pytest.raises(TransitionError, match=r"comes from 'pay', must not .* approve it if it has, reset it"):
        project.reset("pay")
    project.approve(doubtful[0])
    assert (await project.execute_workflow()).status == "completed"
    assert len(paid(folder)) == 2


@pytest.mark.parametrize("word", ["cancel", "fail_task"])
async def test_a_claim_that_waits_outlives_words_that_stop_its_task(folder, word):
    task = once(checks=(Check(person=True),))
    facts = await live(folder, [], task)
    assert fold(facts).find("pay").status is TaskStatus.WAITING
    project = open_project(folder, Dying(facts), task)
    project.cancel("pay") if word == "cancel" else project.fail_task("pay", "no use")
    assert (await project.execute_workflow()).status == "waiting"
    project.approve("pay")
    assert known(project).result.output == "paid"
    assert len(paid(folder)) == 1


async def test_the_adding_of_tasks_goes_wrong_and_nothing_is_paid_twice(folder):
    write(folder, ["no list"])
    facts = await live(folder, [], once(adds_tasks=AddsTasks()))
    assert fold(facts).find("pay").status is TaskStatus.NEEDS_REVIEW
    assert len(paid(folder)) == 1


async def test_a_claim_that_was_cancelled_while_it_was_checked_is_kept_for_the_person(folder):
    task = once(checks=(Check(command=(sys.executable, "-c", "import time; time.sleep(60)")),))

    def cancel(project):
        project.subscribe(
            lambda event, _: (
                asyncio.get_running_loop().call_later(0.2, project.cancel)
                if isinstance(event, ev.TaskVerifying)
                else None
            )
        )

    facts = await live(folder, [], task, act=cancel)
    found = fold(facts).find("pay")
    assert (found.status, found.result.output) == (TaskStatus.NEEDS_REVIEW, "paid")
    await live(folder, facts, once())
    assert len(paid(folder)) == 1


async def test_a_claim_whose_verification_could_not_begin_is_not_worked_for_again(folder):
    facts = await reviewed(folder, once(checks=(Check(matches="receipt"),)))
    broken = once(checks=(Check(matches="receipt"),), prompt="{{ nonsense }}")
    project = open_project(folder, Dying(facts), broken)
    project.answer("pay", "receipt 7")
    await project.execute_workflow()
    assert (known(project).status, known(project).result.output) == (TaskStatus.NEEDS_REVIEW, "receipt 7")
    assert len(paid(folder)) == 1


# -- where nothing can have happened, nobody is asked


@pytest.mark.parametrize(
    ("agent", "error"),
    [
        (AgentConfig("payer", AgentType.SCRIPT, command=("no-such-program",)), "cannot start"),
        (AgentConfig("payer", AgentType.PYTHON, function="json:nothing"), "has no function 'nothing'"),
        (AgentConfig("payer", AgentType.CLI, command=("no-such-program",)), "cannot start"),
    ],
    ids=["script", "function", "cli"],
)
async def test_a_worker_that_cannot_be_started_fails_as_any_other(folder, agent, error):
    registry = AgentRegistry()
    registry.register_agent(agent)
    async with ProjectOrchestrator(folder, registry=registry) as project:
        project.add_task(once())
        assert (await project.execute_workflow()).status == "failed"
        assert error in known(project).result.error


async def test_a_template_that_cannot_be_rendered_fails_as_any_other(folder):
    facts = await live(folder, [], once(prompt="{{ nonsense }}"))
    assert (fold(facts).find("pay").status, paid(folder)) == (TaskStatus.FAILED, [])


async def ask_model(folder, store, *replies):
    registry = AgentRegistry()
    registry.register_agent(AgentConfig("payer", AgentType.OPENAI_GPT, model="m"))
    llm = ScriptedLlm(list(replies))
    executor = TaskExecutor(registry, root=folder, retry=AT_ONCE)
    project = ProjectOrchestrator(registry=registry, executor=executor, store=store)
    project.add_task(once())
    with patch("llm_abstractions.factory.LlmFactory.get_provider", lambda *_args, **_options: llm):
        async with executor:
            await project.execute_workflow()
    return project, llm


async def test_a_call_that_the_provider_refused_is_made_again_and_a_broken_one_is_not(folder):
    project, llm = await ask_model(folder, Dying(), Reply(failure=RateLimitError("later")), "paid")
    assert (known(project).status, len(llm.calls)) == (TaskStatus.COMPLETED, 2)
    project, llm = await ask_model(folder, Dying(), Reply(failure=ConnectionFailedError("cut")), "paid")
    assert (known(project).status, len(llm.calls)) == (TaskStatus.NEEDS_REVIEW, 1)


async def test_a_call_made_after_the_provider_had_refused_one_is_not_taken_for_one_that_waits(folder):
    store = Dying()
    await ask_model(folder, store, Reply(failure=RateLimitError("later")), "paid")
    done = next(place for place, fact in enumerate(store.facts) if isinstance(fact, ev.CallFinished))
    again = open_project(folder, Dying(store.facts[:done]))
    assert known(again).status is TaskStatus.NEEDS_REVIEW
    parked = next(place for place, fact in enumerate(store.facts) if isinstance(fact, ev.TaskParked))
    waiting = open_project(folder, Dying(store.facts[: parked + 1]))
    assert known(waiting).status is TaskStatus.PENDING


# -- the name that programs get


SCRIPT = """
import json, os, sys
names = ("ORCHESTRATION_IDEMPOTENCY_KEY", "ORCHESTRATION_TASK_ID", "ORCHESTRATION_RUN_ID", "ORCHESTRATION_ATTEMPT")
with open("seen", "a") as file:
    file.write(json.dumps([os.environ[name] for name in names]) + "\\n")
sys.exit(int(open("fails").read() or 0))
"""


@pytest.mark.parametrize("kind", [AgentType.SCRIPT, AgentType.CLI])
async def test_programs_get_a_key_that_stays_until_the_work_is_done(tmp_path, kind):
    (tmp_path / "work.py").write_text(textwrap.dedent(SCRIPT))
    registry = AgentRegistry()
    registry.register_agent(AgentConfig("worker", kind, command=(sys.executable, "work.py"), max_attempts=2))
    task = AgentTask("t", "T", agent="worker", effects="idempotent", checks=(Check(files=("there",)),))
    runs = []
    for fails, word in (("1", None), ("0", None), ("0", "make"), ("0", "reset")):
        (tmp_path / "fails").write_text(fails)
        if word == "make":
            (tmp_path / "there").write_text("")
        executor = TaskExecutor(registry, root=tmp_path, retry=AT_ONCE)
        async with executor, ProjectOrchestrator(tmp_path, registry=registry, executor=executor) as project:
            project.add_task(task)
            if word == "reset":
                project.reset("t")
            runs.append((await project.execute_workflow()).run_id)

    seen = [json.loads(line) for line in (tmp_path / "seen").read_text().splitlines()]
    keys, ids, run_ids, attempts = map(list, zip(*seen, strict=True))
    assert set(ids) == {"t"}
    assert run_ids == [runs[0], *[runs[1]] * 2, runs[2], runs[3]]
    assert attempts == ["1", "2", "3", "4", "5"]
    assert keys == [*[f"{runs[0]}/t/1"] * 4, f"{runs[3]}/t/5"]
    assert [len(list(group)) for _, group in itertools.groupby(keys)] == [4, 1]
