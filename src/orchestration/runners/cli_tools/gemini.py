"""Gemini CLI: `gemini -o stream-json`, under a conversation id of our choice, which it knows in that folder only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestration.errors import FailureKind
from orchestration.runners.cli_tools.base import (
    Call,
    Ended,
    Invocation,
    Job,
    JsonLinesTool,
    Problem,
    Record,
    Report,
    SignIn,
    Transcript,
    Usage,
    as_dict,
    as_text,
    count,
    last_words,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["Gemini"]

_APPROVAL = {"read-only": "plan", "edit": "auto_edit", "full": "yolo"}
# Its exit codes; an error of the API ends with its HTTP status modulo 256.
_KINDS = {41: FailureKind.AUTH, 52: FailureKind.UNAVAILABLE, 53: FailureKind.TASK_ERROR, 55: FailureKind.UNAVAILABLE}
_STATUSES = {status % 256: status for status in (400, 401, 403, 404, 429, 500, 502, 503, 504, 529)}


class Gemini(JsonLinesTool):
    """`gemini`, 0.60 or newer."""

    program = "gemini"
    variables = ("GEMINI_*", "GOOGLE_*", "CLOUD_SHELL")
    install = "npm install -g @google/gemini-cli"
    login = "run `gemini` once and sign in, or set GEMINI_API_KEY"
    bypasses = ("yolo", "-y")
    starts_named = True
    resumes_in_place = True
    session_unknown = "Error resuming session"

    def invocation(self, job: Job) -> Invocation:
        """Return the call for a job."""
        # `--skip-trust`: whoever runs a project in a folder trusts it; without it an unknown folder is refused.
        command = [*job.program, "-o", "stream-json", "--skip-trust", "--approval-mode", _APPROVAL[job.permissions]]
        command += ("--resume" if job.is_resumed else "--session-id", job.session_id)
        if job.model:
            command += ("-m", job.model)
        prompt = f"{job.system}\n\n{job.prompt}" if job.system and not job.is_resumed else job.prompt
        # As its own child it could not be ended: the parent does not pass signals on. Where an error of its provider
        # is met, it leaves a report in the temporary folder.
        env = {"GEMINI_CLI_NO_RELAUNCH": "true", "TMPDIR": str(job.folder)}
        return Invocation(command=(*command, *job.args), stdin=prompt, env=env)

    def take(self, record: Record, seen: Transcript) -> Iterator[Report]:
        """Take one record into the transcript, and yield what is worth showing of it."""
        match record.get("type"):
            case "init":
                seen.session_id = as_text(record.get("session_id"))
                seen.model = as_text(record.get("model"))
            case "message" if record.get("role") == "assistant":
                seen.has_worked = True
                text = as_text(record.get("content"))
                (seen.say if record.get("delta") else seen.unsay)(text)
                yield Report("text", text)
            case "tool_use":
                seen.has_worked = True
                seen.unsay()
                given = as_dict(record.get("parameters"))
                shown = next((given[key] for key in ("command", "file_path", "pattern") if key in given), "")
                yield Report("tool", f"{as_text(record.get('tool_name'))} {as_text(shown)}".strip())
            case "error":
                seen.noise = as_text(record.get("message"))
                yield Report("retry", seen.noise)
            case "result":
                _end(record, seen)
            case _:
                pass

    def problem(self, ended: Ended) -> Problem | None:
        """Return why this is no success; None where it is one."""
        found = super().problem(ended)
        if found is None or ended.exit_code == 0:
            return found
        if ended.exit_code in _KINDS:
            return Problem(ended.seen.error or _first_words(ended.stderr), _KINDS[ended.exit_code])
        ended.seen.status = _STATUSES.get(ended.exit_code)
        return found

    def sign_in(self, env: Mapping[str, str], home: Path) -> SignIn:
        """Say, without the network, whether the tool is signed in."""
        for name in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_GCA"):
            if env.get(name):
                return SignIn(is_signed_in=True, how=name)
        for path in (home / ".gemini" / "oauth_creds.json", home / ".gemini" / ".env"):
            if path.is_file():
                return SignIn(is_signed_in=True, how=str(path))
        return SignIn(is_signed_in=False, how=self.login)


def _first_words(stderr: str) -> str:
    """Return the line that says what is wrong; what follows it is advice."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Warning:", "[STARTUP]", "Ripgrep"))]
    return told[0] if told else last_words(stderr)


def _end(record: Record, seen: Transcript) -> None:
    stats = as_dict(record.get("stats"))
    models = as_dict(stats.get("models")) or {seen.model: stats}
    seen.is_settled = True
    seen.calls = [_call(model, as_dict(use)) for model, use in models.items() if count(as_dict(use), "total_tokens")]
    if record.get("status") == "success":
        seen.is_done = True
    else:
        seen.fail(as_text(as_dict(record.get("error")).get("message")) or "it ended with an error")


def _call(model: str, use: Record) -> Call:
    # Thoughts are in neither of the two; they are in the total, and charged as output.
    given, written = count(use, "input_tokens"), count(use, "output_tokens")
    thoughts = max(0, count(use, "total_tokens") - given - written)
    usage = Usage(
        input_tokens=given,
        cached_tokens=count(use, "cached"),
        output_tokens=written + thoughts,
        reasoning_tokens=thoughts,
    )
    return Call(model=model, usage=usage)
