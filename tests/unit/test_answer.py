import socket

import pytest

from orchestration.answer import form_of
from orchestration.errors import AttemptError
from orchestration.task import AgentTask, FailureKind

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


async def form(schema=SCHEMA):
    return await form_of(AgentTask("t", "T", output_schema=schema))


async def test_a_task_without_a_schema_has_no_form():
    assert await form_of(AgentTask("t", "T")) is None


@pytest.mark.parametrize(
    "text", ['{"n": 1}', ' {"n": 1} ', '```json\n{"n": 1}\n```', '```\n{"n": 1}\n```\n', '\n```JSON \n{"n": 1}```']
)
async def test_json_is_read_also_from_a_code_block(text):
    plain, value = (await form()).read(text)

    assert value == {"n": 1}
    assert "`" not in plain


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["not JSON"]),
        ("Sure! Here it is", ["not JSON", "'Sure! Here it is'"]),
        ('{"n": 1', ["not JSON"]),
        ('{"n": NaN}', ["not JSON"]),
        ("[" * 100_000, ["not JSON"]),
        ('{"n": "1"}', ["$.n", "'1' is not of type 'integer'"]),
        ("{}", ["'n' is a required property"]),
        ('{"n": "' + "x" * 100_000 + '"}', ["$.n", "..."]),
    ],
)
async def test_what_is_wrong_with_an_answer_is_said_in_words_a_model_can_act_on(text, words):
    with pytest.raises(AttemptError) as caught:
        (await form()).read(text)

    assert caught.value.kind is FailureKind.BAD_OUTPUT
    assert all(word in str(caught.value) for word in words)
    assert len(str(caught.value)) < 1_000
    assert caught.value.details["answer"] == (text if len(text) <= 2_000 else text[:2_000] + "...")


@pytest.mark.parametrize(
    ("schema", "words"),
    [({"type": "objekt"}, "'objekt'"), ({"properties": 3}, "properties"), ({"x": object()}, "object")],
)
async def test_a_schema_that_is_none_is_refused_before_anything_is_asked(schema, words):
    with pytest.raises(AttemptError, match="output_schema of task 't'") as caught:
        await form(schema)

    assert caught.value.kind is FailureKind.BAD_REQUEST
    assert words in str(caught.value)


@pytest.mark.parametrize("schema", [{"$ref": "http://example.invalid/schema.json"}, {"$ref": "#"}])
async def test_references_that_lead_nowhere_are_refused_and_nothing_is_fetched(schema, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: pytest.fail("the network was asked"))
    made = await form(schema)

    with pytest.raises(AttemptError, match="references") as caught:
        made.read("{}")

    assert caught.value.kind is FailureKind.BAD_REQUEST


async def test_a_schema_s_own_dialect_is_followed():
    draft_4 = {"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 3, "exclusiveMaximum": True}

    with pytest.raises(AttemptError, match="3"):
        (await form(draft_4)).read("3")
