import os

import pytest

from orchestration import prompt
from orchestration.attempt import AttemptContext, TaskInput
from orchestration.errors import AttemptError
from orchestration.task import AgentTask, FailureKind


def task(template=None, **fields):
    return AgentTask("summary", "Sum it up", prompt=template, **fields)


def context(**given):
    inputs = {
        "outline": TaskInput(output="one, two"),
        "facts-1": TaskInput(output='{"items": [3]}', data={"items": [3], "why": "because"}),
    }
    return AttemptContext(inputs=inputs, variables={"audience": "children"}, **given)


async def render(template, root=None, **given):
    return await prompt.render(task(template), context(**given), root=root)


async def refusal(template, root=None):
    with pytest.raises(AttemptError) as caught:
        await render(template, root)
    assert caught.value.kind is FailureKind.BAD_REQUEST
    assert "task 'summary'" in str(caught.value)
    return str(caught.value)


async def test_without_a_template_the_prompt_is_title_description_and_each_input_in_order():
    text = await prompt.render(task(description="In ten words."), context(), root=None)

    assert text == (
        "Sum it up\n\nIn ten words.\n\n"
        '<result task="outline">\none, two\n</result>\n\n'
        '<result task="facts-1">\n{"items": [3]}\n</result>'
    )


async def test_a_title_is_prompt_enough():
    assert await prompt.render(task(), AttemptContext(), root=None) == "Sum it up"


async def test_the_draft_and_the_comment_of_a_rejection_follow_any_prompt():
    for template in (None, "Just {{ task.title }}", "Just this"):
        text = await render(template, draft="My draft", comment="Too long")
        assert text.endswith(
            "A reviewer rejected the earlier draft. Write a new one that meets the comment.\n\n"
            "<draft>\nMy draft\n</draft>\n\n<comment>\nToo long\n</comment>"
        )


async def test_a_comment_alone_is_passed_on_too():
    text = await render("Just this", comment="Too long")

    assert "<comment>\nToo long\n</comment>" in text
    assert "<draft>" not in text
    assert "<comment>" not in await render("Just this", draft="My draft")


async def test_a_prompt_without_braces_is_taken_as_it_is():
    assert await render("100 % {plain} text") == "100 % {plain} text"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ tasks.outline.output }}", "one, two"),
        ("{{ tasks['facts-1'].data.why }}", "because"),
        ("{{ tasks['facts-1'].data.items[0] }}", "3"),
        ("{{ vars.audience }}: {{ task.title }}", "children: Sum it up"),
        ("{{ vars.tone | default('dry') }}", "dry"),
        ("{% if vars.tone is defined %}a{% else %}b{% endif %}", "b"),
        ("{% for id, given in tasks.items() %}{{ id }} {% endfor %}", "outline facts-1 "),
        ("{% for x in [1, 2] %}{{ loop.index }}/{{ loop.length }} {% endfor %}", "1/2 2/2 "),
        ("{% if true %}\nx\n{% endif %}\ny", "x\ny"),
        ("{{ 2 * 3 }} {{ 'ab' * 2 }} {{ 2 ** 5 }} {{ [0] * 2 }}", "6 abab 32 [0, 0]"),
        ("{# a comment #}x", "x"),
        ("{{ '<b>' }}", "<b>"),
    ],
)
async def test_a_template_reads_inputs_variables_and_the_task(template, text):
    assert await render(template) == text


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("a\n\n{{ tasks.draft.output }}", ["line 3", "does not depend on a task 'draft'", "'outline', 'facts-1'"]),
        ("{{ vars.tone }}", ["line 1", "no variable 'tone'", "'audience'", "default"]),
        ("{{ inputs }}", ["'inputs' is undefined", "tasks.<id>.output", "file('path')"]),
        ("{{ tasks['facts-1'].data.title }}", ["no 'title' in the data", "'items', 'why'"]),
        ("{{ tasks.outline.data.x }}", ["'None' has no attribute 'x'"]),
        ("{{ task.nothing }}", ["has no attribute 'nothing'"]),
        ("x\n{{ ''.__class__ }}", ["line 2", "__class__", "unsafe"]),
        ("{{ file.__globals__ }}", ["__globals__", "unsafe"]),
        ("{{ tasks.clear() }}", ["line 1", "'clear'", "unsafe"]),
        ("{{ open('/etc/passwd') }}", ["'open' is undefined"]),
        ("{% for x in %}", ["line 1"]),
        ("a\nb {% if %}", ["line 2"]),
        ("{% include 'x' %}", ["no loader"]),
        ("{{ 1 / 0 }}", ["line 1", "ZeroDivisionError"]),
        ("{{ 'a' | nosuch }}", ["nosuch"]),
    ],
)
async def test_a_template_s_mistake_is_named_with_its_line_and_what_there_is(template, words):
    message = await refusal(template)

    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", "1,000,000 steps"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "calls itself without end"),
        (
            "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(50) }}",
            "1,000,000 steps",
        ),
        ("{% for a in range(9000) %}{{ tasks.outline.output * 1000 }}{% endfor %}", "longer than 8,000,000"),
        ("{{ 'a' * 10 ** 9 }}", "repeating something 1,000,000,000 times"),
        ("{{ 10 ** 8 * [1] }}", "repeating something 100,000,000 times"),
        ("{{ 10 ** 1000 ** 1000 }}", "too large"),
        ("{{ range(10 ** 9) }}", "Range too big"),
    ],
)
async def test_a_template_that_would_not_end_or_fit_is_stopped(template, words):
    assert words in await refusal(template)


async def test_a_file_under_the_root_is_read(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("Grüße", encoding="utf-8")

    assert await render("<{{ file('docs/a.md') }}>", tmp_path) == "<Grüße>"


async def test_a_file_s_braces_are_data(tmp_path):
    (tmp_path / "a.md").write_text("{{ vars.tone }}", encoding="utf-8")

    assert await render("{{ file('a.md') }}", tmp_path) == "{{ vars.tone }}"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../secret.txt", "docs/../../secret.txt", "link.txt", "folder/secret.txt"]
)
async def test_a_file_outside_the_root_is_refused_also_through_links(tmp_path, path):
    root = tmp_path / "project"
    root.mkdir()
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "folder").symlink_to(tmp_path)

    assert "lies outside the project's folder" in await refusal(f"{{{{ file('{path}') }}}}", root)


async def test_files_that_cannot_be_a_prompt_are_refused(tmp_path):
    (tmp_path / "binary").write_bytes(b"ab\xff")
    (tmp_path / "large").write_bytes(b"a" * 4_000_001)
    os.mkfifo(tmp_path / "pipe")

    assert "not UTF-8 text (byte 2)" in await refusal("{{ file('binary') }}", tmp_path)
    assert "larger than 4,000,000 bytes" in await refusal("{{ file('large') }}", tmp_path)
    assert "no such file" in await refusal("{{ file('pipe') }}", tmp_path)
    assert "no such file" in await refusal("x\n{{ file('missing') }}", tmp_path)
    assert "line 2" in await refusal("x\n{{ file('missing') }}", tmp_path)
    assert "has no folder" in await refusal("{{ file('a') }}", None)
    assert "embedded null" in await refusal("{{ file('a\\0b') }}", tmp_path)


def test_a_prompt_of_10_mb_is_refused_with_its_size():
    with pytest.raises(AttemptError, match="10,000,000 characters, expected at most 8,000,000") as caught:
        prompt.check_size(task(), "x" * 10_000_000)

    assert caught.value.kind is FailureKind.CONTEXT_LENGTH
    prompt.check_size(task(), "x" * 8_000_000)


def test_a_schema_is_spelled_out_where_there_is_one():
    assert prompt.with_schema("Do it", None) == "Do it"
    assert prompt.with_schema("Do it", {"type": "object"}).startswith("Do it\n\nAnswer with one JSON value")
    assert '"type": "object"' in prompt.with_schema("Do it", {"type": "object"})


def test_a_correction_keeps_the_prompt_first():
    assert prompt.with_correction("Do it", "not JSON").startswith(
        "Do it\n\nYour last attempt was not accepted. not JSON"
    )
