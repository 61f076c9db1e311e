"""Tasks that are skipped, run once for each item of a list, or add tasks: what they become, and what is refused."""

import asyncio
import json

import pytest

from orchestration import events as ev
from orchestration.agent_registry import AgentConfig, AgentRegistry, AgentType
from orchestration.errors import AttemptError, DependencyError
from orchestration.fold import fold
from orchestration.journal import Journal, now
from orchestration.orchestrator import ProjectOrchestrator
from orchestration.store.memory import MemoryStore
from orchestration.task import AddsTasks, AgentTask, ExecutionResult, ExecutionStatus, FailureKind, TaskPriority

pytestmark = pytest.mark.looptime

SUCCESS = ExecutionStatus.SUCCESS


def task(task_id, *dependencies, s=1.0, **fields):
    return AgentTask(task_id, task_id.upper(), dependencies=dependencies, metadata={"s": s}, **fields)


def with_data(task_id, data, output="done"):
    return ExecutionResult(task_id, status=SUCCESS, output=output, metadata={"data": data})


def agents(**kinds):
    registry = AgentRegistry()
    for name, kind in kinds.items():
        registry.register_agent(AgentConfig(name, kind))
    return registry


@pytest.fixture
def project(executor):
    registry = agents(script=AgentType.SCRIPT, model=AgentType.OPENAI_GPT, coder=AgentType.CLI)
    registry.register_agent(AgentConfig("off", AgentType.SCRIPT, enabled=False))
    executor.default_agent = "script"
    return ProjectOrchestrator(executor=executor, registry=registry)


def statuses(project):
    return {known.task.task_id: known.status.value for known in project.state.ordered()}


def plan(project, executor, data, **fields):
    """Add a task `plan` whose result is the data, and `go`, which depends on it."""
    executor.acts["plan"] = with_data("plan", data)
    project.add_task(task("plan"))
    project.add_task(task("go", "plan", **fields))


def result_of(project, task_id):
    return project.state.find(task_id).result


# -- conditions


@pytest.mark.parametrize(
    ("when", "status"),
    [
        ("tasks.plan.data.score > 6", "completed"),
        ("tasks.plan.data.score > 8", "skipped"),
        ("{{ tasks.plan.data.score > 6 }}", "completed"),
        ("tasks.plan.data.words", "skipped"),
        ("tasks.plan.data.words | length == 0", "completed"),
        ("'done' in tasks.plan.output and not tasks.plan.skipped", "completed"),
        ("vars.kind == 'full'", "completed"),
        ("none", "skipped"),
    ],
)
async def test_a_task_runs_if_its_condition_holds_and_is_skipped_if_not(executor, when, status):
    project = ProjectOrchestrator(executor=executor, variables={"kind": "full"})
    plan(project, executor, {"score": 7, "words": []}, when=when)
    result = await project.execute_workflow()
    assert (statuses(project)["go"], result.status) == (status, "completed")
    assert ("go" in executor.started) == (status == "completed")
    assert set(result.results) == {"plan"} | ({"go"} if status == "completed" else set())


async def test_what_depends_on_a_skipped_task_runs_and_is_told_that_there_is_nothing(project, executor):
    plan(project, executor, {}, when="false")
    project.add_task(task("after", "go"))
    await project.execute_workflow()
    assert statuses(project) == {"plan": "completed", "go": "skipped", "after": "completed"}
    given = executor.contexts["after"].inputs["go"]
    assert (given.skipped, given.output, given.data) == (True, "", None)


async def test_a_skipped_task_says_why_and_stays_skipped(project, executor):
    reasons = []
    project.subscribe(lambda event, _: reasons.append(getattr(event, "reason", None)))
    plan(project, executor, {}, when=" 1 > 2 ")
    await project.execute_workflow()
    assert "`when` does not hold: 1 > 2" in reasons
    assert (await project.execute_task("go")).status is ExecutionStatus.PENDING
    assert (await project.execute_workflow()).status == "completed"
    assert executor.started == ["plan"]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"when": "tasks.plam.data.score"}, "it does not depend on a task 'plam' .its dependencies: 'plan'."),
        ({"when": "tasks.plan.data.scores > 2"}, "there is no 'scores' in the data .it has: 'score', 'files'."),
        ({"when": "tasks.plan.data.score >"}, "`when` of task 'go' cannot be evaluated: 'tasks.plan.data.score >'"),
        ({"when": "item > 2"}, "'item' is undefined"),
        ({"when": "1 / 0"}, "division by zero"),
        ({"for_each": "tasks.plan.data.score"}, "gives int, expected a list; name one, such as tasks.plan.data.files"),
        ({"for_each": "tasks.plan.data"}, "gives dict, expected a list"),
        ({"for_each": "tasks.plan.output"}, "gives str, expected a list"),
        ({"for_each": "none"}, "gives nothing, expected a list; a task that was skipped"),
        ({"for_each": "tasks.plan.data.files", "max_items": 2}, "gives more than 2 items; raise its max_items"),
        ({"for_each": "range(1000)"}, "gives more than 100 items"),
        ({"for_each": "[1, none, 2]"}, "gives null as item 2; leave such out"),
        ({"for_each": "[1, range]"}, "gives what JSON cannot say"),
        ({"for_each": "tasks.plan.data.files | map('nonsense')"}, "`for_each` of task 'go' cannot be evaluated"),
        ({"for_each": "tasks.plan.data.files | map(attribute='size')"}, "what JSON cannot say"),
    ],
)
async def test_an_expression_that_makes_no_sense_fails_its_task_with_the_reason(project, executor, fields, problem):
    plan(project, executor, {"score": 7, "files": ["a", "b", "c"]}, **fields)
    project.add_task(task("other", "plan"))
    result = await project.execute_workflow()
    failed = result_of(project, "go")
    assert failed.failure_kind is FailureKind.BAD_REQUEST
    assert result.results["go"] == failed
    with pytest.raises(AssertionError, match=problem):
        raise AssertionError(failed.error)
    assert "AttemptError" not in failed.error
    assert statuses(project) == {"plan": "completed", "go": "failed", "other": "completed"}


async def test_a_condition_that_failed_is_evaluated_again_by_the_next_run(project, executor):
    plan(project, executor, {"score": 7}, when="tasks.plan.data.score / vars.zero | int > 1")
    assert (await project.execute_workflow()).status == "failed"
    project.add_task(task("later"))
    await project.execute_workflow()
    assert statuses(project)["go"] == "failed"
    assert project.state.find("go").attempt == 2


# -- one task for each item


async def test_a_task_runs_once_for_each_item_all_at_once_and_is_what_they_came_to(project, executor):
    plan(project, executor, {"files": ["a.md", {"name": "b.md"}, 3]}, for_each="tasks.plan.data.files")
    project.add_task(task("after", "go"))
    executor.acts["go.2"] = with_data("go.2", {"lines": 4}, output="four")
    result = await project.execute_workflow()
    assert result.status == "completed"
    assert executor.started == ["plan", "go.1", "go.2", "go.3", "after"]
    assert asyncio.get_running_loop().time() == 3
    assert [project.state.find(f"go.{n}").task.item for n in (1, 2, 3)] == ["a.md", {"name": "b.md"}, 3]
    assert [project.state.find(f"go.{n}").task.title for n in (1, 2, 3)] == ["GO: a.md", "GO: b.md", "GO: 3"]
    whole = result_of(project, "go")
    assert whole.metadata == {
        "data": ["go.1 done", {"lines": 4}, "go.3 done"],
        "instances": ["go.1", "go.2", "go.3"],
    }
    assert whole.output.startswith('<result task="go.1">\ngo.1 done\n</result>\n\n<result task="go.2">\nfour')
    assert (whole.started_at, whole.status) == (project.state.find("go.1").started_at, SUCCESS)
    assert executor.contexts["after"].inputs["go"].data == whole.metadata["data"]
    assert executor.contexts["go.1"].inputs["plan"].data == {"files": ["a.md", {"name": "b.md"}, 3]}


@pytest.mark.parametrize(
    ("item", "title"),
    [
        ({"title": "the first", "path": "p"}, "GO: the first"),
        ({"size": 3}, "GO: 1"),
        ("x" * 41, "GO: 1"),
        ("two\n lines", "GO: two lines"),
        ("", "GO: 1"),
        ([1], "GO: 1"),
        (2.5, "GO: 2.5"),
    ],
)
async def test_an_instance_is_called_after_its_item_where_that_is_short(project, executor, item, title):
    plan(project, executor, [item], for_each="tasks.plan.data")
    await project.execute_workflow()
    assert project.state.find("go.1").task.title == title


async def test_a_condition_on_the_item_skips_single_ones(project, executor):
    plan(project, executor, ["a", "b", "c"], for_each="tasks.plan.data", when='item != "b"')
    assert (await project.execute_workflow()).status == "completed"
    assert statuses(project)["go.2"] == "skipped"
    assert result_of(project, "go").metadata["data"] == ["go.1 done", None, "go.3 done"]
    assert "go.2" not in result_of(project, "go").output


async def test_a_condition_on_anything_else_skips_the_whole(project, executor):
    plan(project, executor, {"item_count": 0, "files": ["a"]}, for_each="tasks.plan.data.files", when="vars.full")
    project.add_task(task("few", "plan", for_each="tasks.plan.data.files", when="tasks.plan.data.item_count > 1"))
    await project.execute_workflow()
    assert (statuses(project)["few"], statuses(project)["go"]) == ("skipped", "failed")
    assert "go.1" not in statuses(project)


async def test_a_list_of_which_every_item_is_skipped_makes_a_result_of_nothings(project, executor):
    plan(project, executor, [1, 2], for_each="tasks.plan.data", when="item > 5")
    assert (await project.execute_workflow()).status == "completed"
    assert (result_of(project, "go").metadata["data"], result_of(project, "go").started_at) == ([None, None], None)


class SlowDisk(MemoryStore):
    """Takes longer the earlier a fact is: what came later is durable first."""

    async def flushed(self, seq):
        await asyncio.sleep(1 / (1 + seq))


async def test_instances_that_are_over_before_their_expansion_is_durable_are_gathered(executor):
    project = ProjectOrchestrator(executor=executor, store=SlowDisk())
    plan(project, executor, [1, 2], for_each="tasks.plan.data", when="item > 5")
    assert (await project.execute_workflow()).status == "completed"
    assert statuses(project)["go"] == "completed"
    await project.aclose()


@pytest.mark.parametrize("expression", ["tasks.plan.data", "tasks.plan.data | select", "tasks.plan.data[:0]"])
async def test_an_empty_list_skips_the_task(project, executor, expression):
    plan(project, executor, [0], for_each=expression if "select" in expression or ":0" in expression else "[]")
    assert (await project.execute_workflow()).status == "completed"
    assert statuses(project) == {"plan": "completed", "go": "skipped"}


@pytest.mark.parametrize(
    ("expression", "items"),
    [
        ("range(3)", [0, 1, 2]),
        ("tasks.plan.data | map(attribute='n') | reject('none')", [1]),
        ("tasks.plan.data | rejectattr('n')", [{"n": None}]),
        ("tasks.plan.data[0].items", ["nested"]),
        ("(1, 2)", [1, 2]),
        ("[[1, {'a': [2]}], 0, false, '']", [[1, {"a": [2]}], 0, False, ""]),
    ],
)
async def test_any_list_will_do_also_one_that_is_made_item_by_item(project, executor, expression, items):
    plan(project, executor, [{"n": 1, "items": ["nested"]}, {"n": None}], for_each=expression)
    await project.execute_workflow()
    found = [known.task.item for known in project.state.ordered() if known.origin == "go"]
    assert found == items


async def test_items_see_themselves_in_conditions_also_where_they_are_false(project, executor):
    plan(project, executor, [0, False, ""], for_each="tasks.plan.data", when="item == 0")
    await project.execute_workflow()
    assert [statuses(project)[f"go.{n}"] for n in (1, 2, 3)] == ["completed", "completed", "skipped"]


async def test_an_id_that_is_taken_or_too_long_fails_the_task_in_words(project, executor):
    plan(project, executor, ["a"], for_each="tasks.plan.data")
    project.add_task(task("go.1"))
    long = "x" * 127
    project.add_task(task(long, "plan", for_each="tasks.plan.data"))
    await project.execute_workflow()
    assert "needs the id 'go.1', which is taken" in result_of(project, "go").error
    assert "is not usable; expected 1 to 128" in result_of(project, long).error


async def test_one_instance_that_failed_is_tried_again_alone(project, executor):
    plan(project, executor, [1, 2, 3], for_each="tasks.plan.data")
    executor.acts["go.2"] = ExecutionResult("go.2", status=ExecutionStatus.FAILED, error="no luck")
    assert (await project.execute_workflow()).status == "failed"
    assert statuses(project)["go"] == "pending"
    assert project.get_task("go").status == "blocked"
    del executor.acts["go.2"]
    assert (await project.execute_workflow()).status == "completed"
    assert executor.started == ["plan", "go.1", "go.2", "go.3", "go.2"]


async def test_resetting_one_instance_runs_it_and_what_follows_again(project, executor):
    plan(project, executor, [1, 2], for_each="tasks.plan.data")
    project.add_task(task("after", "go"))
    await project.execute_workflow()
    assert project.reset("go.1") == ["go.1", "go", "after"]
    assert (await project.execute_workflow()).status == "completed"
    assert executor.started == ["plan", "go.1", "go.2", "after", "go.1", "after"]


async def test_resetting_the_whole_or_its_list_makes_the_instances_anew(project, executor):
    plan(project, executor, [1, 2], for_each="tasks.plan.data")
    await project.execute_workflow()
    project.reset("go")
    assert set(statuses(project)) == {"plan", "go"}
    await project.execute_workflow()
    executor.acts["plan"] = with_data("plan", [7])
    project.reset("plan")
    assert (await project.execute_workflow()).status == "completed"
    assert result_of(project, "go").metadata["instances"] == ["go.1"]
    assert project.state.find("go.1").task.item == 7


async def test_another_definition_of_the_whole_makes_the_instances_anew(executor):
    store = MemoryStore()
    first = ProjectOrchestrator(executor=executor, store=store)
    plan(first, executor, [1, 2], for_each="tasks.plan.data")
    await first.execute_workflow()
    await first.aclose()
    again = ProjectOrchestrator(executor=executor, store=store)
    plan(again, executor, [1, 2], for_each="tasks.plan.data", description="other")
    assert set(statuses(again)) == {"plan", "go"}
    assert (await again.execute_workflow()).status == "completed"
    assert executor.started == ["plan", *["go.1", "go.2"] * 2]
    await again.aclose()


async def test_executing_the_whole_by_itself_executes_its_instances_with_the_same_agent(project, executor):
    plan(project, executor, [1, 2], for_each="tasks.plan.data")
    await project.execute_task("plan")
    result = await project.execute_task("go", agent="model")
    assert (result.status, result.metadata["data"]) == (SUCCESS, ["go.1 done", "go.2 done"])
    assert executor.most["model"] == 2
    assert (await project.execute_task("go")) == result


async def test_executing_the_whole_several_times_at_once_executes_each_instance_once(project, executor):
    plan(project, executor, [1, 2], for_each="tasks.plan.data")
    await project.execute_task("plan")
    results = await asyncio.gather(*(project.execute_task("go") for _ in range(3)))
    assert [result.status for result in results] == [SUCCESS] * 3
    assert executor.started == ["plan", "go.1", "go.2"]


async def test_executing_the_whole_tells_which_instance_did_not_succeed(project, executor):
    plan(project, executor, [1, 2], for_each="tasks.plan.data")
    executor.acts["go.2"] = ExecutionResult("go.2", status=ExecutionStatus.FAILED, error="no luck")
    await project.execute_task("plan")
    with pytest.raises(DependencyError, match=r"'go' cannot start; it depends on 'go\.2' \(failed\)"):
        await project.execute_task("go")


async def test_executing_before_the_list_is_there_is_refused(project, executor):
    plan(project, executor, [1], for_each="tasks.plan.data")
    with pytest.raises(DependencyError, match=r"'plan' \(pending\)"):
        await project.execute_task("go")


# -- said in between


class Slow:
    """Holds an expression back until something was done; its value is then looked at."""

    def __init__(self, project, monkeypatch, act):
        before = project._expansion.before

        async def slowly(known, state, context):
            act()
            await asyncio.sleep(1)
            return await before(known, state, context)

        monkeypatch.setattr(project._expansion, "before", slowly)


async def test_a_task_cancelled_while_its_expression_is_evaluated_is_cancelled(project, executor, monkeypatch):
    plan(project, executor, [1], for_each="tasks.plan.data")
    await project.execute_task("plan")
    loop = asyncio.get_running_loop()
    Slow(project, monkeypatch, lambda: loop.call_later(0.5, project.cancel, "go"))
    results = await asyncio.gather(project.execute_task("go"), project.execute_task("go"))
    assert [result.status for result in results] == [ExecutionStatus.CANCELLED] * 2
    assert asyncio.current_task().cancelling() == 0
    assert statuses(project) == {"plan": "completed", "go": "cancelled"}


async def test_a_run_cancelled_while_an_expression_is_evaluated_goes_on_another_time(project, executor, monkeypatch):
    plan(project, executor, [1], for_each="tasks.plan.data")
    await project.execute_task("plan")
    loop = asyncio.get_running_loop()
    with monkeypatch.context() as patch:
        Slow(project, patch, lambda: loop.call_later(0.5, project.cancel))
        assert (await project.execute_workflow()).status == "cancelled"
    assert statuses(project)["go"] == "cancelled"
    assert (await project.execute_workflow()).status == "completed"
    assert executor.started == ["plan", "go.1"]


async def test_a_callers_own_cancellation_passes_and_the_task_is_as_it_was(project, executor, monkeypatch):
    plan(project, executor, [1], for_each="tasks.plan.data")
    await project.execute_task("plan")
    Slow(project, monkeypatch, lambda: None)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await project.execute_task("go")
    assert statuses(project)["go"] == "pending"

    async def both():
        project.cancel("go")
        caller.cancel()

    async with asyncio.TaskGroup() as group:
        caller = group.create_task(project.execute_task("go"))
        await asyncio.sleep(0.5)
        group.create_task(both())
    assert caller.cancelled()
    assert statuses(project)["go"] == "cancelled"


@pytest.mark.parametrize(
    ("act", "status"),
    [
        (lambda project: project.complete_task("go", "by hand"), "completed"),
        (lambda project: project.fail_task("go", "no"), "failed"),
        (lambda project: project.reset("plan"), "pending"),
        (lambda project: project.start_task("go"), "in_progress"),
    ],
    ids=["completed", "failed", "reset", "started"],
)
@pytest.mark.parametrize("expression", ["tasks.plan.data", "nonsense"])
async def test_what_was_said_while_an_expression_was_evaluated_goes_before_it(
    project, executor, monkeypatch, act, status, expression
):
    plan(project, executor, [1], for_each=expression)
    await project.execute_task("plan")
    Slow(project, monkeypatch, lambda: act(project))
    await project.execute_task("go")
    assert statuses(project)["go"] == status
    assert "go.1" not in statuses(project)


async def test_a_task_removed_while_its_expression_is_evaluated_stays_away(project, executor, monkeypatch):
    plan(project, executor, [1], for_each="tasks.plan.data")
    await project.execute_task("plan")
    Slow(project, monkeypatch, lambda: project.remove_task("go"))
    assert (await project.execute_task("go")).status is ExecutionStatus.PENDING
    assert set(statuses(project)) == {"plan"}


# -- results that add tasks


def adding(project, executor, tasks, rule=None, **fields):
    executor.acts["plan"] = with_data("plan", {"tasks": tasks})
    project.add_task(task("plan", agent="script", adds_tasks=rule or AddsTasks(), **fields))


ONE = {"id": "one", "title": "One"}


async def test_a_result_adds_tasks_and_what_depends_on_it_waits_for_them(project, executor):
    two = {
        "id": "two",
        "title": "Two",
        "description": "all of it",
        "agent": "model",
        "dependencies": ["one", "base", "plan"],
        "priority": "high",
    }
    adding(project, executor, [ONE, two])
    project.add_task(task("base"))
    project.add_task(task("end", "plan"))
    assert (await project.execute_workflow()).status == "completed"
    assert executor.started == ["plan", "base", "plan.one", "plan.two", "end"]
    added = project.state.find("plan.two")
    assert added.task == AgentTask(
        "plan.two",
        "Two",
        "all of it",
        agent="model",
        dependencies=("plan", "plan.one", "base"),
        priority=TaskPriority.HIGH,
    )
    assert (added.origin, added.depth, project.state.find("plan").added) == ("plan", 1, ("plan.one", "plan.two"))
    assert set(executor.contexts["end"].inputs["plan"].added) == {"plan.one", "plan.two"}
    assert executor.most["model"] == 1


async def test_an_added_task_has_the_agent_of_its_origin_unless_it_names_one(project, executor):
    adding(project, executor, [ONE])
    await project.execute_workflow()
    assert project.state.find("plan.one").task.agent == "script"


async def test_a_result_may_add_nothing(project, executor):
    adding(project, executor, [])
    assert (await project.execute_workflow()).status == "completed"
    assert set(statuses(project)) == {"plan"}


async def test_what_a_result_adds_is_data_and_never_a_template(project, executor):
    sly = "{{ file('/etc/passwd') }} {% for x in range(9) %}{{ vars.secret }}{% endfor %}"
    adding(project, executor, [{"id": "one", "title": sly, "description": sly}])
    await project.execute_workflow()
    added = project.state.find("plan.one").task
    assert (added.title, added.description, added.prompt) == (sly, sly, None)
    assert (added.when, added.for_each, added.checks, added.output_file) == (None, None, (), None)


def chain(length):
    return [{"id": f"t{n}", "title": "T", "dependencies": [f"t{n - 1}"] if n else []} for n in range(length)]


@pytest.mark.parametrize(
    ("tasks", "problem"),
    [
        ("one", r"the result of task 'plan' has no list of tasks; expected \{'tasks': \[...\]\}"),
        (["one"], "'one' is not a task; expected an object with id and title"),
        ([{"id": "one"}], "is not a task"),
        ([{"id": 1, "title": "One"}], "is not a task"),
        ([ONE | {"prompt": "{{ x }}"}], r"task 'one' has \['prompt'\], expected only adds_tasks, agent"),
        ([ONE, ONE], r"the ids \['one'\] are there twice"),
        ([ONE | {"agent": "nobody"}], "task 'one': agent 'nobody' is unknown"),
        ([ONE | {"agent": "off"}], "task 'one': .*'off' is disabled"),
        ([ONE | {"agent": ["script"]}], "the agent of task 'one' is .*, expected the name of an agent"),
        ([ONE | {"id": "a b"}], "task 'one'|'plan.a b' is not usable"),
        ([ONE | {"id": "x" * 200}], "is not usable"),
        ([ONE | {"id": ".."}], "is not usable"),
        ([ONE | {"id": "taken"}], "the id 'plan.taken' is taken"),
        ([ONE | {"description": 3}], "the description of task 'one' is '3', expected text"),
        ([ONE | {"dependencies": "one"}], "the dependencies of task 'one' is 'one', expected a list of ids"),
        ([ONE | {"dependencies": 3}], "expected a list of ids"),
        ([ONE | {"dependencies": [["one"]]}], "expected a list of ids"),
        ([ONE | {"dependencies": ["two"]}], "depends on 'two', which is neither in the list nor in the project"),
        ([ONE | {"dependencies": ["one"]}], "plan.one -> plan.one"),
        ([ONE | {"dependencies": ["two"]}, {"id": "two", "title": "2", "dependencies": ["one"]}], "plan.one -> plan"),
        ([ONE | {"dependencies": ["end"]}], "end -> plan.one -> end|plan.one -> end -> plan.one"),
        ([ONE | {"dependencies": ["far"]}], "far"),
        ([ONE | {"priority": "urgent"}], "the priority of task 'one' is 'urgent', expected one of low, medium"),
        ([ONE | {"priority": 3}], "expected one of low, medium"),
        ([ONE | {"adds_tasks": "yes"}], "expected true or false"),
        (chain(21), "it adds 21 tasks, expected at most 20"),
    ],
)
async def test_a_list_that_makes_no_sense_is_refused_in_words_for_its_worker(project, executor, tasks, problem):
    adding(project, executor, tasks)
    project.add_task(task("end", "plan"))
    project.add_task(task("far", "end"))
    project.add_task(task("plan.taken"))
    before = set(project.state.tasks)
    known = project.state.find("plan")
    with pytest.raises(AttemptError, match=problem) as caught:
        project._expansion.added(known, project.state, {"tasks": tasks})
    assert caught.value.kind is FailureKind.BAD_OUTPUT
    assert str(caught.value).startswith("the tasks cannot be added: ")

    await project.execute_workflow()
    assert (statuses(project)["plan"], set(project.state.tasks)) == ("failed", before)
    assert result_of(project, "plan").failure_kind is FailureKind.BAD_OUTPUT


async def test_what_an_added_task_adds_must_not_wait_for_what_waits_for_it(project, executor):
    adding(project, executor, [ONE | {"adds_tasks": True}], AddsTasks(max_depth=2))
    executor.acts["plan.one"] = with_data("plan.one", {"tasks": [{"id": "x", "title": "X", "dependencies": ["plan"]}]})
    assert (await project.execute_workflow()).status == "failed"
    assert "plan.one.x -> plan.one.x" in result_of(project, "plan.one").error
    assert "plan.one.x" not in statuses(project)


async def test_tasks_are_added_as_deep_as_the_rule_says_and_no_deeper(project, executor):
    deeper = {"tasks": [ONE | {"adds_tasks": True}]}
    adding(project, executor, deeper["tasks"], AddsTasks(max_depth=2))
    executor.acts["plan.one"] = with_data("plan.one", deeper)
    executor.acts["plan.one.one"] = with_data("plan.one.one", deeper)
    project.add_task(task("end", "plan"))
    assert (await project.execute_workflow()).status == "completed"
    assert executor.started == ["plan", "plan.one", "plan.one.one", "end"]
    assert [known.depth for known in project.state.ordered()] == [0, 0, 1, 2]
    inputs = executor.contexts["end"].inputs
    assert set(inputs["plan"].added["plan.one"].added) == {"plan.one.one"}


async def test_instances_may_add_tasks_and_the_whole_is_followed_by_all_of_them(project, executor):
    plan(project, executor, [1, 2], for_each="tasks.plan.data", adds_tasks=AddsTasks())
    executor.acts["go.1"] = with_data("go.1", {"tasks": [ONE]})
    executor.acts["go.2"] = with_data("go.2", {"tasks": []})
    project.add_task(task("end", "go"))
    assert (await project.execute_workflow()).status == "completed"
    assert executor.started == ["plan", "go.1", "go.2", "go.1.one", "end"]
    assert set(executor.contexts["end"].inputs["go"].added) == {"go.1.one"}


async def test_the_added_tasks_go_when_their_origin_runs_again_and_new_ones_come(project, executor):
    adding(project, executor, [ONE])
    await project.execute_workflow()
    executor.acts["plan"] = with_data("plan", [{"id": "two", "title": "Two"}])  # a bare list will do
    project.reset("plan")
    assert set(statuses(project)) == {"plan"}
    await project.execute_workflow()
    assert statuses(project) == {"plan": "completed", "plan.two": "completed"}


async def test_a_caller_may_add_tasks_by_hand_as_data_or_as_json_text(project):
    project.add_task(task("plan", adds_tasks=AddsTasks()))
    project.add_task(task("more", adds_tasks=AddsTasks()))
    project.complete_task("plan", {"tasks": [ONE]})
    project.complete_task("more", '{"tasks": [{"id": "x", "title": "X"}]}')
    assert project.get_ready_tasks() == ["plan.one", "more.x"]


async def test_a_caller_who_says_only_that_it_is_done_adds_nothing_and_prose_is_refused(project):
    project.add_task(task("plan", adds_tasks=AddsTasks()))
    with pytest.raises(AttemptError, match="has no list of tasks"):
        project.complete_task("plan", "do one, then two")
    project.complete_task("plan")
    assert statuses(project) == {"plan": "completed"}


# -- who has to see what is added


@pytest.fixture
async def planned(project, executor):
    """A plan that waits for a person."""
    executor.acts["plan"] = ExecutionResult("plan", output="draft", metadata={"execution_mode": "hybrid"})
    project.add_task(task("plan", adds_tasks=AddsTasks()))
    await project.execute_workflow()
    return project


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("do one, then two", "has no list of tasks"),
        ({"tasks": [{"id": "one"}]}, "expected an object with id and title"),
        ('{"tasks": [{"id": "one", "title": "One", "agent": "nobody"}]}', "agent 'nobody' is unknown"),
    ],
)
async def test_a_list_a_person_got_wrong_is_refused_at_once_and_their_word_is_still_asked(planned, answer, problem):
    with pytest.raises(AttemptError, match=problem):
        planned.answer("plan", answer)
    assert statuses(planned) == {"plan": "waiting"}


@pytest.mark.parametrize("answer", [[ONE], json.dumps([ONE]), {"tasks": [ONE]}, json.dumps({"tasks": [ONE]})])
async def test_a_list_a_person_gives_is_taken_in_any_of_its_forms(planned, executor, answer):
    planned.answer("plan", answer)
    claim = planned.state.find("plan").claim
    assert json.loads(claim.output) == {"tasks": [ONE]}


async def test_where_no_agents_are_known_those_of_added_tasks_are_the_executors_matter(executor):
    project = ProjectOrchestrator(executor=executor)
    executor.acts["plan"] = with_data("plan", {"tasks": [ONE | {"agent": "theirs"}]})
    project.add_task(task("plan", adds_tasks=AddsTasks(approval="never")))
    assert (await project.execute_workflow()).status == "completed"
    assert project.get_task("plan.one").agent == "theirs"


def preview(project, rule, *wanted):
    if "plan" not in project.state.tasks:
        project.add_task(task("plan", adds_tasks=rule))
    return project._expansion.preview(project.state.find("plan"), project.state, {"tasks": list(wanted)})


@pytest.mark.parametrize(
    ("approval", "agent", "is_asked"),
    [
        ("costly", "script", False),
        ("costly", "model", True),
        ("costly", "coder", True),
        ("costly", None, False),
        ("always", "script", True),
        ("never", "model", False),
    ],
)
def test_a_person_sees_what_is_added_where_that_costs_or_always_or_never(project, approval, agent, is_asked):
    text = preview(project, AddsTasks(approval=approval), ONE | {"agent": agent})
    assert bool(text) == is_asked


def test_what_a_person_sees_names_every_task_and_who_does_it(project):
    text = preview(project, AddsTasks(), ONE | {"agent": "model"}, {"id": "two", "title": "Two"})
    assert text == ("adds 2 tasks to the project:\n- plan.one (model, openai): One\n- plan.two (script, script): Two")
    assert preview(project, AddsTasks(), ONE | {"agent": "model"}).startswith("adds 1 task to")
    assert preview(project, AddsTasks()) == ""


# -- kept, whatever happens


async def build(store, executor):
    project = ProjectOrchestrator(
        executor=executor, store=store, registry=agents(script=AgentType.SCRIPT, model=AgentType.OPENAI_GPT)
    )
    plan(project, executor, ["a", "b", "c"], for_each="tasks.plan.data", when='item != "b"')
    executor.acts["more"] = with_data("more", {"tasks": [ONE, {"id": "two", "title": "2", "dependencies": ["one"]}]})
    project.add_task(task("more", "go", agent="script", adds_tasks=AddsTasks(approval="never")))
    project.add_task(task("end", "more", "go"))
    return project


def facts_of(store):
    return list(store._events)


async def test_after_the_end_of_the_process_at_any_fact_nothing_is_lost_and_nothing_is_there_twice(scripted):
    whole = MemoryStore()
    project = await build(whole, scripted())
    await project.execute_workflow()
    expected = statuses(project)
    assert len(expected) == 9
    assert set(expected.values()) == {"completed", "skipped"}

    for cut in range(len(facts_of(whole))):
        prefix = facts_of(whole)[:cut]
        done = {known.task.task_id for known in fold(prefix).unordered() if known.status == "completed"}
        store, executor = MemoryStore(), scripted()
        store._events.extend(prefix)
        project = await build(store, executor)
        result = await project.execute_workflow()
        assert (result.status, statuses(project)) == ("completed", expected), cut
        assert done.isdisjoint(executor.started)
        assert len(executor.started) == len(set(executor.started))
        assert executor.contexts["end"].inputs.keys() == {"more", "go"} if "end" in executor.contexts else done
        await project.aclose()


def test_the_facts_of_an_expansion_are_kept_as_they_are():
    journal = Journal(MemoryStore())
    journal.open()
    journal.record(ev.TaskAdded(at=now(), task=task("go", for_each="[1]")))
    instance = task("go.1")
    journal.record(ev.TaskExpanded(at=now(), task_id="go", instances=(instance,)))
    assert journal.ready() == ["go.1"]
