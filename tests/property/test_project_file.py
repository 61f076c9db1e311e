"""Whatever is in a project file, it is a project or a list of mistakes; and what was written is what is read."""

import io
import json
from dataclasses import fields, is_dataclass, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jinja2 import TemplateAssertionError, TemplateSyntaxError
from jinja2.sandbox import SandboxedEnvironment
from ruamel.yaml import YAML

from orchestration.agent_registry import AgentConfig, AgentType
from orchestration.errors import ProjectFileError
from orchestration.project_file import ProjectFile, json_schema, load_project, resolve_variables
from orchestration.project_file.answer_schema import find_fault
from orchestration.project_file.reference import EXAMPLE
from orchestration.project_file.templates import Scope, find_in_expression, find_mistakes
from orchestration.task import AgentTask, TaskPriority
from orchestration.task_options import AddsTasks, Check, Wait

# The first example loads the parsers, which takes longer than any deadline.
USUAL = settings(deadline=None)
MORE = settings(deadline=None, max_examples=200)

# Without three characters that the dumper of `as_block_yaml` takes for line breaks; the unit tests have them.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\x85\u2028\u2029"), max_size=40)
NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_:@+-]{0,12}(\.[a-z]{1,3})?", fullmatch=True)
VARIABLE_NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
SECONDS = st.floats(0.001, 1e6) | st.integers(1, 10**6)
COUNTS = st.integers(1, 10**6)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS.filter(bool), inner, max_size=3),
    max_leaves=8,
)


def all_keys(schema):
    """Return the names of all keys a project file may hold."""
    found = set()
    for group in ("properties", "$defs"):
        for key, child in schema.get(group, {}).items():
            found |= {key} | all_keys(child)
    return found


KEYS = sorted(all_keys(json_schema()))
# Values that a project file might hold at any place, right or wrong.
WORDS = st.sampled_from(
    [
        *KEYS,
        "a",
        "b",
        "../x",
        "x:y",
        "api",
        "human",
        "python",
        "high",
        "cli",
        "codex",
        "full",
        "once",
        "worktree",
        "(",
        "{{ tasks.a.x }}",
        "{% if",
        "#/x",
    ]
)
SOUP = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | WORDS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | WORDS, inner, max_size=4),
    max_leaves=12,
)
YAML_PIECES = st.sampled_from(
    [
        *"-?:,[]{}#&*!|>'\"%@`~<\n \t\r\ufeff\x85\u2028\u00e9",
        *("\n  ", ": ", "- ", "&a ", "*a", "!!str ", "!x ", "<<", "---\n", "...\n", "|\n  ", ">-\n", "%YAML 1.1\n"),
        *('"\\U', '"\\x', '"\\u', "tasks:\n", "  a: ", "{{ x }}", "1e9", ".inf", "0x", "0o7", "null", "\ufdd0"),
    ]
)
TEMPLATE_PIECES = st.sampled_from(
    [
        *(
            "{{",
            "}}",
            "{%",
            "%}",
            "{#",
            "#}",
            "{%-",
            "+%}",
            " ",
            "\n",
            "tasks",
            ".a",
            ".output",
            "['b']",
            "vars",
            ".x",
            "task",
        ),
        *(
            "file(",
            "'p'",
            ")",
            "if",
            "elif",
            "else",
            "endif",
            "for",
            "in",
            "endfor",
            "recursive",
            "loop",
            "set",
            "=",
            ",",
            ":",
        ),
        *(
            "macro m()",
            "endmacro",
            "call",
            "include",
            "import",
            "as",
            "from",
            "with",
            "endwith",
            "|",
            "upper",
            "is",
            "defined",
        ),
        *(
            "raw",
            "endraw",
            "1",
            "1.",
            "e5",
            '"',
            "\\",
            "**",
            "-",
            "~",
            "%",
            "[",
            "]",
            "(",
            "block b",
            "endblock",
            "extends",
        ),
        *("self", "super()", "ns.x", "namespace()", "not", "none"),
    ]
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("project") / "orchestrate.yaml"


def load_or_mistakes(path, content):
    """Load the content; what is wrong with it must be told in lines that name the file."""
    path.write_bytes(content)
    try:
        return load_project(path)
    except ProjectFileError as exc:
        problems = exc.problems
    assert problems
    for problem in problems:
        assert problem.startswith(str(path))
        assert "\n" not in problem
        assert problem.isprintable()
    return None


@USUAL
@given(st.binary(max_size=200))
def test_any_bytes_are_a_project_or_mistakes(path, content):
    load_or_mistakes(path, content)


@USUAL
@given(st.lists(YAML_PIECES, max_size=30).map("".join))
@example('a: "\\U00110000"')
@example("? - ? - a")
@example("!<tag:yaml.org,2002:str> a: &a [!!map {}, *a]")
def test_any_pieces_of_yaml_are_a_project_or_mistakes(path, content):
    load_or_mistakes(path, content.encode())


@USUAL
@given(st.data())
def test_a_damaged_project_is_a_project_or_mistakes(path, data):
    start = data.draw(st.integers(0, len(EXAMPLE)))
    end = data.draw(st.integers(start, min(len(EXAMPLE), start + 40)))
    piece = data.draw(st.lists(YAML_PIECES, max_size=3).map("".join))
    load_or_mistakes(path, (EXAMPLE[:start] + piece + EXAMPLE[end:]).encode())


@MORE
@given(st.dictionaries(st.sampled_from(sorted(json_schema()["properties"])), SOUP))
def test_any_values_under_known_keys_are_a_project_or_mistakes(path, content):
    load_or_mistakes(path, json.dumps(content).encode())


@MORE
@given(
    st.dictionaries(st.sampled_from(sorted(json_schema()["$defs"]["task"]["properties"])), SOUP),
    st.dictionaries(st.sampled_from(sorted(json_schema()["$defs"]["agent"]["properties"])), SOUP),
)
def test_any_values_of_tasks_and_agents_are_a_project_or_mistakes(path, task, agent):
    content = {"agents": {"a": agent, "b": {"type": "human"}}, "tasks": {"a": task, "b": {"agent": "b"}}}
    load_or_mistakes(path, json.dumps(content).encode())


@MORE
@given(st.lists(TEMPLATE_PIECES, max_size=20).map(" ".join) | st.lists(TEMPLATE_PIECES, max_size=20).map("".join))
def test_any_template_is_accepted_or_told(source):
    scope = Scope(task_id="t", dependencies=["a"], tasks=["a", "b", "t"], variables=["x"], task_fields=["title"])
    for finding in find_mistakes(source, scope):
        assert 1 <= finding.line <= source.count("\n") + 1
        assert finding.message


@MORE
@given(st.lists(TEMPLATE_PIECES | st.sampled_from(["item", "a }} b", "\n{{", "=="]), max_size=20).map(" ".join))
def test_any_expression_is_accepted_or_told(source):
    scope = Scope(task_id="t", dependencies=["a"], tasks=["a", "b", "t"], variables=["x"], task_fields=["title"])
    for finding in find_in_expression(source, scope):
        assert 1 <= finding.line <= source.count("\n") + 1
        assert finding.message


@MORE
@given(st.lists(TEMPLATE_PIECES, max_size=8).map(" ".join))
def test_an_expression_is_read_as_it_will_be_when_it_is_evaluated(source):
    """What is refused before a run could not have been compiled in it, and the other way round."""
    scope = Scope(task_id="t", dependencies=["a", "b"], tasks=["t"], variables=None, task_fields=())
    told = [finding.message for finding in find_in_expression(source, scope)]
    is_refused = any("cannot be read" in message for message in told)
    bare = source.strip()
    if bare.startswith("{{") and bare.endswith("}}"):
        bare = bare[2:-2]
    try:
        SandboxedEnvironment().compile_expression(bare)
    except TemplateAssertionError:
        return  # a filter or a test that is not there, which is told in other words
    except TemplateSyntaxError:
        assert is_refused
    else:
        assert not is_refused


@USUAL
@given(
    st.dictionaries(st.sampled_from(["type", "$ref", "$schema", "items", "properties", "pattern", "enum", "$id"]), SOUP)
)
def test_any_mapping_is_an_answer_schema_or_told(schema):
    fault = find_fault(schema)
    assert fault is None or fault.message


@st.composite
def projects(draw):
    """Return a valid project: what is written, and the records it stands for."""
    agents, agent_records = draw_agents(draw)
    variables = draw(st.dictionaries(VARIABLE_NAMES, TEXTS, max_size=3))
    tasks, task_records = draw_tasks(draw, sorted(agents), sorted(variables))
    written = {"agents": agents, "tasks": tasks, "variables": variables}
    top = draw(
        optional(project=NAMES, description=TEXTS, max_concurrent=COUNTS, mode=st.sampled_from(["api", "hybrid"]))
    )
    return written | top, agent_records, task_records


def optional(**fields):
    return st.fixed_dictionaries({}, optional=fields)


def draw_agents(draw):
    written, records = {}, []
    options = optional(
        description=TEXTS,
        capabilities=st.lists(TEXTS.filter(bool), max_size=2),
        max_concurrent=COUNTS,
        timeout_s=SECONDS,
        max_tokens=COUNTS,
        temperature=st.floats(0, 2),
        headers=st.dictionaries(NAMES, TEXTS, max_size=2),
        extras=st.dictionaries(TEXTS.filter(bool), JSON, max_size=2),
    )
    for name in draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)):
        kind = draw(st.sampled_from([AgentType.OPENAI_GPT, AgentType.LOCAL, AgentType.GOOGLE_GEMINI]))
        given_options = draw(options)
        written[name] = {"type": kind.value, **given_options}
        records.append(AgentConfig(name, kind, **given_options))
    return written, tuple(records)


RULES = optional(
    effects=st.sampled_from(["none", "idempotent"]),
    workspace=st.sampled_from(["shared", "worktree", "none"]),
    writes=st.lists(st.sampled_from(["src/**", "docs/*.md", "a"]), max_size=2).map(tuple),
    when=st.sampled_from(["vars", "{{ task.title == 'x' }}"]),
    adds_tasks=st.none() | st.builds(AddsTasks, max_tasks=COUNTS, max_depth=COUNTS, approval=st.just("always")),
    checks=st.lists(
        st.one_of(
            st.builds(
                Check,
                command=st.lists(TEXTS.filter(bool), min_size=1, max_size=2).map(tuple),
                name=TEXTS.filter(bool),
                timeout_s=SECONDS,
            ),
            st.builds(Check, schema=st.just({"type": "object"})),
            st.builds(Check, matches=st.sampled_from(["x", "(?m)^a$"])),
            st.builds(Check, files=st.just(("out/x", "y"))),
            st.builds(Check, changed=st.just(("src/**",))),
            st.builds(Check, person=st.just(True), criteria=TEXTS.filter(bool)),
        ),
        max_size=3,
    ).map(tuple),
)
WAITS = st.builds(Wait, deadline_s=SECONDS, remind_every_s=st.none() | SECONDS, default=st.none() | TEXTS)


def as_written(value):
    """Return a record as a project file says it: without what has its default."""
    if isinstance(value, tuple):
        return [as_written(one) for one in value]
    if not is_dataclass(value):
        return value
    given = {field.name: getattr(value, field.name) for field in fields(value)}
    return {
        field.name: as_written(given[field.name]) for field in fields(value) if given[field.name] != field.default
    } or True


def draw_rules(draw, *, has_form):
    rules = draw(RULES)
    asks_person = rules.get("adds_tasks") or any(check.person for check in rules.get("checks", ()))
    if asks_person and draw(st.booleans()):
        wait = draw(WAITS)
        rules["wait"] = replace(wait, default="approve") if has_form and wait.default is not None else wait
    return rules


def draw_tasks(draw, agents, variables):
    written, records = {}, []
    for task_id in draw(st.lists(NAMES, min_size=1, max_size=5, unique=True)):
        dependencies = draw(st.lists(st.sampled_from(sorted(written)), unique=True, max_size=3)) if written else []
        options = draw(
            optional(
                title=TEXTS.filter(bool),
                description=TEXTS,
                system=TEXTS,
                max_tokens=COUNTS,
                timeout_s=SECONDS,
                max_attempts=COUNTS,
                output_schema=st.sampled_from([{"type": "object"}, {"enum": [1, "a", None]}]),
                metadata=st.dictionaries(
                    TEXTS.filter(lambda key: key not in {"", "model", "use_direct_llm"}), JSON, max_size=2
                ),
            )
        )
        options |= {"agent": draw(st.sampled_from(agents)), "dependencies": dependencies}
        names = [f"tasks['{name}'].output" for name in dependencies] + [f"vars.{name}" for name in variables]
        if draw(st.booleans()):
            options["prompt"] = "Use:\n" + "\n".join(f"{{{{ {name} }}}}" for name in names)
        priority = draw(st.sampled_from(TaskPriority))
        rules = draw_rules(draw, has_form="output_schema" in options)
        said = {name: as_written(value) for name, value in rules.items() if value is not None}
        written[task_id] = {**options, **said, "priority": priority.name.lower()}
        records.append(
            AgentTask(
                task_id,
                options.pop("title", task_id),
                dependencies=tuple(options.pop("dependencies")),
                priority=priority,
                **rules,
                **options,
            )
        )
    return written, tuple(records)


def as_json(content):
    return json.dumps(content).encode()


def as_block_yaml(content):
    stream = io.BytesIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.dump(content, stream)
    return stream.getvalue()


def as_list_of_tasks(content):
    return as_json({**content, "tasks": [{"id": task_id, **task} for task_id, task in content["tasks"].items()]})


@pytest.mark.parametrize("write", [as_json, as_block_yaml, as_list_of_tasks])
@USUAL
@given(project=projects())
def test_a_valid_project_is_read_as_it_was_written(path, write, project):
    content, agents, tasks = project
    loaded = load_or_mistakes(path, write(content))
    assert loaded == ProjectFile(
        path=path,
        root=path.parent,
        project_id=content.get("project", "default"),
        description=content.get("description", ""),
        tasks=tasks,
        agents=agents,
        variables=loaded.variables,
        mode=content.get("mode", "api"),
        max_concurrent=content.get("max_concurrent"),
    )
    assert resolve_variables(loaded, {}) == content["variables"]


@USUAL
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_a_project_loads_unless_its_dependencies_go_round(path, edges):
    wanted = {f"t{number}": sorted({f"t{b}" for a, b in edges if a == number}) for number in range(7)}
    tasks = {task: {"agent": "me", "dependencies": names} for task, names in wanted.items()}
    loaded = load_or_mistakes(path, json.dumps({"agents": {"me": {"type": "human"}}, "tasks": tasks}).encode())
    done = set()
    while ready := {task for task, names in wanted.items() if task not in done and done.issuperset(names)}:
        done |= ready
    assert (loaded is not None) == (len(done) == 7)
