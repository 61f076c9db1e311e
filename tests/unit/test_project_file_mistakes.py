"""Mistakes in a project file: each is told with its line, its path, what was found and what was expected."""

import json
import os

import pytest

from orchestration.errors import ProjectFileError
from orchestration.project_file import load_project
from orchestration.project_file.structure import MISTAKES_MAX

HEAD = "default_agent: me\nagents: {me: {type: human}}\ntasks:\n"


@pytest.fixture
def mistakes(tmp_path):
    def write_and_load(content):
        path = tmp_path / "orchestrate.yaml"
        path.write_text(content)
        with pytest.raises(ProjectFileError) as caught:
            load_project(path)
        return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]

    return write_and_load


STRUCTURE = [
    ("  a: {timeout_s: ten}", "4:18: tasks.a.timeout_s: 'ten' is not a number; expected seconds above 0, such as 120"),
    ("  a: {timeout_s: 0}", "4:18: tasks.a.timeout_s: 0 is not above 0; expected seconds above 0, such as 120"),
    ("  a: {timeout_s: true}", "4:18: tasks.a.timeout_s: true is not a number; expected seconds above 0, such as 120"),
    (
        "  a: {timeout_s: }",
        "4:7: tasks.a.timeout_s: has no value; expected seconds above 0, such as 120, or remove the key",
    ),
    (
        "  a: {max_tokens: 1.5}",
        "4:19: tasks.a.max_tokens: 1.5 is not a whole number; expected a whole number from 1 up, such as 2000",
    ),
    (
        "  a: {max_attempts: 0}",
        "4:21: tasks.a.max_attempts: 0 is less than 1; expected a whole number from 1 up, such as 3",
    ),
    (
        "  a: {priority: hihg}",
        "4:17: tasks.a.priority: 'hihg' is not one of low, medium, high, critical; did you mean 'high'?",
    ),
    ("  a: {mode: batch}", "4:13: tasks.a.mode: 'batch' is not one of interactive, api, hybrid"),
    ("  a: {promt: x}", "4:7: tasks.a.promt: this key is not known; did you mean 'prompt'?"),
    ("  a: {prompt: ''}", "4:15: tasks.a.prompt: is empty; expected a template, such as Write about {{ vars.topic }}"),
    (
        "  a: {title: 12}",
        "4:14: tasks.a.title: 12 is not text (to be text it needs quotes); expected text, such as Draft the post",
    ),
    (
        "  a: {dependencies: b}\n  b: {}",
        "4:21: tasks.a.dependencies: 'b' is not a list; expected a list of texts, such as [outline]",
    ),
    (
        "  a: {dependencies: [1]}\n  1: {}",
        "4:22: tasks.a.dependencies[0]: 1 is not text (to be text it needs quotes); expected a task's id",
    ),
    ("  a: {use_direct_llm: yes}", "4:23: tasks.a.use_direct_llm: 'yes' is not a boolean; expected true or false"),
    (
        "  a: {output_schema: [1]}",
        "4:22: tasks.a.output_schema: a list is not a mapping or text; expected a JSON Schema such as {type: ob",
    ),
    (
        "  a: {cache: yes}",
        "4:14: tasks.a.cache: 'yes' is not a boolean or a mapping; expected true, false, or {max_age_s: 3600}",
    ),
    (
        "  a: {cache: {max_age_s: 0}}",
        "4:26: tasks.a.cache.max_age_s: 0 is not above 0; expected seconds above 0, such as 120",
    ),
    ("  a: {cache: {max_age: 9}}", "4:15: tasks.a.cache.max_age: this key is not known; did you mean 'max_age_s'?"),
    (
        "  a: {metadata: {use_direct_llm: 1}}",
        "4:34: tasks.a.metadata.use_direct_llm: 1 is not a boolean; expected true or false",
    ),
    (
        "  a: {prompt: x, prompt_file: y}",
        "4:7: tasks.a.prompt: 'prompt' and 'prompt_file' are both here; keep one",
    ),
    (
        "  a: {output_schema: {type: boolean}, wait: {deadline_s: 9, default: 'yes'}}",
        "4:70: tasks.a.wait.default: the default cannot be used: the answer is not JSON: ",
    ),
    (
        "  a: {output_schema: {type: boolean}, wait: {deadline_s: 9, default: '7'}}",
        "4:70: tasks.a.wait.default: the default cannot be used: the answer does not meet the output schema: at $: 7",
    ),
    ("  a: 12", "4:6: tasks.a: 12 is not a mapping; expected the task's fields, such as {agent: writer, prompt: Write"),
    ("  a:\n  b: {}", "4:3: tasks.a: has no value; expected the task's fields, such as {agent: writer, prompt: Write"),
    ("  - {title: x}", "4:5: tasks[0]: the key 'id' is missing; expected a task's id, such as draft"),
    (
        "  - {id: 7}",
        "4:10: tasks[0].id: 7 is not text (to be text it needs quotes); expected a task's id, such as draft",
    ),
    ("  - x", "4:5: tasks[0]: 'x' is not a mapping; expected a task with its id, such as {id: draft, agent: writer}"),
    ("  {}", "4:3: tasks: is empty; expected at least one task, such as draft: {agent: writer, prompt: Write a poem.}"),
    ("  []", "4:3: tasks: is empty; expected at least one task, such as draft: {agent: writer, prompt: Write a poem.}"),
    ("  many", "4:3: tasks: 'many' is not a mapping or a list; expected at least one task"),
    ("  a: {}\nbogus: 1", "5:1: bogus: this key is not known; known here: 'project', 'description', 'scripts_dir'"),
    ("  a: {}\nmodes: api", "5:1: modes: this key is not known; did you mean 'mode'?"),
    ("  a: {}\nmax_concurrent: -1", "5:17: max_concurrent: -1 is less than 1; expected a whole number from 1 up"),
    ("  a: {}\nvariables: [topic]", "5:12: variables: a list is not a mapping; expected variables with their defaults"),
    (
        "  a: {}\nvariables: {a-b: 1}",
        "5:13: variables.a-b: 'a-b' has the wrong form; expected a variable's name: letters, digits and _, no",
    ),
    ("  a: {}\nvariables: {x: [1]}", "5:16: variables.x: a list is not text or a number or a boolean or a mapping;"),
    ("  a: {}\nvariables: {x: }", "5:13: variables.x: has no value; expected a default value such as asyncio, or a"),
    (
        "  a: {}\nvariables: {x: {defualt: 1}}",
        "5:17: variables.x.defualt: this key is not known; did you mean 'default'?",
    ),
    (
        "  a: {}\nvariables: {x: {default: 1, required: true}}",
        "5:39: variables.x.required: a required variable makes no use of its default; keep one of the two",
    ),
]

AGENTS = [
    ("{}", "2:6: agents.x: the key 'type' is missing; expected one of anthropic, openai, gemini, local, script, cli,"),
    (
        "{type: antropic}",
        "2:16: agents.x.type: 'antropic' is not one of anthropic, openai, gemini, local, script, cli, ",
    ),
    (
        "{type: python}",
        "2:6: agents.x: the key 'function' is missing; expected module:function, such as steps:count_words",
    ),
    (
        "{type: python, function: steps}",
        "2:34: agents.x.function: 'steps' has the wrong form; expected module:function",
    ),
    (
        "{type: python, function: 'a b:c'}",
        "2:34: agents.x.function: 'a b:c' has the wrong form; expected module:functi",
    ),
    (
        '{type: python, function: "a:b\\n"}',
        "2:34: agents.x.function: 'a:b\\n' has the wrong form; expected module:function, such as steps:count_words",
    ),
    ("{type: script}", "2:6: agents.x: the key 'command' is missing; expected a list of texts, such as [./review.sh, "),
    (
        "{type: cli, command: []}",
        "2:30: agents.x.command: is empty; expected a list of texts, such as [./review.sh, --",
    ),
    (
        "{type: cli, command: ./x}",
        "2:30: agents.x.command: './x' is not a list; expected a list of texts, such as [./re",
    ),
    (
        "{type: openai, function: 'a:b'}",
        "2:24: agents.x.function: 'function' means nothing for an agent of type 'openai', only for python; remove it",
    ),
    (
        "{type: human, command: [x]}",
        "2:23: agents.x.command: 'command' means nothing for an agent of type 'human', only for script and cli; re",
    ),
    ("{type: human, temperature: -1}", "2:23: agents.x.temperature: 'temperature' means nothing for an agent of type"),
    (
        "{type: local, temperature: -1}",
        "2:36: agents.x.temperature: -1 is less than 0; expected a number from 0 up, such",
    ),
    (
        "{type: openai, base_url: 'localhost:1'}",
        "2:34: agents.x.base_url: 'localhost:1' has the wrong form; expected an",
    ),
    ("{type: openai, api_key: sk-1}", "2:24: agents.x.api_key: this key is not known; did you mean 'api_key_env'?"),
    (
        "{type: openai, api_key_env: sk-proj-secret}",
        "2:37: agents.x.api_key_env: the value (not shown, it may be secret) has the wrong form; expected the name o",
    ),
    (
        "{type: openai, headers: {Authorization: 31337}}",
        "2:49: agents.x.headers.Authorization: the value (not shown, it may be secret) is not text",
    ),
    ("nothing", "2:9: agents.x: 'nothing' is not a mapping; expected the agent's options, such as {type: anthropic}"),
]


@pytest.mark.parametrize(("tasks", "told"), STRUCTURE, ids=lambda value: value[:40])
def test_a_mistake_in_the_structure_is_told_with_what_was_expected(mistakes, tmp_path, tasks, told):
    (tmp_path / "y").write_text("a prompt")
    (line,) = mistakes(HEAD + tasks + "\n")
    assert line.startswith(told)


@pytest.mark.parametrize(("options", "told"), AGENTS, ids=lambda value: value[:40])
def test_an_agent_has_the_options_of_its_type(mistakes, options, told):
    tasks = "default_agent: me\ntasks: {a: {}}\n"
    found = mistakes(f"agents:\n     x: {options}\n     me: {{type: human}}\n{tasks}")
    assert found[0].startswith(told)
    assert "sk-proj-secret" not in "\n".join(found)
    assert "31337" not in "\n".join(found)
    assert len(found) == 1 or "temperature" in found[1]


REFERENCES = [
    ("  a: {agent: mee}", ["4:14: tasks.a.agent: there is no agent 'mee'; did you mean 'me'?"]),
    ("  a: {agent: writer}", ["4:14: tasks.a.agent: there is no agent 'writer'; the agents of this file: 'me'"]),
    (
        "  outline: {}\n  b: {dependencies: [outlin]}",
        ["5:22: tasks.b.dependencies[0]: there is no task 'outlin'; did you mean 'outline'?"],
    ),
    (
        "  a: {dependencies: [zzzz]}",
        ["4:22: tasks.a.dependencies[0]: there is no task 'zzzz'; the tasks of this file: 'a'"],
    ),
    (
        "  c: {dependencies: [x, a]}\n  a: {dependencies: [b]}\n  b: {dependencies: [c]}\n  x: {}",
        [
            (
                "4:25: tasks.c.dependencies[1]: tasks depend on each other in a circle: c -> a -> b -> c (read '->' as "
                "'depends on'); remove one of these dependencies"
            )
        ],
    ),
    ("  a: {dependencies: [a]}", ["4:22: tasks.a.dependencies[0]: tasks depend on each other in a circle: a -> a ("]),
    (
        "  a: {dependencies: [b]}\n  b: {dependencies: [a]}\n  c: {dependencies: [d]}\n  d: {dependencies: [c]}",
        [
            "4:22: tasks.a.dependencies[0]: tasks depend on each other in a circle: a -> b -> a",
            "6:22: tasks.c.dependencies[0]: tasks depend on each other in a circle: c -> d -> c",
        ],
    ),
    (
        "  - {id: a}\n  - {id: b}\n  - {id: a, agent: nobody}",
        [
            "6:10: tasks[2].id: the id 'a' is here twice, first in line 4; give one of the tasks another id",
            "6:20: tasks[2].agent: there is no agent 'nobody'",
        ],
    ),
    ("  a: {title: A}\n  a: {title: B}", ["5:3: tasks.a: 'a' is here twice, first in line 4; keep one"]),
    ("  a/b: {}", ["4:3: tasks['a/b']: task id 'a/b' is not usable; expected 1 to 128 letters, digits or _ - . : @ +"]),
    ("  ../up: {}", ["4:3: tasks['../up']: task id '../up' is not usable; expected 1 to 128 letters"]),
    ("  a..b: {}", ["4:3: tasks['a..b']: task id 'a..b' is not usable; expected 1 to 128 letters"]),
    ("  - {id: -x}", ["4:10: tasks[0].id: task id '-x' is not usable; expected 1 to 128 letters"]),
    ("  a: {}\nproject: my/blog", ["5:10: project: project id 'my/blog' is not usable"]),
    ("  a: {output_file: ../x}", ["4:20: tasks.a.output_file: '../x' lies outside of the project's folder "]),
    (
        "  a: {output_file: /etc/x}",
        ["4:20: tasks.a.output_file: '/etc/x' is an absolute path; expected one relative to"],
    ),
    ("  a: {output_file: link/x}", ["4:20: tasks.a.output_file: 'link/x' lies outside of the project's folder "]),
    (
        "  a: {output_file: out/../x}",
        ["4:20: tasks.a.output_file: 'out/../x' goes up a folder; expected a path without '..'"],
    ),
    ("  a: {output_file: folder}", ["4:20: tasks.a.output_file: 'folder' is a folder; expected a file"]),
    ("  a: {output_file: .}", ["4:20: tasks.a.output_file: '.' is a folder; expected a file"]),
    ("  a: {output_file: orchestrate.yaml}", ["4:20: tasks.a.output_file: 'orchestrate.yaml' belongs to the project"]),
    ("  a: {output_file: .orchestration/x}", ["4:20: tasks.a.output_file: '.orchestration/x' belongs to the project"]),
    (
        "  a: {output_file: out/x}\n  b: {output_file: ./out//x}",
        ["5:20: tasks.b.output_file: './out//x' is written in line 4 already; name another file"],
    ),
    ("  a: {}\nscripts_dir: nowhere", ["5:14: scripts_dir: there is no folder 'nowhere' in "]),
    (
        "  a: {model: x, metadata: {model: y}}",
        ["4:28: tasks.a.metadata.model: 'model' is given here and as the task's own key; keep one"],
    ),
    (
        "  a: {cache: true, metadata: {cache: false}}",
        ["4:31: tasks.a.metadata.cache: 'cache' is given here and as the task's own key; keep one"],
    ),
]


@pytest.mark.parametrize(("tasks", "told"), REFERENCES, ids=lambda value: str(value)[:40])
def test_what_leads_nowhere_or_collides_is_told(mistakes, tmp_path, tasks, told):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("/")
    found = mistakes(HEAD + tasks + "\n")
    assert len(found) == len(told)
    for line, expected in zip(found, told, strict=True):
        assert line.startswith(expected)


def test_an_agent_s_files_lie_in_the_project(mistakes, tmp_path):
    (tmp_path / "link").symlink_to("/")
    files = "[7, ../x, /etc/x, link/x, out/../x, not-there-yet.md]"
    found = mistakes(f"default_agent: w\nagents: {{w: {{type: anthropic, files: {files}}}}}\ntasks: {{a: {{}}}}\n")
    assert [line.split(";")[0] for line in found] == [
        "2:39: agents.w.files[0]: 7 is not text (to be text it needs quotes)",
        f"2:42: agents.w.files[1]: '../x' lies outside of the project's folder {str(tmp_path)!r}",
        "2:48: agents.w.files[2]: '/etc/x' is an absolute path",
        f"2:56: agents.w.files[3]: 'link/x' lies outside of the project's folder {str(tmp_path)!r}",
        "2:64: agents.w.files[4]: 'out/../x' goes up a folder",
    ]


@pytest.mark.parametrize("path", ["x" * 300, "loop/x", "loop"])
def test_a_path_that_no_file_can_have_is_told(mistakes, tmp_path, path):
    (tmp_path / "loop").symlink_to("loop")
    (line,) = mistakes(f"{HEAD}  a: {{prompt_file: {path}}}\n")
    assert line.startswith(f"4:20: tasks.a.prompt_file: '{path[:57]}'")
    assert " cannot be a file: " in line or " does not exist; " in line  # a circle of links, from Python 3.13 on


def test_control_characters_do_not_reach_the_terminal(mistakes):
    (name, circle) = mistakes(HEAD + '  "a\\n\\e[31mb": {dependencies: ["a\\n\\e[31mb"]}\n')
    assert "task id 'a\\n\\x1b[31mb' is not usable" in name
    assert "circle: a\\n\\x1b[31mb -> a\\n\\x1b[31mb" in circle


def test_of_many_circles_the_first_are_told(mistakes):
    found = mistakes(HEAD + "".join(f"  t{number}: {{dependencies: [t{number}]}}\n" for number in range(12)))
    assert len(found) == 10
    assert all("in a circle" in line for line in found)


def test_an_agent_name_that_is_no_name_is_told(mistakes):
    (line,) = mistakes("default_agent: me\nagents:\n  me: {type: human}\n  a/b: {type: human}\ntasks: {a: {}}\n")
    assert line.startswith("4:3: agents['a/b']: agent name 'a/b' is not usable")


def test_a_disabled_agent_cannot_be_used(mistakes):
    found = mistakes("default_agent: me\nagents: {me: {type: human, enabled: false}}\ntasks: {a: {agent: me}}\n")
    assert found == [
        "1:16: default_agent: the agent 'me' is disabled; enable it or name another",
        "3:20: tasks.a.agent: the agent 'me' is disabled; enable it or name another",
    ]


def test_tasks_that_nobody_does_are_told_together(mistakes):
    found = mistakes("agents: {me: {type: human}}\ntasks:\n  a: {agent: me}\n  b: {}\n  c: {}\n  d: {agent: 5}\n")
    assert found == [
        "4:3: tasks.b: no agent does this task (and 1 more); name one under 'agent', or set 'default_agent'",
        (
            "6:14: tasks.d.agent: 5 is not text (to be text it needs quotes); expected the name of an agent, such as "
            "writer"
        ),
    ]


def test_without_agents_every_agent_is_unknown(mistakes):
    assert mistakes("tasks: {a: {agent: me}}\n") == [
        "1:20: tasks.a.agent: there is no agent 'me'; this file has no agents"
    ]


def test_without_tasks_there_is_no_project(mistakes):
    (line,) = mistakes("agents: {me: {type: human}}\n")
    assert line.startswith("1:1: the key 'tasks' is missing; expected at least one task, such as draft: {agent: writer")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("agents: 5\ndefault_agent: me\ntasks: {a: {agent: other}}\n", ["1:9: agents: 5 is not a mapping"]),
        (
            "agents: {me: 5}\ndefault_agent: me\ntasks: {a: {}}\n",
            ["1:14: agents.me: 5 is not a mapping; expected the agent's options"],
        ),
        (
            "agents: {me: {type: human}}\nvariables: 5\ntasks: {a: {agent: me, prompt: '{{ vars.x }}'}}\n",
            ["2:12: variables: 5 is not a mapping"],
        ),
        (
            "agents: {me: {type: human}}\nvariables: {x: [1]}\ntasks: {a: {agent: me, prompt: '{{ vars.x }}'}}\n",
            ["2:16: variables.x: a list is not"],
        ),
        (
            "agents: {me: {type: human}}\ntasks: {a: 5, b: {agent: me, dependencies: [a]}}\n",
            ["2:12: tasks.a: 5 is not a mapping"],
        ),
        (
            "agents: {me: {type: human}}\ntasks: {a: {agent: !x me}}\n",
            ["2:20: tasks.a.agent: tag '!x' is not allowed; expected a plain value without a tag"],
        ),
    ],
)
def test_one_mistake_is_not_told_twice_by_what_follows_from_it(mistakes, content, told):
    found = mistakes(content)
    assert len(found) == len(told)
    for line, expected in zip(found, told, strict=True):
        assert line.startswith(expected)


def test_all_mistakes_are_told_at_once_and_in_the_order_of_the_file(mistakes):
    found = mistakes(
        """\
max_concurrent: many
agents:
  me: {type: humman}
tasks:
  a:
    agent: mee
    timeout_s: ten
    prompt: |
      First {{ vars.topic }}
      then {{ tasks.b.output }}
    dependencies: [b, c]
  b: {agent: me, dependencies: [a], output_schema: {type: objekt}}
  b: {agent: me}
  d/e: {agent: me, prompt_file: missing.md, color: red}
"""
    )
    assert [line.split(": ")[0] for line in found] == [
        "1:17",
        "3:14",
        "6:12",
        "7:16",
        "9:16",
        "11:20",
        "11:23",
        "12:59",
        "13:3",
        "14:3",
        "14:33",
        "14:45",
    ]


def test_every_line_says_which_file(tmp_path):
    path = tmp_path / "other.yml"
    path.write_text("tasks: 5\nagents: 5\n")
    with pytest.raises(ProjectFileError) as caught:
        load_project(path)
    assert all(problem.startswith(f"{path}:") for problem in caught.value.problems)
    assert str(caught.value) == "\n".join(caught.value.problems)


@pytest.mark.parametrize("mistake", ["dependencies: [nobody]", "colour: red", "prompt: '{{ x }}'", "title: !x y"])
def test_a_file_full_of_mistakes_tells_the_first_ones_soon(mistakes, mistake):
    found = mistakes(HEAD + "".join(f"  t{number}: {{{mistake}}}\n" for number in range(3 * MISTAKES_MAX)))
    assert len(found) == MISTAKES_MAX + 1
    assert found[0].startswith("4:")
    assert found[-1].endswith("has more mistakes than these 500; correct them first")


OUTPUT_SCHEMAS = [
    ("{type: objekt}", "4:29: tasks.a.output_schema.type: not a valid JSON Schema: 'objekt' is not one of ['array', "),
    (
        "{properties: [x]}",
        "4:35: tasks.a.output_schema.properties: not a valid JSON Schema: ['x'] is not of type 'object'",
    ),
    ("{pattern: '('}", "4:32: tasks.a.output_schema.pattern: not a valid JSON Schema: '(' is not a 'regex'"),
    (
        "{$schema: 5}",
        "4:32: tasks.a.output_schema['$schema']: not a valid JSON Schema: $schema is 5, expected an address",
    ),
    ("{$schema: 'http://['}", "4:32: tasks.a.output_schema['$schema']: not a valid JSON Schema: "),
    (
        "{items: {$ref: '#/$defs/x'}}",
        "4:37: tasks.a.output_schema.items['$ref']: not a valid JSON Schema: $ref '#/$defs/x' leads nowhere; expec",
    ),
    (
        "{$ref: 'http://localhost/x.json'}",
        "4:29: tasks.a.output_schema['$ref']: not a valid JSON Schema: $ref 'http://lo",
    ),
    (
        "{allOf: [{}, {$ref: '#/allOf/2'}]}",
        "4:42: tasks.a.output_schema.allOf[1]['$ref']: not a valid JSON Schema: $ref",
    ),
    ("missing.json", "4:22: tasks.a.output_schema: the file 'missing.json' does not exist; expected a file in "),
    (
        "broken.json",
        "4:22: tasks.a.output_schema: 'broken.json' is not JSON: line 1, column 2: Expecting property name",
    ),
    ("deep.json", "4:22: tasks.a.output_schema: 'deep.json' is not JSON that can be read: maximum recursion depth"),
    ("huge.json", "4:22: tasks.a.output_schema: 'huge.json' is not JSON that can be read: Exceeds the limit"),
    (
        "list.json",
        "4:22: tasks.a.output_schema: 'list.json' holds a list; expected a JSON Schema such as {'type': 'object'}",
    ),
    (
        "wrong.json",
        "4:22: tasks.a.output_schema: 'wrong.json' is not a valid JSON Schema: at items.type: 'objekt' is not",
    ),
    (
        "true.json",
        "4:22: tasks.a.output_schema: 'true.json' is not a valid JSON Schema: at the top: it is nested too deeply",
    ),
]


@pytest.mark.parametrize(("schema", "told"), OUTPUT_SCHEMAS, ids=lambda value: value[:40])
def test_an_output_schema_that_could_not_be_used_is_told(mistakes, tmp_path, schema, told):
    (tmp_path / "broken.json").write_text("{x}")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "huge.json").write_text("9" * 5000)
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "wrong.json").write_text('{"items": {"type": "objekt"}}')
    (tmp_path / "true.json").write_text('{"not": ' * 500 + "{}" + "}" * 500)
    (line,) = mistakes(f"{HEAD}  a: {{output_schema: {schema}}}\n")
    assert line.startswith(told)


def test_output_schemas_that_can_be_used_are_accepted(tmp_path):
    schemas = [
        {"$ref": "#"},
        {"$ref": "#/$defs/a~1b/prefixItems/0", "$defs": {"a/b": {"prefixItems": [{}]}}},
        {"$ref": "#name", "$defs": {"x": {"$anchor": "name"}}},
        {"properties": {"$ref": {"type": "string"}}},
        {"const": {"$ref": "anywhere"}},
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"},
    ]
    tasks = {f"t{number}": {"output_schema": schema} for number, schema in enumerate(schemas)}
    path = tmp_path / "orchestrate.yaml"
    path.write_text(json.dumps({"default_agent": "me", "agents": {"me": {"type": "human"}}, "tasks": tasks}))
    assert [task.output_schema for task in load_project(path).tasks] == schemas


PROMPT_FILES = [
    ("missing.md", "the file 'missing.md' does not exist; expected a file in "),
    ("folder", "'folder' is a folder; expected a file"),
    ("pipe", "the file 'pipe' is not a regular file; expected a file in "),
    ("latin.md", "the file 'latin.md' is not UTF-8 text (byte 3)"),
    ("binary.md", "the file 'binary.md' is a binary file; expected text"),
    ("large.md", "the file 'large.md' is larger than 4,000,000 bytes"),
    ("../x.md", "'../x.md' lies outside of the project's folder "),
    (
        "wrong.md",
        "in line 2 of 'wrong.md': there is no name 'nope' in a template; expected one of tasks, vars, task, file",
    ),
    ("broken.md", "in line 3 of 'broken.md': the template cannot be read: Unexpected end of template."),
]


@pytest.mark.parametrize(("path", "told"), PROMPT_FILES, ids=[path for path, _ in PROMPT_FILES])
def test_a_prompt_file_that_cannot_be_used_is_told(mistakes, tmp_path, path, told):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin.md").write_bytes(b"caf\xe9")
    (tmp_path / "binary.md").write_bytes(b"a\0b")
    (tmp_path / "large.md").write_bytes(b"x" * 4_000_001)
    (tmp_path / "wrong.md").write_text("one\n{{ nope }}\n")
    (tmp_path / "broken.md").write_text("one\n\n{% if task.title %}")
    (line,) = mistakes(f"{HEAD}  a: {{prompt_file: {path}}}\n")
    assert line.startswith(f"4:20: tasks.a.prompt_file: {told}")
