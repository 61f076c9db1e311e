"""Call Gemini and every server that speaks its generateContent wire, by the official asynchronous SDK."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ClassVar

from llm_abstractions.errors import FailureKind
from llm_abstractions.failures import Failure, parse_retry_after, read_sdk_error
from llm_abstractions.rate_limits import RateLimits, parse_rate_limits
from llm_abstractions.request import CallRequest
from llm_abstractions.sdk_llm import CONNECT_TIMEOUT_S, Answer, SdkLlm, count
from llm_abstractions.types import FinishReason, Message, Outcome, Usage
from llm_abstractions.vendor import Vendor

if TYPE_CHECKING:
    import aiohttp
    from google.genai import Client, errors, types

__all__ = ["GeminiLlm"]

# Compatible servers know the version this wire grew up with; Google itself is left to the SDK's default.
_COMPATIBLE_API_VERSION = "v1beta"
_VERSIONED_URL = r"(?P<url>https?://.+?)/(?P<version>v\d+\w*)/?"
_FINISH_REASONS = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "CONTINUATION": FinishReason.LENGTH,
} | dict.fromkeys(
    (
        "BLOCKLIST",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "IMAGE_SAFETY",
        "LANGUAGE",
        "MODEL_ARMOR",
        "PROHIBITED_CONTENT",
        "RECITATION",
        "SAFETY",
        "SPII",
    ),
    FinishReason.REFUSAL,
)

_FIRST_ERROR_STATUS = 400
# The responses of the stream that is being opened in this context; the request is sent within its first step.
_responses: ContextVar["list[aiohttp.ClientResponse] | None"] = ContextVar("_responses", default=None)
_KIND_BY_CLASS = {
    "ContinuationInterruptedError": FailureKind.CONNECTION,
    "UnknownApiResponseError": FailureKind.BAD_OUTPUT,
    "FunctionInvocationError": FailureKind.BAD_REQUEST,
    "UnknownFunctionCallArgumentError": FailureKind.BAD_REQUEST,
    "UnsupportedFunctionError": FailureKind.BAD_REQUEST,
}


class GeminiLlm(SdkLlm):
    """A Gemini model, or any model behind a compatible server (`base_url`, with or without a version at its end)."""

    vendor: ClassVar[Vendor] = Vendor(
        name="gemini",
        title="Gemini",
        extra="gemini",
        sdk="google-genai",
        modules=("google.genai", "aiohttp"),
        key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        base_url_variable="GOOGLE_GEMINI_BASE_URL",
    )

    async def _connect(self) -> "Client":
        return await self._clients.get(self._client_key, self._build)

    async def _build(self, closers: AsyncExitStack) -> "Client":
        await asyncio.to_thread(_import_sdk)
        session = _new_session()
        closers.push_async_callback(session.close)
        client = await asyncio.to_thread(_new_client, self.base_url, self._api_key, self._headers, session)
        closers.callback(client.close)
        closers.push_async_callback(client.aio.aclose)
        return client

    @property
    def caches_prefixes(self) -> bool:
        """Whether the provider charges less for a beginning it knows: it finds out by itself, without marks."""
        return self.vendor.is_own_url(self.base_url)

    async def _generate(self, request: CallRequest) -> Answer:
        client = await self._connect()
        answer = await client.aio.models.generate_content(**self._arguments(request))
        seen = _Seen()
        return seen.read(answer), seen.outcome()

    async def _stream(self, request: CallRequest) -> AsyncGenerator[str | Outcome, None]:
        client = await self._connect()
        seen, responses = _Seen(), list["aiohttp.ClientResponse"]()
        _responses.set(responses)
        try:
            async for chunk in await client.aio.models.generate_content_stream(**self._arguments(request)):
                yield seen.read(chunk)
        finally:
            _responses.set(None)
            for response in responses:
                response.close()  # the SDK's own generators let go of it only when they are collected
        yield seen.outcome()

    def _arguments(self, request: CallRequest) -> dict[str, Any]:
        options = request.options
        http_options: dict[str, Any] = {"timeout": int(self._timeout_s(request) * 1000) + 1}  # in ms; 0 would mean none
        if options.extras:
            http_options["extra_body"] = dict(options.extras)
        config: dict[str, Any] = {
            "system_instruction": request.system,
            "max_output_tokens": options.max_tokens,
            "temperature": options.temperature,
            "stop_sequences": list(options.stop) or None,
            "http_options": http_options,
            # One call is one request: what the SDK would send by itself, nobody would see or pay attention to.
            "automatic_function_calling": {"disable": True},
            "automatic_continuation": False,
        }
        if options.json_schema is not None:
            config["response_mime_type"] = "application/json"
            config["response_json_schema"] = dict(options.json_schema)
        return {"model": self.model, "contents": [_content(turn) for turn in request.turns], "config": config}

    def _read_failure(self, exc: Exception) -> Failure | None:
        from google.genai import errors  # noqa: PLC0415

        return (
            _read_api_error(exc) if isinstance(exc, errors.APIError) else read_sdk_error(exc, "google", _KIND_BY_CLASS)
        )


class _Seen:
    """What an answer, or the chunks of a stream, told besides their text."""

    def __init__(self) -> None:
        self._reason: str | None = None
        self._explanation = ""
        self._is_blocked = False
        self._usage = Usage()
        self._model = ""
        self._id: str | None = None
        self._rate_limits: RateLimits | None = None

    def read(self, answer: "types.GenerateContentResponse") -> str:
        """Note what `answer` tells and return its text, without the model's thoughts."""
        self._model = answer.model_version or self._model
        self._id = answer.response_id or self._id
        if self._rate_limits is None and answer.sdk_http_response is not None:
            self._rate_limits = parse_rate_limits(answer.sdk_http_response.headers or {})
        if answer.usage_metadata is not None:
            self._usage = _usage(answer.usage_metadata)
        feedback = answer.prompt_feedback
        if feedback is not None and feedback.block_reason is not None:
            self._is_blocked = True
            said = feedback.block_reason_message
            self._explanation = f"the prompt was blocked: {feedback.block_reason.value}{f' ({said})' if said else ''}"
        return self._read_candidate(answer.candidates[0]) if answer.candidates else ""

    def _read_candidate(self, candidate: "types.Candidate") -> str:
        if candidate.finish_reason is not None:
            self._reason = candidate.finish_reason.value
            said = candidate.finish_message
            self._explanation = f"finish reason {self._reason}{f': {said}' if said else ''}"
        parts = (candidate.content.parts if candidate.content else None) or ()
        return "".join(part.text for part in parts if part.text and not part.thought)

    def outcome(self) -> Outcome:
        """Return how the call ended."""
        return Outcome(
            finish_reason=FinishReason.REFUSAL if self._is_blocked else _finish_reason(self._reason),
            usage=self._usage,
            model=self._model,
            request_id=self._id,
            explanation=self._explanation,
            rate_limits=self._rate_limits,
        )


def _import_sdk() -> None:
    import aiohttp  # noqa: F401, PLC0415
    from google import genai  # noqa: F401, PLC0415


def _new_session() -> "aiohttp.ClientSession":
    """Open the transport ourselves: the SDK's own has no limit for connecting and repeats calls in secret."""
    import aiohttp  # noqa: PLC0415

    class Connector(aiohttp.TCPConnector):
        async def connect(self, req: Any, traces: Any, timeout: aiohttp.ClientTimeout) -> Any:  # noqa: ASYNC109 - aiohttp's name
            limited = aiohttp.ClientTimeout(total=timeout.total, sock_connect=CONNECT_TIMEOUT_S)
            return await super().connect(req, traces, limited)

    return aiohttp.ClientSession(connector=Connector(limit=0), trust_env=True, middlewares=(_watch,))


async def _watch(request: "aiohttp.ClientRequest", handler: "aiohttp.ClientHandlerType") -> "aiohttp.ClientResponse":
    """Note the response of a stream, to close it, and raise for answers whose meaning the SDK would lose.

    That is an error that says it is JSON but is not (the SDK would lose its status), and a web page (it would name a
    parse error).
    """
    from google.genai import errors  # noqa: PLC0415

    response = await handler(request)
    if (responses := _responses.get()) is not None:
        responses.append(response)
    kind = response.content_type
    if response.status >= _FIRST_ERROR_STATUS and "json" in kind and not _is_json(text := await response.text()):
        raise errors.APIError(response.status, {"message": text, "status": response.reason}, response)
    if response.status < _FIRST_ERROR_STATUS and kind == "text/html":
        raise errors.UnknownApiResponseError(await response.text())
    return response


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _new_client(
    base_url: str | None, api_key: str, headers: dict[str, str], session: "aiohttp.ClientSession"
) -> "Client":
    """Build a client: it loads certificates three times, so call it in a thread."""
    from google import genai  # noqa: PLC0415
    from google.genai import types  # noqa: PLC0415

    url, version = split_version(base_url)
    return genai.Client(
        api_key=api_key,
        enterprise=False,
        vertexai=False,
        http_options=types.HttpOptions(
            base_url=url,
            api_version=version,
            headers=headers,
            aiohttp_client=session,
            # Not None: without it the SDK repeats a failed connection by itself, after up to ten seconds of sleep.
            retry_options=types.HttpRetryOptions(attempts=1),
        ),
    )


def split_version(base_url: str | None) -> tuple[str | None, str | None]:
    """Return the URL without an API version at its end, and the version to ask for; None leaves it to the SDK."""
    if base_url is None:
        return None, None
    match = re.fullmatch(_VERSIONED_URL, base_url)
    return (match["url"], match["version"]) if match else (base_url, _COMPATIBLE_API_VERSION)


def _content(turn: Message) -> dict[str, Any]:
    return {"role": "model" if turn["role"] == "assistant" else "user", "parts": [{"text": turn["content"]}]}


def _finish_reason(reason: str | None) -> FinishReason | None:
    if reason is None or reason == "FINISH_REASON_UNSPECIFIED":
        return None
    return _FINISH_REASONS.get(reason, FinishReason.OTHER)


def _usage(usage: object) -> Usage:
    reasoning = count(usage, "thoughts_token_count")
    return Usage(
        input_tokens=count(usage, "prompt_token_count") + count(usage, "tool_use_prompt_token_count"),
        cached_tokens=count(usage, "cached_content_token_count"),
        output_tokens=count(usage, "candidates_token_count") + reasoning,  # this API counts thoughts apart
        reasoning_tokens=reasoning,
    )


def _read_api_error(exc: "errors.APIError") -> Failure:
    details = _details(exc.details)
    headers = getattr(exc.response, "headers", None) or {}
    retry_after_s = parse_retry_after(headers)
    return Failure(
        message=exc.message or "",
        status_code=exc.code,
        codes=(*_reasons(details), *([exc.status] if exc.status else [])),
        request_id=headers.get("x-request-id"),
        retry_after_s=_retry_delay_s(details) if retry_after_s is None else retry_after_s,
        rate_limits=parse_rate_limits(headers),
    )


def _details(body: object) -> list[Mapping[str, Any]]:
    """Return the typed details of an error body; empty when a server sends none or another shape."""
    error = body.get("error", body) if isinstance(body, Mapping) else None
    details = error.get("details") if isinstance(error, Mapping) else None
    return [detail for detail in details if isinstance(detail, Mapping)] if isinstance(details, list) else []


def _reasons(details: list[Mapping[str, Any]]) -> list[str]:
    reasons = [detail["reason"] for detail in details if isinstance(detail.get("reason"), str)]
    # A quota per day does not come back in seconds, whatever the delay in the same answer says.
    if any("PerDay" in json.dumps(detail.get("violations", "")) for detail in details):
        reasons.insert(0, "daily_quota")
    return reasons


def _retry_delay_s(details: list[Mapping[str, Any]]) -> float | None:
    delays = (str(detail.get("retryDelay", "")) for detail in details)
    return next((float(match[1]) for delay in delays if (match := re.fullmatch(r"(\d+(?:\.\d+)?)s", delay))), None)
