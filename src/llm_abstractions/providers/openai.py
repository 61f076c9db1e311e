"""Call OpenAI and every server that speaks its Chat Completions wire, by the official asynchronous SDK."""

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, ClassVar

from llm_abstractions.errors import FailureKind
from llm_abstractions.failures import Failure, read_sdk_error, read_status_error
from llm_abstractions.rate_limits import parse_rate_limits
from llm_abstractions.request import CallRequest
from llm_abstractions.sdk_llm import CONNECT_TIMEOUT_S, Answer, SdkLlm, count
from llm_abstractions.types import Completion, FinishReason, Outcome, Usage
from llm_abstractions.vendor import Vendor

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types import CompletionUsage
    from openai.types.chat import ChatCompletionChunk

__all__ = ["OpenAILlm", "new_client"]

_FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "content_filter": FinishReason.REFUSAL,
    "tool_calls": FinishReason.TOOL_USE,
    "function_call": FinishReason.TOOL_USE,
}

_FIELD = "answer"  # of the object that an answer of another type is asked for in, and the name of every schema

_KIND_BY_CLASS = {
    "APITimeoutError": FailureKind.TIMEOUT,
    "APIConnectionError": FailureKind.CONNECTION,
    "APIResponseValidationError": FailureKind.BAD_OUTPUT,
    "ContentFilterFinishReasonError": FailureKind.REFUSAL,
    "LengthFinishReasonError": FailureKind.TRUNCATED,
    "SubjectTokenProviderError": FailureKind.AUTH,
    "WebSocketConnectionClosedError": FailureKind.CONNECTION,
    "OpenAIError": FailureKind.BAD_REQUEST,
}


class OpenAILlm(SdkLlm):
    """A GPT model, or any model behind a compatible server (`base_url`, up to and with its `/v1`).

    `temperature` is sent when asked for; models that reason refuse it, which leaves as a `BadRequestError`. A
    `json_schema` of anything but an object is asked for as a field of one, which pieces of a stream show.
    """

    vendor: ClassVar[Vendor] = Vendor(
        name="openai",
        title="OpenAI",
        extra="openai",
        sdk="openai",
        modules=("openai", "aiohttp"),
        key_variables=("OPENAI_API_KEY",),
        base_url_variable="OPENAI_BASE_URL",
        domains=("openai.com", "openai.azure.com"),
    )

    async def _connect(self) -> "AsyncOpenAI":
        return await self._clients.get(self._client_key, self._build)

    async def _build(self, closers: AsyncExitStack) -> "AsyncOpenAI":
        client = await asyncio.to_thread(new_client, self.base_url, self._api_key, self._headers)
        closers.push_async_callback(client.close)
        return client

    async def _generate(self, request: CallRequest) -> Answer:
        client = await self._connect()
        raw = await client.chat.completions.with_raw_response.create(**self._body(request), stream=False)
        answer = raw.parse()
        choices = getattr(answer, "choices", None)  # a page of HTML arrives as a str
        if not choices:
            raise self._unreadable(answer)
        message, reason = choices[0].message, choices[0].finish_reason
        outcome = Outcome(
            finish_reason=FinishReason.REFUSAL if message.refusal else _finish_reason(reason),
            usage=_usage(answer.usage),
            model=answer.model or "",
            request_id=raw.request_id,
            explanation=message.refusal or f"finish_reason {reason!r}",
            rate_limits=parse_rate_limits(raw.headers),
        )
        return message.content or "", outcome

    async def _stream(self, request: CallRequest) -> AsyncGenerator[str | Outcome, None]:
        client = await self._connect()
        stream = await client.chat.completions.create(
            **self._body(request), stream=True, stream_options={"include_usage": True}
        )
        seen = _Seen()
        async with stream:
            async for chunk in stream:
                yield seen.read(chunk)
        yield seen.outcome(stream.response.headers)

    def _body(self, request: CallRequest) -> dict[str, Any]:
        options = request.options
        system = [{"role": "system", "content": request.system}] if request.system else []
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [*system, *request.turns],
            self._max_tokens_field: options.max_tokens,
            "temperature": options.temperature,
            "stop": list(options.stop) or None,
            "extra_body": dict(options.extras) or None,
        }
        if options.json_schema is not None:
            body["response_format"] = _response_format(options.json_schema)
        if options.cache_prefix is not None and self.caches_prefixes and "prompt_cache_key" not in options.extras:
            body["prompt_cache_key"] = _cache_key(request.system, options.cache_prefix)
        return {name: value for name, value in body.items() if value is not None}

    @property
    def caches_prefixes(self) -> bool:
        """Whether the provider charges less for a beginning it knows; of compatible servers nobody can tell."""
        return self.vendor.is_own_url(self.base_url)

    @property
    def _max_tokens_field(self) -> str:
        # The vendor's reasoning models refuse the old name, most compatible servers know only that one.
        return "max_completion_tokens" if self.vendor.is_own_url(self.base_url) else "max_tokens"

    def _complete(self, text: str, outcome: Outcome, request: CallRequest) -> Completion:
        schema = request.options.json_schema
        is_within = schema is not None and not _is_object(schema)
        return super()._complete(_out_of_object(text) if is_within else text, outcome, request)

    def _read_failure(self, exc: Exception) -> Failure | None:
        import openai  # noqa: PLC0415

        if isinstance(exc, openai.APIError) and not isinstance(
            exc, openai.APIConnectionError | openai.APIResponseValidationError
        ):
            return read_status_error(exc, exc.code, exc.type)
        return read_sdk_error(exc, "openai", _KIND_BY_CLASS)


class _Seen:
    """What the chunks of one stream told besides their text."""

    def __init__(self) -> None:
        self._reason: str | None = None
        self._refusal = ""
        self._usage = Usage()
        self._model = ""

    def read(self, chunk: "ChatCompletionChunk") -> str:
        """Note what `chunk` tells and return its text."""
        self._model = getattr(chunk, "model", None) or self._model
        if usage := getattr(chunk, "usage", None):
            self._usage = _usage(usage)
        text = ""
        for choice in getattr(chunk, "choices", None) or ():
            self._reason = choice.finish_reason or self._reason
            if choice.delta is not None:
                self._refusal += choice.delta.refusal or ""
                text += choice.delta.content or ""
        return text

    def outcome(self, headers: Mapping[str, str]) -> Outcome:
        """Return how the stream ended."""
        return Outcome(
            finish_reason=FinishReason.REFUSAL if self._refusal else _finish_reason(self._reason),
            usage=self._usage,
            model=self._model,
            request_id=headers.get("x-request-id"),
            explanation=self._refusal or f"finish_reason {self._reason!r}",
            rate_limits=parse_rate_limits(headers),
        )


def new_client(
    base_url: str | None, api_key: str, headers: dict[str, str], *, is_proxied: bool = True
) -> "AsyncOpenAI":
    """Import the SDK and build a client: a second of work, so call it in a thread.

    `is_proxied` says whether the proxies that the environment names are used.
    """
    import httpx2  # noqa: PLC0415
    import openai  # noqa: PLC0415

    # Only connecting has a limit of its own: the deadline of a call is kept in one place, around all of it.
    timeout = httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S)
    return openai.AsyncOpenAI(
        api_key=api_key,
        base_url=base_url,
        timeout=timeout,
        max_retries=0,
        default_headers=headers,
        http_client=openai.DefaultAioHttpClient(timeout=timeout, trust_env=is_proxied),
    )


def _response_format(schema: Mapping[str, object]) -> dict[str, object]:
    asked = dict(schema) if _is_object(schema) else _in_object(schema)
    return {"type": "json_schema", "json_schema": {"name": _FIELD, "schema": asked, "strict": is_strict(asked)}}


def _is_object(schema: Mapping[str, object]) -> bool:
    return schema.get("type") == "object"


def _in_object(schema: Mapping[str, object]) -> dict[str, object]:
    """Return the schema of an object with what `schema` describes as its one field; the API refuses other tops.

    What it defines for its references goes to the top, where they look for it.
    """
    defined = {name: schema[name] for name in ("$defs", "definitions") if name in schema}
    inner = {name: value for name, value in schema.items() if name not in defined}
    top = {"type": "object", "properties": {_FIELD: inner}, "required": [_FIELD], "additionalProperties": False}
    return top | defined


def _out_of_object(text: str) -> str:
    """Return the field's value as JSON; text that is no such object, such as one that was cut off, as it is."""
    try:
        found = json.loads(text)
    except ValueError:
        return text
    if not isinstance(found, dict) or set(found) != {_FIELD}:
        return text
    return json.dumps(found[_FIELD], ensure_ascii=False)


def is_strict(schema: object) -> bool:
    """Say whether the API's strict mode takes `schema`; with any other, it does its best but promises nothing.

    Strict mode wants every property of every object required, and no additional ones.
    """
    if isinstance(schema, list):
        return all(is_strict(part) for part in schema)
    if not isinstance(schema, Mapping):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(properties):
            return False
        return all(is_strict(part) for part in properties.values())
    return all(is_strict(part) for part in schema.values())


def _cache_key(system: str | None, prefix: str) -> str:
    """Return a name for the beginning of a prompt, which leads calls that share it to the machine that cached it."""
    return hashlib.sha256(f"{system or ''}\0{prefix}".encode()).hexdigest()[:32]


def _finish_reason(reason: str | None) -> FinishReason | None:
    return _FINISH_REASONS.get(reason, FinishReason.OTHER) if reason else None


def _usage(usage: "CompletionUsage | None") -> Usage:
    return Usage(
        input_tokens=count(usage, "prompt_tokens"),
        cached_tokens=count(usage, "prompt_tokens_details", "cached_tokens"),
        cache_write_tokens=count(usage, "prompt_tokens_details", "cache_write_tokens"),
        output_tokens=count(usage, "completion_tokens"),
        reasoning_tokens=count(usage, "completion_tokens_details", "reasoning_tokens"),
    )
