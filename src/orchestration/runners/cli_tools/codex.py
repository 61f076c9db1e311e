"""Codex: `codex exec --json`, which names its conversation in its first record and runs commands in a sandbox."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from orchestration.errors import FailureKind
from orchestration.runners.cli_tools.base import (
    Call,
    Invocation,
    Job,
    JsonLinesTool,
    Record,
    Report,
    SignIn,
    Transcript,
    Usage,
    as_dict,
    as_list,
    as_text,
    count,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["Codex"]

# As a setting, not as `-s`: `codex exec resume` has no such flag.
_SANDBOXES = {"read-only": "read-only", "edit": "workspace-write", "full": "danger-full-access"}
_SCHEMA_FILE = "schema.json"
_RETRYING = re.compile(r"Reconnecting\.\.\. \d+/\d+")
_STATUS = re.compile(r"status:? (\d{3})")
_SIGNED_OUT = frozenset({401, 403})


class Codex(JsonLinesTool):
    """`codex`, 0.160 or newer."""

    program = "codex"
    variables = ("CODEX_HOME", "CODEX_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORGANIZATION")
    install = "npm install -g @openai/codex"
    login = "run `codex login`, or set CODEX_API_KEY"
    bypasses = ("dangerously-bypass", "danger-full-access")
    session_unknown = "no rollout found"

    def invocation(self, job: Job) -> Invocation:
        """Return the call for a job."""
        command = [*job.program, "exec", *(("resume",) if job.is_resumed else ()), "--json", "--skip-git-repo-check"]
        command += ("-c", f'sandbox_mode="{_SANDBOXES[job.permissions]}"')
        if job.model:
            command += ("-m", job.model)
        files = {}
        if job.schema is not None:
            files[_SCHEMA_FILE] = msgspec.json.encode(job.schema).decode()
            command += ("--output-schema", str(job.folder / _SCHEMA_FILE))
        command += job.args
        command += (job.session_id, "-") if job.is_resumed else ("-",)
        # A conversation keeps what it began with; said again, the instructions would be taken for news.
        prompt = f"{job.system}\n\n{job.prompt}" if job.system and not job.is_resumed else job.prompt
        return Invocation(command=tuple(command), stdin=prompt, files=files)

    def take(self, record: Record, seen: Transcript) -> Iterator[Report]:
        """Take one record into the transcript, and yield what is worth showing of it."""
        match record.get("type"):
            case "thread.started":
                seen.session_id = as_text(record.get("thread_id"))
            case "item.started" | "item.completed" as moment:
                yield from _item(as_dict(record.get("item")), seen, is_done=moment == "item.completed")
            case "error":
                yield from _error(as_text(record.get("message")), seen)
            case "turn.completed":
                _end(as_dict(record.get("usage")), seen)
            case "turn.failed":
                message = as_text(as_dict(record.get("error")).get("message"))
                seen.fail(_unwrapped(message) or "the turn failed", status=_status(message))
            case _:
                pass

    def takes_schema(self, schema: Mapping[str, Any]) -> bool:
        """Tell whether its provider takes the schema: of objects it wants all properties, and no others."""
        return schema.get("type") == "object" and _is_closed(schema)

    def sign_in(self, env: Mapping[str, str], home: Path) -> SignIn:
        """Say, without the network, whether the tool is signed in; a provider of the user's own has its own ways."""
        if env.get("CODEX_API_KEY"):
            return SignIn(is_signed_in=True, how="CODEX_API_KEY")
        given = env.get("CODEX_HOME")
        folder = type(home)(given) if given else home / ".codex"
        if (folder / "auth.json").is_file():
            return SignIn(is_signed_in=True, how=str(folder / "auth.json"))
        config = folder / "config.toml"
        if config.is_file() and "model_provider" in config.read_text(encoding="utf-8", errors="replace"):
            return SignIn(is_signed_in=None, how=f"a provider of its own in {config}")
        return SignIn(is_signed_in=False, how=self.login)


def _item(item: Record, seen: Transcript, *, is_done: bool) -> Iterator[Report]:
    kind = item.get("type")
    if kind == "error":  # a warning, such as a model it has no description of
        return
    seen.has_worked = True
    if kind == "agent_message" and is_done:
        seen.unsay(as_text(item.get("text")))
        yield Report("text", seen.answer)
    elif kind == "command_execution" and not is_done:
        yield Report("tool", as_text(item.get("command")))
    elif kind == "file_change" and is_done:
        paths = [as_text(as_dict(change).get("path")) for change in as_list(item.get("changes"))]
        yield Report("tool", f"edit {' '.join(paths)}")
    elif kind in {"mcp_tool_call", "web_search"} and is_done:
        yield Report("tool", f"{kind} {as_text(item.get('tool')) or as_text(item.get('query'))}".strip())


def _error(message: str, seen: Transcript) -> Iterator[Report]:
    """Take in an error, which is final only if `turn.failed` follows; it retries also where the sign-in is refused."""
    if not _RETRYING.match(message):
        seen.noise = _unwrapped(message)
        return
    if _status(message) in _SIGNED_OUT:
        seen.fail(f"the provider refuses the sign-in: {message}", kind=FailureKind.AUTH)
        seen.is_hopeless = True
    yield Report("retry", message)


def _end(use: Record, seen: Transcript) -> None:
    seen.is_done = seen.is_settled = True
    usage = Usage(
        input_tokens=count(use, "input_tokens"),
        cached_tokens=count(use, "cached_input_tokens"),
        cache_write_tokens=count(use, "cache_write_input_tokens"),
        output_tokens=count(use, "output_tokens"),
        reasoning_tokens=count(use, "reasoning_output_tokens"),
    )
    seen.calls = [Call(model=seen.model, usage=usage)]


def _status(message: str) -> int | None:
    found = _STATUS.search(message)
    return int(found[1]) if found else None


def _unwrapped(message: str) -> str:
    """Return the provider's words where the message is its JSON."""
    if not message.startswith("{"):
        return message
    try:
        record = as_dict(msgspec.json.decode(message))
    except msgspec.DecodeError:
        return message
    return as_text(as_dict(record.get("error")).get("message")) or message


def _is_closed(schema: object) -> bool:
    if isinstance(schema, list):
        return all(map(_is_closed, schema))
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties", {})
    if schema.get("type") == "object" or properties:
        is_whole = set(as_dict(properties)) == set(schema.get("required", ()))
        if schema.get("additionalProperties") is not False or not is_whole:
            return False
    return all(map(_is_closed, schema.values()))
