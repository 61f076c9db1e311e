"""What a live run lets others see and change: its tasks, its lanes, its budgets. Answers requests; prints nothing."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from math import isinf
from typing import TYPE_CHECKING

import msgspec

from orchestration import inbox
from orchestration.budget import Budget
from orchestration.inbox import Reply, Request
from orchestration.project_file import LaneCeilings
from orchestration.runners.llm import LaneLimits
from orchestration.views.budgets import budget_rows
from orchestration.views.lanes import LaneView, spelled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from llm_abstractions.lane import LaneStatus
    from orchestration.budget import Budgets
    from orchestration.orchestrator import ProjectOrchestrator
    from orchestration.runners.llm import Lanes

__all__ = ["Controls", "lane_limits", "with_project_budget", "written"]

# What a project file and a command line call it -> what lanes do.
_CALLED = {
    "rpm": "requests_per_minute",
    "tpm": "tokens_per_minute",
    "input_tpm": "input_tokens_per_minute",
    "output_tpm": "output_tokens_per_minute",
    "concurrency": "concurrency",
}
_STATED = {"requests": "rpm", "tokens": "tpm", "input_tokens": "input_tpm", "output_tokens": "output_tpm"}
_EVERY = "*"


def lane_limits(ceilings: LaneCeilings) -> LaneLimits:
    """Return the ceilings as lanes take them."""
    return LaneLimits(**{called: getattr(ceilings, name) for name, called in _CALLED.items()})


def written(ceilings: LaneCeilings) -> dict[str, int]:
    """Return the ceilings that there are, by name."""
    return {name: value for name, value in asdict(ceilings).items() if value is not None}


def with_project_budget(budgets: Budgets, usd: Decimal) -> Budgets:
    """Return the budgets with so much money for the whole project; its limit in tokens stays."""
    tokens = budgets.project.tokens if budgets.project else None
    return replace(budgets, project=Budget(usd=usd, tokens=tokens))


class Controls:
    """The controls of one live run."""

    def __init__(self, orchestrator: ProjectOrchestrator, lanes: Lanes, ceilings: Mapping[str, LaneCeilings]) -> None:
        self._orchestrator = orchestrator
        self._lanes = lanes
        self._ceilings = dict(ceilings)

    async def answer(self, request: Request) -> Reply:
        """Do what is asked and say what came of it."""
        if request.command == "limits":
            return self._limits(request)
        if request.command == "budget":
            return self._budget(request)
        return await inbox.apply(self._orchestrator, request)

    def lanes(self, pattern: str = _EVERY) -> list[LaneView]:
        """Return how the lanes stand whose name begins so."""
        return [_view(lane.status()) for lane in self._lanes.matching(pattern)]

    def _limits(self, request: Request) -> Reply:
        message = ""
        if request.is_reopening:
            reopened = self._lanes.matching(request.lane)
            for lane in reopened:
                lane.reopen()
            if not reopened:
                return Reply(error=f"no call has gone through a lane {request.lane!r} yet, so there is none to reopen")
            message = f"reopened: {', '.join(lane.name for lane in reopened)}"
        if request.values:
            ceilings = self._change(request.lane, request.values)
            message = f"lane {request.lane}: {spelled(written(ceilings)) or 'no limit'} from now on"
        return Reply(
            message=message,
            facts={
                "lanes": msgspec.to_builtins(self.lanes(request.lane or _EVERY)),
                "limits": {name: written(ceilings) for name, ceilings in self._ceilings.items()},
            },
        )

    def _change(self, name: str, values: Mapping[str, int | None]) -> LaneCeilings:
        ceilings = replace(self._in_force(name), **values)
        self._ceilings[name] = ceilings
        self._lanes.change(name, lane_limits(ceilings))
        return ceilings

    def _in_force(self, name: str) -> LaneCeilings:
        """Return the limits that hold for a name until it gets its own: those of its longest beginning."""
        fitting = [known for known in self._ceilings if known == _EVERY or name.startswith(known)]
        best = max(fitting, key=lambda known: 0 if known == _EVERY else len(known), default=None)
        return LaneCeilings() if best is None else self._ceilings[best]

    def _budget(self, request: Request) -> Reply:
        budgets, message = self._orchestrator.budgets, ""
        if request.usd is not None:
            self._orchestrator.budgets = budgets = with_project_budget(budgets, request.usd)
            message = f"the project's budget is ${request.usd} from now on"
        rows = budget_rows(self._orchestrator.state, budgets)
        return Reply(message=message, facts={"rows": msgspec.to_builtins(rows)})


def _view(status: LaneStatus) -> LaneView:
    stated = {}
    for field in fields(status.stated) if status.stated else ():
        quota = getattr(status.stated, field.name)
        if quota is not None and quota.limit is not None:
            stated[_STATED[field.name]] = (quota.limit, quota.remaining or 0)
    return LaneView(
        name=status.name,
        under_way=status.under_way,
        waiting=status.waiting,
        places=status.limit,
        ceilings={
            name: value for name, called in _CALLED.items() if (value := getattr(status.limits, called)) is not None
        },
        stated=stated,
        is_open=status.is_open,
        is_stopped=status.reason.startswith("a person"),
        reason=status.reason,
        wait_s=None if isinf(status.wait_s) else status.wait_s,
    )
