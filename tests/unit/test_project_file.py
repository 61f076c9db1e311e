"""Project files that are right, and what they become."""

import json
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from orchestration.agent_registry import AgentConfig, AgentType
from orchestration.errors import ProjectFileError
from orchestration.project_file import Variable, load_project, resolve_variables
from orchestration.task import AgentTask, TaskPriority


@pytest.fixture
def load(tmp_path):
    def write_and_load(content):
        path = tmp_path / "orchestrate.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return load_project(path)

    return write_and_load


def test_the_smallest_project_has_defaults_for_everything_else(load, tmp_path):
    project = load("agents: {me: {type: human}}\ntasks: {draft: {agent: me}}\n")
    assert project.path == tmp_path / "orchestrate.yaml"
    assert project.root == tmp_path
    assert project.project_id == "default"
    assert project.tasks == (AgentTask("draft", "draft", agent="me"),)
    assert project.agents == (AgentConfig("me", AgentType.HUMAN),)
    assert (project.mode, project.default_agent, project.max_concurrent) == ("api", None, None)
    assert (project.variables, project.scripts_dir, project.description) == ((), None, "")


def test_a_project_is_frozen(load):
    project = load("agents: {me: {type: human}}\ntasks: {draft: {agent: me}}\n")
    with pytest.raises(FrozenInstanceError):
        project.mode = "hybrid"


def test_every_field_of_a_task_arrives(load, tmp_path):
    (tmp_path / "answer.json").write_text('{"type": "object"}')
    project = load(
        """\
agents: {writer: {type: anthropic}, me: {type: human}}
tasks:
  outline: {agent: me}
  draft:
    title: Draft the post
    description: Two pages
    agent: writer
    dependencies: [outline, outline]
    priority: critical
    prompt: "{{ tasks.outline.output }}"
    system: ''
    mode: hybrid
    model: some-model
    use_direct_llm: false
    cache: {max_age_s: 60}
    max_tokens: 100.0
    output_schema: answer.json
    output_file: out/draft.json
    timeout_s: 1.5
    max_attempts: 2
    metadata: {ticket: DOC-1}
"""
    )
    assert project.tasks[1] == AgentTask(
        "draft",
        "Draft the post",
        "Two pages",
        agent="writer",
        dependencies=("outline",),
        priority=TaskPriority.CRITICAL,
        prompt="{{ tasks.outline.output }}",
        system="",
        mode="hybrid",
        max_tokens=100,
        output_schema={"type": "object"},
        output_file="out/draft.json",
        timeout_s=1.5,
        max_attempts=2,
        metadata={"ticket": "DOC-1", "model": "some-model", "use_direct_llm": False, "cache": {"max_age_s": 60}},
    )
    assert isinstance(project.tasks[1].max_tokens, int)


def test_every_option_of_an_agent_arrives(load):
    project = load(
        """\
default_agent: model
agents:
  model:
    type: local
    enabled: true
    description: Small
    capabilities: [extract]
    mode: api
    max_concurrent: 2
    timeout_s: 60
    max_attempts: 1
    model: tiny
    system: Be brief.
    files: [docs/style.md, facts.txt]
    cache: true
    max_tokens: 50
    temperature: 0
    allow_truncated: true
    base_url: http://localhost:8000/v1
    api_key_env: LOCAL_KEY
    model_path: models/tiny.gguf
    headers: {X-Team: docs}
    extras: {top_p: 0.9}
  checker: {type: script, command: [./check, --fast]}
  tool: {type: cli, command: [tool]}
  counter: {type: python, function: "steps.words:Counter.count"}
tasks: {a: {}}
"""
    )
    assert project.agents == (
        AgentConfig(
            "model",
            AgentType.LOCAL,
            description="Small",
            capabilities=("extract",),
            mode="api",
            max_concurrent=2,
            timeout_s=60,
            max_attempts=1,
            model="tiny",
            system="Be brief.",
            files=("docs/style.md", "facts.txt"),
            cache=True,
            max_tokens=50,
            temperature=0,
            allow_truncated=True,
            base_url="http://localhost:8000/v1",
            api_key_env="LOCAL_KEY",
            model_path="models/tiny.gguf",
            headers={"X-Team": "docs"},
            extras={"top_p": 0.9},
        ),
        AgentConfig("checker", AgentType.SCRIPT, command=("./check", "--fast")),
        AgentConfig("tool", AgentType.CLI, command=("tool",)),
        AgentConfig("counter", AgentType.PYTHON, function="steps.words:Counter.count"),
    )


def test_top_level_settings_arrive(load, tmp_path):
    (tmp_path / "scripts").mkdir()
    project = load(
        "project: blog\ndescription: A post\nscripts_dir: scripts\nmax_concurrent: 3\nmode: interactive\n"
        "default_agent: me\nagents: {me: {type: human}}\ntasks: {a: {}}\n"
    )
    assert (project.project_id, project.description, project.mode) == ("blog", "A post", "interactive")
    assert (project.max_concurrent, project.default_agent) == (3, "me")
    assert project.scripts_dir == tmp_path / "scripts"


def test_a_list_of_tasks_is_the_same_as_a_mapping(load):
    head = "default_agent: me\nagents: {me: {type: human}}\n"
    listed = load(head + "tasks:\n- {id: a, title: A}\n- {id: b, dependencies: [a]}\n")
    mapped = load(head + "tasks:\n  a: {title: A}\n  b: {dependencies: [a]}\n")
    assert listed == mapped


def test_keys_are_text_as_it_is_written(load):
    project = load(
        "default_agent: no\nagents: {no: {type: human}}\n"
        "tasks:\n  1: {}\n  0x1: {}\n  1.0: {}\n  null: {}\n  b: {dependencies: ['1', '1.0']}\n"
    )
    assert [task.task_id for task in project.tasks] == ["1", "0x1", "1.0", "null", "b"]
    assert project.tasks[-1].dependencies == ("1", "1.0")


def test_scalars_are_read_by_yaml_1_2(load):
    project = load(
        "default_agent: me\nagents: {me: {type: human}}\ntasks:\n  a:\n    metadata:\n"
        "      text: [no, on, 2026-11-22, 1_000, 12:30:45, 0o8, .5.5, '1', \"true\", ! 5, !!str 6]\n"
        "      numbers: [1, -2, +3, 0o17, 0x1F, 1.5, .5, 1., 1e3, -1.5E-2]\n"
        "      flags: [true, False, TRUE]\n      nothing: [null, ~, Null, '']\n      empty:\n"
    )
    assert project.tasks[0].metadata == {
        "text": ["no", "on", "2026-11-22", "1_000", "12:30:45", "0o8", ".5.5", "1", "true", "5", "6"],
        "numbers": [1, -2, 3, 15, 31, 1.5, 0.5, 1.0, 1000.0, -0.015],
        "flags": [True, False, True],
        "nothing": [None, None, None, ""],
        "empty": None,
    }


def test_aliases_stand_for_the_value_of_their_anchor(load):
    project = load(
        "default_agent: me\nagents: {me: {type: human}}\n"
        "tasks:\n  a: {output_schema: &form {type: object}}\n  b: {output_schema: *form, &key title: B, system: *key}\n"
        "  c: {output_schema: &form {type: array}}\n  d: {output_schema: *form}\n"
    )
    assert [task.output_schema["type"] for task in project.tasks] == ["object", "object", "array", "array"]
    assert project.tasks[1].system == "title"


def test_a_pair_of_escapes_is_one_character_as_in_json(load):
    project = load('default_agent: me\nagents: {me: {type: human}}\ntasks: {a: {title: "\\ud83d\\ude00"}}\n')
    assert project.tasks[0].title == "\N{GRINNING FACE}"


@pytest.mark.parametrize("mark", ["\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize("title", ["'a{}b'", '"a{}b"', "a{}b", "|-\n    a{}b"])
def test_characters_that_break_lines_only_in_yaml_1_1_are_text(load, mark, title):
    text = "default_agent: me\nagents: {me: {type: human}}\ntasks:\n  a:\n   title: " + title.format(mark)
    assert load(text).tasks[0].title == f"a{mark}b"
    with pytest.raises(ProjectFileError, match=r":1:1: colour: this key is not known"):
        load(f"colour: 1 # {mark}\n{text}")


def test_stand_ins_of_the_parser_are_text_too(load):
    text = "default_agent: me\nagents: {me: {type: human}}\ntasks: {a: {title: '\ufdd0 \ufdd1'}}\n"
    assert load(text).tasks[0].title == "\ufdd0 \ufdd1"


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_windows_line_ends_and_a_byte_order_mark_are_accepted(load, line_end, mark):
    text = "default_agent: me\nagents:\n  me: {type: human}\ntasks:\n  a:\n    prompt: |\n      one\n      two\n"
    project = load((mark + text.replace("\n", line_end)).encode())
    assert project.tasks[0].prompt == "one\ntwo\n"


def test_a_json_file_is_a_project_file_too(load):
    content = {"agents": {"me": {"type": "human"}}, "tasks": {"a": {"agent": "me", "prompt": 'say "hi"\n\tnow'}}}
    assert load(json.dumps(content, indent=2)).tasks[0].prompt == 'say "hi"\n\tnow'


def test_a_prompt_file_becomes_the_prompt(load, tmp_path):
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "a.md").write_bytes("\ufeffAbout {{ vars.topic }}".encode())
    project = load(
        "variables: {topic: x}\ndefault_agent: me\nagents: {me: {type: human}}\n"
        "tasks: {a: {prompt_file: prompts/a.md}}\n"
    )
    assert project.tasks[0].prompt == "About {{ vars.topic }}"


def test_a_relative_path_gives_an_absolute_root(load, tmp_path, monkeypatch):
    load("default_agent: me\nagents: {me: {type: human}}\ntasks: {a: {}}\n")
    monkeypatch.chdir(tmp_path)
    project = load_project(Path("orchestrate.yaml"))
    assert project.path == Path("orchestrate.yaml")
    assert project.root == tmp_path


def test_variables_have_defaults_descriptions_or_are_required(load):
    project = load(
        """\
variables:
  plain: text
  number: 3
  half: 0.5
  flag: true
  empty: ''
  said: {default: 4, description: How many}
  optional: {required: false}
  needed: {description: Who reads it}
  demanded: {required: true}
default_agent: me
agents: {me: {type: human}}
tasks: {a: {}}
"""
    )
    assert project.variables == (
        Variable(name="plain", default="text"),
        Variable(name="number", default="3"),
        Variable(name="half", default="0.5"),
        Variable(name="flag", default="true"),
        Variable(name="empty", default=""),
        Variable(name="said", default="4", description="How many"),
        Variable(name="optional", default=""),
        Variable(name="needed", description="Who reads it"),
        Variable(name="demanded"),
    )
    values = resolve_variables(project, {"needed": "people", "demanded": "", "number": "7"})
    assert values == {
        "plain": "text",
        "number": "7",
        "half": "0.5",
        "flag": "true",
        "empty": "",
        "said": "4",
        "optional": "",
        "needed": "people",
        "demanded": "",
    }


def test_unknown_and_missing_variables_are_all_told(load):
    project = load(
        'variables: {topic: {description: "Sub\\nject"}, audience: {}}\ndefault_agent: me\n'
        "agents: {me: {type: human}}\ntasks: {a: {}}\n"
    )
    with pytest.raises(ProjectFileError) as caught:
        resolve_variables(project, {"topik": "x", "zzz": "y"})
    name = project.path
    assert caught.value.problems == (
        f"{name}: variables: 'topik' is not declared; did you mean 'topic'?",
        f"{name}: variables: 'zzz' is not declared; declared: 'topic', 'audience'",
        f"{name}: variables.topic: has no value (Sub ject); give one as topic=VALUE, or a default in the file",
        f"{name}: variables.audience: has no value; give one as audience=VALUE, or a default in the file",
    )


def test_a_variable_given_to_a_project_without_any_is_refused(load):
    project = load("default_agent: me\nagents: {me: {type: human}}\ntasks: {a: {}}\n")
    with pytest.raises(ProjectFileError, match=r"'x' is not declared; the project declares none$"):
        resolve_variables(project, {"x": "1"})


def test_importing_the_package_loads_no_parser():
    code = (
        "import sys, orchestration.project_file as p; p.json_schema(); p.reference_page();"
        "print(sorted({'ruamel.yaml', 'jsonschema', 'jinja2'} & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert answer.stdout == "[]\n"
