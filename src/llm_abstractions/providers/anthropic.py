"""Call Claude and every server that speaks the Anthropic Messages wire, by the official asynchronous SDK."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, ClassVar

from llm_abstractions.errors import FailureKind
from llm_abstractions.failures import Failure, read_sdk_error, read_status_error
from llm_abstractions.rate_limits import parse_rate_limits
from llm_abstractions.request import CallRequest
from llm_abstractions.sdk_llm import CONNECT_TIMEOUT_S, Answer, SdkLlm, count
from llm_abstractions.types import FinishReason, Outcome, Usage
from llm_abstractions.vendor import Vendor

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
    from anthropic.types import RawMessageStreamEvent

__all__ = ["AnthropicLlm"]

# The API demands a number. Its output limit per minute is estimated from this one, so a huge default would eat quota.
_DEFAULT_MAX_TOKENS = 8192
# Above this the API expects more than ten minutes of work, and the SDK refuses to wait without a stream.
_MAX_PLAIN_TOKENS = 21_333
_FINISH_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_USE,
    "refusal": FinishReason.REFUSAL,
}

_KIND_BY_CLASS = {
    "APITimeoutError": FailureKind.TIMEOUT,
    "APIConnectionError": FailureKind.CONNECTION,
    "APIResponseValidationError": FailureKind.BAD_OUTPUT,
    "CredentialsError": FailureKind.AUTH,
    "RetryableError": FailureKind.OVERLOADED,
    "AnthropicError": FailureKind.BAD_REQUEST,
}


class AnthropicLlm(SdkLlm):
    """A Claude model, or any model behind a compatible server (`base_url`, without the `/v1`).

    `temperature` goes into the body as it is, for the SDK dropped the argument; models that no longer have it refuse
    it, which leaves as a `BadRequestError`.
    """

    vendor: ClassVar[Vendor] = Vendor(
        name="anthropic",
        title="Anthropic",
        extra="anthropic",
        sdk="anthropic",
        modules=("anthropic", "aiohttp"),
        key_variables=("ANTHROPIC_API_KEY",),
        base_url_variable="ANTHROPIC_BASE_URL",
        domains=("anthropic.com",),
    )

    async def _connect(self) -> "AsyncAnthropic":
        return await self._clients.get(self._client_key, self._build)

    async def _build(self, closers: AsyncExitStack) -> "AsyncAnthropic":
        client = await asyncio.to_thread(_new_client, self.base_url, self._api_key, self._headers)
        closers.push_async_callback(client.close)
        return client

    @property
    def caches_prefixes(self) -> bool:
        """Whether the provider charges less for a beginning it knows; compatible servers take its marks as well."""
        return True

    def _prefers_stream(self, request: CallRequest) -> bool:
        return (request.options.max_tokens or 0) > _MAX_PLAIN_TOKENS

    async def _generate(self, request: CallRequest) -> Answer:
        client = await self._connect()
        raw = await client.messages.with_raw_response.create(**self._body(request), stream=False)
        answer = await raw.parse()
        blocks = getattr(answer, "content", None)  # a page of HTML arrives as a str
        if blocks is None:
            raise self._unreadable(answer)
        details = answer.stop_details
        outcome = Outcome(
            finish_reason=_finish_reason(answer.stop_reason),
            usage=_usage(answer.usage),
            model=answer.model or "",
            request_id=raw.request_id,
            explanation=_explain(answer.stop_reason, details),
            rate_limits=parse_rate_limits(raw.headers),
        )
        return "".join(block.text for block in blocks if block.type == "text"), outcome

    async def _stream(self, request: CallRequest) -> AsyncGenerator[str | Outcome, None]:
        client = await self._connect()
        stream = await client.messages.create(**self._body(request), stream=True)
        seen = _Seen()
        async with stream:
            async for event in stream:
                yield seen.read(event)
        yield seen.outcome(stream.response.headers)

    def _body(self, request: CallRequest) -> dict[str, Any]:
        options = request.options
        extra_body = dict(options.extras)
        if options.temperature is not None:
            extra_body["temperature"] = options.temperature
        body: dict[str, Any] = {
            "model": self.model,
            "messages": _messages(request),
            "max_tokens": options.max_tokens or _DEFAULT_MAX_TOKENS,
            "system": _system(request),
            "stop_sequences": list(options.stop) or None,
            "extra_body": extra_body or None,
        }
        if options.json_schema is not None:
            body["output_config"] = {"format": {"type": "json_schema", "schema": _accepted(options.json_schema)}}
        return {name: value for name, value in body.items() if value is not None}

    def _read_failure(self, exc: Exception) -> Failure | None:
        import anthropic  # noqa: PLC0415

        if isinstance(exc, anthropic.APIStatusError):
            return read_status_error(exc, exc.error_code, exc.type)
        return read_sdk_error(exc, "anthropic", _KIND_BY_CLASS)


def _accepted(schema: Mapping[str, object]) -> dict[str, Any]:
    """Return the schema as the API takes it: bounds become words, for it refuses them; the caller checks the answer.

    A schema with objects of any fields cannot be said in that way, and goes as it is.
    """
    import anthropic  # noqa: PLC0415

    plain = dict(schema)
    if not _has_closed_objects(plain):
        return plain
    try:
        return anthropic.transform_schema(plain)
    except (ValueError, TypeError, AttributeError):  # of a form that the SDK does not know
        return plain


def _has_closed_objects(schema: object) -> bool:
    """Tell whether each object in the schema names its fields."""
    if isinstance(schema, list):
        return all(_has_closed_objects(part) for part in schema)
    if not isinstance(schema, Mapping):
        return True
    if schema.get("type") == "object" and (not schema.get("properties") or schema.get("additionalProperties")):
        return False
    return all(_has_closed_objects(part) for part in schema.values())


def _system(request: CallRequest) -> str | list[dict[str, Any]] | None:
    is_marked = request.options.cache_prefix == ""
    return [_marked(request.system)] if is_marked and request.system else request.system


def _messages(request: CallRequest) -> list[Any]:
    """Return the turns; what may be cached is a block of its own, and its mark covers the system text as well."""
    prefix = request.options.cache_prefix
    if not prefix:
        return list(request.turns)
    first, *others = request.turns
    rest = first["content"].removeprefix(prefix)
    # The API refuses blocks without any words.
    blocks = [_marked(prefix), {"type": "text", "text": rest}] if rest.strip() else [_marked(first["content"])]
    return [{"role": first["role"], "content": blocks}, *others]


def _marked(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}


class _Seen:
    """What the events of one stream told besides their text."""

    def __init__(self) -> None:
        self._reason: str | None = None
        self._details: object = None
        self._model = ""
        self._counts = dict.fromkeys(_COUNTS, 0)

    def read(self, event: "RawMessageStreamEvent") -> str:
        """Note what `event` tells and return its text."""
        if event.type == "content_block_delta":
            return event.delta.text if event.delta.type == "text_delta" else ""
        if event.type == "message_start":
            self._model = event.message.model or ""
            self._note(event.message.usage)
        elif event.type == "message_delta":
            self._reason = event.delta.stop_reason or self._reason
            self._details = event.delta.stop_details
            self._note(event.usage)
        return ""

    def _note(self, usage: object) -> None:
        # Counts are totals so far; a later event leaves out (or zeroes) what an earlier one told.
        for name, path in _COUNTS.items():
            self._counts[name] = count(usage, *path) or self._counts[name]

    def outcome(self, headers: Mapping[str, str]) -> Outcome:
        """Return how the stream ended."""
        return Outcome(
            finish_reason=_finish_reason(self._reason),
            usage=_total(self._counts),
            model=self._model,
            request_id=headers.get("request-id"),
            explanation=_explain(self._reason, self._details),
            rate_limits=parse_rate_limits(headers),
        )


def _new_client(base_url: str | None, api_key: str, headers: dict[str, str]) -> "AsyncAnthropic":
    """Import the SDK and build a client: two seconds of work, so call it in a thread."""
    import anthropic  # noqa: PLC0415
    import httpx2  # noqa: PLC0415

    # Only connecting has a limit of its own: the deadline of a call is kept in one place, around all of it.
    timeout = httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S)
    if not AnthropicLlm.vendor.is_own_url(base_url):
        headers = {"x-api-key": api_key, **headers}  # compatible servers may only know the older way to send the key
    return anthropic.AsyncAnthropic(
        api_key=api_key,
        base_url=base_url,
        timeout=timeout,
        max_retries=0,
        default_headers=headers,
        open_telemetry=False,
        http_client=anthropic.DefaultAioHttpClient(timeout=timeout),
    )


def _finish_reason(reason: str | None) -> FinishReason | None:
    return _FINISH_REASONS.get(reason, FinishReason.OTHER) if reason else None


def _explain(reason: str | None, details: object) -> str:
    explanation = getattr(details, "explanation", None) or getattr(details, "category", None)
    return f"stop_reason {reason!r}{f': {explanation}' if explanation else ''}"


_COUNTS: dict[str, tuple[str, ...]] = {
    "input": ("input_tokens",),
    "cached": ("cache_read_input_tokens",),
    "cache_write": ("cache_creation_input_tokens",),
    "output": ("output_tokens",),
    "reasoning": ("output_tokens_details", "thinking_tokens"),
}


def _usage(usage: object) -> Usage:
    return _total({name: count(usage, *path) for name, path in _COUNTS.items()})


def _total(counts: dict[str, int]) -> Usage:
    return Usage(
        # This API counts cached tokens apart from the rest of the input.
        input_tokens=counts["input"] + counts["cached"] + counts["cache_write"],
        cached_tokens=counts["cached"],
        cache_write_tokens=counts["cache_write"],
        output_tokens=counts["output"],
        reasoning_tokens=counts["reasoning"],
    )
