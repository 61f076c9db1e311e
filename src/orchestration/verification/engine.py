"""A task's checks, run over one claim in the order of what they cost. Knows no kind of check from within."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestration.verification.command import run_command
from orchestration.verification.excerpt import encodable
from orchestration.verification.files import find_changes, find_files
from orchestration.verification.form import meet_schema
from orchestration.verification.judge import ask_judge
from orchestration.verification.pattern import match_output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from orchestration.task_options import Check
    from orchestration.verification.judge import Judge
    from orchestration.verification.verdict import Claim, Verdict

__all__ = ["verify"]

# Free, then what takes time, then what takes money.
_COST = {"schema": 0, "matches": 0, "files": 0, "changed": 0, "command": 1, "judge": 2}


async def verify(
    checks: Iterable[Check],
    claim: Claim,
    *,
    cwd: Path | None,
    env: Mapping[str, str],
    owner: str,
    judge: Judge,
    report: Callable[[Verdict], None],
) -> tuple[Verdict, ...]:
    """Return the verdicts on the claim, each of which is also reported as soon as it is known.

    A failed check does not end it: the next attempt is to learn all that is wrong, not one thing at a time. Only
    judges, which cost money, are not asked any more once anything has failed. What is free comes first, then the
    commands, one after the other since they share a folder, then the judges. `person` checks are left to the caller.

    `cwd` is where the worker has worked; commands run there, with `env` on top of the orchestrator's own environment
    and their processes marked as `owner`'s. No output of a worker makes it raise.

    Raises:
        AttemptError: if a check itself cannot be made (no such program or folder, a schema that is none, a judge that
            does not answer), which no worker can mend; what was reported until then holds.

    """
    claim = replace(claim, output=encodable(claim.output))
    place = _Place(cwd=cwd, env=env, owner=owner, judge=judge)
    verdicts: list[Verdict] = []
    made_here = [check for check in checks if check.kind in _COST]
    for check in sorted(made_here, key=lambda check: _COST[check.kind]):
        if check.kind == "judge" and not all(verdict.is_passed for verdict in verdicts):
            break
        verdict = await _make(check, claim, place)
        verdicts.append(verdict)
        report(verdict)
    return tuple(verdicts)


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where checks are made, and who makes those that need a judge."""

    cwd: Path | None
    env: Mapping[str, str]
    owner: str
    judge: Judge


async def _make(check: Check, claim: Claim, place: _Place) -> Verdict:
    match check.kind:
        case "schema":
            return await meet_schema(check, claim)
        case "matches":
            return await match_output(check, claim.output)
        case "files":
            return await find_files(check, place.cwd)
        case "changed":
            return await find_changes(check, claim, place.cwd)
        case "command":
            return await run_command(check, claim.output, cwd=place.cwd, env=place.env, owner=place.owner)
        case _:
            return await ask_judge(check, claim, place.judge)
