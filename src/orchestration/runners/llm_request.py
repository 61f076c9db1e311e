"""What a task asks of a model: messages, options, and by what it is told apart from other requests. Calls nobody."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from orchestration.runners.traffic import Call

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestration.attempt import Work

__all__ = ["SHARED_MIN_CHARS", "LlmRequest", "model_of", "only_set", "render"]

# Providers cache beginnings from about 1,024 tokens on, each of about four characters.
SHARED_MIN_CHARS = 4 * 1_024
# These say how to wait for an answer or what to pay for it, and change nothing about it.
_NOT_IN_KEY = frozenset({"cache_prefix", "timeout_s"})


@dataclass(frozen=True, kw_only=True)
class LlmRequest:
    """One request. `circumstances` are who is asked, where, and with which headers.

    `group` is the same for those whose long beginning a provider caches; None: nothing is shared.
    """

    messages: list[dict[str, str]]
    options: Mapping[str, Any]
    call: Call
    circumstances: tuple[object, ...]
    group: str | None = None

    @cached_property
    def key(self) -> str:
        """What makes its answer that of another request as well: a digest, from which no secret can be read."""
        asked = {name: value for name, value in self.options.items() if name not in _NOT_IN_KEY}
        return _digest(self.circumstances, self.messages, asked)


def render(work: Work, provider: object) -> LlmRequest:
    """Return what the task asks of this provider."""
    agent = work.agent
    options = _options(work)
    call = _call(work, provider, options)
    circumstances = (call.provider, call.account, call.model, agent.base_url, agent.model_path, dict(agent.headers))
    group = None
    # A caller's own provider, or a test's stand-in, may have any attribute: only a plain yes counts.
    if getattr(provider, "caches_prefixes", False) is True and _shared_chars(work) >= SHARED_MIN_CHARS:
        options["cache_prefix"] = work.preface
        # Providers put a schema before everything else they read.
        group = _digest(circumstances, _beginning(work.system, work.preface), options.get("json_schema"))
    return LlmRequest(messages=_messages(work), options=options, call=call, circumstances=circumstances, group=group)


def model_of(work: Work) -> str | None:
    """Return the model that is asked for; None: the provider's default."""
    return work.task.metadata.get("model") or work.agent.model


def only_set(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def _shared_chars(work: Work) -> int:
    return len(work.system or "") + len(work.preface)


def _messages(work: Work) -> list[dict[str, str]]:
    messages = [{"role": "user", "content": work.prompt}]
    return [{"role": "system", "content": work.system}, *messages] if work.system else messages


def _options(work: Work) -> dict[str, Any]:
    task, agent = work.task, work.agent
    return only_set(
        {
            "max_tokens": task.max_tokens or agent.max_tokens,
            "temperature": agent.temperature,
            "json_schema": task.output_schema and dict(task.output_schema),
            "timeout_s": task.timeout_s or agent.timeout_s,
            "extras": dict(agent.extras) or None,
        }
    )


def _call(work: Work, provider: object, options: Mapping[str, Any]) -> Call:
    text = f"{work.system or ''}{work.prompt}{options.get('json_schema') or ''}"
    account = getattr(provider, "account", "")
    model = getattr(provider, "model", "")
    return Call(
        provider=work.agent.agent_type.value,
        account=account if isinstance(account, str) else "",
        model=model if isinstance(model, str) and model else model_of(work) or "",
        prompt_chars=len(text),
        prompt_bytes=len(text) if text.isascii() else len(text.encode(errors="replace")),
        max_tokens=options.get("max_tokens"),
    )


@lru_cache(maxsize=16)
def _beginning(system: str | None, preface: str) -> str:
    """Return the digest of what an agent's prompts begin with; the same objects, once for all its tasks."""
    return _digest(system, preface)


def _digest(*parts: object) -> str:
    # What JSON has no form for is a caller's mistake, which the provider tells of.
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=repr).encode()).hexdigest()
