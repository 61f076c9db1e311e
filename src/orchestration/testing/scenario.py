"""What is simulated: a project, the servers it meets, and what goes wrong; made by hand, or by chance from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from llm_abstractions.lane import LaneLimits
from orchestration.agent_registry import FALLBACK_KINDS, AgentConfig, AgentType, Fallback
from orchestration.budget import Budget, Budgets
from orchestration.project_file import resolve_variables
from orchestration.retry import RetryPolicy
from orchestration.task import AgentTask, Check, FailureKind, TaskPriority
from orchestration.testing.server import SimulatedServer, Trouble

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from orchestration.project_file import LaneCeilings, ProjectFile

__all__ = ["Order", "Scenario", "Verb", "random_scenario"]

Verb = Literal["drain", "cancel", "cancel_task", "reset", "reopen_lanes", "change_limits"]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a person does at a moment: to the run, or to the task that is named. An order that cannot be is refused."""

    at_s: float
    verb: Verb
    task_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One story to be played once, for servers remember.

    `deaths`: the process is killed after so many steps of its event loop, once per number, and started again.
    `disk_full_at`: the fact that cannot be written, in the first process. `commit_s` is how long a write takes.
    A person answers each task that waits within `answer_s`, rejects a draft with a chance of `rejects`, multiplies
    used-up budgets by `raise_factor`, `raises` times, and starts up to `runs` more runs as long as there is something
    left to do. `is_shuffled`: what is ready together runs in an order of the seed's choice. `root` is the folder in
    which functions and templates are found.
    """

    tasks: Sequence[AgentTask]
    agents: Sequence[AgentConfig]
    servers: Sequence[SimulatedServer] = ()
    limits: Mapping[str, LaneLimits] = field(default_factory=dict)
    budgets: Budgets | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    max_concurrent: int | None = None
    commit_s: float = 0.0
    deaths: Sequence[int] = ()
    disk_full_at: int | None = None
    orders: Sequence[Order] = ()
    answer_s: tuple[float, float] = (5.0, 300.0)
    rejects: float = 0.0
    raises: int = 0
    raise_factor: Decimal = Decimal("1.5")
    runs: int = 3
    is_shuffled: bool = False
    default_agent: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    root: Path | None = None

    @classmethod
    def of(cls, project: ProjectFile, **more: Any) -> Scenario:
        """Return the scenario of a project file; `more` are further fields, the servers above all.

        Nothing is written to the project's folder; functions and templates are found there.
        """
        known = {
            "tasks": project.tasks,
            "agents": project.agents,
            "limits": {name: _lane_limits(ceilings) for name, ceilings in project.limits.items()},
            "budgets": project.budgets or None,
            "retry": project.retry,
            "max_concurrent": project.max_concurrent,
            "default_agent": project.default_agent,
            "variables": resolve_variables(project, more.pop("variables", {})),
            "root": project.root,
        }
        return cls(**(known | more))


def _lane_limits(ceilings: LaneCeilings) -> LaneLimits:
    return LaneLimits(
        requests_per_minute=ceilings.rpm,
        tokens_per_minute=ceilings.tpm,
        input_tokens_per_minute=ceilings.input_tpm,
        output_tokens_per_minute=ceilings.output_tpm,
        concurrency=ceilings.concurrency,
    )


# The types, with a model each whose price is listed; the last one's is not, and the local one's is nothing.
_MODELS = (
    (AgentType.ANTHROPIC_CLAUDE, "claude-haiku-4-5"),
    (AgentType.OPENAI_GPT, "gpt-4o"),
    (AgentType.GOOGLE_GEMINI, "gemini-2.5-flash"),
    (AgentType.LOCAL, "llama"),
    (AgentType.OPENAI_GPT, "model-of-the-house"),
)
_TROUBLES = (
    FailureKind.RATE_LIMIT,
    FailureKind.OVERLOADED,
    FailureKind.CONNECTION,
    FailureKind.TIMEOUT,
    FailureKind.QUOTA,
    FailureKind.REFUSAL,
    FailureKind.BAD_OUTPUT,
    FailureKind.AUTH,
    FailureKind.CONTEXT_LENGTH,
)
_PERSON = "person"


def random_scenario(seed: int) -> Scenario:
    """Return a small project with everything that can happen to one, most things rarely; the same for the same seed."""
    chance = random.Random(f"scenario {seed}")  # noqa: S311 -- it has to be the same each time
    models = chance.sample(_MODELS, chance.choice((1, 1, 2, 3)))
    servers = [_server(chance, kind, seed) for kind in dict.fromkeys(kind for kind, _ in models)]
    agents = _agents(chance, models)
    tasks = _tasks(chance, [agent.name for agent in agents])
    return Scenario(
        tasks=tasks,
        agents=agents,
        servers=servers,
        limits=_limits(chance, servers),
        budgets=_budgets(chance, tasks, agents),
        retry=RetryPolicy(park=_happens(chance, 0.8), max_parked_s=chance.choice((60.0, 3_600.0, 86_400.0))),
        max_concurrent=chance.choice((None, None, 1, 3)),
        commit_s=chance.choice((0.0, 0.001, 0.02)),
        deaths=_deaths(chance),
        disk_full_at=int(2 ** chance.uniform(1, 7)) if _happens(chance, 0.05) else None,
        orders=_orders(chance, tasks),
        rejects=chance.choice((0.0, 0.5)),
        raises=chance.choice((0, 1, 5)),
        is_shuffled=_happens(chance, 0.5),
    )


def _happens(chance: random.Random, share: float) -> bool:
    return chance.random() < share


def _server(chance: random.Random, kind: AgentType, seed: int) -> SimulatedServer:
    return SimulatedServer(
        agent_type=kind,
        requests_per_minute=chance.choice((None, None, 6, 30, 300)),
        tokens_per_minute=chance.choice((None, None, None, 2_000, 20_000)),
        states_limits=_happens(chance, 0.5),
        says_retry_after=_happens(chance, 0.7),
        latency_s=chance.choice(((0.0, 0.0), (0.1, 1.0), (1.0, 20.0))),
        output_tokens=chance.choice(((1, 20), (20, 400))),
        troubles=tuple(_trouble(chance) for _ in range(chance.choice((0, 0, 1, 1, 2, 3)))),
        seed=seed,
    )


def _trouble(chance: random.Random) -> Trouble:
    from_s = chance.choice((0.0, chance.uniform(0, 60)))
    return Trouble(
        kind=chance.choice(_TROUBLES),
        from_s=from_s,
        until_s=from_s + chance.choice((1.0, 20.0, 300.0, 7_200.0)),
        share=chance.choice((0.1, 0.5, 1.0)),
        says_when=_happens(chance, 0.6),
    )


def _agents(chance: random.Random, models: Sequence[tuple[AgentType, str]]) -> list[AgentConfig]:
    names = [f"agent-{number}" for number in range(len(models))]
    agents = []
    for name, (kind, model) in zip(names, models, strict=True):
        others = [other for other in names if other != name]
        chain = chance.sample(others, chance.randint(0, len(others))) if _happens(chance, 0.5) else []
        agents.append(
            AgentConfig(
                name,
                kind,
                model=model,
                max_concurrent=chance.choice((None, None, 1, 2)),
                timeout_s=chance.choice((None, None, 30.0)),
                max_attempts=chance.choice((None, None, 1, 5)),
                max_tokens=chance.choice((None, 100, 500)),
                fallback=tuple(Fallback(agent=other, on=_kinds(chance)) for other in chain),
            )
        )
    return [*agents, AgentConfig(_PERSON, AgentType.HUMAN)]


def _kinds(chance: random.Random) -> frozenset[FailureKind]:
    also = chance.choice((frozenset(), frozenset({FailureKind.REFUSAL, FailureKind.CONTEXT_LENGTH})))
    return FALLBACK_KINDS | also


def _tasks(chance: random.Random, agents: Sequence[str]) -> list[AgentTask]:
    names = [f"t{number}" for number in range(chance.choice((1, 2, 4, 8, 8, 12)))]
    tasks = []
    for number, name in enumerate(names):
        worker = _PERSON if _happens(chance, 0.08) else chance.choice([agent for agent in agents if agent != _PERSON])
        needs = chance.sample(names[:number], min(number, chance.choice((0, 0, 1, 1, 2))))
        growth = _growth(chance, needs)
        tasks.append(
            AgentTask(
                name,
                f"Task {name}",
                description="word " * chance.choice((1, 20, 400)),
                agent=worker,
                dependencies=tuple(needs),
                priority=chance.choice(list(TaskPriority)),
                mode="hybrid" if worker != _PERSON and _happens(chance, 0.08) else None,
                timeout_s=chance.choice((None, None, None, 5.0, 60.0)),
                max_attempts=chance.choice((None, None, None, 2)),
                **growth,
            )
        )
    return tasks


def _growth(chance: random.Random, needs: Sequence[str]) -> dict[str, Any]:
    """Return what makes a task more than one call: conditions, lists, checks, effects, scopes; mostly nothing."""
    more: dict[str, Any] = {}
    if _happens(chance, 0.1):
        more["when"] = chance.choice(("true", "false", f"not tasks.{needs[0]}.skipped" if needs else "1 > 2"))
    if _happens(chance, 0.1):
        more["for_each"] = chance.choice(("range(3)", "['a', 'b']", "[]", "range(200)"))
        if _happens(chance, 0.3):
            more["when"] = chance.choice(("item != 'a'", "item == 1"))
    if _happens(chance, 0.15):
        checks = (Check(matches="."), Check(matches="^never$"), Check(person=True))
        more["checks"] = tuple(chance.sample(checks, chance.choice((1, 1, 2))))
    if _happens(chance, 0.1):
        more["effects"] = "once"
    if _happens(chance, 0.15):
        more["writes"] = chance.choice((("src/**",), ("src/a.py",), ("docs/**",)))
    return more


def _limits(chance: random.Random, servers: Sequence[SimulatedServer]) -> dict[str, LaneLimits]:
    """Return ceilings for some lanes: what the server allows, or less."""
    return {
        server.agent_type.value: LaneLimits(
            requests_per_minute=server.requests_per_minute,
            tokens_per_minute=server.tokens_per_minute,
            concurrency=chance.choice((None, 1, 3)),
        )
        for server in servers
        if _happens(chance, 0.4)
    }


def _budgets(chance: random.Random, tasks: Sequence[AgentTask], agents: Sequence[AgentConfig]) -> Budgets | None:
    if _happens(chance, 0.5):
        return None
    some = [task.task_id for task in tasks if _happens(chance, 0.3)]
    return Budgets(
        project=Budget(usd=_dollars(chance)) if _happens(chance, 0.7) else None,
        agents={agents[0].name: Budget(tokens=chance.choice((2_000, 20_000)))} if _happens(chance, 0.3) else {},
        tasks={tasks[0].task_id: Budget(usd=_dollars(chance))} if _happens(chance, 0.3) else {},
        tags={"some": Budget(usd=_dollars(chance), tokens=50_000)} if _happens(chance, 0.3) else {},
        tagged=dict.fromkeys(some, ("some",)),
        on_limit=chance.choice(("stop", "wait")),
        allow_unknown_price=_happens(chance, 0.5),
    )


def _dollars(chance: random.Random) -> Decimal:
    return Decimal(chance.choice(("0.005", "0.05", "0.2")))


def _deaths(chance: random.Random) -> tuple[int, ...]:
    return tuple(int(2 ** chance.uniform(3, 10)) for _ in range(chance.choice((0, 0, 0, 1, 1, 3))))


def _orders(chance: random.Random, tasks: Sequence[AgentTask]) -> tuple[Order, ...]:
    verbs: tuple[Verb, ...] = ("drain", "cancel", "cancel_task", "reset", "reopen_lanes", "change_limits")
    return tuple(
        Order(at_s=chance.uniform(0, 60), verb=chance.choice(verbs), task_id=chance.choice(tasks).task_id)
        for _ in range(chance.choice((0, 0, 0, 0, 1, 2)))
    )
