"""How a call fails, the same for every wire: each failure is one error of ours, of its kind, after one request."""

import asyncio
import json
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web

from llm_abstractions.clients import ClientPool
from llm_abstractions.errors import (
    BadOutputError,
    CallTimeoutError,
    ConnectionFailedError,
    FailureKind,
    LlmError,
    OverloadedError,
    RateLimitError,
)

KEY = "sk-secret-0123456789"
USER = [{"role": "user", "content": "What is the capital of Japan?"}]
HTML = b"<!doctype html><html><body><h1>Welcome to the hotel WLAN</h1></body></html>"


@pytest.fixture(params=["plain", "streamed"])
def options(request) -> dict[str, object]:
    return {"on_text": lambda _: None} if request.param == "streamed" else {}


STATUSES = [
    (400, "bad_request"),
    (401, "auth"),
    (402, "quota"),
    (403, "auth"),
    (404, "bad_request"),
    (408, "timeout"),
    (409, "overloaded"),
    (413, "context_length"),
    (418, "bad_request"),
    (422, "bad_request"),
    (429, "rate_limit"),
    (500, "overloaded"),
    (502, "overloaded"),
    (503, "overloaded"),
    (504, "timeout"),
    (529, "overloaded"),
]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
async def test_a_status_becomes_an_error_of_its_kind_after_one_request(wire, server, llm, options, status, kind):
    server.says(wire.error("No such luck"), status=status, headers={"retry-after": "7"})

    with pytest.raises(LlmError, match="No such luck") as caught:
        await llm.generate_content_async(USER, **options)

    error = caught.value
    assert (error.kind, error.status_code, error.retry_after_s) == (kind, status, 7)
    assert (error.provider, error.model) == (wire.name, "m-0")
    assert str(status) in str(error)
    assert len(server.requests) == 1


BODIES = [
    ("openai", 429, ("You exceeded your quota", "insufficient_quota", "insufficient_quota"), "quota"),
    ("openai", 400, ("too many tokens", "invalid_request_error", "context_length_exceeded"), "context_length"),
    ("openai", 400, ("the request exceeds the context size", "exceed_context_size_error", None), "context_length"),
    ("openai", 400, ("flagged", "invalid_request_error", "content_policy_violation"), "refusal"),
    ("anthropic", 429, ("limit", "rate_limit_error", "enforced_spend_limit_reached"), "quota"),
    ("anthropic", 429, ("limit", "rate_limit_error", "contract_spend_limit_reached"), "quota"),
    ("anthropic", 429, ("limit", "rate_limit_error", "ramp_limit_exceeded"), "quota"),
    ("anthropic", 403, ("pay", "billing_error", None), "quota"),
    ("anthropic", 400, ("prompt is too long: 210000 tokens > 200000", "invalid_request_error", None), "context_length"),
    ("gemini", 400, ("API key not valid. Please pass a valid one.", "INVALID_ARGUMENT", "API_KEY_INVALID"), "auth"),
    ("gemini", 400, ("API key expired.", "INVALID_ARGUMENT", None), "auth"),
    ("gemini", 400, ("The input token count (9) exceeds the maximum", "INVALID_ARGUMENT", None), "context_length"),
]


@pytest.mark.parametrize(("wire", "status", "body", "kind"), BODIES, indirect=["wire"])
async def test_what_the_body_says_counts_for_more_than_the_status(wire, server, llm, options, status, body, kind):
    server.says(wire.error(*body), status=status)

    with pytest.raises(LlmError) as caught:
        await llm.generate_content_async(USER, **options)

    assert caught.value.kind == kind


@pytest.mark.parametrize("wire", ["gemini"], indirect=True)
@pytest.mark.parametrize(("quota", "kind"), [("PerMinutePerProject", "rate_limit"), ("PerDayPerProject", "quota")])
async def test_gemini_says_in_its_details_how_long_to_wait_and_which_quota_is_gone(wire, server, llm, quota, kind):
    body = wire.error("Resource exhausted", "RESOURCE_EXHAUSTED")
    body["error"]["details"] = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": f"Requests{quota}"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17.5s"},
    ]
    server.says(body, status=429)

    with pytest.raises(LlmError) as caught:
        await llm.generate_content_async(USER)

    assert (caught.value.kind, caught.value.retry_after_s) == (kind, 17.5)


async def test_a_date_to_retry_after_becomes_seconds(wire, server, llm):
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True)
    server.says(wire.error("slow down"), status=429, headers={"retry-after": later})

    with pytest.raises(RateLimitError) as caught:
        await llm.generate_content_async(USER)

    assert 500 < caught.value.retry_after_s <= 600


@pytest.mark.parametrize("wire", ["openai", "anthropic"], indirect=True)
async def test_an_error_tells_the_request_id(wire, server, llm):
    server.says(wire.error("no"), status=500, headers={wire.request_id: "req-9"})

    with pytest.raises(OverloadedError) as caught:
        await llm.generate_content_async(USER)

    assert caught.value.request_id == "req-9"


UNREADABLE = [
    (200, HTML, "text/html", "bad_output"),
    (200, b"", "application/json", "bad_output"),
    (200, b"{}", "application/json", "bad_output"),
    (200, b"[1, 2]", "application/json", "bad_output"),
    (200, b'{"choices": 3', "application/json", "bad_output"),
    (401, HTML, "text/html", "auth"),
    (429, b"{oops", "application/json", "rate_limit"),
    (500, b"", "application/json", "overloaded"),
    (502, HTML, "text/html", "overloaded"),
    (503, b"upstream is gone", "text/plain", "overloaded"),
]


@pytest.mark.parametrize(("status", "body", "content_type", "kind"), UNREADABLE)
async def test_an_answer_no_api_would_give_is_an_error(wire, server, llm, status, body, content_type, kind):
    server.says(body, status=status, kind=content_type)

    with pytest.raises(LlmError) as caught:
        await llm.generate_content_async(USER)

    error = caught.value
    # A Gemini answer without candidates is well-formed: what is missing is the reason for its end.
    expected = {kind, FailureKind.CONNECTION} if (wire.name, status) == ("gemini", 200) else {kind}
    assert error.kind in expected
    assert status in {200, error.status_code}
    if body == HTML:
        assert "a web page, not an API answer" in str(error)


@pytest.mark.parametrize("body", [HTML, b"", b"event: nonsense\n\n", b"\xff\xfe\x00data: \xff\n\n"])
async def test_a_stream_of_something_else_is_an_error(wire, server, llm, body):
    server.streams(body)

    with pytest.raises((BadOutputError, ConnectionFailedError)):
        await llm.generate_content_async(USER, on_text=lambda _: None)


# Streams that end badly.


@pytest.mark.parametrize("then", ["end", "cut"])
async def test_a_stream_without_a_reason_for_its_end_was_cut(wire, server, llm, then):
    server.streams(*wire.events("To", "ky", reason=None), then=then)
    heard = []

    with pytest.raises(ConnectionFailedError) as caught:
        await llm.generate_content_async(USER, on_text=heard.append)

    assert heard == ["To", "ky"]
    if then == "end":
        assert "cut after 4 characters" in str(caught.value)


async def test_broken_json_in_a_stream_is_bad_output(wire, server, llm):
    server.streams(*wire.events("To", reason=None), b'event: message_delta\ndata: {"oops": \n\n')

    with pytest.raises(BadOutputError):
        await llm.generate_content_async(USER, on_text=lambda _: None)


async def test_an_error_event_in_a_stream_is_read_like_an_error_answer(wire, server, llm):
    server.streams(*wire.events("To", reason=None), wire.error_event())

    with pytest.raises(OverloadedError, match="busy"):
        await llm.generate_content_async(USER, on_text=lambda _: None)


EVENT_TYPES = [
    ("openai", "rate_limit_exceeded", "rate_limit"),
    ("openai", "insufficient_quota", "quota"),
    ("openai", "invalid_request_error", "bad_request"),
    ("anthropic", "rate_limit_error", "rate_limit"),
    ("anthropic", "billing_error", "quota"),
    ("anthropic", "timeout_error", "timeout"),
    ("anthropic", "authentication_error", "auth"),
    ("anthropic", "api_error", "overloaded"),
]


@pytest.mark.parametrize(("wire", "event_type", "kind"), EVENT_TYPES, indirect=["wire"])
async def test_the_type_of_an_error_event_tells_its_kind(wire, server, llm, event_type, kind):
    server.streams(b"event: error\ndata: " + json.dumps(wire.error("no", event_type)).encode() + b"\n\n")

    with pytest.raises(LlmError) as caught:
        await llm.generate_content_async(USER, on_text=lambda _: None)

    assert caught.value.kind == kind


@pytest.mark.parametrize("wire", ["openai"], indirect=True)
async def test_a_number_as_the_code_of_an_error_event_is_its_status(wire, server, llm):
    server.streams(b'data: {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}\n\n')

    with pytest.raises(OverloadedError) as caught:
        await llm.generate_content_async(USER, on_text=lambda _: None)

    assert caught.value.status_code == 503


@pytest.mark.parametrize("wire", ["gemini"], indirect=True)
async def test_an_error_event_the_sdk_stumbles_over_is_bad_output(wire, server, llm):
    server.streams(b'data: {"error": {"message": "no code"}}\n\n')

    with pytest.raises(BadOutputError, match="the SDK stumbled over the answer"):
        await llm.generate_content_async(USER, on_text=lambda _: None)


async def test_a_bug_of_ours_is_not_dressed_up_as_a_providers_failure(llm):
    with pytest.raises(KeyError), llm._own_errors():
        raise KeyError


# Servers that are not there, hang, or hang up.


async def test_nobody_listening_is_a_failed_connection(wire, pool, new_server):
    async with new_server() as gone:
        url = gone.url
    llm = wire.llm("m", api_key=KEY, base_url=url + wire.base, clients=pool)

    with pytest.raises(ConnectionFailedError, match=r"Connect call failed|Cannot connect|refused"):
        await llm.generate_content_async(USER)


async def test_a_server_that_hangs_up_is_asked_once(wire, server, llm, options):
    server.hangs_up()

    with pytest.raises(ConnectionFailedError):
        await llm.generate_content_async(USER, **options)

    assert len(server.requests) == 1


async def test_a_server_that_hangs_is_given_up_after_the_time_allowed(wire, server, llm, options):
    server.hangs()

    with pytest.raises(CallTimeoutError, match=r"no answer within 0\.3 s"):
        await llm.generate_content_async(USER, timeout_s=0.3, **options)

    await server.client_left.wait()


async def test_a_stream_that_stalls_is_given_up_after_the_time_allowed(wire, server, llm):
    server.streams(*wire.events("To", reason=None), then="hang")

    with pytest.raises(CallTimeoutError):
        await llm.generate_content_async(USER, timeout_s=0.3, on_text=lambda _: None)

    await server.client_left.wait()


async def test_the_time_the_reader_takes_is_not_the_providers(wire, server, llm):
    server.streams(*wire.events("To", "kyo"))

    stream = llm.stream_content_async(USER, timeout_s=5)
    first = await anext(stream)
    loop = asyncio.get_running_loop()
    a_minute_later = loop.time() + 60
    loop.time = lambda: a_minute_later
    try:
        assert first + "".join([text async for text in stream]) == "Tokyo"
    finally:
        del loop.time


# Cancelling, and leaving early.


async def test_cancelling_a_call_closes_its_connection(wire, server, llm, options):
    server.hangs()
    async with asyncio.TaskGroup() as group:
        call = group.create_task(llm.generate_content_async(USER, **options))
        await server.asked.wait()
        call.cancel()

    assert call.cancelled()
    await server.client_left.wait()


async def test_cancelling_in_the_middle_of_a_stream_closes_its_connection(wire, server, llm):
    server.streams(*wire.events("To", reason=None), then="hang")
    heard = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        call = group.create_task(llm.generate_content_async(USER, on_text=lambda _: heard.set()))
        await heard.wait()
        call.cancel()

    assert call.cancelled()
    await server.client_left.wait()


async def test_leaving_a_stream_early_closes_its_connection(wire, server, llm):
    server.streams(*wire.events("To", reason=None), then="hang")

    async with llm.stream_content_async(USER) as stream:
        assert await anext(stream) == "To"
    await stream.aclose()

    await server.client_left.wait()
    assert [text async for text in stream] == []


async def test_a_stream_nobody_read_can_be_closed(wire, server, llm):
    stream = llm.stream_content_async(USER)
    await stream.aclose()

    assert server.requests == []


# Secrets.


async def test_a_key_the_server_repeats_is_masked_everywhere(wire, server, llm, pool, options):
    server.says(wire.error(f"Incorrect API key provided: {KEY}"), status=401)

    with pytest.raises(LlmError, match=r"\*\*\*") as caught:
        await llm.generate_content_async(USER, **options)

    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(llm) + repr(pool)
    assert KEY not in shown
    assert KEY not in str(vars(caught.value))


async def test_a_secret_in_a_header_is_masked_too(wire, server, pool):
    server.says(wire.error("unknown token tok-9876543210"), status=401)
    headers = {"x-proxy-token": "tok-9876543210"}
    llm = wire.llm("m", api_key=KEY, base_url=server.url + wire.base, headers=headers, clients=pool)

    with pytest.raises(LlmError) as caught:
        await llm.generate_content_async(USER)

    assert "tok-9876543210" not in "".join(traceback.format_exception(caught.value)) + repr(llm)


async def test_a_refusal_that_repeats_the_key_is_masked_too(wire, server, llm):
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(body=KEY.encode(), content_type="text/html")

    server.handler = handler

    with pytest.raises(LlmError) as caught:
        await llm.generate_content_async(USER)

    assert KEY not in "".join(traceback.format_exception(caught.value))


# Clients and event loops.


async def test_many_first_calls_at_once_build_one_client(wire, server, pool, monkeypatch):
    server.says(wire.answer("x"))
    built = []
    build = wire.llm._build

    async def counted(self, closers):
        built.append(self)
        return await build(self, closers)

    monkeypatch.setattr(wire.llm, "_build", counted)
    providers = [wire.llm("m", api_key=KEY, base_url=server.url + wire.base, clients=pool) for _ in range(200)]

    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(llm.generate_content_async(USER)) for llm in providers]

    assert len(built) == 1
    assert {call.result() for call in calls} == {"x"}


async def test_a_pool_given_to_a_provider_stays_open_when_the_provider_closes(wire, server, llm, pool):
    server.says(wire.answer("x"))
    async with llm:
        await llm.generate_content_async(USER)
    await llm.aclose()

    assert "1 clients" in repr(pool)
    assert await llm.generate_content_async(USER) == "x"


async def test_a_provider_without_a_pool_closes_its_own_client(wire, server):
    server.says(wire.answer("x"))
    llm = wire.llm("m", api_key=KEY, base_url=server.url + wire.base)

    async with llm:
        await llm.generate_content_async(USER)
        client = await llm._connect()
    await llm.aclose()

    with pytest.raises(ConnectionFailedError), llm._own_errors():
        await _call_raw(wire, client)


async def _call_raw(wire, client):
    if wire.name == "gemini":
        await client.aio.models.generate_content(model="m", contents="x")
    elif wire.name == "anthropic":
        await client.messages.create(model="m", max_tokens=1, messages=USER)
    else:
        await client.chat.completions.create(model="m", messages=USER)


@pytest.mark.parametrize("is_closed_first", [True, False])
def test_the_same_provider_works_in_two_event_loops_in_a_row(wire, is_closed_first, caplog, new_server):
    pool = ClientPool()
    port = 0

    async def run() -> list[str]:
        nonlocal port
        async with new_server(port) as server:
            server.says(wire.answer("x"))
            port = server.port
            llm = wire.llm("m", api_key=KEY, base_url=server.url + wire.base, clients=pool)
            answers = [await llm.generate_content_async(USER) for _ in range(2)]
            if is_closed_first:
                await pool.aclose()
            return answers

    assert asyncio.run(run()) == ["x", "x"]
    assert asyncio.run(run()) == ["x", "x"]
    asyncio.run(pool.aclose())

    assert [record.message for record in caplog.records if "nclosed" in record.message] == []
