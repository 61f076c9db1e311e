"""A small server of our own that plays any of the three wires, well or badly, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import pytest
from aiohttp import web

from llm_abstractions.clients import ClientPool
from llm_abstractions.providers.anthropic import AnthropicLlm
from llm_abstractions.providers.gemini import GeminiLlm
from llm_abstractions.providers.openai import OpenAILlm
from llm_abstractions.sdk_llm import SdkLlm

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
JSON = "application/json"
KEY = "sk-secret-0123456789"
USER = [{"role": "user", "content": "What is the capital of Japan?"}]


@dataclass
class FakeServer:
    """Answers every request by `handler` and keeps what was asked."""

    port: int = 0
    handler: Handler | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    requests: list[web.Request] = field(default_factory=list)
    peers: list[object] = field(default_factory=list)
    client_left: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        assert request.transport is not None
        self.peers.append(request.transport.get_extra_info("peername"))
        self.bodies.append(await request.json())
        self.asked.set()
        assert self.handler is not None
        try:
            return await self.handler(request)
        except (asyncio.CancelledError, ConnectionResetError):
            self.client_left.set()
            raise

    # What the server does next.

    def says(self, body: object, status: int = 200, headers: dict[str, str] | None = None, kind: str = JSON) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()

        async def handler(_: web.Request) -> web.StreamResponse:
            return web.Response(body=data, status=status, headers=headers, content_type=kind)

        self.handler = handler

    def streams(self, *events: bytes, then: str = "end", headers: dict[str, str] | None = None) -> None:
        """Send the events, then end cleanly, "cut" the connection, or "hang" with it open."""

        async def handler(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse(headers={"content-type": "text/event-stream", **(headers or {})})
            await response.prepare(request)
            for event in events:
                await response.write(event)
            if then == "hang":
                await asyncio.Event().wait()
            if then == "cut":
                assert request.transport is not None
                request.transport.abort()
            return response

        self.handler = handler

    def hangs(self) -> None:
        async def handler(_: web.Request) -> web.StreamResponse:
            await asyncio.Event().wait()
            raise AssertionError

        self.handler = handler

    def hangs_up(self) -> None:
        async def handler(request: web.Request) -> web.StreamResponse:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        self.handler = handler


@dataclass(frozen=True)
class Asked:
    """What a request asked for, in words all wires share."""

    system: str | None
    turns: list[tuple[str, str]]
    max_tokens: int | None
    temperature: float | None
    stop: list[str] | None
    schema: dict[str, Any] | None


def sse(data: object, event: str | None = None) -> bytes:
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {event}\n" if event else "").encode() + f"data: {text}\n\n".encode()


class OpenAIWire:
    llm = OpenAILlm
    name = "openai"
    reasons: ClassVar = {"stop": "stop", "length": "length", "refusal": "content_filter", "tool_use": "tool_calls"}
    base = "/v1"
    request_id = "x-request-id"
    usage: ClassVar = {
        "prompt_tokens": 20,
        "completion_tokens": 7,
        "total_tokens": 27,
        "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    counts = (20, 5, 3, 7, 2)

    def answer(self, text: str, reason: str | None = "stop") -> dict[str, Any]:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": self.reasons.get(reason or "", reason)}
        return {"id": "x", "object": "chat.completion", "model": "m-1", "choices": [choice], "usage": self.usage}

    def events(self, *texts: str, reason: str | None = "stop") -> list[bytes]:
        def chunk(delta: dict[str, str], finish: str | None = None, **more: object) -> bytes:
            choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
            return sse({"id": "x", "object": "chat.completion.chunk", "model": "m-1", "choices": choices, **more})

        pieces = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": text}) for text in texts)]
        if reason is None:
            return pieces
        usage = sse({"id": "x", "object": "chat.completion.chunk", "model": "m-1", "choices": [], "usage": self.usage})
        return [*pieces, chunk({}, self.reasons.get(reason, reason)), usage, sse("[DONE]")]

    def error(self, message: str, kind: str = "some_error", code: str | None = None) -> dict[str, Any]:
        return {"error": {"message": message, "type": kind, "code": code, "param": None}}

    def error_event(self) -> bytes:
        return sse(self.error("busy", "server_error"))

    def asked(self, body: dict[str, Any]) -> Asked:
        system = [m["content"] for m in body["messages"] if m["role"] == "system"]
        turns = [(m["role"], m["content"]) for m in body["messages"] if m["role"] != "system"]
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
        return Asked(
            system[0] if system else None,
            turns,
            body.get("max_tokens"),
            body.get("temperature"),
            body.get("stop"),
            schema,
        )


class AnthropicWire:
    llm = AnthropicLlm
    name = "anthropic"
    reasons: ClassVar = {"stop": "end_turn", "length": "max_tokens", "refusal": "refusal", "tool_use": "tool_use"}
    base = ""
    request_id = "request-id"
    usage: ClassVar = {
        "input_tokens": 12,
        "cache_read_input_tokens": 5,
        "cache_creation_input_tokens": 3,
        "output_tokens": 7,
        "output_tokens_details": {"thinking_tokens": 2},
    }
    counts = (20, 5, 3, 7, 2)

    def answer(self, text: str, reason: str | None = "stop") -> dict[str, Any]:
        blocks = [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": text}]
        return self._message(blocks, self.reasons.get(reason or "", reason), self.usage)

    def _message(self, content: list[Any], reason: str | None, usage: dict[str, Any]) -> dict[str, Any]:
        head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m-1"}
        return {**head, "content": content, "stop_reason": reason, "stop_sequence": None, "usage": usage}

    def events(self, *texts: str, reason: str | None = "stop") -> list[bytes]:
        start = self._message([], None, {**self.usage, "output_tokens": 1})
        block = {"type": "text", "text": ""}
        pieces = [
            sse({"type": "message_start", "message": start}, "message_start"),
            sse({"type": "ping"}, "ping"),
            sse({"type": "content_block_start", "index": 0, "content_block": block}, "content_block_start"),
        ]
        for text in texts:
            delta = {"type": "text_delta", "text": text}
            pieces.append(sse({"type": "content_block_delta", "index": 0, "delta": delta}, "content_block_delta"))
        if reason is None:
            return pieces
        stop = {"stop_reason": self.reasons.get(reason, reason), "stop_sequence": None}
        # A later event repeats only some of the counts.
        usage = {"output_tokens": 7, "output_tokens_details": {"thinking_tokens": 2}}
        return [
            *pieces,
            sse({"type": "content_block_stop", "index": 0}, "content_block_stop"),
            sse({"type": "message_delta", "delta": stop, "usage": usage}, "message_delta"),
            sse({"type": "message_stop"}, "message_stop"),
        ]

    def error(self, message: str, kind: str = "some_error", code: str | None = None) -> dict[str, Any]:
        details = {"error_code": code} if code else None
        return {"type": "error", "error": {"type": kind, "message": message, "details": details}, "request_id": "r"}

    def error_event(self) -> bytes:
        return sse(self.error("busy", "overloaded_error"), "error")

    def asked(self, body: dict[str, Any]) -> Asked:
        turns = [(m["role"], m["content"]) for m in body["messages"]]
        schema = body.get("output_config", {}).get("format", {}).get("schema")
        return Asked(
            body.get("system"), turns, body["max_tokens"], body.get("temperature"), body.get("stop_sequences"), schema
        )


class GeminiWire:
    llm = GeminiLlm
    name = "gemini"
    reasons: ClassVar = {
        "stop": "STOP",
        "length": "MAX_TOKENS",
        "refusal": "SAFETY",
        "tool_use": "UNEXPECTED_TOOL_CALL",
    }
    base = "/v1beta"
    request_id = None
    usage: ClassVar = {
        "promptTokenCount": 18,
        "toolUsePromptTokenCount": 2,
        "cachedContentTokenCount": 5,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 2,
    }
    counts = (20, 5, 0, 7, 2)

    def answer(self, text: str, reason: str | None = "stop") -> dict[str, Any]:
        parts = [{"text": "hm", "thought": True}, {"text": text}]
        return self._response(parts, self.reasons.get(reason or "", reason), usageMetadata=self.usage)

    def _response(self, parts: list[Any], reason: str | None, **more: object) -> dict[str, Any]:
        candidate: dict[str, Any] = {"index": 0, "content": {"role": "model", "parts": parts}}
        if reason:
            candidate["finishReason"] = reason
        return {"candidates": [candidate], "modelVersion": "m-1", "responseId": "req-7", **more}

    def events(self, *texts: str, reason: str | None = "stop") -> list[bytes]:
        pieces = [sse(self._response([{"text": text}], None)) for text in texts]
        if reason is None:
            return pieces
        return [*pieces, sse(self._response([], self.reasons.get(reason, reason), usageMetadata=self.usage))]

    def error(self, message: str, kind: str = "SOME_ERROR", code: str | None = None) -> dict[str, Any]:
        details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": code}] if code else []
        return {"error": {"code": 0, "message": message, "status": kind, "details": details}}

    def error_event(self) -> bytes:
        return sse({"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}})

    def asked(self, body: dict[str, Any]) -> Asked:
        config = body.get("generationConfig", {})
        system = body.get("systemInstruction")
        turns = [("assistant" if c["role"] == "model" else "user", c["parts"][0]["text"]) for c in body["contents"]]
        return Asked(
            system["parts"][0]["text"] if system else None,
            turns,
            config.get("maxOutputTokens"),
            config.get("temperature"),
            config.get("stopSequences"),
            config.get("responseJsonSchema"),
        )


Wire = OpenAIWire | AnthropicWire | GeminiWire
WIRES = [OpenAIWire(), AnthropicWire(), GeminiWire()]


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for vendor in (OpenAILlm.vendor, AnthropicLlm.vendor, GeminiLlm.vendor):
        for name in (*vendor.key_variables, vendor.base_url_variable or "-"):
            monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=WIRES, ids=lambda wire: wire.name)
def wire(request: pytest.FixtureRequest) -> Wire:
    # Tests of one wire's own ways name it.
    return (
        next(wire for wire in WIRES if wire.name == request.param) if isinstance(request.param, str) else request.param
    )


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer() as server:
        yield server


@pytest.fixture
async def pool() -> AsyncIterator[ClientPool]:
    async with ClientPool() as pool:
        yield pool


@pytest.fixture
def llm(wire: Wire, server: FakeServer, pool: ClientPool) -> SdkLlm:
    return wire.llm("m-0", api_key=KEY, base_url=server.url + wire.base, clients=pool)


@pytest.fixture
def new_server() -> type[FakeServer]:
    return FakeServer
