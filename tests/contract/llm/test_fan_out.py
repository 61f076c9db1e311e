"""Many tasks of one agent at once, through the real SDKs: who is sent when, and which requests are not sent at all."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from orchestration.agent_registry import AgentConfig, AgentRegistry, AgentType
from orchestration.attempt import AttemptContext, current
from orchestration.budget import Budget, Budgets
from orchestration.executor import TaskExecutor
from orchestration.orchestrator import ProjectOrchestrator
from orchestration.retry import RetryPolicy
from orchestration.task import AgentTask, ExecutionResult, ExecutionStatus

LONG = "What every task has to know. " * 200
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}

pytestmark = pytest.mark.parametrize("wire", ["anthropic"], indirect=True)


class Gate:
    """Sends the first event of a stream when `begin` is set, and the rest when `end` is."""

    def __init__(self, server: Any, events: list[bytes], *, failures: int = 0) -> None:
        self.begin, self.end = asyncio.Event(), asyncio.Event()
        self.failures = failures
        self._server, self._events = server, events
        self._arrived = asyncio.Condition()
        self.arrived = 0
        server.handler = self.handle

    async def handle(self, request: web.Request) -> web.StreamResponse:
        async with self._arrived:
            self.arrived += 1
            number = self.arrived
            self._arrived.notify_all()
        if number <= self.failures:
            return web.Response(status=400, body=b"{}", content_type="application/json")
        if not (await request.json()).get("stream"):
            return web.Response(body=self.plain, content_type="application/json")
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await self.begin.wait()
        await response.write(self._events[0])
        await self.end.wait()
        for event in self._events[1:]:
            await response.write(event)
        return response

    plain = b""

    async def until_arrived(self, number: int) -> None:
        async with asyncio.timeout(20), self._arrived:
            await self._arrived.wait_for(lambda: self.arrived >= number)


@pytest.fixture
def gate(server, wire):
    made = Gate(server, wire.events("short"))
    made.plain = json.dumps(wire.answer("short")).encode()
    return made


@pytest.fixture
async def executor(server, wire, tmp_path) -> AsyncIterator[TaskExecutor]:
    (tmp_path / "facts.md").write_text(LONG, "utf-8")
    registry = AgentRegistry()
    common = {"agent_type": AgentType.ANTHROPIC_CLAUDE, "base_url": server.url, "model": "m-0"}
    registry.register_agent(AgentConfig("writer", system="Be brief.", files=("facts.md",), **common))
    registry.register_agent(AgentConfig("small", system="Be brief.", **common))
    registry.register_agent(AgentConfig("keeper", cache=True, **common))
    async with TaskExecutor(registry, root=tmp_path, retry=RetryPolicy(max_attempts=1)) as made:
        yield made


def start(executor: TaskExecutor, number: int, agent: str = "writer") -> list[asyncio.Task[ExecutionResult]]:
    tasks = [AgentTask(f"t{index}", f"Part {index}", agent=agent) for index in range(number)]
    return [asyncio.create_task(executor.execute(task)) for task in tasks]


async def settle() -> None:
    """Let everything go as far as it can: over sockets, too."""
    for _ in range(200):
        await asyncio.sleep(0)
    await asyncio.to_thread(lambda: None)
    for _ in range(200):
        await asyncio.sleep(0)


async def test_of_twenty_siblings_one_is_sent_before_the_first_answer_begins_and_nineteen_after(gate, executor, server):
    tasks = start(executor, 20)
    await gate.until_arrived(1)
    await settle()
    assert gate.arrived == 1

    gate.begin.set()
    await gate.until_arrived(20)  # while the first answer has begun and not ended
    gate.end.set()
    results = await asyncio.gather(*tasks)

    assert {result.status for result in results} == {ExecutionStatus.SUCCESS}
    assert gate.arrived == 20
    assert [body.get("stream", False) for body in server.bodies] == [True] + 19 * [False]
    marked = [body["messages"][0]["content"][0] for body in server.bodies]
    assert all(block == marked[0] for block in marked)
    assert marked[0] == {
        "type": "text",
        "text": f'<file path="facts.md">\n{LONG}\n</file>\n\n',
        "cache_control": {"type": "ephemeral"},
    }
    assert sorted(body["messages"][0]["content"][1]["text"] for body in server.bodies) == sorted(
        f"Part {index}" for index in range(20)
    )


async def test_when_the_first_one_fails_the_next_goes_ahead(gate, executor):
    gate.failures = 2
    tasks = start(executor, 5)
    await gate.until_arrived(3)
    await settle()
    assert gate.arrived == 3

    gate.begin.set()
    gate.end.set()
    results = await asyncio.gather(*tasks)

    assert [result.status for result in results].count(ExecutionStatus.FAILED) == 2
    assert gate.arrived == 5


async def test_the_one_ahead_is_cancelled_and_the_next_is_sent(gate, executor):
    tasks = start(executor, 3)
    await gate.until_arrived(1)
    await asyncio.gather(*cancelled(tasks[:1]), return_exceptions=True)
    await gate.until_arrived(2)
    gate.begin.set()
    gate.end.set()

    assert [result.output for result in await asyncio.gather(*tasks[1:])] == ["short", "short"]


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89])
@pytest.mark.parametrize("phase", ["start", "first one sent", "its answer begun"])
async def test_when_all_are_cancelled_at_any_step_nothing_is_left_behind(gate, executor, phase, steps):
    tasks = start(executor, 4)
    if phase != "start":
        await gate.until_arrived(1)
    if phase == "its answer begun":
        gate.begin.set()
        await gate.until_arrived(4)
    for _ in range(steps):
        await asyncio.sleep(0)
    await asyncio.gather(*cancelled(tasks), return_exceptions=True)

    gate.begin.set()
    gate.end.set()
    (result,) = await asyncio.gather(*start(executor, 1))

    assert result.output == "short"
    assert all(lane.under_way == lane.waiting == 0 for lane in executor.lanes.status())


async def test_short_beginnings_are_neither_marked_nor_waited_for(gate, executor, server):
    results = await asyncio.gather(*start(executor, 3, agent="small"))

    assert [result.output for result in results] == 3 * ["short"]
    assert "cache_control" not in str(server.bodies)
    assert {body.get("stream", False) for body in server.bodies} == {False}


async def test_tasks_with_other_beginnings_do_not_wait_for_each_other(gate, executor):
    task = AgentTask("other", "Part 0", agent="writer", system="Be long.")
    tasks = [*start(executor, 2), asyncio.create_task(executor.execute(task))]
    await gate.until_arrived(2)
    await settle()
    assert gate.arrived == 2

    gate.begin.set()
    gate.end.set()
    await asyncio.gather(*tasks)


async def test_an_equal_request_is_answered_from_the_cache_and_costs_nothing(gate, executor, server):
    task = AgentTask("t", "Sum it up", agent="keeper")
    facts: list[Any] = []
    token = current.set(AttemptContext(report=facts.append))
    try:
        first = await executor.execute(task)
        again = await executor.execute(AgentTask("other", "Sum it up", agent="keeper"))
    finally:
        current.reset(token)

    assert first.output == again.output == "short"
    assert len(server.requests) == 1
    assert first.metadata["usage"]["input_tokens"] == 20
    assert "cached" not in first.metadata
    assert again.metadata["cached"] is True
    assert set(again.metadata["usage"].values()) == {0}
    assert again.metadata["cost_usd"] == "0"
    assert [again.metadata[name] for name in ("provider", "model", "finish_reason")] == ["anthropic", "m-1", "stop"]
    assert [(fact.task_id, fact.cached, fact.input_tokens, fact.cost_usd) for fact in facts] == [
        ("t", False, 20, None),
        ("other", True, 0, "0"),
    ]


async def test_equal_requests_at_once_are_sent_once(gate, executor, server):
    tasks = [AgentTask(f"t{index}", "Sum it up", agent="keeper") for index in range(20)]

    results = await asyncio.gather(*(executor.execute(task) for task in tasks))

    assert len(server.requests) == 1
    assert [result.output for result in results] == 20 * ["short"]
    assert [result.metadata.get("cached", False) for result in results].count(True) == 19


async def test_a_failure_is_not_kept_and_the_next_of_equal_requests_is_sent(gate, executor, server):
    gate.failures = 1
    tasks = [AgentTask(f"t{index}", "Sum it up", agent="keeper") for index in range(3)]

    results = await asyncio.gather(*(executor.execute(task) for task in tasks))

    assert [result.status for result in results].count(ExecutionStatus.FAILED) == 1
    assert len(server.requests) == 2


async def test_a_lane_does_not_hear_of_answers_that_are_there_already(gate, executor):
    task = AgentTask("t", "Sum it up", agent="keeper")
    await executor.execute(task)
    for lane in executor.lanes.matching("*"):
        lane.pause(1_000, "for a test")

    async with asyncio.timeout(5):
        assert (await executor.execute(task)).metadata["cached"] is True


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({"title": "Sum it up"}, True),
        ({"priority": 3, "timeout_s": 60, "metadata": {"ticket": 7}}, True),
        ({"title": "Sum it down"}, False),
        ({"max_tokens": 7}, False),
        ({"system": "In French."}, False),
        ({"metadata": {"model": "m-9"}}, False),
        ({"output_schema": SCHEMA}, False),
        ({"metadata": {"cache": False}}, False),
    ],
)
async def test_what_makes_a_request_another_one(gate, executor, server, change, is_same):
    await executor.execute(AgentTask("t", "Sum it up", agent="keeper"))

    await executor.execute(AgentTask("u", **{"title": "Sum it up", "agent": "keeper", **change}))

    assert len(server.requests) == (1 if is_same else 2)


async def test_a_task_can_ask_for_the_cache_and_another_say_how_old_an_answer_may_be(gate, executor, server):
    for cache in (True, {"max_age_s": 60}, {"max_age_s": 1e-9}, None, False):
        await executor.execute(AgentTask("t", "Sum it up", agent="small", metadata={"cache": cache}))

    assert len(server.requests) == 4  # only the second was there, and young enough


async def test_an_answer_that_is_not_of_the_asked_form_is_not_kept(executor, server, wire):
    task = AgentTask("t", "Count", agent="keeper", output_schema=SCHEMA)
    server.says(wire.answer('{"n": "many"}'))
    assert (await executor.execute(task)).status is ExecutionStatus.FAILED

    server.says(wire.answer('{"n": 3}'))
    assert (await executor.execute(task)).metadata["data"] == {"n": 3}
    again = await executor.execute(task)

    assert again.metadata["data"] == {"n": 3}
    assert again.metadata["cached"] is True
    assert len(server.requests) == 2


async def test_an_answer_that_was_cut_is_not_kept_even_where_it_is_accepted(executor, server, wire, tmp_path):
    registry = executor.registry
    registry.register_agent(
        AgentConfig("sloppy", AgentType.ANTHROPIC_CLAUDE, base_url=server.url, cache=True, allow_truncated=True)
    )
    server.says(wire.answer("sho", "length"))

    for _ in range(2):
        result = await executor.execute(AgentTask("t", "T", agent="sloppy"))
        assert result.output == "sho"
        assert "cached" not in result.metadata

    assert len(server.requests) == 2


async def test_no_secret_is_in_the_cache_s_file(executor, server, wire, tmp_path, monkeypatch):
    secret = "sk-ant-0123456789-secret"
    monkeypatch.setenv("ANTHROPIC_API_KEY", secret)
    server.says(wire.answer(f"The key is {secret}."))
    executor.registry.register_agent(
        AgentConfig(
            "teller", AgentType.ANTHROPIC_CLAUDE, base_url=server.url, cache=True, headers={"x-team": "t0p5ecret"}
        )
    )

    await executor.execute(AgentTask("t", "T", agent="teller"))
    again = await executor.execute(AgentTask("t", "T", agent="teller"))
    await executor.aclose()

    assert again.output == "The key is ***."
    raw = b"".join(path.read_bytes() for path in (tmp_path / ".orchestration").iterdir())
    assert b"The key is ***." in raw
    assert secret.encode() not in raw
    assert b"t0p5ecret" not in raw


async def test_a_project_that_does_a_task_again_pays_once_and_needs_no_budget_for_it(gate, executor, server, tmp_path):
    def project(budgets: Budgets | None = None) -> ProjectOrchestrator:
        made = ProjectOrchestrator(tmp_path, executor=executor, registry=executor.registry, budgets=budgets)
        made.add_task(AgentTask("t", "Sum it up", agent="keeper"))
        return made

    async with project() as first:
        await first.execute_workflow()
        first.reset("t")

    nothing_left = Budgets(project=Budget(tokens=1))
    async with project(nothing_left) as second:
        result = await second.execute_workflow()
        spend = second.state.spend

    assert result.status == "completed"
    assert result.results["t"].metadata["cached"] is True
    assert len(server.requests) == 1
    assert (spend.calls, spend.input_tokens) == (1, 20)


@pytest.mark.parametrize("cache", ["yes", 7, {"max_age": 60}, {"max_age_s": 0}, {"max_age_s": None}])
async def test_a_setting_of_the_cache_that_means_nothing_is_refused(gate, executor, server, cache):
    with pytest.raises(ValueError, match=r"task 't'.*cache"):
        await executor.execute(AgentTask("t", "T", agent="keeper", metadata={"cache": cache}))
    with pytest.raises(ValueError, match=r"agent 'a'.*cache"):
        AgentConfig("a", AgentType.ANTHROPIC_CLAUDE, cache=cache)
    assert server.requests == []


def cancelled(tasks: list[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    for task in tasks:
        task.cancel()
    return tasks
