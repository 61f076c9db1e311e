"""Commands that change how a project goes on: `answer`, `approve`, `reject`, `cancel`, `reset`.

While the project is open elsewhere they ask the process that has it; otherwise they open it for a moment themselves.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestration.cli.compose import open_state, run_async
from orchestration.cli.output import print_json, print_lines, tell
from orchestration.cli.place import Place, json_option, project_option, project_options
from orchestration.cli.snapshot import find_home, live_pid, read_snapshot
from orchestration.errors import OrchestrationError, ProjectLockedError, TransitionError
from orchestration.inbox import Inbox, Reply, Request, apply, ask, inbox_path
from orchestration.task import TaskStatus

if TYPE_CHECKING:
    from orchestration.cli.snapshot import Home
    from orchestration.run_state import TaskState

__all__ = ["Answered", "RefusedError", "answer", "approve", "ask_or_apply", "cancel", "reject", "reset"]

_OPEN_TRIES = 5
_SCISSORS = "---------- 8< ---------- everything from this line on is left out ----------"


class RefusedError(OrchestrationError):
    """What was asked cannot be done; nothing has changed."""


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What came of a request, and who saw to it."""

    reply: Reply
    pid: int | None  # the process that did it; None: this one


@click.command
@project_option
@click.argument("task")
@click.argument("text", required=False)
@click.option("--file", "text_file", type=click.Path(dir_okay=False), metavar="FILE", help="Take the answer from FILE.")
@json_option
def answer(place: Place, *, task: str, text: str | None, text_file: str | None, as_json: bool) -> None:
    """Answer a task that waits for you, or edit its draft.

    TEXT is the answer, or - to read it from stdin. Without it your $EDITOR opens, with the draft if there is one. Line
    breaks at the end are dropped. A task with an output_schema takes JSON that meets it.

    A task that was broken off and must not be done twice takes an answer, too: it says that it happened, and what came
    of it.
    """
    given = _given_text(text, text_file)
    edited = given is None
    if given is None:
        given = _edit(place, task)
    if not given.strip():
        raise click.UsageError("the answer is empty; nothing was recorded")
    try:
        _do(place, Request(command="answer", task_id=task, text=given), as_json=as_json)
    except OrchestrationError:
        if edited:
            tell(f"your text is kept in {_keep(task, given.encode())}; correct it and give it with --file")
        raise


@click.command
@project_options
@click.argument("task")
@json_option
def approve(place: Place, *, task: str, as_json: bool) -> None:
    """Accept a task's draft.

    It becomes the task's output, and what depends on it can run.

    Of a task that needs review you say that it stands. One that was broken off and must not be done twice did happen,
    and is done. Nothing is in the way any more of one that could not be merged, and it is merged again.
    """
    _do(place, Request(command="approve", task_id=task), as_json=as_json)


@click.command
@project_options
@click.argument("task")
@click.argument("comment")
@json_option
def reject(place: Place, *, task: str, comment: str, as_json: bool) -> None:
    """Refuse a task's draft, saying why.

    COMMENT goes into the prompt of the next draft: say what to change.

    A task that needs review is done again. One that was broken off and must not be done twice did not happen, you say;
    the work of one that could not be merged is dropped.
    """
    if not comment.strip():
        raise click.UsageError("the comment is empty; say what the next draft should do better")
    _do(place, Request(command="reject", task_id=task, text=comment), as_json=as_json)


@click.command
@project_options
@click.argument("task", required=False)
@json_option
def cancel(place: Place, *, task: str | None, as_json: bool) -> None:
    """Stop the run, or one task.

    Without TASK the run that is going on stops at once; with TASK only that task, and what depends on it is blocked.
    The next run tries what was cancelled again.
    """
    if task is None and live_pid(find_home(place)) is None:
        _say(place, Answered(reply=Reply(message="nothing is running"), pid=None), as_json=as_json, hint=False)
        return
    _do(place, Request(command="cancel", task_id=task), as_json=as_json)


@click.command
@project_options
@click.argument("task")
@json_option
def reset(place: Place, *, task: str, as_json: bool) -> None:
    """Forget what a task came to, so that it runs again.

    And everything after it. What was paid for earlier attempts stays in the totals. Of a task that was broken off and
    must not be done twice you say with it that it did not happen.
    """
    _do(place, Request(command="reset", task_id=task), as_json=as_json)


def _do(place: Place, request: Request, *, as_json: bool) -> None:
    """Have the request applied by whoever may, and say what came of it.

    Raises:
        RefusedError: if it cannot be done as things stand.
        RequestError: if the running project does not answer.

    """
    home = find_home(place)
    if not home.state_path.exists():
        raise RefusedError(
            f"the project has not run yet, so nothing can be changed; start with: {place.command('run')}"
        )
    answered = ask_or_apply(home, request)
    if answered.reply.error:
        raise RefusedError(answered.reply.error)
    _say(place, answered, as_json=as_json)


def ask_or_apply(home: Home, request: Request) -> Answered:
    """Ask the process that has the project open; when there is none, be that process for a moment.

    Raises:
        ProjectLockedError: if others keep opening it without answering.

    """
    inbox = Inbox(inbox_path(home.root, home.project_id))
    for _ in range(_OPEN_TRIES - 1):
        pid = live_pid(home)
        if pid is not None:
            reply = ask(inbox, request, is_live=lambda: live_pid(home) is not None)
            if reply is not None:
                return Answered(reply=reply, pid=pid)
        try:
            return Answered(reply=run_async(_apply_here(home, request)), pid=None)
        except ProjectLockedError:
            time.sleep(0.05)  # it was opened in between: ask that one
    return Answered(reply=run_async(_apply_here(home, request)), pid=None)


async def _apply_here(home: Home, request: Request) -> Reply:
    async with open_state(home.root, home.project_id, home.project) as orchestrator:
        return await apply(orchestrator, request)


def _say(place: Place, answered: Answered, *, as_json: bool, hint: bool = True) -> None:
    reply = answered.reply
    if as_json:
        print_json({"message": reply.message, "task_ids": list(reply.task_ids), "pid": answered.pid})
        return
    if not hint:
        next_step = ""
    elif answered.pid is None:
        next_step = f". Go on with: {place.command('run')}"
    else:
        next_step = f" (by the run in process {answered.pid})"
    print_lines([reply.message + next_step])


def _given_text(text: str | None, text_file: str | None) -> str | None:
    """Return the answer as it was given on the command line, in a file or on stdin; None: it is to be edited.

    Raises:
        click.UsageError: if it is given twice, cannot be read, is not UTF-8 text, or cannot be asked for.

    """
    if text is not None and text_file is not None:
        raise click.UsageError("the answer is given twice, as TEXT and as --file; give one of them")
    try:
        if text_file is not None:
            return Path(text_file).read_text(encoding="utf-8").rstrip("\r\n")
        if text == "-":
            return sys.stdin.buffer.read().decode().rstrip("\r\n")
    except UnicodeDecodeError as exc:
        raise click.UsageError(f"the answer in {text_file or 'stdin'} is not UTF-8 text: {exc}") from exc
    except OSError as exc:
        raise click.UsageError(f"the answer in {text_file or 'stdin'} cannot be read: {exc.strerror}") from exc
    if text is None and not sys.stdin.isatty():
        raise click.UsageError(
            "no answer given; give it as TEXT, as --file FILE, or as - to read it from stdin "
            "(in a terminal, your editor would open)"
        )
    return text


def _edit(place: Place, task_id: str) -> str:
    """Have the person write the answer in their editor, the question below it.

    Raises:
        TransitionError: if the task does not wait for a person: better said before they have written it.
        click.UsageError: if nothing was saved, or nothing that can be read.

    """
    known = read_snapshot(place).state.find(task_id)
    if known.status not in {TaskStatus.WAITING, TaskStatus.NEEDS_REVIEW}:
        raise TransitionError(f"task {task_id!r} is {known.status.value}; only a waiting task takes a person's word")
    text = _edited(task_id, _sheet(known))
    if text is None:
        as_it_is = {"approval": "to take the draft as it is", "effect": "to say only that it happened"}
        hint = as_it_is.get(known.cause or known.need, "")
        if hint:
            hint = f"; {hint}: {place.command('approve', task_id)}"
        raise click.UsageError(f"nothing was saved in the editor, so nothing was recorded{hint}")
    return text.split(_SCISSORS)[0].strip("\r\n")


def _edited(task_id: str, sheet: str) -> str | None:
    """Return what was saved in the editor; None if nothing was.

    Raises:
        click.UsageError: if it cannot be read. What was written is kept all the same.

    """
    try:
        return click.edit(sheet, extension=".md")
    except UnicodeDecodeError as exc:
        raise click.UsageError(
            f"what the editor saved is not UTF-8 text ({exc.reason}), so nothing was recorded; it is kept in "
            f"{_keep(task_id, exc.object)}: save it as UTF-8, and give it with --file"
        ) from exc
    except OSError as exc:
        raise click.UsageError(
            f"what the editor saved cannot be read ({exc.strerror}), so nothing was recorded"
        ) from exc


def _sheet(known: TaskState) -> str:
    output = known.result.output if known.result else ""
    if known.need == "approval":
        return f"{output}\n\n{_SCISSORS}\nAbove is the draft of {known.task.task_id}: change it as you like.\n"
    if known.need == "review":
        return f"{output}\n\n{_SCISSORS}\nAbove is for what came of {known.task.task_id}.\n{known.last_error}\n"
    return f"\n\n{_SCISSORS}\n{output}"


def _keep(task_id: str, text: bytes) -> str:
    with tempfile.NamedTemporaryFile(prefix=f"answer-{task_id}-", suffix=".md", delete=False) as file:
        file.write(text)
    return file.name
