"""OpenCode: `opencode run --format json`, which names its conversation in every record."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

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
    as_text,
    count,
    number,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["OpenCode"]

_READ_ONLY = {"edit": "deny", "bash": "deny", "external_directory": "deny"}
_EDIT = {"edit": "allow", "bash": "deny", "external_directory": "deny"}
_KEYS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "OPENROUTER_API_KEY", "OPENCODE_API_KEY")


class OpenCode(JsonLinesTool):
    """`opencode`, 1.18 or newer."""

    program = "opencode"
    states_cost = True
    variables = ("OPENCODE_*", *_KEYS)
    install = "npm install -g opencode-ai"
    login = "run `opencode auth login`, or set the key of a provider"
    bypasses = ("--auto",)
    session_unknown = "Session not found"

    def invocation(self, job: Job) -> Invocation:
        """Return the call for a job."""
        command = [*job.program, "run", "--format", "json"]
        if job.is_resumed:
            command += ("-s", job.session_id)
        if job.model:
            command += ("-m", job.model)
        env = {"OPENCODE_DISABLE_AUTOUPDATE": "1"}
        if job.permissions == "full":
            command.append("--auto")
        else:
            rules = _READ_ONLY if job.permissions == "read-only" else _EDIT
            env["OPENCODE_PERMISSION"] = msgspec.json.encode(rules).decode()
        prompt = f"{job.system}\n\n{job.prompt}" if job.system and not job.is_resumed else job.prompt
        return Invocation(command=(*command, *job.args), stdin=prompt, env=env)

    def take(self, record: Record, seen: Transcript) -> Iterator[Report]:
        """Take one record into the transcript, and yield what is worth showing of it."""
        seen.session_id = as_text(record.get("sessionID")) or seen.session_id
        part = as_dict(record.get("part"))
        match record.get("type"):
            case "step_start":
                seen.has_worked = True
                seen.unsay()
            case "text":
                text = as_text(part.get("text"))
                seen.say(f"\n\n{text}" if seen.answer else text)
                yield Report("text", text)
            case "tool_use":
                title = as_text(as_dict(part.get("state")).get("title"))
                yield Report("tool", f"{as_text(part.get('tool'))} {title}".strip())
            case "step_finish":
                _step(part, seen)
            case "error":
                _error(as_dict(record.get("error")), seen)
            case _:
                pass

    def sign_in(self, env: Mapping[str, str], home: Path) -> SignIn:
        """Say, without the network, whether the tool is signed in; it has models that need no sign-in."""
        for name in (*_KEYS, "OPENCODE_CONFIG", "OPENCODE_CONFIG_CONTENT"):
            if env.get(name):
                return SignIn(is_signed_in=True, how=name)
        given = env.get("XDG_DATA_HOME")
        path = (type(home)(given) if given else home / ".local" / "share") / "opencode" / "auth.json"
        if path.is_file():
            return SignIn(is_signed_in=True, how=str(path))
        return SignIn(is_signed_in=None, how=self.login)


def _step(part: Record, seen: Transcript) -> None:
    """Take in the end of a step, which is the last one if the model wants no tool."""
    tokens = as_dict(part.get("tokens"))
    cache = as_dict(tokens.get("cache"))
    cached, written = count(cache, "read"), count(cache, "write")
    reasoning = count(tokens, "reasoning")
    usage = Usage(
        input_tokens=count(tokens, "input") + cached + written,
        cached_tokens=cached,
        cache_write_tokens=written,
        output_tokens=count(tokens, "output") + reasoning,
        reasoning_tokens=reasoning,
    )
    before = seen.calls[0] if seen.calls else Call()
    cost = Decimal(before.cost_usd or 0) + Decimal(str(number(part, "cost") or 0))
    total = Usage(*(one + other for one, other in zip(before.usage, usage, strict=True)))
    seen.calls = [Call(usage=total, cost_usd=str(cost) if cost else None)]  # it says 0 where it knows no price
    seen.is_done = part.get("reason") == "stop"
    if part.get("reason") == "length":
        seen.fail("the answer was cut at the model's output limit", kind=FailureKind.TRUNCATED)
    elif part.get("reason") == "content-filter":
        seen.fail("the provider filtered the answer", kind=FailureKind.REFUSAL)


def _error(error: Record, seen: Transcript) -> None:
    data = as_dict(error.get("data"))
    status = data.get("statusCode")
    name = as_text(error.get("name"))
    kind = {"ProviderAuthError": FailureKind.AUTH, "MessageOutputLengthError": FailureKind.TRUNCATED}.get(name)
    seen.fail(as_text(data.get("message")) or name, status=status if isinstance(status, int) else None, kind=kind)
