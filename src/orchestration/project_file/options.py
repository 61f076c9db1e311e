"""The records that are parts of others, made of a project file's sound values. Finds nothing wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestration.notice import Notice
from orchestration.task_options import AddsTasks, Check, Wait

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["read_adds_tasks", "read_checks", "read_notify", "read_wait"]


def read_checks(checks: Iterable[Mapping[str, Any]], schemas: Mapping[int, Mapping[str, Any]]) -> tuple[Check, ...]:
    """Return a task's checks; `schemas` holds those that were named, by the check's place in the list."""
    return tuple(_check(check, schemas.get(index)) for index, check in enumerate(checks))


def _check(check: Mapping[str, Any], schema: Mapping[str, Any] | None) -> Check:
    given = dict(check) | {"schema": schema}
    person = given.pop("person", False)
    if isinstance(person, str):
        given["criteria"] = person
    return Check(person=bool(person), **given)


def read_adds_tasks(value: bool | Mapping[str, Any] | None) -> AddsTasks | None:  # noqa: FBT001 -- as it is written
    """Return how a task's result may add tasks; None where it may not."""
    if value is None or value is False:
        return None
    given = {} if value is True else dict(value)
    # JSON Schema counts 3.0 among the integers; our records do not.
    return AddsTasks(**given | {name: int(given[name]) for name in ("max_tasks", "max_depth") if name in given})


def read_wait(value: Mapping[str, Any] | None) -> Wait | None:
    """Return how long a task waits for a person; None for as long as it takes."""
    return None if value is None else Wait(**value)


def read_notify(value: Mapping[str, Any] | None) -> Notice | None:
    """Return how people are told; None where they are not."""
    return None if value is None else Notice(**value)
