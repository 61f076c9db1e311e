"""Claude Code: `claude -p`, a stream of JSON records, and a conversation under an id of our choice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

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
    as_list,
    as_text,
    count,
    number,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["Claude"]

_PERMISSIONS = {
    # Tools that only read run without being asked for, also those of the shell; the others are refused.
    "read-only": ("--permission-mode", "dontAsk", "--disallowedTools", "Edit,Write,NotebookEdit"),
    "edit": ("--permission-mode", "acceptEdits"),
    "full": ("--permission-mode", "bypassPermissions"),
}
_SYSTEM_FILE = "system.md"
_SCHEMA_MAX_BYTES = 100_000  # one argument of a command line may have 128 KB on Linux
# Its own retries are few: how often, and when, is the orchestrator's to decide.
_RETRIES_MAX = "2"
_SIGNED_OUT = frozenset({401, 403})
_KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")
_CLOUDS = ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY")


class Claude(JsonLinesTool):
    """`claude`, 2.1 or newer."""

    program = "claude"
    states_cost = True
    variables = (
        "ANTHROPIC_*",
        "CLAUDE_CONFIG_DIR",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "CLAUDE_CODE_USE_*",
        "CLAUDE_CODE_SKIP_*",
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
        "CLAUDE_CODE_DISABLE_*",
        "MAX_THINKING_TOKENS",
    )
    install = "npm install -g @anthropic-ai/claude-code"
    login = "run `claude` once and /login, or set ANTHROPIC_API_KEY"
    bypasses = ("skip-permissions", "bypassPermissions")
    starts_named = True
    answers_apart = True
    session_unknown = "No conversation found"

    def invocation(self, job: Job) -> Invocation:
        """Return the call for a job."""
        command = [*job.program, "-p", "--output-format", "stream-json", "--verbose"]
        command += ("--resume" if job.is_resumed else "--session-id", job.session_id)
        command += _PERMISSIONS[job.permissions]
        if job.model:
            command += ("--model", job.model)
        files = {}
        if job.system:
            files[_SYSTEM_FILE] = job.system
            command += ("--append-system-prompt-file", str(job.folder / _SYSTEM_FILE))
        if job.schema is not None:
            command += ("--json-schema", msgspec.json.encode(job.schema).decode())
        prompt = f"The task:\n{job.prompt}" if job.prompt.lstrip().startswith("/") else job.prompt  # no slash command
        env = {"CLAUDE_CODE_MAX_RETRIES": _RETRIES_MAX, "DISABLE_AUTOUPDATER": "1"}
        if job.permissions == "full":
            env["IS_SANDBOX"] = "1"  # the project file says so; without it root is refused
        return Invocation(command=(*command, *job.args), stdin=prompt, env=env, files=files)

    def take(self, record: Record, seen: Transcript) -> Iterator[Report]:
        """Take one record into the transcript, and yield what is worth showing of it."""
        match record.get("type"), record.get("subtype"):
            case "system", "init":
                seen.session_id = as_text(record.get("session_id"))
                seen.model = as_text(record.get("model"))
                seen.facts["version"] = as_text(record.get("claude_code_version"))
            case "system", "api_retry":
                yield _retry(record, seen)
            case "assistant", _:
                yield from _message(record, seen)
            case "result", _:
                _end(record, seen)
            case _:
                pass

    def problem(self, ended: Ended) -> Problem | None:
        """Return why this is no success; None where it is one."""
        seen = ended.seen
        if seen.is_done and seen.facts["num_turns"] == 0:
            return Problem(seen.answer or "it took no turn", FailureKind.BAD_OUTPUT)
        return super().problem(ended)

    def takes_schema(self, schema: Mapping[str, Any]) -> bool:
        """Tell whether it can hold the model to this schema: it makes it the input of a tool, which is an object."""
        return schema.get("type") == "object" and len(msgspec.json.encode(schema)) <= _SCHEMA_MAX_BYTES

    def sign_in(self, env: Mapping[str, str], home: Path) -> SignIn:
        """Say, without the network, whether the tool is signed in. On a Mac the keychain, which is not read, knows."""
        for name in (*_KEYS, *_CLOUDS):
            if env.get(name):
                return SignIn(is_signed_in=True, how=name)
        folder = home / ".claude"
        if given := env.get("CLAUDE_CONFIG_DIR"):
            folder = type(home)(given)
        credentials = folder / ".credentials.json"
        if credentials.is_file():
            return SignIn(is_signed_in=True, how=str(credentials))
        has_keychain = (home / "Library" / "Keychains").is_dir()
        return SignIn(is_signed_in=None if has_keychain else False, how=self.login)


def _retry(record: Record, seen: Transcript) -> Report:
    """Return the report of a retry of the tool's own; where the sign-in is refused no retry helps."""
    status, error = record.get("error_status"), as_text(record.get("error"))
    if status in _SIGNED_OUT or error == "authentication_failed":
        seen.fail(f"the provider refuses the sign-in ({status or error})", kind=FailureKind.AUTH)
        seen.is_hopeless = True
    delay_s = count(record, "retry_delay_ms") / 1000
    return Report("retry", f"{error or 'error'} {status or ''} (try {record.get('attempt')}), again in {delay_s:.0f} s")


def _message(record: Record, seen: Transcript) -> Iterator[Report]:
    message = as_dict(record.get("message"))
    if message.get("model") == "<synthetic>":  # an error, dressed as an answer
        return
    seen.has_worked = True
    # The same message comes once per block, each time with the usage of all of it.
    seen.unsettled[as_text(message.get("id"))] = _usage(as_dict(message.get("usage")))
    for block in as_list(message.get("content")):
        if as_dict(block).get("type") == "text":
            yield Report("text", as_text(block.get("text")))
        elif as_dict(block).get("type") == "tool_use":
            given = as_dict(block.get("input"))
            shown = next((given[key] for key in ("command", "file_path", "pattern", "url") if key in given), "")
            yield Report("tool", f"{as_text(block.get('name'))} {as_text(shown)}".strip())


def _end(record: Record, seen: Transcript) -> None:
    """Take in the last record, which may call an error a success."""
    seen.session_id = as_text(record.get("session_id")) or seen.session_id
    seen.is_settled = True
    seen.calls = [_call(model, as_dict(use)) for model, use in as_dict(record.get("modelUsage")).items()]
    seen.facts["num_turns"] = count(record, "num_turns")
    if denied := as_list(record.get("permission_denials")):
        seen.facts["permission_denials"] = [as_text(as_dict(denial).get("tool_name")) for denial in denied]
    seen.unsay(as_text(record.get("result")))
    seen.data = record.get("structured_output")
    if record.get("is_error") or record.get("subtype") != "success":
        status = record.get("api_error_status")
        errors = "; ".join(as_text(error) for error in as_list(record.get("errors")))
        seen.fail(
            seen.answer or errors or as_text(record.get("subtype")),
            status=status if isinstance(status, int) else None,
        )
    elif record.get("stop_reason") == "refusal":
        seen.fail(seen.answer or "the model refused", kind=FailureKind.REFUSAL)
    else:
        seen.is_done = True


def _call(model: str, use: Record) -> Call:
    cost = number(use, "costUSD")
    cached, written = count(use, "cacheReadInputTokens"), count(use, "cacheCreationInputTokens")
    usage = Usage(
        input_tokens=count(use, "inputTokens") + cached + written,
        cached_tokens=cached,
        cache_write_tokens=written,
        output_tokens=count(use, "outputTokens"),
    )
    return Call(model=model, usage=usage, cost_usd=None if cost is None else f"{cost:.10f}".rstrip("0").rstrip("."))


def _usage(use: Record) -> Usage:
    cached, written = count(use, "cache_read_input_tokens"), count(use, "cache_creation_input_tokens")
    return Usage(
        input_tokens=count(use, "input_tokens") + cached + written,
        cached_tokens=cached,
        cache_write_tokens=written,
        output_tokens=count(use, "output_tokens"),
    )
