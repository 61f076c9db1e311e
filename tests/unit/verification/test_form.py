"""Checks by JSON Schema."""

import json

import pytest

from orchestration.errors import AttemptError, FailureKind
from orchestration.task_options import Check

TEAM = Check(schema={"type": "object", "properties": {"team": {"enum": ["a", "b"]}}, "required": ["team"]})


async def test_data_that_meets_the_schema_passes(check_one, claim):
    assert (await check_one(TEAM, of=claim("anything", data={"team": "a"}))).is_passed


async def test_without_data_the_output_is_read_as_json(check_one):
    assert (await check_one(TEAM, of='{"team": "a"}')).is_passed
    assert (await check_one(TEAM, of='```json\n{"team": "b"}\n```')).is_passed


async def test_what_is_wrong_and_where_is_the_evidence(check_one, claim):
    verdict = await check_one(TEAM, of=claim("{}", data={"team": "c"}))

    assert not verdict.is_passed
    assert "at $.team: 'c' is not one of ['a', 'b']" in verdict.evidence


@pytest.mark.parametrize("output", ["", "no json", '{"team": "a"', "\0", "\ud800", "[" * 100_000, "NaN"])
async def test_output_that_is_no_json_fails(check_one, output):
    verdict = await check_one(TEAM, of=output)

    assert not verdict.is_passed
    assert "the answer is not JSON" in verdict.evidence


async def test_data_nested_too_deep_to_be_checked_fails(check_one, claim):
    data = []
    for _ in range(5_000):
        data = [data]
    nested = Check(schema={"$ref": "#/$defs/list", "$defs": {"list": {"items": {"$ref": "#/$defs/list"}}}})

    verdict = await check_one(nested, of=claim("", data=data))

    assert not verdict.is_passed
    assert "nested too deep" in verdict.evidence


@pytest.mark.parametrize(
    "schema", [{"type": 7}, {"$ref": "https://example.org/schema.json"}, {"pattern": object()}, {"$ref": "#/missing"}]
)
async def test_a_schema_that_cannot_be_used_is_not_the_workers_fault(check_one, schema):
    with pytest.raises(AttemptError, match=r"^check 'form': .*cannot be used") as caught:
        await check_one(Check(schema=schema, name="form"), of=json.dumps("x"))

    assert caught.value.kind is FailureKind.BAD_REQUEST
    assert caught.value.details == {"check": "form"}
