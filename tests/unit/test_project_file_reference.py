"""The schema, the editors' help and the reference page are one thing."""

from dataclasses import fields
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from orchestration.agent_registry import AgentConfig, AgentType
from orchestration.errors import ProjectFileError
from orchestration.project_file import json_schema, load_project, reference_page
from orchestration.project_file.reference import EXAMPLE, MISTAKEN_EXAMPLE, MISTAKEN_MESSAGES
from orchestration.task import AgentTask

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "project-file.md"


def described(schema, path=""):
    """Yield every schema of a key, with its path."""
    for group in ("properties", "$defs"):
        for key, child in schema.get(group, {}).items():
            if "not" not in child and "/then" not in path:
                yield f"{path}/{key}", child
                yield from described(child, f"{path}/{key}")


def test_the_schema_is_a_valid_json_schema():
    Draft202012Validator.check_schema(json_schema())


def patterns(value):
    for key, child in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else []):
        if key == "pattern":
            yield child
        else:
            yield from patterns(child)


def test_patterns_mean_the_same_in_editors_as_in_python():
    """JavaScript takes `\\Z` for a Z, and knows no `(?P<name>...)`."""
    found = [*patterns(json_schema())]
    assert len(found) == 9
    assert not [pattern for pattern in found if any(part in pattern for part in (r"\A", r"\Z", "(?P"))]


def test_each_call_returns_a_schema_of_its_own():
    json_schema()["properties"].clear()
    assert json_schema()["properties"]


@pytest.mark.parametrize(
    ("path", "schema"), [*described(json_schema())], ids=[path for path, _ in described(json_schema())]
)
def test_every_key_says_what_it_is_and_what_is_expected(path, schema):
    if "metadata/" not in path:
        assert schema["description"].endswith((".", "`."))
        assert schema["examples"]
        for example in schema["examples"]:
            Draft202012Validator(json_schema() | schema | {"required": []}).evolve(
                schema={"$defs": json_schema()["$defs"], **schema}
            ).validate(example)
    assert schema["errorMessage"].startswith("expected ")


def test_every_closed_mapping_refuses_unknown_keys():
    schema = json_schema()
    top = (schema["properties"][name] for name in ("budget", "retry", "notify"))
    closed = [schema, *schema["$defs"].values(), *top]
    assert all(each["additionalProperties"] is False for each in closed)


def test_an_agent_in_the_file_has_the_options_of_the_record():
    options = set(json_schema()["$defs"]["agent"]["properties"])
    assert options == {field.name for field in fields(AgentConfig)} - {"name", "agent_type"} | {"type", "budget"}


def test_a_task_in_the_file_has_the_fields_of_the_record_and_those_it_keeps_elsewhere():
    keys = set(json_schema()["$defs"]["task"]["properties"])
    kept_in_metadata = {"model", "use_direct_llm", "cache"}
    assert keys == {field.name for field in fields(AgentTask)} - {"task_id", "status", "item"} | kept_in_metadata | {
        "prompt_file",
        "budget",
        "tags",
    }
    assert set(json_schema()["$defs"]["listed_task"]["properties"]) == keys | {"id"}


def test_the_types_of_agents_are_those_of_the_record():
    assert json_schema()["$defs"]["agent"]["properties"]["type"]["enum"] == [kind.value for kind in AgentType]


@pytest.mark.parametrize(
    ("content", "is_valid"),
    [
        ({"tasks": {"a": {}}}, True),
        ({"tasks": [{"id": "a"}]}, True),
        ({"tasks": [{}]}, False),
        ({"tasks": {}}, False),
        ({"tasks": {"a": {"id": "a"}}}, False),
        ({"tasks": {"a": {}}, "agents": {"x": {"type": "python", "function": "a:b"}}}, True),
        ({"tasks": {"a": {}}, "agents": {"x": {"type": "python"}}}, False),
        ({"tasks": {"a": {}}, "agents": {"x": {"type": "human", "model": "m"}}}, False),
    ],
)
def test_an_editor_judges_as_we_do(content, is_valid):
    assert Draft202012Validator(json_schema()).is_valid(content) is is_valid


def test_the_page_in_the_docs_is_the_one_the_schema_writes():
    assert PAGE.read_text(encoding="utf-8") == reference_page(), "write it anew with `make docs`"


def test_the_example_of_the_page_loads(tmp_path):
    path = tmp_path / "orchestrate.yaml"
    path.write_text(EXAMPLE)
    project = load_project(path)
    assert [task.task_id for task in project.tasks] == ["outline", "draft", "word-count", "final-check"]
    assert f"```yaml\n{EXAMPLE}```" in reference_page()


def test_the_mistakes_of_the_page_are_told_as_it_shows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("orchestrate.yaml")
    path.write_text(MISTAKEN_EXAMPLE)
    with pytest.raises(ProjectFileError) as caught:
        load_project(path)
    assert str(caught.value) + "\n" == MISTAKEN_MESSAGES
    assert f"```text\n{MISTAKEN_MESSAGES}```" in reference_page()


def test_every_key_is_on_the_page():
    page = reference_page()
    parts = {*json_schema()["$defs"], "id"}
    for path, _ in described(json_schema()):
        key = path.rsplit("/", 1)[-1]
        assert f"| `{key}` |" in page or key in parts
