import asyncio
import contextvars
import sys
import textwrap
import threading
import types

import pytest

from orchestration.agent_registry import AgentType
from orchestration.errors import AttemptError, InvalidTaskError
from orchestration.runners.python import PythonRunner
from orchestration.task import FailureKind

variable = contextvars.ContextVar("variable", default="unset")


@pytest.fixture
async def runner(tmp_path):
    made = PythonRunner(tmp_path)
    yield made
    await made.aclose()


@pytest.fixture
def project(tmp_path):
    """Return a function that writes a module into the project."""

    def write(code, name="steps.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(code), encoding="utf-8")
        return path

    return write


async def failure(runner, work, kind=FailureKind.TASK_ERROR):
    with pytest.raises(AttemptError) as caught:
        await runner.run(work)
    assert caught.value.kind is kind
    return str(caught.value)


async def test_an_async_function_gets_the_work_and_is_awaited(runner, project, make_work):
    project("""
        import asyncio
        async def step(work):
            await asyncio.sleep(0)
            return f"{work.task.title}: {work.inputs['outline'].output}, {work.prompt}, {work.idempotency_key}"
    """)

    outcome = await runner.run(make_work(function="steps:step"))

    assert outcome.output == "Write a draft: one, two, Do it, run-1/draft/2"
    assert outcome.data is None


async def test_a_plain_function_runs_in_a_thread_with_the_caller_s_context(runner, project, make_work, monkeypatch):
    project("""
        import threading, sys
        def step(work):
            seen = sys.modules["variable_of_the_test"].get()
            return f"{threading.current_thread() is threading.main_thread()} {seen}"
    """)
    monkeypatch.setitem(sys.modules, "variable_of_the_test", variable)
    variable.set("seen")

    assert (await runner.run(make_work(function="steps:step"))).output == "False seen"


async def test_plain_functions_run_side_by_side(runner, project, make_work):
    project("""
        import threading
        three = threading.Barrier(3)
        def step(work):
            three.wait(10)
    """)

    outcomes = await asyncio.gather(*(runner.run(make_work(function="steps:step")) for _ in range(3)))

    assert [outcome.output for outcome in outcomes] == ["", "", ""]


@pytest.mark.parametrize(
    ("expression", "output", "data"),
    [
        ("'text'", "text", None),
        ("None", "", None),
        ("{'a': [1, 2.5, None, True]}", '{"a": [1, 2.5, null, true]}', {"a": [1, 2.5, None, True]}),
        ("(1, 'ü')", '[1, "ü"]', [1, "ü"]),
        ("{1: 2}", '{"1": 2}', {"1": 2}),
        ("2 ** 70", str(2**70), 2**70),
        ("False", "false", False),
    ],
)
async def test_text_data_and_nothing_can_be_returned(runner, project, make_work, expression, output, data):
    project(f"def step(work): return {expression}")

    outcome = await runner.run(make_work(function="steps:step"))

    assert (outcome.output, outcome.data) == (output, data)


@pytest.mark.parametrize(
    "expression",
    ["object()", "b'bytes'", "{1, 2}", "float('nan')", "[float('inf')]", "loop", "(x for x in 'a')", "['\\ud800']"],
)
async def test_what_json_cannot_say_is_refused_with_its_type(runner, project, make_work, expression):
    project(f"loop = []\nloop.append(loop)\ndef step(work): return {expression}")

    message = await failure(runner, make_work(function="steps:step"))

    assert "function 'steps:step' returned" in message
    assert "expected text, None or what JSON can say" in message


async def test_a_plain_function_may_return_something_to_await(runner, project, make_work):
    project("""
        async def inner(): return "awaited"
        def step(work): return inner()
        class Step:
            async def __call__(self, work): return "called"
            async def method(self, work): return "method"
        instance = Step()
    """)

    assert (await runner.run(make_work(function="steps:step"))).output == "awaited"
    assert (await runner.run(make_work(function="steps:instance"))).output == "called"
    assert (await runner.run(make_work(function="steps:instance.method"))).output == "method"


@pytest.mark.parametrize("prefix", ["async ", ""])
async def test_an_exception_is_told_with_its_type_message_and_place(runner, project, make_work, prefix):
    path = project(f"""
        import json
        {prefix}def step(work):
            return inner()
        def inner():
            return json.loads("not json")
    """)

    message = await failure(runner, make_work(function="steps:step"))

    assert "function 'steps:step' raised JSONDecodeError: Expecting value" in message
    assert message.endswith(f"({path}:6)")


@pytest.mark.parametrize("prefix", ["async ", ""])
@pytest.mark.parametrize("statement", ["raise SystemExit(3)", "raise TimeoutError('slow')", "raise StopIteration"])
async def test_exceptions_with_a_meaning_elsewhere_are_errors_of_the_task(
    runner, project, make_work, prefix, statement
):
    project(f"{prefix}def step(work):\n    {statement}")

    assert "steps:step" in await failure(runner, make_work(function="steps:step"))


async def test_a_function_may_name_the_kind_of_its_failure(runner, project, make_work):
    project("""
        from orchestration.errors import AttemptError
        from orchestration.task import FailureKind
        def step(work):
            raise AttemptError("busy", kind=FailureKind.RATE_LIMIT, retry_after_s=3)
    """)

    assert await failure(runner, make_work(function="steps:step"), FailureKind.RATE_LIMIT) == "busy"


@pytest.mark.parametrize("function", [None, "", "steps", "steps:", ":step"])
async def test_an_agent_without_a_usable_function_is_the_caller_s_mistake(runner, make_work, function):
    with pytest.raises(InvalidTaskError, match=r"agent 'writer': function is .*expected 'module:function'"):
        await runner.run(make_work(function=function))


async def test_a_missing_module_or_function_is_said_with_where_it_was_looked_for(runner, project, make_work, tmp_path):
    project("number = 3", "package/steps.py")

    unavailable = FailureKind.UNAVAILABLE
    assert str(tmp_path) in await failure(runner, make_work(function="nosuch:step"), unavailable)
    assert "'package.nosuch'" in await failure(runner, make_work(function="package.nosuch:step"), unavailable)
    assert "no function 'step'" in await failure(runner, make_work(function="package.steps:step"), unavailable)
    assert "is int, expected a function" in await failure(
        runner, make_work(function="package.steps:number"), unavailable
    )


async def test_without_a_root_only_installed_modules_are_found(make_work):
    runner = PythonRunner()

    assert (await runner.run(make_work(function="operator:not_", root=None))).output == "false"
    assert "expected it in an installed package" in await failure(
        runner, make_work(function="nosuch:step", root=None), FailureKind.UNAVAILABLE
    )
    await runner.aclose()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import nosuchpackage", "ModuleNotFoundError: No module named 'nosuchpackage'"),
        ("def step(work)", "SyntaxError"),
        ("(3).nosuch", "AttributeError"),
        ("raise SystemExit", "SystemExit"),
    ],
)
async def test_a_module_that_cannot_be_imported_is_the_task_s_error(runner, project, make_work, code, words):
    project(code)

    assert words in await failure(runner, make_work(function="steps:step"))


async def test_a_module_written_after_the_first_look_is_found(runner, project, make_work):
    await failure(runner, make_work(function="steps:step"), FailureKind.UNAVAILABLE)
    project("def step(work): return 'found'")

    assert (await runner.run(make_work(function="steps:step"))).output == "found"


async def test_each_project_gets_its_own_module_of_a_name(tmp_path, make_work):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "steps.py").write_text(f"def step(work): return {name!r}", encoding="utf-8")
    path, modules = list(sys.path), set(sys.modules)

    for name in ("one", "two"):
        runner = PythonRunner(tmp_path / name)
        assert (await runner.run(make_work(function="steps:step"))).output == name
        await runner.aclose()
        await runner.aclose()

    assert sys.path == path
    assert "steps" not in set(sys.modules) - modules


async def test_a_loaded_module_may_be_used_where_the_project_has_none_of_its_name(runner, make_work):
    assert (await runner.run(make_work(function="operator:not_"))).output == "false"


async def test_a_module_hidden_by_another_of_its_name_is_refused(runner, project, make_work):
    project("def dumps(work): return 'mine'", "json.py")

    message = await failure(runner, make_work(function="json:dumps"), FailureKind.UNAVAILABLE)

    assert "another module 'json'" in message
    assert "give the file another name" in message


async def test_a_project_on_the_path_already_stays_there(tmp_path, project, make_work, monkeypatch):
    project("def step(work): return 'x'", "lasting_steps.py")
    monkeypatch.syspath_prepend(tmp_path)
    runner = PythonRunner(tmp_path)

    await runner.run(make_work(function="lasting_steps:step"))
    await runner.aclose()

    assert str(tmp_path) in sys.path
    assert sys.modules.pop("lasting_steps")


async def test_cancelling_does_not_wait_for_a_plain_function(runner, project, make_work, monkeypatch):
    project("""
        from events_of_the_test import started, release
        def step(work):
            started.set()
            release.wait(20)
    """)
    events = types.SimpleNamespace(started=threading.Event(), release=threading.Event())
    monkeypatch.setitem(sys.modules, "events_of_the_test", events)
    task = asyncio.create_task(runner.run(make_work(function="steps:step")))
    assert await asyncio.to_thread(events.started.wait, 10)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not events.release.is_set()
    events.release.set()


async def test_the_main_thread_is_where_async_functions_run(runner, project, make_work):
    project("import threading\nasync def step(work): return threading.current_thread().name")

    assert (await runner.run(make_work(AgentType.PYTHON, function="steps:step"))).output == threading.main_thread().name
