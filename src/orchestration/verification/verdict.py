"""What is verified, what came of it, and how both are put into words. Pure; knows no way to check anything."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 -- part of a public record
from typing import TYPE_CHECKING, Any

from orchestration.verification.excerpt import excerpt, listed, readable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestration.task_options import Check

__all__ = ["EVIDENCE_MAX_CHARS", "FEEDBACK_MAX_CHARS", "Claim", "Verdict", "asks_person", "evidence_text", "verdict_on"]

EVIDENCE_MAX_CHARS = 2_000
FEEDBACK_MAX_CHARS = 6_000

_NAME_MAX_CHARS = 100
_SHOWN_MAX = 20
_ASKED = "Does the result do what the task asks for?"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a worker says it did, before anybody has looked.

    `changed` are the paths its workspace knows to have changed, relative to it; None for a folder shared with others,
    where what was written at `since` or later counts. A judge is shown, besides, what was asked for (`assignment`: the
    task's title and description, or its prompt) and the `diff`, where there is one.
    """

    output: str
    data: Any = None
    changed: tuple[str, ...] | None = None
    since: datetime
    assignment: str = ""
    diff: str = ""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one check. `evidence`, what it saw, has at most 2,000 characters and may hold secrets."""

    check: str
    is_passed: bool
    evidence: str


def verdict_on(check: Check, evidence: str, *, is_passed: bool) -> Verdict:
    """Return the verdict on a check, its evidence readable and within bounds."""
    return Verdict(check=check.label, is_passed=is_passed, evidence=excerpt(readable(evidence), EVIDENCE_MAX_CHARS))


def asks_person(checks: Iterable[Check]) -> str:
    """Return what a person has to be asked before the result counts; "" if nobody has to be."""
    return "\n".join(check.criteria or _ASKED for check in checks if check.kind == "person")


def evidence_text(verdicts: Sequence[Verdict]) -> str:
    """Return what the next attempt is told: what failed, with its evidence, and what passed.

    At most 6,000 characters, shared among those that failed; the same verdicts give the same words, so that a resumed
    attempt finds its answers in caches. Empty without verdicts.
    """
    failed = [verdict for verdict in verdicts if not verdict.is_passed]
    passed = [_name(verdict) for verdict in verdicts if verdict.is_passed]
    parts = []
    if failed:
        shown = failed[:_SHOWN_MAX]
        room = (FEEDBACK_MAX_CHARS - 2_000) // len(shown)
        parts.append("Your result did not pass these checks:")
        parts += [f"- {_name(verdict)}\n{_indented(excerpt(verdict.evidence, room))}" for verdict in shown]
        if rest := [_name(verdict) for verdict in failed[_SHOWN_MAX:]]:
            parts.append(f"Nor these: {listed(rest)}.")
    if passed:
        parts.append(f"It passed these: {listed(passed)}.")
    return excerpt("\n\n".join(parts), FEEDBACK_MAX_CHARS)


def _name(verdict: Verdict) -> str:
    return excerpt(" ".join(readable(verdict.check).split()), _NAME_MAX_CHARS)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
