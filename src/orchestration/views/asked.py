"""What people are asked, in words: who waits, for what, since when, what it holds up, and what to type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from orchestration.views import wording
from orchestration.views.advice import asked, person_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestration.run_state import RunState, TaskState
    from orchestration.waiting import Asked

    Command = Callable[..., str]

__all__ = [
    "ago",
    "asked_document",
    "asked_lines",
    "input_files",
    "one_lines",
    "steps",
    "task_asked_document",
]

_FREES_SHOWN = 5


def steps(known: TaskState, command: Command) -> list[str]:
    """Return the commands that give a waiting task what it waits for, and what each of them means."""
    return person_steps(known, command)[1:]  # the first shows it, which here the inbox does


def asked_lines(waiting: Sequence[Asked], command: Command) -> list[Text]:
    """Return all that waits, as lines for a person."""
    if not waiting:
        return [Text("Nothing waits for you.")]
    overdue = sum(each.is_overdue for each in waiting)
    verb = "waits" if len(waiting) == 1 else "wait"
    late = f", {overdue:,} of them past the deadline" if overdue else ""
    lines = [Text(f"{wording.count(len(waiting), 'task')} {verb} for you{late}.")]
    for each in waiting:
        lines += [Text(), *_lines(each, command), Text(f"  {command('inbox', each.known.task.task_id)}  (see it)")]
        lines += [Text(f"  {step}") for step in steps(each.known, command)]
    return lines


def one_lines(state: RunState, each: Asked, command: Command) -> list[Text]:
    """Return one waiting task whole: what is asked, what it is based on, what the checks saw, what to type."""
    known = each.known
    lines = _lines(each, command, chars=10_000)
    for verdict in known.verdicts:
        outcome = ("passed", "green") if verdict.is_passed else ("failed", "bold red")
        lines += [Text.assemble("\nCheck ", (verdict.check, "bold"), "  ", outcome)]
        if verdict.evidence:
            lines.append(Text(wording.printable(verdict.evidence.rstrip())))
    for title, text in _parts(known):
        lines += [Text(f"\n{title}", "bold"), Text(wording.printable(text.rstrip()))]
    lines += [Text("\nNext", "bold"), *(Text(step) for step in steps(known, command))]
    if files := input_files(state, known):
        lines += [Text("\nFiles it is based on", "bold"), *(Text(wording.printable(file)) for file in files)]
    return lines


def asked_document(waiting: Sequence[Asked], command: Command) -> list[dict[str, Any]]:
    """Return all that waits, as plain JSON values."""
    return [_document(each, command) for each in waiting]


def task_asked_document(state: RunState, each: Asked, command: Command) -> dict[str, Any]:
    """Return one waiting task whole, as plain JSON values."""
    known = each.known
    metadata = known.result.metadata if known.result else {}
    checks = [{"check": one.check, "passed": one.is_passed, "evidence": one.evidence} for one in known.verdicts]
    return _document(each, command) | {
        "output": known.result.output if known.result else None,
        "asks": metadata.get("asks"),
        "diff": metadata.get("diff"),
        "checks": checks,
        "files": input_files(state, known),
    }


def input_files(state: RunState, known: TaskState) -> list[str]:
    """Return the paths of the files that a task's dependencies have left."""
    paths: dict[str, None] = {}
    for name in known.task.dependencies:
        other = state.tasks.get(name)
        if other is None or other.result is None:
            continue
        files = other.result.metadata.get("files", ())
        listed = [file["path"] for file in files if file.get("change") != "deleted"]
        paths.update(dict.fromkeys([*listed, *filter(None, [other.task.output_file])]))
    return list(paths)


def _lines(each: Asked, command: Command, *, chars: int = 300) -> list[Text]:
    known = each.known
    task = known.task
    title = "" if task.title == task.task_id else f"  {wording.one_line(task.title)}"
    lines = [Text.assemble((task.task_id, "bold"), title, "  ", (f"needs {asked(known)}", "bold yellow"))]
    lines.append(Text(f"  for {ago(each.waited_s)}, since {each.asked_at.astimezone():%Y-%m-%d %H:%M}"))
    if known.need == "review":
        lines.append(Text(f"  {wording.one_line(known.last_error, chars)}"))
    if each.deadline is not None:
        lines.append(Text(f"  {_deadline(each, command)}", "bold red" if each.is_overdue else ""))
    if each.blocks:
        held = f"  holds up {wording.count(each.blocks, 'task')}"
        more = f" and {len(each.frees) - _FREES_SHOWN:,} more" if len(each.frees) > _FREES_SHOWN else ""
        freed = f"; these could start at once: {', '.join(each.frees[:_FREES_SHOWN])}{more}" if each.frees else ""
        lines.append(Text(held + freed))
    return lines


def ago(seconds: float) -> str:
    """Say for how long, roughly: `40 s`, `12 min`, `2 h`, `3 days`."""
    for unit_s, word in ((86_400, "day"), (3_600, "h"), (60, "min")):
        number = int(seconds // unit_s)
        if number:
            return wording.count(number, word) if word == "day" else f"{number} {word}"
    return f"{int(seconds)} s"


def _deadline(each: Asked, command: Command) -> str:
    assert each.deadline is not None  # noqa: S101 -- asked for only then
    wait = each.known.task.wait
    default = None if wait is None else wait.default
    then = "the task fails" if default is None else f"{wording.one_line(default, 80)!r} counts as your word"
    moment = f"{each.deadline.astimezone():%Y-%m-%d %H:%M}"
    if each.is_overdue:
        return f"the deadline, {moment}, has passed: {then} as soon as it runs ({command('run')})"
    return f"until {moment}; then {then}"


def _parts(known: TaskState) -> list[tuple[str, str]]:
    """Return what there is to read, by title."""
    result = known.result
    if result is None:
        return []
    titles = {"answer": "What you are asked", "approval": "The draft", "review": "What it came to"}
    parts = [
        ("What to look at", result.metadata.get("asks")),
        (titles.get(known.need, "What it came to"), result.output),
        ("The conflict", result.metadata.get("diff")),
    ]
    return [(title, text) for title, text in parts if isinstance(text, str) and text.strip()]


def _document(each: Asked, command: Command) -> dict[str, Any]:
    known = each.known
    wait = known.task.wait
    return {
        "task_id": known.task.task_id,
        "title": known.task.title,
        "need": known.need,
        "cause": known.cause or None,
        "reason": known.last_error or None if known.need == "review" else None,
        "attempt": known.attempt,
        "asked_at": each.asked_at,
        "waited_s": round(each.waited_s, 3),
        "deadline": each.deadline,
        "is_overdue": each.is_overdue,
        "default": None if wait is None else wait.default,
        "blocks": each.blocks,
        "frees": list(each.frees),
        "commands": steps(known, command),
    }
