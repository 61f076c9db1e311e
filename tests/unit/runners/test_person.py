from orchestration.agent_registry import AgentType
from orchestration.runners.person import PersonRunner


async def test_the_package_says_what_to_do_with_what_in_which_form_and_how_to_answer(make_work):
    work = make_work(AgentType.HUMAN, system="You are an editor.", task_output_schema={"type": "string"})

    outcome = await PersonRunner().run(work)

    assert outcome.output == (
        "# Write a draft\n\n"
        "## What to do\n\nYou are an editor.\n\nIn ten words.\n\n"
        "## From `outline`\n\none, two\n\n"
        '## Expected form\n\nJSON that meets this schema:\n\n```json\n{\n  "type": "string"\n}\n```\n\n'
        "## How to answer\n\n    orchestrate answer draft\n"
    )


async def test_a_rendered_template_stands_for_description_and_inputs(make_work):
    work = make_work(AgentType.HUMAN, prompt="Read one, two and answer.", task_prompt="Read {{ x }} and answer.")

    output = (await PersonRunner().run(work)).output

    assert "## What to do\n\nRead one, two and answer.\n\n## How to answer" in output
    assert "In ten words" not in output
    assert "From `outline`" not in output


async def test_a_rejected_draft_and_the_comment_are_shown(make_work):
    output = (await PersonRunner().run(make_work(context={"draft": "My draft", "comment": "Too long"}))).output

    assert "## The earlier draft\n\nMy draft\n\n## Why it was rejected\n\nToo long\n\n" in output


async def test_a_template_that_renders_to_nothing_leaves_no_empty_section(make_work):
    output = (await PersonRunner().run(make_work(prompt="", task_prompt="{{ '' }}"))).output

    assert output == "# Write a draft\n\n## How to answer\n\n    orchestrate answer draft\n"


async def test_closing_is_fine_at_any_time():
    runner = PersonRunner()
    await runner.aclose()
    await runner.aclose()
