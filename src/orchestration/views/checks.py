"""A task's checks as they are shown: which one is at work, and what the others saw. Makes none itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from orchestration.views import wording

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestration.events import CheckFinished
    from orchestration.run_state import TaskState
    from orchestration.task_options import Check

__all__ = ["check_progress", "checks_in_order", "verdict_document", "verdict_lines"]

# What is free is looked at first, then come the programs, then what takes money; as `verification` makes them.
_LATER = {"command": 1, "judge": 2}


def checks_in_order(checks: Iterable[Check]) -> list[Check]:
    """Return the checks that are made without a person, in the order they are made."""
    return sorted((check for check in checks if not check.person), key=lambda check: _LATER.get(check.kind, 0))


def check_progress(known: TaskState) -> str:
    """Say how far the checks of the present claim are: `check 2 of 3: pytest -q`."""
    checks = checks_in_order(known.task.checks)
    made = len(known.verdicts)
    failed = sum(not verdict.is_passed for verdict in known.verdicts)
    if failed and made < len(checks) and checks[made].judge:  # judges are not asked any more then
        made = len(checks)
    if made < len(checks):
        said = f", {failed} failed" if failed else ""
        return f"check {made + 1} of {len(checks)}{said}: {wording.one_line(checks[made].label)}"
    if failed:
        return f"{wording.count(failed, 'check')} failed"
    return f"{wording.count(made, 'check')} passed" if made else ""


def verdict_lines(verdicts: Iterable[CheckFinished]) -> list[Text | str]:
    """Return each verdict with what the check saw: in full where it failed, else in a line."""
    lines: list[Text | str] = []
    for verdict in verdicts:
        word, style = ("passed", "green") if verdict.is_passed else ("failed", "bold red")
        line = Text.assemble((word, style), f"  {wording.one_line(verdict.check)}")
        if verdict.is_passed:
            line.append(f"  {wording.one_line(verdict.evidence)}", "dim")
            line.rstrip()
        lines.append(line)
        if not verdict.is_passed and verdict.evidence.strip():
            evidence = wording.printable(verdict.evidence).strip("\n")
            lines += [f"  {row}".rstrip() for row in evidence.split("\n")]
    return lines


def verdict_document(verdict: CheckFinished) -> dict[str, Any]:
    """Return a verdict as plain JSON values."""
    return {"check": verdict.check, "is_passed": verdict.is_passed, "evidence": verdict.evidence}
