"""Facts to build states from, short enough to read."""

from datetime import UTC, datetime, timedelta

import pytest

from orchestration import events as ev
from orchestration.fold import fold
from orchestration.task import AgentTask, ExecutionResult, ExecutionStatus, FailureKind

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class History:
    """Makes facts; `at` seconds after the start, one second after the last unless told."""

    def __init__(self):
        self.facts = []
        self.at = START

    def add(self, fact, *, after_s=1.0, **fields):
        self.at += timedelta(seconds=after_s)
        self.facts.append(fact(at=self.at, **fields))
        return self

    def task(self, name, *dependencies, **more):
        return self.add(ev.TaskAdded, task=AgentTask(name, more.pop("title", name), dependencies=dependencies, **more))

    def start(self, name, *, attempt=1, **more):
        return self.add(ev.TaskStarted, task_id=name, attempt=attempt, **more)

    def complete(self, name, output="", metadata=None, **more):
        result = self._result(name, output=output, metadata=metadata or {})
        return self.add(ev.TaskCompleted, task_id=name, result=result, **more)

    def fail(self, name, error="no", kind=FailureKind.TASK_ERROR, **more):
        result = self._result(name, ExecutionStatus.FAILED, error=error, metadata={"failure_kind": kind.value})
        return self.add(ev.TaskFailed, task_id=name, result=result, **more)

    def wait(self, name, need="answer", output=""):
        return self.add(
            ev.TaskWaiting, task_id=name, need=need, result=self._result(name, ExecutionStatus.PENDING, output=output)
        )

    def claim(self, name, output="", **more):
        return self.add(ev.TaskVerifying, task_id=name, attempt=1, result=self._result(name, output=output, **more))

    def check(self, name, check, *, is_passed=True, evidence=""):
        return self.add(ev.CheckFinished, task_id=name, attempt=1, check=check, is_passed=is_passed, evidence=evidence)

    def review(self, name, cause="effect", reason="it was stopped", **more):
        result = self._result(name, ExecutionStatus.PENDING, **more) if more else None
        return self.add(ev.TaskNeedsReview, task_id=name, cause=cause, reason=reason, result=result)

    def call(self, name, **more):
        return self.add(ev.CallFinished, task_id=name, attempt=1, provider="p", model="m", **more)

    def _result(self, name, status=ExecutionStatus.SUCCESS, **more):
        started = next(
            (f.at for f in reversed(self.facts) if isinstance(f, ev.TaskStarted) and f.task_id == name), None
        )
        return ExecutionResult(
            name, status=status, started_at=started, completed_at=self.at + timedelta(seconds=1), **more
        )

    @property
    def state(self):
        return fold(self.facts)


@pytest.fixture
def history():
    return History()
