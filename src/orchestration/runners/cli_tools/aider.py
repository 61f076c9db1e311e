"""aider: `aider --message-file`, plain text, and exit code 0 whatever happened: what it says has to be judged."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestration.errors import FailureKind
from orchestration.runners.cli_tools.base import (
    Call,
    CliTool,
    Ended,
    Invocation,
    Job,
    Problem,
    Report,
    SignIn,
    Transcript,
    Usage,
    last_words,
    plain,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["Aider"]

_PROMPT_FILE = "prompt.md"
_QUIET = (
    "--yes-always",
    "--no-stream",
    "--no-pretty",
    "--no-fancy-input",
    "--no-check-update",
    "--no-show-release-notes",
    "--no-show-model-warnings",
    "--analytics-disable",
    "--no-detect-urls",
    "--no-suggest-shell-commands",
    "--no-gitignore",
    # The orchestrator commits, with the task's id.
    "--no-auto-commits",
    "--no-dirty-commits",
)
_READ_ONLY = ("--chat-mode", "ask", "--dry-run")
_ERROR = re.compile(r"litellm\.(\w+)|^(?:Error|Unable to|Failed to|The LLM did not conform)\b", re.IGNORECASE)
_KINDS = {
    "AuthenticationError": FailureKind.AUTH,
    "PermissionDeniedError": FailureKind.AUTH,
    "RateLimitError": FailureKind.RATE_LIMIT,
    "ContextWindowExceededError": FailureKind.CONTEXT_LENGTH,
    "ContentPolicyViolationError": FailureKind.REFUSAL,
    "ServiceUnavailableError": FailureKind.OVERLOADED,
    "InternalServerError": FailureKind.OVERLOADED,
    "BadGatewayError": FailureKind.OVERLOADED,
    "APIConnectionError": FailureKind.CONNECTION,
    "Timeout": FailureKind.CONNECTION,
}
# Before the answer comes what it tells of itself, which ends with one of these.
_BEGINNINGS = ("Repo-map:", "Git repo:")
_NUMBER = r"([\d.]+)([kM]?)"
_TOKENS = re.compile(rf"Tokens: {_NUMBER} sent,.*?{_NUMBER} received\.(?: Cost: \$([\d.]+) message)?")
_EDIT = re.compile(r"Applied edit to (.+)")
_KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "DEEPSEEK_API_KEY", "OPENROUTER_API_KEY")


class Aider(CliTool):
    """`aider`, 0.86 or newer. It keeps no conversation that could be gone on with."""

    program = "aider"
    states_cost = True
    variables = ("AIDER_*", "OPENAI_API_BASE", *_KEYS)
    install = "python -m pip install aider-install && aider-install"
    login = "set the key of your model's provider, such as ANTHROPIC_API_KEY"
    bypasses = ()
    resumes = False
    litter = (".aider.tags.cache.v4",)

    def invocation(self, job: Job) -> Invocation:
        """Return the call for a job. It would leave its histories in the repository; they go with the attempt."""
        command = [*job.program, "--message-file", str(job.folder / _PROMPT_FILE), *_QUIET]
        for history in ("chat", "input", "llm"):
            command += (f"--{history}-history-file", str(job.folder / f"{history}.history"))
        if job.permissions == "read-only":
            command += _READ_ONLY
        if job.model:
            command += ("--model", job.model)
        prompt = f"{job.system}\n\n{job.prompt}" if job.system else job.prompt
        return Invocation(command=(*command, *job.args), files={_PROMPT_FILE: prompt})

    def read(self, line: bytes, seen: Transcript) -> Iterator[Report]:
        """Take one line of output into the transcript, and yield what is worth showing of it."""
        text = line.decode(errors="replace").rstrip()
        if text.startswith(_BEGINNINGS):
            seen.unsay()
            seen.facts["has_begun"] = True
        elif text.startswith("Main model: "):
            seen.model = text.removeprefix("Main model: ").partition(" with ")[0]
        elif found := _TOKENS.search(text):
            _take_tokens(found, seen)
        elif edit := _EDIT.match(text):
            seen.facts.setdefault("edited", []).append(edit[1])
            yield Report("tool", f"edit {edit[1]}")
        elif error := _ERROR.search(text):
            seen.fail(plain(line), kind=_KINDS.get(error[1] or ""))
            seen.say(f"{text}\n")  # unless it was the model that said so
            yield Report("retry", seen.error)
        elif seen.facts.get("has_begun"):
            seen.say(f"{text}\n")
            yield Report("text", text)

    def problem(self, ended: Ended) -> Problem | None:
        """Return why this is no success: an answer of the model clears the errors before it."""
        seen = ended.seen
        seen.facts.pop("has_begun", None)
        seen.unsay(seen.answer.strip())
        if ended.exit_code != 0:
            return Problem(seen.error or last_words(ended.stderr) or seen.answer[-300:], seen.kind)
        if seen.error:
            return Problem(seen.error, seen.kind)
        if not seen.is_done:
            return Problem("it ended without an answer of the model", FailureKind.BAD_OUTPUT)
        if not seen.answer and not seen.facts.get("edited"):
            return Problem("its answer is empty, and no file was edited", FailureKind.BAD_OUTPUT)
        return None

    def sign_in(self, env: Mapping[str, str], home: Path) -> SignIn:
        """Say, without the network, whether there is a key; it may have others in its files."""
        for name in _KEYS:
            if env.get(name):
                return SignIn(is_signed_in=True, how=name)
        for path in (home / ".aider.conf.yml", home / ".env"):
            if path.is_file():
                return SignIn(is_signed_in=None, how=str(path))
        return SignIn(is_signed_in=False, how=self.login)


def _take_tokens(found: re.Match[str], seen: Transcript) -> None:
    """Take in what one message used: the model has answered."""
    scale = {"": 1, "k": 1_000, "M": 1_000_000}
    usage = Usage(
        input_tokens=int(float(found[1]) * scale[found[2]]), output_tokens=int(float(found[3]) * scale[found[4]])
    )
    seen.calls.append(Call(model=seen.model, usage=usage, cost_usd=found[5]))
    seen.is_done, seen.has_worked = True, True
    seen.error = ""
