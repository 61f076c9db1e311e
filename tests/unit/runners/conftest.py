"""What a runner is given in these tests."""

import pytest

from orchestration.agent_registry import AgentConfig, AgentType
from orchestration.attempt import AttemptContext, TaskInput, Work
from orchestration.task import AgentTask


class Reports(list):
    """The facts a runner reported, in order."""


@pytest.fixture
def reports():
    return Reports()


@pytest.fixture
def make_work(tmp_path, reports):
    """Return a function that makes the `Work` of one attempt."""

    def make(agent_type=AgentType.PYTHON, *, prompt="Do it", system=None, root=tmp_path, context=None, **agent):
        task = {name: agent.pop(name) for name in list(agent) if name.startswith("task_")}
        fields = {name.removeprefix("task_"): value for name, value in task.items()}
        return Work(
            task=AgentTask("draft", "Write a draft", "In ten words.", **fields),
            agent=AgentConfig("writer", agent_type, **agent),
            prompt=prompt,
            system=system,
            root=root,
            context=AttemptContext(
                run_id="run-1",
                attempt=2,
                inputs={"outline": TaskInput(output="one, two", data=["one", "two"])},
                variables={"audience": "children"},
                report=reports.append,
                **(context or {}),
            ),
        )

    return make
