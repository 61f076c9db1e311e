"""Templates of prompts: what is wrong is told before anything runs, in the file's own line."""

import pytest

from orchestration.errors import ProjectFileError
from orchestration.project_file import load_project
from orchestration.project_file.templates import Scope, find_mistakes

SCOPE = Scope(
    task_id="draft",
    dependencies=("outline", "word-count", "1"),
    tasks=("outline", "word-count", "1", "draft", "check", "my-own"),
    variables=("topic",),
    task_fields=("task_id", "title", "description"),
)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 2 - 1 }} {{ tasks.outline.data - 1 }} {{ tasks.outline - tasks.outline }}",
        "no template: } { vars.nope",
        "{{ tasks.outline.output }} {{ tasks['word-count'].data.x.y[0] }} {{ tasks['1'].output | upper }}",
        "{{ tasks.outline.files[0].path }} {{ tasks.outline.skipped }} {{ tasks.outline.added['outline.x'].output }}",
        "{{ tasks.outline }} {{ tasks['outline']['data'] }} {{ tasks.outline.output.upper().nope }}",
        "{% for id, result in tasks.items() %}{{ loop.index }} {{ id }} {{ result.output }}{% endfor %}",
        "{{ tasks.get('outline').output }} {{ tasks.keys() | list }} {{ vars.values() | join }} {{ vars.get('x') }}",
        "{% for id in ['outline'] %}{{ tasks[id].output }}{{ vars[id] }}{% endfor %}",
        "{{ vars.topic }} {{ vars['topic'] | default('x') }} {{ task.title }} {{ task['description'] }}",
        "{{ file('notes.md') }} {{ file(vars.topic) }}",
        "{% set x = 1 %}{{ x }} {% macro m(a) %}{{ a }} {{ varargs }} {{ caller() }}{% endmacro %}{{ m(2) }}",
        "{% with y = 2 %}{{ y }}{% endwith %} {% set ns = namespace(n=0) %}{% set ns.n = 1 %}{{ ns.n }}",
        "{% set tasks = {'a': 1} %}{{ tasks.a }} {{ tasks.b.c }}",
        "{% set vars = {} %}{{ vars.any }}",
        "{% for i in range(3) %}{{ i if i is odd else dict(a=i) }}{% endfor %} {{ 'a' is defined }}",
        "{% raw %}{{ nope }}{% endraw %} {# {{ nope }} #}",
        "{% filter upper %}x{% endfilter %}{% call(x) m() %}{{ x }}{% endcall %}{% macro m() %}{% endmacro %}",
    ],
)
def test_a_template_that_will_work_is_accepted(source):
    assert find_mistakes(source, SCOPE) == []


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{{ tasks.outlin.output }}", "there is no task 'outlin'; did you mean 'outline'?"),
        ("{{ tasks['zzz'].output }}", "there is no task 'zzz'; it depends on 'outline', 'word-count', '1'"),
        (
            "{{ tasks.check.output }}",
            "the result of 'check' is not at hand; add 'check' to the dependencies of 'draft'",
        ),
        ("{{ tasks.draft.output }}", "a task cannot read its own result"),
        ("{{ tasks.outline.outptu }}", "a task's result has no 'outptu'; expected one of output, data, files"),
        ("{{ tasks['outline']['text'] }}", "a task's result has no 'text'; expected one of output, data, files"),
        (
            "{{ tasks.my-own.output }}",
            "there is no task 'my'; an id with other characters than letters is written tasks['",
        ),
        ("{{ tasks.1.output }}", "task ids are text; write tasks['1'] in place of tasks.1"),
        ("{{ tasks.items.output }}", "there is no task 'items'; it depends on 'outline', 'word-count', '1'"),
        ("{{ vars.topik }}", "the variable 'topik' is not declared; did you mean 'topic'?"),
        ("{{ vars['other'] | default('x') }}", "the variable 'other' is not declared; add it to variables"),
        ("{{ task.titel }}", "a task has no field 'titel'; did you mean 'title'?"),
        ("{{ task.zzz }}", "a task has no field 'zzz'; expected one of 'task_id', 'title', 'description'"),
        ("{{ var.topic }}", "there is no name 'var' in a template; did you mean 'vars'?"),
        (
            "{{ outline }}",
            "there is no name 'outline' in a template; expected one of tasks, vars, task, file, or a name",
        ),
        ("{{ 'x' | uper }}", "there is no filter 'uper'; did you mean 'upper'?"),
        ("{{ 1 is ood }}", "there is no test 'ood'; did you mean 'odd'?"),
        ("{% include 'x' %}", "a template stands alone: include, import and extends are not available"),
        ("{% import 'x' as x %}", "a template stands alone: include, import and extends are not available"),
        ("{% from 'x' import y %}", "a template stands alone: include, import and extends are not available"),
        ("{% extends 'x' %}", "a template stands alone: include, import and extends are not available"),
        ("{{ x", "the template cannot be read: unexpected end of template, expected 'end of print statement'"),
        ("{% if %}", "the template cannot be read: Expected an expression, got 'end of statement block'"),
        ("{% for x in tasks %}", "the template cannot be read: Unexpected end of template. Jinja was looking for"),
        ("{{ a b }}", "the template cannot be read: expected token 'end of print statement', got 'b'"),
        ("{% nope %}", "the template cannot be read: Encountered unknown tag 'nope'"),
        ("{{ " + "(" * 2000 + "1" + ")" * 2000 + " }}", "the template is nested too deeply; make it simpler"),
        ("{{ " + "9" * 5000 + " }}", "the template cannot be read: Exceeds the limit"),
    ],
)
def test_a_template_that_will_fail_is_told_why(source, told):
    findings = find_mistakes(source, SCOPE)
    assert len(findings) == 1
    assert findings[0].message.startswith(told)
    assert findings[0].line == 1


def test_a_task_without_dependencies_is_told_so():
    scope = Scope(task_id="a", dependencies=(), tasks=("a",), variables=(), task_fields=())
    (finding,) = find_mistakes("{{ tasks.zzz }}", scope)
    assert finding.message == "there is no task 'zzz'; it depends on none"


def test_a_product_that_would_take_all_memory_is_not_computed():
    assert find_mistakes("{{ 9 ** 9 ** 9 ** 9 }} {{ 'x' * 10 ** 12 }}", SCOPE) == []


HEAD = "agents: {me: {type: human}}\ndefault_agent: me\ntasks:\n  a:\n"


@pytest.mark.parametrize(
    ("prompt", "place"),
    [
        ("    prompt: |\n      one\n\n      two {{ nope }}\n", "8:14"),
        ("    prompt: |2-\n\n      one {{ nope }}\n    title: x\n", "7:14"),
        ("    prompt: | # why\n      {{ vars.topic }}", "6:10"),
        ("    prompt: |\n      {{ task.zzz }} {{ zz }}\n", "6:10"),
        ("    prompt: |\n      one\n      {% if x %}\n", "7:7"),
        ("    prompt: one {{ nope }}\n", "5:20"),
        ("    prompt: one\n      two {{ nope }}\n", "6:14"),
        ("    prompt: >\n      one\n      two {{ nope }}\n", "7:14"),
        ('    prompt: "one\\n{{ nope }}"\n', "5:22"),
        ('    prompt: "one\\n{{ n\\x6fpe }}"\n', "5:13"),
        ("    prompt: one {{\n", "5:13"),
    ],
)
def test_a_mistake_is_told_in_its_line_of_the_project_file(tmp_path, prompt, place):
    path = tmp_path / "orchestrate.yaml"
    path.write_text(HEAD + prompt)
    with pytest.raises(ProjectFileError) as caught:
        load_project(path)
    assert caught.value.problems[0].startswith(f"{path}:{place}: tasks.a.prompt: ")


def test_a_template_reads_direct_dependencies_only(tmp_path):
    """What a run hands to a template is the results of the tasks it names, so an indirect one must be named too."""
    path = tmp_path / "orchestrate.yaml"
    path.write_text(
        "agents: {me: {type: human}}\ndefault_agent: me\ntasks:\n"
        "  a: {}\n  b: {dependencies: [a]}\n  c: {dependencies: [b], prompt: '{{ tasks.a.output }}'}\n"
    )
    with pytest.raises(ProjectFileError, match="the result of 'a' is not at hand; add 'a' to the dependencies of 'c'"):
        load_project(path)
