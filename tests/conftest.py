"""What every test needs, and an executor whose every move the test decides."""

import asyncio
from collections import Counter

import pytest

from orchestration.attempt import current
from orchestration.task import ExecutionResult, ExecutionStatus

# pytest-asyncio asks for the current event loop before its first test. Where none was ever set, Python 3.11 makes one
# for the occasion, which nobody closes: a ResourceWarning in whichever test comes next.
asyncio.set_event_loop(None)


class ScriptedExecutor:
    """Takes `metadata["s"]` seconds per task and answers "<id> done", unless `acts[id]` says otherwise.

    An act is an exception to raise, a value to return, or an async function of the task. `starts` and `ends` hold
    (id, loop time) in order; `most` is the largest number at once, per agent and (key None) in all.
    """

    def __init__(self, acts=None, *, default_agent=None):
        self.acts = dict(acts or {})
        self.default_agent = default_agent
        self.starts, self.ends, self.contexts = [], [], {}
        self.most, self._now = Counter(), Counter()

    @property
    def started(self):
        return [task_id for task_id, _ in self.starts]

    async def execute(self, task, *, agent=None):
        loop = asyncio.get_running_loop()
        name = agent or task.agent or self.default_agent
        self.starts.append((task.task_id, loop.time()))
        self.contexts[task.task_id] = current.get()
        for key in {None, name}:
            self._now[key] += 1
            self.most[key] = max(self.most[key], self._now[key])
        try:
            return await self._act(task, name)
        finally:
            for key in {None, name}:
                self._now[key] -= 1
            self.ends.append((task.task_id, loop.time()))

    async def _act(self, task, agent):
        act = self.acts.get(task.task_id)
        if seconds := task.metadata.get("s"):
            await asyncio.sleep(seconds)
        if isinstance(act, BaseException):
            raise act
        if callable(act):
            return await act(task)
        if act is not None:
            return act
        return done(task.task_id, agent=agent or "")


def done(task_id, output=None, **fields):
    """Return the result of a task that went well."""
    text = f"{task_id} done" if output is None else output
    return ExecutionResult(task_id, status=ExecutionStatus.SUCCESS, output=text, **fields)


@pytest.fixture
def executor():
    return ScriptedExecutor()


@pytest.fixture
def scripted():
    """The class of `executor`, for tests that need two or tell it what to do."""
    return ScriptedExecutor


@pytest.fixture
def result():
    """Make a successful result: `result("a", "text")`."""
    return done
