"""The records: what a task may be, and that a result survives being written down."""

import dataclasses
import math
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest

from orchestration.errors import InvalidTaskError
from orchestration.task import (
    AgentTask,
    ExecutionResult,
    ExecutionStatus,
    FailureKind,
    TaskPriority,
    TaskStatus,
    check_mode,
    check_name,
)


def test_a_task_needs_an_id_and_a_title_and_takes_everything_by_keyword():
    task = AgentTask(task_id="a", title="A", description="d", agent="x", dependencies=["b"], priority=3, metadata={})
    assert (task.task_id, task.title, task.description) == ("a", "A", "d")
    assert (task.dependencies, task.priority, task.status) == (("b",), TaskPriority.CRITICAL, TaskStatus.PENDING)
    assert AgentTask("a", "A", "d").description == "d"


def test_a_task_is_frozen_and_does_not_change_with_what_it_was_made_from():
    metadata, dependencies = {"model": "m"}, ["b"]
    task = AgentTask("a", "A", metadata=metadata, dependencies=dependencies)
    metadata["model"] = "other"
    dependencies.append("c")
    assert (task.metadata, task.dependencies) == ({"model": "m"}, ("b",))
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.title = "B"


def test_tasks_that_differ_only_in_status_are_equal():
    assert AgentTask("a", "A", status="failed") == AgentTask("a", "A")
    assert AgentTask("a", "A", description="x") != AgentTask("a", "A")


def test_dependencies_lose_their_repeats_and_keep_their_order():
    assert AgentTask("a", "A", dependencies=(name for name in "cbcab")).dependencies == ("c", "b", "a")


def test_any_mapping_is_metadata():
    assert AgentTask("a", "A", metadata=MappingProxyType({"k": 1})).metadata == {"k": 1}


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("title", None, "text"),
        ("description", 5, "text"),
        ("agent", 5, "the name of an agent"),
        ("prompt", b"x", "text"),
        ("system", [], "text"),
        ("metadata", None, "a mapping"),
        ("metadata", [("k", 1)], "a mapping"),
        ("output_schema", "object", "a JSON Schema as a mapping"),
        ("dependencies", "outline", "task ids such as"),
        ("dependencies", [1], "task ids such as"),
        ("dependencies", [["a"]], "task ids such as"),
        ("dependencies", None, "task ids such as"),
        ("priority", 9, "one of 0, 1, 2, 3"),
        ("status", "done", "one of pending, in_progress"),
        ("timeout_s", 0, "a number above 0"),
        ("timeout_s", True, "a number above 0"),
        ("timeout_s", math.inf, "a number above 0"),
        ("timeout_s", math.nan, "a number above 0"),
        ("timeout_s", "ten", "a number above 0"),
        ("max_attempts", 2.5, "a whole number above 0"),
        ("max_attempts", 0, "a whole number above 0"),
        ("max_attempts", True, "a whole number above 0"),
        ("max_tokens", -1, "a whole number above 0"),
        ("output_file", "/etc/passwd", "a path inside the project's folder"),
        ("output_file", "../a.md", "a path inside the project's folder"),
        ("output_file", "a/../../b", "a path inside the project's folder"),
        ("output_file", "", "a path inside the project's folder"),
        ("output_file", ".", "a path inside the project's folder"),
        ("output_file", "a\0b", "a path inside the project's folder"),
        ("output_file", 5, "a path inside the project's folder"),
    ],
)
def test_a_field_of_the_wrong_type_or_range_is_refused_by_name_with_what_was_expected(field, value, expected):
    with pytest.raises(InvalidTaskError, match=f"task 'a': {field} is .*expected {expected}"):
        AgentTask(**{"task_id": "a", "title": "A", field: value})


@pytest.mark.parametrize("mode", ["API", "", 5])
def test_an_unknown_mode_is_refused_naming_the_three(mode):
    with pytest.raises(ValueError, match=r"unknown execution mode .*'interactive', 'api', 'hybrid'"):
        AgentTask("a", "A", mode=mode)
    for known in ("interactive", "api", "hybrid"):
        check_mode(known)


@pytest.mark.parametrize("name", ["a", "A.b-c_d:1@x+y", "_x", "9", "naïve", "x" * 128])
def test_plain_names_are_ids(name):
    check_name("task id", name)


@pytest.mark.parametrize(
    "name", ["", ".a", "-a", "a b", "a/b", "a..b", "..", "a\n", "a\0", "x" * 129, "a\\b", None, 5, "a" * 10**6]
)
def test_names_that_could_not_safely_be_part_of_a_path_are_refused(name):
    with pytest.raises(InvalidTaskError, match="is not usable; expected 1 to 128 letters") as caught:
        AgentTask(name, "A")
    assert len(str(caught.value)) < 500


# -- results


def test_only_the_id_of_a_result_is_required():
    result = ExecutionResult("a")
    assert (result.agent, result.status, result.output, result.error) == ("", ExecutionStatus.PENDING, "", "")
    assert (result.metadata, result.duration_s, result.failure_kind) == ({}, None, None)


def test_a_result_knows_its_duration_and_why_it_failed():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    result = ExecutionResult(
        "a",
        started_at=start,
        completed_at=start + timedelta(seconds=1.5),
        metadata={"failure_kind": "rate_limit"},
    )
    assert (result.duration_s, result.failure_kind) == (1.5, FailureKind.RATE_LIMIT)
    assert ExecutionResult("a", started_at=start).duration_s is None


def test_a_result_survives_being_written_as_plain_json_values():
    at = datetime(2026, 1, 1, 12, 30, 15, 123456, tzinfo=UTC)
    result = ExecutionResult("a", "x", ExecutionStatus.FAILED, at, at, "out", "err", {"k": [1, {"n": None}]})
    plain = result.to_dict()
    assert plain["started_at"] == "2026-01-01T12:30:15.123456+00:00"
    assert ExecutionResult.from_dict(plain) == result
    assert ExecutionResult.from_dict(ExecutionResult("a").to_dict()) == ExecutionResult("a")


def test_reading_a_result_leaves_out_what_it_does_not_know():
    assert ExecutionResult.from_dict({"task_id": "a", "future_field": 1}) == ExecutionResult("a")


@pytest.mark.parametrize(
    "plain",
    [
        {},
        {"task_id": 5},
        {"task_id": "a", "status": "done"},
        {"task_id": "a", "started_at": "yesterday"},
        {"task_id": "a", "output": None},
        {"task_id": "a", "metadata": []},
    ],
)
def test_a_result_that_cannot_be_read_is_refused_with_the_value(plain):
    with pytest.raises(InvalidTaskError, match="not an execution result: "):
        ExecutionResult.from_dict(plain)
