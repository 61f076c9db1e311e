"""The public API as its users write it. Never run: `mypy --strict` has to find nothing wrong (see test_typing.py)."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, assert_type

from llm_abstractions import AnthropicLlm, BaseLlm, GeminiLlm, LlmFactory, OpenAILlm
from orchestration import (
    AddsTasks,
    AgentConfig,
    AgentRegistry,
    AgentTask,
    AgentType,
    AttemptError,
    Budget,
    Budgets,
    Check,
    CycleError,
    DependencyError,
    DuplicateError,
    ExecutionResult,
    ExecutionStatus,
    FailureKind,
    Fallback,
    InvalidTaskError,
    OrchestrationError,
    Outcome,
    ParallelExecutor,
    ProjectFileError,
    ProjectLockedError,
    ProjectOrchestrator,
    ProviderUnavailableError,
    RetryPolicy,
    ReviewNeededError,
    RunStopError,
    StoreError,
    StoreVersionError,
    TaskExecutor,
    TaskInput,
    TaskPriority,
    TaskStatus,
    Totals,
    TransitionError,
    UnknownAgentError,
    UnknownTaskError,
    Wait,
    Work,
    WorkflowResult,
    load_project,
)
from orchestration.events import Event
from orchestration.run_state import RunState
from orchestration.store.base import Store  # noqa: TC001 -- as users write it
from orchestration.store.memory import MemoryStore
from orchestration.store.sqlite import SqliteStore


def build() -> ProjectOrchestrator:
    registry = AgentRegistry()
    registry.register_agent(AgentConfig("writer", AgentType.ANTHROPIC_CLAUDE, model="m", max_concurrent=4))
    registry.register_agent(AgentConfig(name="x", agent_type=AgentType.PYTHON, function="m:f"), replace=True)
    assert_type(registry.get_agent("writer"), AgentConfig | None)
    assert_type(registry.list_agents(), list[AgentConfig])
    assert_type(registry.find(capability="code"), list[AgentConfig])
    executor = TaskExecutor(registry, scripts_dir=Path("scripts"), default_agent="writer", retry=RetryPolicy())
    registry.register_agent(
        AgentConfig(
            "y", AgentType.OPENAI_GPT, fallback=("x", Fallback(agent="writer", on=frozenset({FailureKind.QUOTA})))
        )
    )
    project = ProjectOrchestrator(
        Path(),
        project_id="nightly",
        registry=registry,
        executor=executor,
        variables={"lang": "en"},
        budgets=Budgets(project=Budget(usd=Decimal("1.50")), tags={"docs": Budget(tokens=1_000)}),
    )
    project.add_task(
        AgentTask(
            "fix",
            "Fix it",
            checks=(Check(command=("pytest", "-q")), Check(judge="writer", criteria="clear", threshold=0.8)),
            effects="once",
            workspace="worktree",
            writes=("src/**",),
            adds_tasks=AddsTasks(max_tasks=5),
            wait=Wait(deadline_s=3600, default="approve"),
            when="tasks.outline.data.is_broken",
            for_each="tasks.outline.data.files",
        )
    )
    project.add_task(AgentTask("outline", "Outline", agent="writer", priority=TaskPriority.HIGH))
    project.add_task(
        AgentTask(
            task_id="draft",
            title="Draft",
            description="Write it",
            dependencies=("outline",),
            metadata={"use_direct_llm": False},
            output_schema={"type": "object"},
            output_file="draft.md",
            timeout_s=60,
        )
    )
    return project


def look(project: ProjectOrchestrator) -> None:
    assert_type(project.get_task("a"), AgentTask | None)
    assert_type(project.get_ready_tasks(), list[str])
    assert_type(project.state, RunState)
    task = project.get_task("a")
    if task is not None:
        assert_type(task.status, TaskStatus)
        assert_type(task.dependencies, tuple[str, ...])
        assert_type(task.metadata, Mapping[str, Any])


def steer(project: ProjectOrchestrator) -> None:
    def watch(event: Event, state: RunState) -> None: ...

    leave = project.subscribe(watch)
    leave()
    project.start_task("a")
    project.complete_task("a")
    project.complete_task("a", {"n": 1})
    project.fail_task("a", "no luck")
    project.answer("a", "text")
    project.approve("a")
    project.reject("a", "shorter")
    assert_type(project.reset("a"), list[str])
    project.remove_task("a")
    project.drain()
    project.cancel()
    project.cancel("a")
    assert_type(project.budgets, Budgets)
    project.budgets = Budgets(project=Budget(usd=Decimal(2)), on_limit="wait")


async def run(project: ProjectOrchestrator) -> None:
    async with project as same:
        assert_type(same, ProjectOrchestrator)
        assert_type(await project.execute_task("a", agent="x"), ExecutionResult)
        assert_type(await project.execute_parallel_tasks(["a", "b"]), list[ExecutionResult])
        result = await project.execute_workflow(max_concurrent=8)
        assert_type(result, WorkflowResult)
        assert_type(result.results["a"].output, str)
        assert_type(result.totals, Totals)
        assert_type(result.totals.tasks[TaskStatus.COMPLETED], int)
        await project.durable()
    await project.aclose()


async def execute(executor: TaskExecutor, tasks: list[AgentTask]) -> None:
    result = await executor.execute(tasks[0], agent="x", mode="interactive")
    assert_type(result.status, ExecutionStatus)
    assert_type(result.started_at, datetime | None)
    assert_type(result.duration_s, float | None)
    assert_type(result.failure_kind, FailureKind | None)
    assert_type(ExecutionResult.from_dict(result.to_dict()), ExecutionResult)
    parallel = ParallelExecutor(executor, max_concurrent=4)
    assert_type(await parallel.execute(tasks), list[ExecutionResult])
    async for finished in parallel.as_completed(tasks):
        assert_type(finished, ExecutionResult)


class OwnExecutor:
    """A caller's own executor needs one method and no base class."""

    async def execute(self, task: AgentTask, *, agent: str | None = None) -> ExecutionResult:
        return ExecutionResult(task.task_id, status=ExecutionStatus.SUCCESS, output=agent or "")


class OwnStore:
    """A caller's own store needs four methods and no base class."""

    def load(self) -> list[Event]:
        return []

    def append(self, event: Event) -> int:
        return 1

    async def flushed(self, seq: int) -> None: ...

    async def aclose(self) -> None: ...


def own_parts() -> None:
    stores: list[Store] = [OwnStore(), MemoryStore(), SqliteStore(Path("facts.db"))]
    ProjectOrchestrator(executor=OwnExecutor(), store=stores[0])


async def own_function(work: Work) -> str:
    assert_type(work.task, AgentTask)
    assert_type(work.inputs, Mapping[str, TaskInput])
    return work.prompt


def outcome() -> Outcome:
    return Outcome(output="text", data={"n": 1})


async def ask(provider: BaseLlm) -> AsyncIterator[str]:
    async with provider:
        text: str = await provider.generate_content_async([{"role": "user", "content": "hello"}])
        yield text


def providers() -> None:
    provider: BaseLlm = LlmFactory.get_provider(AgentType.ANTHROPIC_CLAUDE, model="m")
    available: bool = LlmFactory.is_provider_available("openai")
    kinds: list[type[BaseLlm]] = [AnthropicLlm, OpenAILlm, GeminiLlm]
    print(provider, available, kinds, LlmFactory.list_available_providers())  # noqa: T201


def errors() -> None:
    try:
        asyncio.run(run(build()))
    except ProjectLockedError as exc:
        assert_type(exc.pid, int | None)
    except CycleError as exc:
        assert_type(exc.cycle, tuple[str, ...])
    except ReviewNeededError as exc:
        assert_type(exc.cause, str)
    except AttemptError as exc:
        assert_type(exc.kind, FailureKind)
    except ProjectFileError as exc:
        assert_type(exc.problems, tuple[str, ...])
    except RunStopError as exc:
        assert_type(exc.kind, FailureKind)
    except (StoreVersionError, StoreError, DependencyError, TransitionError) as exc:
        base: OrchestrationError = exc
        raise base from exc
    except (InvalidTaskError, UnknownTaskError, UnknownAgentError, DuplicateError) as exc:
        mistake: ValueError = exc
        raise mistake from exc


UNAVAILABLE: type[AttemptError] = ProviderUnavailableError
LOAD = load_project
