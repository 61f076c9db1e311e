import pytest

from orchestration.orchestrator import ProjectOrchestrator
from orchestration.redact import KEY_VARIABLES, known_secrets, redact
from orchestration.task import AgentTask, ExecutionResult


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for name in KEY_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", KEY_VARIABLES)
def test_the_standard_keys_are_secrets(monkeypatch, name):
    monkeypatch.setenv(name, "sk-123456789")

    assert known_secrets() == ("sk-123456789",)


def test_variables_named_by_agents_are_secrets_and_unset_ones_are_not(monkeypatch):
    monkeypatch.setenv("MY_KEY", "abcdefgh")

    assert known_secrets(["MY_KEY", "NOT_SET", None]) == ("abcdefgh",)


def test_values_too_short_to_be_secrets_are_left_alone(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("GEMINI_API_KEY", "  none     ")

    assert known_secrets() == ()


def test_a_secret_that_begins_with_another_goes_as_a_whole(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-12345")
    monkeypatch.setenv("MY_KEY", "sk-12345-and-more")

    assert redact("key sk-12345-and-more, key sk-12345", known_secrets(["MY_KEY"])) == "key ***, key ***"


def test_secrets_are_found_at_any_depth_of_the_metadata():
    cleaned = redact({"a-SECRET1": ["x SECRET1", {"b": ("SECRET1", 3, None)}], "n": 1.5}, ("SECRET1",))

    assert cleaned == {"a-***": ["x ***", {"b": ["***", 3, None]}], "n": 1.5}


def test_without_secrets_the_very_same_value_comes_back():
    metadata = {"a": ["b"]}

    assert redact(metadata, ()) is metadata


@pytest.mark.parametrize(
    ("given", "kept", "data"),
    [
        ("look: sk-123456789!", "look: ***!", None),
        ({"log": ["sk-123456789"]}, '{"log":["***"]}', {"log": ["***"]}),
    ],
)
async def test_what_a_person_pastes_is_kept_without_the_key_in_it(monkeypatch, executor, given, kept, data):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-123456789")
    executor.acts["ask"] = ExecutionResult("ask", output="prompt", metadata={"execution_mode": "interactive"})
    project = ProjectOrchestrator(executor=executor)
    project.add_task(AgentTask("ask", "Ask"))
    await project.execute_workflow()

    project.answer("ask", given)

    result = project.state.tasks["ask"].result
    assert (result.output, result.metadata.get("data")) == (kept, data)


async def test_what_a_person_says_of_a_draft_or_of_a_failure_is_kept_without_the_key_in_it(monkeypatch, executor):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-123456789")
    executor.acts["draft"] = ExecutionResult("draft", output="text", metadata={"execution_mode": "hybrid"})
    project = ProjectOrchestrator(executor=executor)
    project.add_task(AgentTask("draft", "Draft"))
    project.add_task(AgentTask("by-hand", "By hand"))
    await project.execute_task("draft")

    project.reject("draft", "leave out sk-123456789")
    project.start_task("by-hand")
    project.fail_task("by-hand", "401 for sk-123456789")

    assert project.state.tasks["draft"].comment == "leave out ***"
    assert project.state.tasks["by-hand"].result.error == "401 for ***"
