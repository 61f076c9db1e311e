"""A model provider on this machine that says what a test tells it to, in the protocols the real coding agents speak.

Anthropic Messages, OpenAI Responses and Chat Completions, Gemini generateContent; as event streams. It plays a list of
turns: each request that offers tools gets the next one. Requests without tools (titles, summaries, routing) get a word.
"""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import uuid4

from aiohttp import web


@dataclass(frozen=True)
class Say:
    """The model answers and is done."""

    text: str


@dataclass(frozen=True)
class Use:
    """The model asks for a tool."""

    tool: str
    input: dict | str
    text: str = ""


@dataclass(frozen=True)
class Fail:
    """The provider refuses, with this status."""

    status: int
    message: str = "the mock says no"
    headers: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Hang:
    """The provider takes the request and never answers."""


_ANTHROPIC_ERRORS = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}


class MockProvider:
    """Serves on a port of its own choice. The last turn is repeated; `requests` holds the bodies that offered tools."""

    def __init__(self, turns=()):
        self.turns = list(turns)
        self.requests = []
        self.paths = []
        self.hanging = asyncio.Event()
        self._played = 0

    async def __aenter__(self):
        app = web.Application(client_max_size=50_000_000)
        app.router.add_post("/v1/messages", self._messages)
        app.router.add_post("/v1/messages/count_tokens", _answer({"input_tokens": 10}))
        app.router.add_post("/v1/responses", self._responses)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1beta/models/{call}", self._gemini)
        app.router.add_route("*", "/{rest:.*}", self._anything)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *exc):
        await self._runner.cleanup()

    def play(self, *turns):
        """Begin a new story."""
        self.turns, self._played = list(turns), 0
        self.requests.clear()

    def _next(self, body, *, has_tools):
        if not has_tools:
            return Say("fine")
        self.requests.append(body)
        turn = self.turns[min(self._played, len(self.turns) - 1)]
        self._played += 1
        return turn

    async def _anything(self, request):
        self.paths.append(f"{request.method} {request.path_qs}")
        return web.json_response({"data": [], "models": []})

    async def _refuse(self, turn):
        if isinstance(turn, Hang):
            self.hanging.set()
            await asyncio.Event().wait()
        kind = _ANTHROPIC_ERRORS.get(turn.status, "overloaded_error" if turn.status == 529 else "api_error")
        error = {"type": kind, "message": turn.message, "code": turn.status, "status": kind.upper()}
        return web.json_response({"type": "error", "error": error}, status=turn.status, headers=turn.headers)

    async def _messages(self, request):
        body = await request.json()
        turn = self._next(body, has_tools=bool(body.get("tools")))
        if isinstance(turn, Fail | Hang):
            return await self._refuse(turn)
        blocks = _anthropic_blocks(turn)
        stop = "tool_use" if isinstance(turn, Use) else "end_turn"
        usage = {"input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 5}
        message = {
            "id": f"msg_{uuid4().hex}",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "stop_sequence": None,
            "usage": usage,
        }
        if not body.get("stream"):
            return web.json_response(message | {"content": blocks, "stop_reason": stop})
        events = [{"type": "message_start", "message": message | {"content": [], "stop_reason": None}}]
        for index, block in enumerate(blocks):
            events += _anthropic_events(index, block)
        events += [
            {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage},
            {"type": "message_stop"},
        ]
        return await _stream(request, [(event["type"], event) for event in events])

    async def _responses(self, request):
        body = await request.json()
        turn = self._next(body, has_tools=bool(body.get("tools")))
        if isinstance(turn, Fail | Hang):
            return await self._refuse(turn)
        response = {"id": f"resp_{uuid4().hex}", "object": "response", "model": body["model"]}
        usage = {
            "input_tokens": 100,
            "input_tokens_details": {"cached_tokens": 5},
            "output_tokens": 20,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 120,
        }
        items = _openai_items(turn)
        events = [{"type": "response.created", "response": response | {"status": "in_progress", "output": []}}]
        for index, item in enumerate(items):
            events.append({"type": "response.output_item.added", "output_index": index, "item": item})
            events.append({"type": "response.output_item.done", "output_index": index, "item": item})
        done = response | {"status": "completed", "output": items, "usage": usage}
        events.append({"type": "response.completed", "response": done})
        return await _stream(request, [(event["type"], event) for event in events])

    async def _chat(self, request):
        body = await request.json()
        turn = self._next(body, has_tools=bool(body.get("tools")))
        if isinstance(turn, Fail | Hang):
            return await self._refuse(turn)
        delta = {"role": "assistant", "content": turn.text}
        if isinstance(turn, Use):
            function = {"name": turn.tool, "arguments": json.dumps(turn.input)}
            delta["tool_calls"] = [{"index": 0, "id": f"call_{uuid4().hex}", "type": "function", "function": function}]
        stop = "tool_calls" if isinstance(turn, Use) else "stop"
        chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        if not body.get("stream"):
            choice = {"index": 0, "message": delta, "finish_reason": stop}
            return web.json_response(chunk | {"object": "chat.completion", "choices": [choice], "usage": usage})
        chunks = [
            chunk | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]},
            chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": stop}]},
            chunk | {"choices": [], "usage": usage},
        ]
        return await _stream(request, [(None, chunk) for chunk in chunks], end=b"data: [DONE]\n\n")

    async def _gemini(self, request):
        body = await request.json()
        turn = self._next(body, has_tools=bool(body.get("tools")))
        if isinstance(turn, Fail | Hang):
            return await self._refuse(turn)
        parts = [{"text": turn.text}] if turn.text else []
        if isinstance(turn, Use):
            parts.append({"functionCall": {"id": uuid4().hex, "name": turn.tool, "args": turn.input}})
        answer = {
            "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}],
            "usageMetadata": {"promptTokenCount": 100, "candidatesTokenCount": 20, "totalTokenCount": 120},
            "modelVersion": request.match_info["call"].partition(":")[0],
        }
        if not request.match_info["call"].endswith(":streamGenerateContent"):
            return web.json_response(answer)
        return await _stream(request, [(None, answer)])


def _answer(value):
    async def answer(_request):
        return web.json_response(value)

    return answer


def _anthropic_blocks(turn):
    blocks = [{"type": "text", "text": turn.text}] if turn.text else []
    if isinstance(turn, Use):
        blocks.append({"type": "tool_use", "id": f"toolu_{uuid4().hex[:20]}", "name": turn.tool, "input": turn.input})
    return blocks


def _anthropic_events(index, block):
    if block["type"] == "text":
        empty, delta = block | {"text": ""}, {"type": "text_delta", "text": block["text"]}
    else:
        empty = block | {"input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    return [
        {"type": "content_block_start", "index": index, "content_block": empty},
        {"type": "content_block_delta", "index": index, "delta": delta},
        {"type": "content_block_stop", "index": index},
    ]


def _openai_items(turn):
    items = []
    if turn.text:
        content = [{"type": "output_text", "text": turn.text, "annotations": []}]
        items.append({"type": "message", "id": f"msg_{uuid4().hex}", "role": "assistant", "content": content})
    if isinstance(turn, Use):
        call = {"id": f"fc_{uuid4().hex}", "call_id": f"call_{uuid4().hex}", "name": turn.tool, "status": "completed"}
        if isinstance(turn.input, str):
            items.append(call | {"type": "custom_tool_call", "input": turn.input})
        else:
            items.append(call | {"type": "function_call", "arguments": json.dumps(turn.input)})
    return items


async def _stream(request, events, end=b""):
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    with suppress(ConnectionResetError):  # the agent was killed: that is what some tests do
        for name, event in events:
            head = f"event: {name}\n" if name else ""
            await response.write(f"{head}data: {json.dumps(event)}\n\n".encode())
        await response.write(end)
        await response.write_eof()
    return response
