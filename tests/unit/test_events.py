from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import get_args

import msgspec
import pytest

from orchestration import events as ev
from orchestration.errors import InvalidTaskError, StoreError, StoreVersionError
from orchestration.task import AgentTask, ExecutionResult, ExecutionStatus

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


class Text(str):
    """What a provider answers with: text that carries more."""

    __slots__ = ("usage",)


def completed(**fields):
    return ev.TaskCompleted(at=AT, task_id="a", result=ExecutionResult("a", status=ExecutionStatus.SUCCESS, **fields))


def test_every_kind_of_fact_is_part_of_the_union_and_says_its_kind_in_json():
    kinds = {kind for kind in vars(ev).values() if isinstance(kind, type) and issubclass(kind, ev.Fact)} - {ev.Fact}
    assert kinds == set(get_args(ev.Event))
    tags = {kind: msgspec.inspect.type_info(kind).tag for kind in kinds}
    assert tags[ev.TaskReset] == "task_reset"
    assert len(set(tags.values())) == len(kinds)


def test_a_fact_is_one_json_object_without_what_is_left_at_its_default():
    assert ev.encode(ev.TaskStarted(at=AT, task_id="a", attempt=1)) == (
        b'{"type":"task_started","at":"2026-01-02T03:04:05.678901Z","task_id":"a","attempt":1}'
    )


def test_an_older_fact_without_a_newer_field_and_a_newer_one_with_more_can_be_read():
    raw = b'{"type":"task_started","at":"2026-01-02T03:04:05.678901Z","task_id":"a","attempt":1,"future":{}}'
    assert ev.decode(raw) == ev.TaskStarted(at=AT, task_id="a", attempt=1)
    assert ev.decode(raw.decode()) == ev.decode(raw)


def test_a_provider_s_text_is_stored_as_text_and_any_mapping_as_one():
    event = completed(output=Text("words"), metadata={"model": Text("m"), "usage": MappingProxyType({"n": 1})})
    result = ev.decode(ev.encode(event)).result
    assert (result.output, type(result.output), result.metadata) == ("words", str, {"model": "m", "usage": {"n": 1}})


@pytest.mark.parametrize(
    "event",
    [
        completed(output=None),
        completed(output=5),
        completed(error=None),
        completed(metadata=None),
        completed(metadata={"x": object()}),
        completed(metadata={"x": "\ud800"}),
        completed(output="\ud800"),
        completed(metadata={(1, 2): "x"}),
        ev.TaskCompleted(at=AT, task_id="a", result=None),
        ev.TaskStarted(at=AT, task_id="a", attempt="first"),
        ev.TaskRetrying(at=AT, task_id="a", attempt=1, kind="bad luck", error=""),
        ev.TaskReset(at=AT, task_ids=("a", None)),
        ev.TaskAdded(at=AT, task=AgentTask("a", "A", metadata={"x": {1: object()}})),
    ],
    ids=lambda event: type(event).__name__,
)
def test_a_fact_that_could_not_be_read_back_is_refused_with_its_task(event):
    with pytest.raises(InvalidTaskError, match=r"cannot store \w+ of '?a?'?.*metadata plain JSON"):
        ev.encode(event)


def test_metadata_that_is_nested_too_deep_is_refused():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidTaskError, match="cannot store TaskCompleted of 'a'"):
        ev.encode(completed(metadata={"x": deep}))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"null",
        b"\xff\xfe",
        b'{"type":"task_started"}',
        b'{"type":"task_flown","at":"2026-01-02T03:04:05Z"}',
        b'{"type":"task_removed","at":"yesterday","task_id":"a"}',
        b'{"type":"task_removed","at":"2026-01-02T03:04:05Z","task_id":5}',
        b'{"type":"task_added","at":"2026-01-02T03:04:05Z","task":{"task_id":"../up","title":"A"}}',
        b'{"type":"task_removed","at":"2026-01-02T03:04:05Z","task_id":"a","x":' + b"[" * 99_999 + b"]" * 99_999 + b"}",
        '{"type":"task_removed","at":"2026-01-02T03:04:05Z","task_id":"\ud800"}',
    ],
    ids=lambda raw: str(raw[:50]),
)
def test_text_that_is_no_fact_is_refused_with_its_beginning(raw):
    with pytest.raises(
        StoreError, match=r"the stored fact .* cannot be read: .*; restore the file from a backup"
    ) as caught:
        ev.decode(raw)
    assert len(str(caught.value)) < 600


def test_a_fact_of_a_newer_version_is_refused():
    raw = ev.encode(ev.TaskRemoved(at=AT, task_id="a"))
    assert ev.decode(raw, ev.EVENT_VERSION).task_id == "a"
    with pytest.raises(StoreVersionError, match=r"a fact of version 2 cannot be read.*install the newer"):
        ev.decode(raw, ev.EVENT_VERSION + 1)


def test_the_hook_for_foreign_types_takes_no_more_than_it_says():
    assert isinstance(MappingProxyType({}), Mapping)
    with pytest.raises(TypeError, match="set_iterator is not a type of JSON"):
        ev._as_plain(iter(set()))
