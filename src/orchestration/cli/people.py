"""Commands about what waits for a person: `inbox`, `export`, and the taking back of what was exported.

They only read the facts; a person's word is given as all the others are, by whoever has the project open.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from orchestration.cli.output import print_json, print_lines, tell
from orchestration.cli.place import Place, json_option, project_options
from orchestration.cli.snapshot import find_home, read_snapshot
from orchestration.cli.steer import RefusedError, ask_or_apply
from orchestration.errors import OrchestrationError, TransitionError
from orchestration.inbox import Request
from orchestration.journal import now
from orchestration.package import PackageError, is_package, read_package, to_package, unfenced
from orchestration.task import TaskStatus
from orchestration.views.asked import (
    asked_document,
    asked_lines,
    input_files,
    one_lines,
    steps,
    task_asked_document,
)
from orchestration.waiting import asked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestration.cli.snapshot import Home, Snapshot
    from orchestration.package import FilledPackage
    from orchestration.run_state import TaskState

__all__ = ["are_packages", "export", "import_packages", "inbox"]

EXIT_REFUSED = 2
_PACKAGES = Path(".orchestration") / "packages"
# A package is a prompt and an answer; what is larger was never one.
_FILE_MAX_BYTES = 20_000_000


@click.command
@project_options
@click.argument("task", required=False)
@json_option
def inbox(place: Place, *, task: str | None, as_json: bool) -> None:
    """List what waits for you, and what it holds up.

    What is past its deadline comes first. Each task comes with the commands that give it what it needs; with TASK that
    one is shown whole. Works beside a run, and while there is none.
    """
    snapshot = read_snapshot(place)
    waiting = asked(snapshot.state, now())
    if task is not None:
        _show_one(place, snapshot, task, as_json=as_json)
        return
    for note in snapshot.notes:
        tell(f"note: {note}")
    if as_json:
        print_json({"pid": snapshot.pid, "waiting": asked_document(waiting, place.command)})
    else:
        print_lines(asked_lines(waiting, place.command))


@click.command
@project_options
@click.argument("tasks", metavar="[TASK]...", nargs=-1)
@click.option("--to", "to_folder", metavar="DIR", help="Write to this folder. Default: .orchestration/packages.")
@click.option("--all", "take_all", is_flag=True, help="Export every task that waits for an answer or an approval.")
@json_option
def export(place: Place, *, tasks: tuple[str, ...], to_folder: str | None, take_all: bool, as_json: bool) -> int:
    """Write what waits for you as files, for an editor or an IDE.

    Each task becomes one Markdown file with everything you need and a marked place for the answer. When you have
    filled it in, `orchestrate import FILE` takes it back, as does `import DIR` for all files of a folder. A file that
    you have begun to fill in is never overwritten.
    """
    if bool(tasks) == take_all:
        raise click.UsageError("name the tasks to export, or give --all; `orchestrate inbox` lists what waits")
    snapshot = read_snapshot(place)
    chosen, left_out = _chosen(place, snapshot, tasks)
    target = Path(to_folder) if to_folder is not None else snapshot.home.root / _PACKAGES
    written = {}
    for known in chosen:
        path = target / f"{known.task.task_id}.md"
        if problem := _write(place, snapshot, known, path):
            left_out.append(problem)
        else:
            written[known.task.task_id] = str(path)
    for problem in left_out:
        tell(problem)
    if as_json:
        print_json({"written": written, "left_out": left_out})
    else:
        print_lines([f"wrote {path}" for path in written.values()] or ["Nothing was exported."])
        if written:
            print_lines([f"When they are filled in: {place.command('import', str(target))}"])
    return EXIT_REFUSED if left_out and not take_all else 0


def are_packages(paths: Sequence[Path]) -> bool:
    """Tell whether it is packages that are to be imported: one of these is a package, or a folder of some."""
    return any(_packages_in(path) if path.is_dir() else path.is_file() and _begins_as_one(path) for path in paths)


def import_packages(place: Place, paths: Sequence[Path], *, as_json: bool) -> int:
    """Record the answers in these packages; returns the exit code: 2 if one was refused. The others count all the same.

    A folder stands for the packages in it. What nobody has filled in is left alone, and told.

    Raises:
        RefusedError: if there is no package, or the project has not run yet.

    """
    home = find_home(place)
    files = [file for path in paths for file in (_packages_in(path) if path.is_dir() else [path])]
    if not files:
        raise RefusedError(f"there are no packages in {', '.join(map(str, paths))}; `orchestrate export` writes them")
    if not home.state_path.exists():
        raise RefusedError(f"the project has not run yet, so nothing waits; start with: {place.command('run')}")
    known = read_snapshot(place).state.tasks
    imported = [_import_one(place, home, known, file) for file in files]
    refused = [each for each in imported if each.problem]
    recorded = [each for each in imported if each.message]
    for each in refused:
        tell(f"{each.file}: {each.problem}")
    if as_json:
        print_json({"files": [each.as_json() for each in imported]})
    else:
        print_lines([f"{each.file}: {each.message or each.note}" for each in imported if not each.problem])
        if any(each.pid is None for each in recorded):
            print_lines([f"Go on with: {place.command('run')}"])
    return EXIT_REFUSED if refused else 0


@dataclass(frozen=True, kw_only=True)
class _Imported:
    """What came of one file: exactly one of `message` (recorded), `note` (left alone) and `problem` (refused)."""

    file: Path
    task_id: str | None = None
    message: str = ""
    note: str = ""
    problem: str = ""
    pid: int | None = None  # the process that recorded it; None: this one

    def as_json(self) -> dict[str, Any]:
        outcome = "recorded" if self.message else "left_alone" if self.note else "refused"
        said = self.message or self.note or self.problem
        return {"file": str(self.file), "task_id": self.task_id, "outcome": outcome, "message": said}


def _show_one(place: Place, snapshot: Snapshot, task: str, *, as_json: bool) -> None:
    known = snapshot.state.find(task)
    each = next((one for one in asked(snapshot.state, now()) if one.known is known), None)
    if each is None:
        raise TransitionError(
            f"task {task!r} is {known.status.value} and waits for nobody; {place.command('show', task)} shows it"
        )
    if as_json:
        print_json(task_asked_document(snapshot.state, each, place.command))
    else:
        print_lines(one_lines(snapshot.state, each, place.command))


def _chosen(place: Place, snapshot: Snapshot, names: Sequence[str]) -> tuple[list[TaskState], list[str]]:
    """Return the tasks to export, by default all that wait, and why others are left out."""
    known = [snapshot.state.find(name) for name in dict.fromkeys(names)]
    known = known or [each.known for each in asked(snapshot.state, now())]
    chosen, left_out = [], []
    for each in known:
        task_id = each.task.task_id
        if each.status is TaskStatus.WAITING:
            chosen.append(each)
        elif each.status is TaskStatus.NEEDS_REVIEW:
            ways = "; or: ".join(steps(each, place.command))
            left_out.append(f"task {task_id!r} needs a decision, not a text, and is not exported: {ways}")
        else:
            left_out.append(f"task {task_id!r} is {each.status.value} and waits for nobody; it is not exported")
    return chosen, left_out


def _write(place: Place, snapshot: Snapshot, known: TaskState, path: Path) -> str:
    """Write a package, whole or not at all; returns why it was not written."""
    if path.exists() and (problem := _worth_keeping(path)):
        return f"{path}: {problem}; import it, remove it, or export to another folder with --to"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = to_package(
        known,
        project=snapshot.home.project_id,
        files=input_files(snapshot.state, known),
        answer_command=place.command("import", str(path)),
    )
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    return ""


def _worth_keeping(path: Path) -> str:
    """Return why a file must not be replaced; empty if it is a package that nobody has filled in."""
    try:
        package = read_package(_text(path))
    except PackageError:
        return "is there already, and is no package"
    return "is filled in" if package.answer else ""


def _packages_in(folder: Path) -> list[Path]:
    """Return the packages of a folder; other files there are nobody's business."""
    return [path for path in sorted(folder.glob("*.md")) if path.is_file() and _begins_as_one(path)]


def _begins_as_one(path: Path) -> bool:
    with path.open("rb") as file:
        return is_package(file.read(200).decode(errors="replace"))


def _import_one(place: Place, home: Home, tasks: Mapping[str, TaskState], file: Path) -> _Imported:
    outcome = partial(_Imported, file=file)
    try:
        package = read_package(_text(file))
        outcome = partial(outcome, task_id=package.task_id)
        if package.project != home.project_id:
            return outcome(
                problem=f"is for project {package.project!r}, and this is {home.project_id!r}; nothing changed"
            )
        if not package.answer:
            return outcome(note=_why_left(place, package))
        if _is_recorded(tasks.get(package.task_id), package):
            return outcome(note="is recorded already")
        request = Request(command="answer", task_id=package.task_id, text=package.answer, attempt=package.attempt)
        answered = ask_or_apply(home, request)
    except OrchestrationError as exc:
        return outcome(problem=str(exc))
    if answered.reply.error:
        return outcome(problem=answered.reply.error)
    return outcome(message=answered.reply.message, pid=answered.pid)


def _is_recorded(known: TaskState | None, package: FilledPackage) -> bool:
    """Tell whether an answer is what its task has come to: a folder may be imported as often as something is added."""
    if known is None or known.status is not TaskStatus.COMPLETED or known.attempt != package.attempt:
        return False
    if known.result is None or "data" not in known.result.metadata:
        return known.result is not None and known.result.output == package.answer
    try:
        return bool(msgspec.json.decode(unfenced(package.answer)) == known.result.metadata["data"])
    except msgspec.DecodeError:
        return False


def _why_left(place: Place, package: FilledPackage) -> str:
    if package.is_unchanged_draft:
        return f"the draft is unchanged, left alone; to take it as it is: {place.command('approve', package.task_id)}"
    return "nothing is filled in, left alone"


def _text(path: Path) -> str:
    """Read a package.

    Raises:
        PackageError: if it is no text, or far too long.

    """
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_MAX_BYTES + 1)
        if len(content) > _FILE_MAX_BYTES:
            raise PackageError(f"is larger than {_FILE_MAX_BYTES:,} bytes; expected a package that was filled in")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise PackageError(f"is not UTF-8 text: {exc}; save it as UTF-8") from exc
    except OSError as exc:
        raise PackageError(f"cannot be read: {exc.strerror or exc}") from exc
