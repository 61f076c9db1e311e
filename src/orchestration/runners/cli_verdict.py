"""What became of a coding agent's attempt: its answer, or why it is none. Pure but for the clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestration.attempt import Outcome
from orchestration.clock import now
from orchestration.errors import AttemptError, FailureKind
from orchestration.redact import redact
from orchestration.runners.cli_listener import model_of, spending
from orchestration.runners.cli_tools.base import Ended, Problem, last_words
from orchestration.runners.cli_tools.failures import kind_of, wait_s
from orchestration.runners.program import how_ended

if TYPE_CHECKING:
    from orchestration.attempt import Work
    from orchestration.runners.cli_tools.base import CliTool, Transcript
    from orchestration.runners.process import ProcessEnd

__all__ = ["IDLE_TIMEOUT_S", "Ending", "SessionLostError", "outcome_of"]

# Longer than any of the tools lets a command run: one that is silent for so long waits for what will not come.
IDLE_TIMEOUT_S = 1_800.0
_ANSWER_CHARS = 2_000
# What its stderr may tell of a tool that has fallen silent: it goes on trying.
_TRYING = frozenset({FailureKind.RATE_LIMIT, FailureKind.QUOTA, FailureKind.OVERLOADED, FailureKind.CONNECTION})


class SessionLostError(Exception):
    """The tool does not know the conversation that it should go on with; nothing was asked of a model."""


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a tool's process ended; `end` None: it was ended because it could not succeed any more."""

    work: Work
    tool: CliTool
    seen: Transcript
    end: ProcessEnd | None
    is_resumed: bool

    @property
    def stderr(self) -> str:
        """The last of what it said there."""
        return "" if self.end is None else self.end.stderr_tail.decode(errors="replace")

    @property
    def ended(self) -> Ended:
        """The same, as the tools see it."""
        return Ended(self.seen, 1 if self.end is None else self.end.exit_code, self.stderr)


def outcome_of(ending: Ending, secrets: tuple[str, ...]) -> Outcome:
    """Return what the agent made; `secrets` are kept out of it.

    Raises:
        AttemptError: if it is no success: with its kind, what the tool said, and what to do.
        SessionLostError: if the tool does not know the conversation that it should go on with.

    """
    if ending.is_resumed and ending.tool.lost_session(ending.ended):
        raise SessionLostError
    seen = ending.seen
    problem = _problem(ending)
    if problem is None:
        return Outcome(
            output=redact(seen.answer.strip(), secrets),
            data=redact(seen.data, secrets),
            metadata=redact(_facts(ending), secrets),
        )
    text = redact(problem.text, secrets)
    kind = problem.kind or kind_of(text, seen.status)
    how = "was stopped" if ending.end is None or ending.end.is_idle else how_ended(ending.end.exit_code)
    raise AttemptError(
        f"{ending.tool.program} of agent {ending.work.agent.name!r} {how}: {text or 'it said nothing'}"
        f"{_advice(kind, ending)}",
        kind=kind,
        retry_after_s=wait_s(text, now().astimezone()),
        details=redact(_facts(ending) | _remains(ending), secrets),
    )


def _problem(ending: Ending) -> Problem | None:
    if ending.end is None or not ending.end.is_idle:
        found = ending.tool.problem(ending.ended)
        if found is None and ending.work.task.output_schema is not None:
            return _unstructured(ending)
        if found is not None and ending.seen.facts.get("lines_dropped"):
            return Problem(f"{found.text} (lines of more than 10 MB were dropped)", found.kind)
        return found
    idle_s = ending.work.agent.idle_timeout_s or IDLE_TIMEOUT_S
    text = f"it said nothing for {idle_s:g} s"
    kind = kind_of(ending.stderr)
    if kind in _TRYING:
        return Problem(f"{text}, and before that: {last_words(ending.stderr)}", kind)
    return Problem(text, FailureKind.TIMEOUT)


def _unstructured(ending: Ending) -> Problem | None:
    """Return the problem of an answer without the structure that the tool itself was to see to."""
    schema = ending.work.task.output_schema
    is_missing = ending.seen.data is None and ending.tool.answers_apart and schema is not None
    if not is_missing or not ending.tool.takes_schema(schema or {}):
        return None
    return Problem(
        f"it did not give its answer the form that was asked for: {ending.seen.answer[:200]!r}", FailureKind.BAD_OUTPUT
    )


def _facts(ending: Ending) -> dict[str, Any]:
    """Return what is worth keeping of an attempt, however it ended."""
    seen, context = ending.seen, ending.work.context
    calls = seen.account()
    models = [call.model for call in calls if call.model]
    facts: dict[str, Any] = {
        "provider": ending.tool.program,
        "model": models[0] if models else seen.model or model_of(ending.work),
        "session_id": seen.session_id,
        "artefacts": "" if context.artefacts is None else str(context.artefacts),
    }
    return {name: value for name, value in facts.items() if value} | seen.facts | spending(calls)


def _remains(ending: Ending) -> dict[str, Any]:
    """Return what a failure leaves beside that: its exit code, and the end of what was said."""
    answer = ending.seen.answer[-_ANSWER_CHARS:]
    facts = {} if ending.end is None else {"exit_code": ending.end.exit_code}
    return facts | ({"answer": answer} if answer else {})


def _advice(kind: FailureKind, ending: Ending) -> str:
    """Say what to do about a failure, where that is known."""
    if kind is FailureKind.AUTH:
        return f"; to sign in: {ending.tool.login}"
    if kind is FailureKind.CONTEXT_LENGTH:
        return "; shorten what its dependencies hand over, or split the task"
    if kind is FailureKind.TIMEOUT:
        return "; raise idle_timeout_s of its agent if it may be silent for longer"
    if ending.work.context.artefacts is not None and kind is not FailureKind.BAD_OUTPUT:
        return f"; all it said is in {ending.work.context.artefacts}"
    return ""
