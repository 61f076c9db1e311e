"""Traffic on bad days, in virtual time: the real orchestrator and lanes against made-up servers. Figures are exact."""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass
from decimal import Decimal

from benchmarks.row import Row, emit, within
from llm_abstractions import LaneLimits
from orchestration import AgentConfig, AgentTask, AgentType, Budget, Budgets, TaskStatus
from orchestration.testing import Report, Scenario, SimulatedServer, Trouble, play

__all__ = ["measure"]

SEEDS = range(20)
# 429 storm: the server sheds four calls in five for half a minute and says nothing of when to come again.
STORM_TASKS, STORM_S, STORM_SHARE, STORM_CALL_S, SLOW_CALL_S = 200, 30.0, 0.8, 0.3, 5.0
# Outage: eight tasks at a time, while the first agent's server fails every call for a minute.
OUTAGE_TASKS, OUTAGE_AT_ONCE, OUTAGE_FROM_S, OUTAGE_UNTIL_S, OUTAGE_CALL_S = 1_500, 8, 30.0, 90.0, 1.0
# Budget: at most 1,933 tokens of output and a few hundred of input come to $0.03; an answer uses a third of that.
BUDGET_TASKS, BUDGET, LARGER_BUDGET, KILLS = 100, Decimal("1.00"), Decimal("2.00"), 2
MOST_TOKENS, USED_TOKENS, AT_ONCE = 1_933, 700, 10


def measure() -> list[Row]:
    return [*_storms(), *_outages(), *_budgets()]


def _storms() -> list[Row]:
    quick = [_storm(seed, STORM_CALL_S) for seed in SEEDS]
    slow = [_storm(seed, SLOW_CALL_S) for seed in SEEDS]
    name = f"429 storm of {STORM_S:g} s, {STORM_TASKS} calls of {STORM_CALL_S:g} s"
    shares = [storm.wasted / storm.calls for storm in quick]
    optimum_s = STORM_S + STORM_CALL_S
    return [
        _all(f"{name}: completed", sum(storm.completed for storm in quick), STORM_TASKS * len(SEEDS)),
        within(
            f"{name}: calls wasted",
            100 * sum(storm.wasted for storm in quick) / sum(storm.calls for storm in quick),
            10,
            "%",
            ratio=f"{100 * min(shares):.1f} to {100 * max(shares):.1f} % by seed",
            strictly=True,
        ),
        within(
            f"{name}: wall over the optimum, worst seed",
            max(storm.wall_s for storm in quick) - optimum_s,
            5,
            "s",
            ratio=f"optimum {optimum_s:g} s",
            strictly=True,
        ),
        Row(
            measure=f"the same with calls of {SLOW_CALL_S:g} s: wall over the optimum",
            figure=f"{max(storm.wall_s for storm in slow) - STORM_S - SLOW_CALL_S:.1f} s",
            ratio=f"optimum {STORM_S + SLOW_CALL_S:g} s",
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class _Storm:
    """How one story of a storm went."""

    completed: int
    calls: int
    wasted: int
    wall_s: float


def _storm(seed: int, call_s: float) -> _Storm:
    shed = Trouble(kind="rate_limit", until_s=STORM_S, share=STORM_SHARE)
    server = _server(AgentType.OPENAI_GPT, call_s, shed, seed=seed)
    report = play(Scenario(tasks=_tasks(STORM_TASKS), agents=[_first()], servers=[server]), seed=seed).check()
    return _Storm(
        completed=_completed(report),
        calls=len(server.calls),
        wasted=len(server.calls) - server.count("ok"),
        wall_s=report.duration_s,
    )


def _outages() -> list[Row]:
    outages = [_outage(seed) for seed in SEEDS]
    name = f"outage of {OUTAGE_UNTIL_S - OUTAGE_FROM_S:g} s with a fallback, {OUTAGE_TASKS:,} tasks"
    return [
        _all(f"{name}: completed", sum(done for done, _, _ in outages), OUTAGE_TASKS * len(SEEDS)),
        within(
            f"{name}: time lost, the worst task",
            max(lost_s for _, lost_s, _ in outages),
            1,
            "s",
            ratio="after the first failure",
            strictly=True,
        ),
        within(
            f"{name}: back on the first lane",
            max(back_s for _, _, back_s in outages),
            30,
            "s",
            ratio=f"median {statistics.median(back_s for _, _, back_s in outages):.1f} s after the recovery",
        ),
    ]


def _outage(seed: int) -> tuple[int, float, float]:
    """Return how many tasks completed, what one lost at most, and when the first lane was used again after recovery."""
    down = Trouble(kind="overloaded", from_s=OUTAGE_FROM_S, until_s=OUTAGE_UNTIL_S)
    first = _server(AgentType.OPENAI_GPT, OUTAGE_CALL_S, down, seed=seed)
    second = _server(AgentType.ANTHROPIC_CLAUDE, OUTAGE_CALL_S, seed=seed)
    report = play(
        Scenario(
            tasks=_tasks(OUTAGE_TASKS),
            agents=[_first(fallback=("second",)), _second()],
            servers=[first, second],
            max_concurrent=OUTAGE_AT_ONCE,
        ),
        seed=seed,
    ).check()
    failed_at_s = min(call.ended_at_s for call in first.calls if call.outcome != "ok")
    lost_s = [
        (known.ended_at - known.started_at).total_seconds() - OUTAGE_CALL_S
        for known in report.state.unordered()
        if known.started_at is not None
        and known.ended_at is not None
        and report.seconds_of(known.started_at) >= failed_at_s
    ]
    back_at_s = min(
        call.arrived_at_s for call in first.calls if call.outcome == "ok" and call.arrived_at_s >= OUTAGE_UNTIL_S
    )
    return _completed(report), max(lost_s), back_at_s - OUTAGE_UNTIL_S


def _budgets() -> list[Row]:
    stopped = [_spending(seed, raises=0) for seed in SEEDS]
    resumed = [_spending(seed, raises=1) for seed in SEEDS]
    name = f"budget of ${BUDGET}, {BUDGET_TASKS} tasks of up to $0.03, {KILLS} kills"
    return [
        within(f"{name}: spent, worst seed", float(max(map(_spent, stopped))), float(BUDGET), "$"),
        within(f"{name}: charged by the server", float(max(map(_billed, stopped))), float(BUDGET), "$"),
        _all(f"{name}, resumed under ${LARGER_BUDGET}: completed", _sum(resumed), BUDGET_TASKS * len(SEEDS)),
        within(
            f"{name}, resumed under ${LARGER_BUDGET}: spent",
            float(max(map(_spent, resumed))),
            float(LARGER_BUDGET),
            "$",
            ratio=f"of that lost with the processes: {max(map(_lost, resumed))} calls",
        ),
    ]


def _spending(seed: int, *, raises: int) -> Report:
    chance = random.Random(seed)
    server = _server(AgentType.ANTHROPIC_CLAUDE, 1.0, seed=seed, output_tokens=USED_TOKENS)
    return play(
        Scenario(
            tasks=_tasks(BUDGET_TASKS, agent="second"),
            agents=[_second(max_tokens=MOST_TOKENS)],
            servers=[server],
            limits={"anthropic": LaneLimits(concurrency=AT_ONCE)},
            budgets=Budgets(project=Budget(usd=BUDGET)),
            deaths=[chance.randint(1, 1_500) for _ in range(KILLS)],
            commit_s=0.001,
            raises=raises,
            raise_factor=LARGER_BUDGET / BUDGET,
            runs=raises,
        ),
        seed=seed,
    ).check()


def _server(
    agent_type: AgentType, call_s: float, *troubles: Trouble, seed: int, output_tokens: int = 1
) -> SimulatedServer:
    return SimulatedServer(
        agent_type=agent_type,
        latency_s=(call_s, call_s),
        output_tokens=(output_tokens, output_tokens),
        tokens_per_s=float("inf"),
        troubles=troubles,
        seed=seed,
    )


def _first(**options: object) -> AgentConfig:
    return AgentConfig("first", AgentType.OPENAI_GPT, model="gpt-4o", **options)


def _second(**options: object) -> AgentConfig:
    return AgentConfig("second", AgentType.ANTHROPIC_CLAUDE, model="claude-sonnet-4-5", **options)


def _tasks(count: int, agent: str = "first") -> list[AgentTask]:
    return [AgentTask(f"task-{number:04d}", f"Task {number}", agent=agent) for number in range(count)]


def _completed(report: Report) -> int:
    return list(report.statuses.values()).count(TaskStatus.COMPLETED)


def _sum(reports: list[Report]) -> int:
    return sum(map(_completed, reports))


def _spent(report: Report) -> Decimal:
    return report.state.spend.cost_usd


def _lost(report: Report) -> int:
    return report.state.spend.lost_calls


def _billed(report: Report) -> Decimal:
    return sum((server.billed_usd for server in report.scenario.servers), Decimal(0))


def _all(measure: str, count: int, most: int) -> Row:
    return Row(measure=measure, figure=f"{count:,}", bar=f"{most:,}", ratio=f"{len(SEEDS)} seeds", passed=count == most)


if __name__ == "__main__":
    emit(measure())
