"""What a project file says of programs, checks, effects, people, and of tasks that are made at run time."""

import json
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from orchestration.agent_registry import AgentConfig, AgentType, Tool
from orchestration.errors import ProjectFileError
from orchestration.notice import Notice
from orchestration.project_file import json_schema, load_project
from orchestration.project_file.workers import scope_fault
from orchestration.task_options import AddsTasks, Check, Wait
from orchestration.workspace.scopes import check_scope

HEAD = """\
agents:
  me: {type: human}
  gpt: {type: openai}
  coder: {type: cli, tool: claude, permissions: edit}
  reader: {type: cli, tool: codex}
  off: {type: openai, enabled: false}
  ask: {type: openai, mode: hybrid}
  backed: {type: openai, fallback: [gpt, {agent: me, on: [quota]}]}
default_agent: gpt
tasks:
"""
FIRST = HEAD.count("\n") + 1  # the line of the first task


@pytest.fixture
def load(tmp_path):
    def write_and_load(content):
        path = tmp_path / "orchestrate.yaml"
        path.write_text(content)
        return load_project(path)

    return write_and_load


@pytest.fixture
def mistakes(load, tmp_path):
    def told(content):
        with pytest.raises(ProjectFileError) as caught:
            load(content)
        return [problem.removeprefix(f"{tmp_path / 'orchestrate.yaml'}:") for problem in caught.value.problems]

    return told


def test_a_file_that_says_nothing_of_it_has_no_workers_rules(load):
    project = load(f"{HEAD}  a: {{}}\n")
    (task,) = project.tasks
    assert (task.checks, task.effects, task.writes, task.adds_tasks, task.wait) == ((), "none", (), None, None)
    assert (project.sandbox, project.notify) == (None, None)


def test_every_kind_of_check_is_read(load, tmp_path):
    (tmp_path / "form.json").write_text('{"type": "array"}')
    project = load(
        f"""{HEAD}
  a:
    checks:
      - {{command: [make, test], name: unit tests, timeout_s: 60}}
      - {{schema: {{type: object}}}}
      - {{schema: form.json}}
      - {{matches: "(?m)^# "}}
      - {{files: [out/a.md, out]}}
      - {{changed: ["src/**"]}}
      - {{judge: gpt, criteria: No jargon, threshold: 1}}
      - {{judge: reader}}
      - {{person: true, criteria: Is it good?}}
      - {{person: Is the tone right?}}
"""
    )
    assert project.tasks[0].checks == (
        Check(command=("make", "test"), name="unit tests", timeout_s=60),
        Check(schema={"type": "object"}),
        Check(schema={"type": "array"}),
        Check(matches="(?m)^# "),
        Check(files=("out/a.md", "out")),
        Check(changed=("src/**",)),
        Check(judge="gpt", criteria="No jargon", threshold=1),
        Check(judge="reader"),
        Check(person=True, criteria="Is it good?"),
        Check(person=True, criteria="Is the tone right?"),
    )


def test_where_a_task_works_and_what_it_does_to_the_world_is_read(load):
    (task,) = load(
        f"{HEAD}  a: {{effects: once, max_attempts: 1, workspace: worktree, writes: ['src/**', docs], "
        "on_conflict: coder}\n"
    ).tasks
    assert (task.effects, task.workspace, task.writes, task.on_conflict) == (
        "once",
        "worktree",
        ("src/**", "docs"),
        "coder",
    )


def test_what_is_decided_at_run_time_is_read(load):
    project = load(
        f"""{HEAD}
  plan: {{adds_tasks: {{max_tasks: 5.0, max_depth: 2, approval: never}}}}
  files: {{adds_tasks: true}}
  quiet: {{adds_tasks: false}}
  each:
    dependencies: [files]
    for_each: "{{{{ tasks.files.data }}}}"
    max_items: 3.0
    when: item.size > 3 and not tasks.files.skipped
    prompt: Look at {{{{ item.path }}}}
"""
    )
    plan, files, quiet, each = project.tasks
    assert plan.adds_tasks == AddsTasks(max_tasks=5, max_depth=2, approval="never")
    assert type(plan.adds_tasks.max_tasks) is int
    assert (files.adds_tasks, quiet.adds_tasks) == (AddsTasks(), None)
    assert (each.for_each, each.max_items) == ("{{ tasks.files.data }}", 3)
    assert type(each.max_items) is int
    assert each.when == "item.size > 3 and not tasks.files.skipped"


def test_a_wait_is_read(load):
    (task,) = load(f"{HEAD}  a: {{agent: me, wait: {{deadline_s: 9, remind_every_s: 2.5, default: ''}}}}\n").tasks
    assert task.wait == Wait(deadline_s=9, remind_every_s=2.5, default="")


@pytest.mark.parametrize(
    "task",
    [
        "{agent: me}",
        "{mode: interactive}",
        "{mode: hybrid}",
        "{agent: ask}",
        "{agent: backed}",
        "{checks: [{person: true}]}",
        "{adds_tasks: true}",
        "{adds_tasks: {max_tasks: 2}}",
    ],
)
def test_a_task_in_which_a_person_is_asked_may_wait(load, task):
    assert load(f"{HEAD}  a: {task[:-1]}, wait: {{deadline_s: 9}}}}\n").tasks[0].wait


def test_a_mode_of_the_project_lets_its_tasks_wait(load):
    assert load(f"{HEAD}  a: {{wait: {{deadline_s: 9}}}}\nmode: hybrid\n").tasks[0].wait


@pytest.mark.parametrize(
    ("written", "notify"),
    [
        ("{command: [./tell.sh, x]}", Notice(command=("./tell.sh", "x"))),
        (
            "{webhook: 'https://x.example/y', include_prompt: true}",
            Notice(webhook="https://x.example/y", include_prompt=True),
        ),
        ("{webhook_env: HOOK, command: [a]}", Notice(command=("a",), webhook_env="HOOK")),
    ],
)
def test_how_people_are_told_is_read(load, written, notify):
    assert load(f"{HEAD}  a: {{}}\nnotify: {written}\n").notify == notify


def test_programs_are_read(load):
    project = load(
        """
sandbox: devcontainer
agents:
  a: {type: cli, tool: claude, command: [./bin/claude], model: opus, permissions: full, env: [X, AWS_*],
      idle_timeout_s: 60, workspace: none, extras: {args: [--verbose]}, budget: {usd: 1}}
  b: {type: cli, command: [run, "{prompt_file}"], result: choices.0.text}
default_agent: a
tasks: {x: {}}
"""
    )
    assert project.sandbox == "devcontainer"
    assert project.agents == (
        AgentConfig(
            "a",
            AgentType.CLI,
            tool=Tool.CLAUDE,
            command=("./bin/claude",),
            model="opus",
            permissions="full",
            env=("X", "AWS_*"),
            idle_timeout_s=60,
            workspace="none",
            extras={"args": ["--verbose"]},
        ),
        AgentConfig("b", AgentType.CLI, command=("run", "{prompt_file}"), result="choices.0.text"),
    )
    assert str(project.budgets.agents["a"].usd) == "1"


AGENTS = [
    (
        "{type: cli}",
        (
            "2:6: agents.x: the key 'command' is missing; expected it or 'tool', such as command: [./review.sh, "
            "--strict] or tool: claude"
        ),
    ),
    (
        "{type: cli, tool: claud}",
        "2:27: agents.x.tool: 'claud' is not one of claude, codex, gemini, opencode, aider; did you mean 'claude'?",
    ),
    (
        "{type: openai, tool: codex}",
        "2:24: agents.x.tool: 'tool' means nothing for an agent of type 'openai', only for cli; remove it",
    ),
    ("{type: script, command: [x], env: [A]}", "2:38: agents.x.env: 'env' means nothing for an agent of type 'script'"),
    (
        "{type: cli, tool: codex, permissions: all}",
        "2:47: agents.x.permissions: 'all' is not one of read-only, edit, full",
    ),
    (
        "{type: cli, tool: codex, permissions: full}",
        (
            "2:47: agents.x.permissions: 'full' lets the program do anything, and nothing is said to keep it from "
            "doing harm; say what does, such as sandbox: devcontainer, or give it 'edit'"
        ),
    ),
    (
        "{type: cli, command: [x], permissions: edit}",
        (
            "2:35: agents.x.permissions: 'permissions' means nothing without 'tool': it cannot be made known to any "
            "other program; remove it"
        ),
    ),
    ("{type: cli, command: [x], model: y}", "2:35: agents.x.model: 'model' means nothing without 'tool'"),
    ("{type: cli, command: [x], extras: {}}", "2:35: agents.x.extras: 'extras' means nothing without 'tool'"),
    (
        "{type: cli, tool: codex, result: a.b}",
        "2:34: agents.x.result: 'result' means nothing with 'tool', whose output is known; remove one of them",
    ),
    (
        "{type: cli, command: [x], result: a..b}",
        "2:43: agents.x.result: 'a..b' has the wrong form; expected keys and positions with dots between them",
    ),
    ("{type: cli, tool: codex, extras: {arg: [x]}}", "2:43: agents.x.extras.arg: this key is not known; did you mean"),
    ("{type: cli, tool: codex, extras: {args: -v}}", "2:49: agents.x.extras.args: '-v' is not a list; expected a list"),
    ("{type: cli, tool: codex, extras: {args: [1]}}", "2:50: agents.x.extras.args[0]: 1 is not text (to be text it"),
    (
        "{type: cli, tool: codex, env: [KEY=s3cret]}",
        (
            "2:40: agents.x.env[0]: the value (not shown, it may be secret) has the wrong form; expected the name of "
            "an environment variable, such as DATABASE_URL, without a value"
        ),
    ),
    ("{type: cli, tool: codex, env: ['*']}", "2:40: agents.x.env[0]: the value (not shown, it may be secret) has the"),
    ("{type: cli, tool: codex, env: KEY}", "2:39: agents.x.env: 'KEY' is not a list; expected a list of names"),
    (
        "{type: cli, tool: codex, workspace: own}",
        "2:45: agents.x.workspace: 'own' is not one of shared, worktree, none",
    ),
    (
        "{type: cli, tool: codex, idle_timeout_s: 0}",
        "2:50: agents.x.idle_timeout_s: 0 is not above 0; expected seconds above 0, such as 300",
    ),
]


@pytest.mark.parametrize(("options", "told"), AGENTS, ids=lambda value: value[:45])
def test_a_program_has_the_options_that_mean_something(mistakes, options, told):
    (line,) = mistakes(f"agents:\n     x: {options}\n     me: {{type: human}}\ndefault_agent: me\ntasks: {{a: {{}}}}\n")
    assert line.startswith(told)
    assert "s3cret" not in line


CHECKS = [
    ("{}", "{0}:16: tasks.a.checks[0]: has none of 'command', 'schema', 'matches', 'files', 'changed', 'judge', "),
    ("{name: x}", "{0}:16: tasks.a.checks[0]: has none of 'command'"),
    ("{comand: [x]}", "{0}:17: tasks.a.checks[0].comand: this key is not known; did you mean 'command'?"),
    ("make test", "{0}:16: tasks.a.checks[0]: 'make test' is not a mapping; expected one thing to check, such as"),
    (
        "{command: make test}",
        "{0}:26: tasks.a.checks[0].command: 'make test' is not a list; expected a list of texts, such as [make, test]",
    ),
    ("{command: []}", "{0}:26: tasks.a.checks[0].command: is empty; expected a list of texts, such as [make, test]"),
    (
        "{command: [x], files: [y]}",
        "{0}:31: tasks.a.checks[0].files: 'files' and 'command' are both here; make two checks of them",
    ),
    (
        "{person: true, judge: gpt}",
        "{0}:17: tasks.a.checks[0].person: 'person' and 'judge' are both here; make two checks of them",
    ),
    ("{schema: {}}", "{0}:25: tasks.a.checks[0].schema: is empty; expected a JSON Schema such as {{type: object}}, or"),
    (
        "{schema: {type: objekt}}",
        "{0}:32: tasks.a.checks[0].schema.type: not a valid JSON Schema: 'objekt' is not one of",
    ),
    ("{schema: no.json}", "{0}:25: tasks.a.checks[0].schema: the file 'no.json' does not exist; expected a file in "),
    (
        "{matches: '('}",
        "{0}:26: tasks.a.checks[0].matches: '(' is not a regular expression: missing ), unterminated subpattern at",
    ),
    (
        "{matches: 'a{99999999999}'}",
        "{0}:26: tasks.a.checks[0].matches: 'a{{99999999999}}' is not a regular expression: the repetition number",
    ),
    ("{files: []}", "{0}:24: tasks.a.checks[0].files: is empty; expected a list of texts, such as [out/report.md]"),
    (
        "{files: [ok, ../x]}",
        "{0}:29: tasks.a.checks[0].files[1]: '../x' is not a path inside of the folder; expected one such as out/",
    ),
    ("{files: [/etc/x]}", "{0}:25: tasks.a.checks[0].files[0]: '/etc/x' is not a path inside of the folder"),
    ("{files: [1]}", "{0}:25: tasks.a.checks[0].files[0]: 1 is not text (to be text it needs quotes); expected a path"),
    (
        "{changed: ['{a,b}']}",
        "{0}:27: tasks.a.checks[0].changed[0]: '{{a,b}}' has braces, which are not expanded; write one glob for each",
    ),
    ("{judge: gpd}", "{0}:24: tasks.a.checks[0].judge: there is no agent 'gpd'; did you mean 'gpt'?"),
    ("{judge: off}", "{0}:24: tasks.a.checks[0].judge: the agent 'off' is disabled; enable it or name another"),
    ("{judge: me}", "{0}:24: tasks.a.checks[0].judge: 'me' is a person; write 'person' in place of 'judge'"),
    (
        "{judge: gpt, threshold: 7}",
        "{0}:40: tasks.a.checks[0].threshold: 7 is more than 1; expected a number from 0 to 1, such as 0.8",
    ),
    ("{judge: gpt, threshold: -0.1}", "{0}:40: tasks.a.checks[0].threshold: -0.1 is less than 0; expected a number"),
    (
        "{matches: x, threshold: 1}",
        "{0}:29: tasks.a.checks[0].threshold: 'threshold' means nothing without 'judge'; remove it",
    ),
    (
        "{matches: x, criteria: y}",
        "{0}:29: tasks.a.checks[0].criteria: 'criteria' means nothing without 'judge' or 'person'; remove it",
    ),
    (
        "{person: true, timeout_s: 9}",
        "{0}:31: tasks.a.checks[0].timeout_s: 'timeout_s' means nothing without 'command' or 'matches' or 'judge'",
    ),
    (
        "{person: false}",
        "{0}:25: tasks.a.checks[0].person: false has the wrong form; expected true, or what the person is asked; or no",
    ),
    ("{person: ''}", "{0}:25: tasks.a.checks[0].person: is empty; expected true, or what the person is asked, such as"),
    (
        "{person: Nice?, criteria: Nice!}",
        "{0}:32: tasks.a.checks[0].criteria: 'criteria' and a text under 'person' say the same; keep one",
    ),
    ("{command: [x], timeout_s: ten}", "{0}:42: tasks.a.checks[0].timeout_s: 'ten' is not a number; expected seconds"),
]


@pytest.mark.parametrize(("check", "told"), CHECKS, ids=lambda value: value[:45])
def test_a_check_that_could_not_be_made_is_told(mistakes, check, told):
    (line,) = mistakes(f"{HEAD}  a: {{checks: [{check}]}}\n")
    assert line.startswith(told.format(FIRST))


def test_a_check_of_many_kinds_is_told_for_each_pair(mistakes):
    found = mistakes(f"{HEAD}  a: {{checks: [{{command: [x], files: [y], person: true}}]}}\n")
    assert [line.split("checks[0].")[1] for line in found] == [
        "files: 'files' and 'command' are both here; make two checks of them",
        "person: 'person' and 'command' are both here; make two checks of them",
        "person: 'person' and 'files' are both here; make two checks of them",
    ]


TASKS = [
    ("effects: twice", "effects: 'twice' is not one of none, idempotent, once"),
    (
        "effects: once, max_attempts: 3",
        (
            "max_attempts: 3 is more than 1; expected no more than 1: what must not happen twice (effects: once) is "
            "never repeated by itself"
        ),
    ),
    ("workspace: own", "workspace: 'own' is not one of shared, worktree, none"),
    ("writes: src", "writes: 'src' is not a list; expected a list of texts, such as [src/**, docs/*.md]"),
    ("writes: [/etc]", "writes[0]: '/etc' is not a path below the project's folder; expected a glob such as src/**"),
    ("writes: [a, ../b]", "writes[1]: '../b' is not a path below the project's folder; expected a glob such as src/**"),
    ("writes: [.]", "writes[0]: '.' means the whole folder; write **, or leave the key out"),
    ("writes: [3]", "writes[0]: 3 is not text (to be text it needs quotes); expected a glob"),
    ("on_conflict: coders", "on_conflict: there is no agent 'coders'; did you mean 'coder'?"),
    ("on_conflict: off", "on_conflict: the agent 'off' is disabled; enable it or name another"),
    ("on_conflict: me", "on_conflict: 'me' is a person; leave 'on_conflict' out, and you are asked"),
    ("on_conflict: gpt", "on_conflict: 'gpt' cannot change files; name a coding agent with permissions: edit, or a"),
    ("on_conflict: reader", "on_conflict: 'reader' cannot change files; name a coding agent with permissions: edit"),
    (
        "workspace: shared, on_conflict: coder",
        "on_conflict: 'on_conflict' means nothing without a worktree, which alone is merged; remove it, or let work",
    ),
    ("when: ''", "when: is empty; expected an expression, such as tasks.review.data.score < 7"),
    ("when: true", "when: true is not text (to be text it needs quotes); expected an expression"),
    ("when: tasks.b.data", "when: the result of 'b' is not at hand; add 'b' to the dependencies of 'a'"),
    ("when: tasks.zz.data", "when: there is no task 'zz'; it depends on none"),
    ("when: 'vars.x = 1'", "when: the expression cannot be read: it does not end before '='; to compare, write =="),
    ("when: 'task.title task'", "when: the expression cannot be read: it does not end before 'task'"),
    ("when: '1 &&'", "when: the expression cannot be read: unexpected char '&' at 2"),
    ("when: '{{ }}'", "when: the expression cannot be read: unexpected 'end of template'"),
    ("when: '{% if x %}'", "when: the expression cannot be read: "),
    ("when: item.x", "when: there is no 'item' here; only the prompt and 'when' of a task with 'for_each' know it"),
    ("prompt: '{{ item }}'", "prompt: there is no 'item' here; only the prompt and 'when' of a task with 'for_each'"),
    ("for_each: item", "for_each: there is no 'item' here; only the prompt and 'when' of a task with 'for_each' know"),
    ("for_each: [1, 2]", "for_each: a list is not text; expected an expression, such as tasks.plan.data.files"),
    ("for_each: '[1,'", "for_each: the expression cannot be read: "),
    (f"for_each: '{'(' * 2000}1{')' * 2000}'", "for_each: the expression is nested too deeply; make it simpler"),
    (f"when: '{'9' * 5000}'", "when: the expression cannot be read: Exceeds the limit"),
    (
        "for_each: '[1]', prompt: '{{ itm }}'",
        "prompt: there is no name 'itm' in a template; did you mean 'item'?",
    ),
    ("max_items: 3", "max_items: 'max_items' means nothing without 'for_each'; remove it"),
    ("for_each: '[1]', max_items: 0", "max_items: 0 is less than 1; expected a whole number from 1 up, such as 20"),
    (
        "adds_tasks: 5",
        "adds_tasks: 5 is not a boolean or a mapping; expected true, or how many, such as {max_tasks: 5}",
    ),
    ("adds_tasks: {}", "adds_tasks: is empty; expected true, or how many, such as {max_tasks: 5}"),
    ("adds_tasks: {max_tasks: 0}", "adds_tasks.max_tasks: 0 is less than 1; expected a whole number from 1 up"),
    ("adds_tasks: {approval: some}", "adds_tasks.approval: 'some' is not one of costly, always, never"),
    ("agent: me, wait: 5", "wait: 5 is not a mapping; expected how long, such as {deadline_s: 86400}"),
    ("agent: me, wait: {}", "wait: is empty; expected how long, such as {deadline_s: 86400}"),
    ("agent: me, wait: {deadline: 5}", "wait.deadline: this key is not known; did you mean 'deadline_s'?"),
    ("agent: me, wait: {deadline_s: 0}", "wait.deadline_s: 0 is not above 0; expected seconds above 0, such as 86400"),
    (
        "agent: me, wait: {default: x}",
        "wait: the key 'deadline_s' is missing; expected seconds above 0, such as 86400: without a deadline the de",
    ),
    (
        "wait: {deadline_s: 5}",
        (
            "wait: no person is asked in this task: it has no agent of type human, no mode interactive or hybrid, no "
            "check by a person and no added tasks to approve; remove 'wait'"
        ),
    ),
    ("agent: ask, mode: api, wait: {deadline_s: 5}", "wait: no person is asked in this task"),
    ("adds_tasks: {approval: never}, wait: {deadline_s: 5}", "wait: no person is asked in this task"),
    ("adds_tasks: false, wait: {deadline_s: 5}", "wait: no person is asked in this task"),
    ("checks: [{matches: x}], wait: {deadline_s: 5}", "wait: no person is asked in this task"),
    # What is wrong in itself is told once, not by what follows from it.
    ("mode: hybird, wait: {deadline_s: 5}", "mode: 'hybird' is not one of interactive, api, hybrid; did you mean"),
    ("agent: mee, wait: {deadline_s: 5}", "agent: there is no agent 'mee'; did you mean 'me'?"),
    ("checks: [{}], wait: {deadline_s: 5}", "checks[0]: has none of 'command'"),
    ("checks: 5, wait: {deadline_s: 5}", "checks: 5 is not a list; expected a list of checks, such as [{command:"),
    ("adds_tasks: 5, wait: {deadline_s: 5}", "adds_tasks: 5 is not a boolean or a mapping"),
]


@pytest.mark.parametrize(("fields", "told"), TASKS, ids=lambda value: value[:45])
def test_a_mistake_in_how_a_task_is_done_is_told(mistakes, fields, told):
    (line,) = mistakes(f"{HEAD}  a: {{{fields}}}\n  b: {{}}\n")
    place, _, message = line.partition(": tasks.a.")
    assert place.startswith(f"{FIRST}:")
    assert message.startswith(told)


def test_a_mode_of_the_project_that_is_wrong_is_told_once(mistakes):
    (line,) = mistakes(f"{HEAD}  a: {{wait: {{deadline_s: 9}}}}\nmode: hybird\n")
    assert "mode: 'hybird' is not one of" in line


def test_a_mistake_in_an_expression_is_told_in_its_own_line(mistakes):
    (line,) = mistakes(f"{HEAD}  a:\n    when: |\n\n      vars.x and\n      vars.y\nvariables: {{x: 1}}\n")
    assert line.startswith(f"{FIRST + 4}:7: tasks.a.when: the variable 'y' is not declared; add it to variables")


def test_tasks_that_exist_only_at_run_time_cannot_be_depended_on(mistakes):
    found = mistakes(
        f"""{HEAD}  each: {{for_each: '[1]'}}
  plan: {{adds_tasks: true}}
  b: {{dependencies: [each.1, plan.x, plan.x.y, each, plan, other.1]}}
"""
    )
    assert [line.split(": ", 2)[2] for line in found] == [
        (
            "there is no task 'each.1' before the run: it is made of 'each' at run time; depend on 'each', whose data "
            "is the list of what all came to"
        ),
        *(
            f"there is no task '{name}' before the run: only 'plan' may add it; depend on 'plan': what does waits for "
            "the tasks it adds, too"
            for name in ("plan.x", "plan.x.y")
        ),
        "there is no task 'other.1'; the tasks of this file: 'each', 'plan', 'b'",
    ]


def test_an_id_that_an_instance_will_want_is_told(mistakes, load):
    (line,) = mistakes(f"{HEAD}  each: {{for_each: '[1]'}}\n  each.1: {{}}\n  each.01: {{}}\n  each.x: {{}}\n")
    assert line == (
        f"{FIRST + 1}:3: tasks['each.1']: 'each.1' is what 'for_each' of 'each' calls its item 1; give the task "
        "another id"
    )
    assert load(f"{HEAD}  each: {{}}\n  each.1: {{}}\n")


NOTICES = [
    ("{}", ":9: notify: has none of 'command', 'webhook', 'webhook_env'; expected a way to tell you, such as"),
    ("{include_prompt: true}", ":9: notify: has none of 'command', 'webhook', 'webhook_env'"),
    ("{webhok: x}", ":10: notify.webhok: this key is not known; did you mean 'webhook'?"),
    ("{command: ./x}", ":19: notify.command: './x' is not a list; expected a list of texts, such as [./tell.sh, "),
    ("{webhook: 'ftp://s3cret'}", ":19: notify.webhook: the value (not shown, it may be secret) has the wrong form"),
    (
        "{webhook: 'https://:80/s3cret'}",
        ":19: notify.webhook: the value (not shown, it may be secret) is no address of http or https, such as https:",
    ),
    ("{webhook_env: 'https://s3cret'}", ":23: notify.webhook_env: the value (not shown, it may be secret) has the w"),
    (
        "{webhook: 'https://s3cret', webhook_env: A}",
        ":10: notify.webhook: 'webhook' and 'webhook_env' are both here; keep one",
    ),
    ("yes", ":9: notify: 'yes' is not a mapping; expected a way to tell you, such as {command: [./tell.sh]}"),
]


@pytest.mark.parametrize(("notify", "told"), NOTICES, ids=lambda value: value[:45])
def test_a_mistake_in_how_people_are_told_is_told(mistakes, notify, told):
    (line,) = mistakes(f"{HEAD}  a: {{}}\nnotify: {notify}\n")
    assert line.startswith(f"{FIRST + 1}{told}")
    assert "s3cret" not in line


def test_full_permissions_go_with_any_sandbox_that_is_written(mistakes):
    content = "agents: {{x: {{type: cli, tool: codex, permissions: full}}}}\ndefault_agent: x\ntasks: {{a: {{}}}}\n"
    (line,) = mistakes(f"{content.format()}sandbox: 5\n")
    assert line.startswith("4:10: sandbox: 5 is not text (to be text it needs quotes); expected text, such as devcon")


def test_a_pattern_that_later_pythons_may_read_otherwise_is_accepted(load):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(f"{HEAD}  a: {{checks: [{{matches: '[[a]'}}]}}\n")


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "*", "**", "?", "..", ".", "~", "/", "{", ",", "}", "[", "]", " ", "\\"])))
def test_a_glob_is_refused_if_the_workspace_would_refuse_it(parts):
    """The rules are here twice, for this package lies below that of workspaces."""
    glob = "".join(parts)
    try:
        check_scope(glob)
    except ValueError:
        assert scope_fault(glob)
    else:
        means_root = all(part in {"", "."} for part in glob.split("/"))
        assert bool(scope_fault(glob)) == means_root


@pytest.mark.parametrize(
    ("content", "is_valid"),
    [
        ({"tasks": {"a": {"checks": [{"command": ["x"]}]}}}, True),
        ({"tasks": {"a": {"checks": [{}]}}}, False),
        ({"tasks": {"a": {"checks": [{"command": ["x"], "files": ["y"]}]}}}, False),
        ({"tasks": {"a": {"checks": [{"person": True}, {"person": "Nice?"}]}}}, True),
        ({"tasks": {"a": {"checks": [{"person": False}]}}}, False),
        ({"tasks": {"a": {"effects": "once"}}}, True),
        ({"tasks": {"a": {"effects": "once", "max_attempts": 2}}}, False),
        ({"tasks": {"a": {"wait": {"default": "x"}}}}, False),
        ({"tasks": {"a": {}}, "agents": {"x": {"type": "cli"}}}, False),
        ({"tasks": {"a": {}}, "agents": {"x": {"type": "cli", "tool": "codex"}}}, True),
        ({"tasks": {"a": {}}, "agents": {"x": {"type": "cli", "command": ["x"], "permissions": "edit"}}}, False),
        ({"tasks": {"a": {}}, "notify": {"include_prompt": True}}, False),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_an_editor_judges_as_we_do(content, is_valid):
    assert Draft202012Validator(json_schema()).is_valid(content) is is_valid
