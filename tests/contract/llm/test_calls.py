"""What a call sends and returns, the same for every wire."""

import json

import pytest

from llm_abstractions.errors import BadOutputError, RefusalError, TruncatedError
from llm_abstractions.types import Completion, FinishReason, Usage

USER = [{"role": "user", "content": "What is the capital of Japan?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


async def test_an_answer_is_text_that_says_what_it_cost_and_how_it_ended(wire, server, llm):
    server.says(wire.answer("Tokyo."), headers={wire.request_id or "x-none": "req-7"})

    answer = await llm.generate_content_async(USER)

    assert isinstance(answer, Completion)
    assert answer == "Tokyo."
    assert answer.usage == Usage(
        **dict(
            zip(
                ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"),
                wire.counts,
                strict=True,
            )
        )
    )
    assert (answer.model, answer.provider, answer.request_id) == ("m-1", wire.name, "req-7")
    assert answer.finish_reason is FinishReason.STOP


async def test_a_stream_gives_text_as_it_comes_and_the_same_completion_at_its_end(wire, server, llm):
    server.streams(*wire.events("To", "kyo", "."), headers={wire.request_id or "x-none": "req-7"})

    stream = llm.stream_content_async(USER)
    with pytest.raises(RuntimeError, match="not exhausted"):
        _ = stream.completion
    pieces = [text async for text in stream]

    assert pieces == ["To", "kyo", "."]
    assert stream.completion == "Tokyo."
    counts = stream.completion.usage
    assert (counts.input_tokens, counts.cached_tokens, counts.cache_write_tokens) == wire.counts[:3]
    assert (counts.output_tokens, counts.reasoning_tokens) == wire.counts[3:]
    assert (stream.completion.model, stream.completion.request_id) == ("m-1", "req-7")
    assert stream.completion.finish_reason is FinishReason.STOP
    assert [text async for text in stream] == []


async def test_on_text_is_called_with_each_piece_and_the_whole_is_returned(wire, server, llm):
    server.streams(*wire.events("To", "kyo"))
    heard = []

    answer = await llm.generate_content_async(USER, on_text=heard.append)

    assert heard == ["To", "kyo"]
    assert answer == "Tokyo"


async def test_what_on_text_raises_is_the_callers_own(wire, server, llm):
    server.streams(*wire.events("To", "kyo"))

    def fail(_: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await llm.generate_content_async(USER, on_text=fail)


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_every_option_reaches_the_wire(wire, server, llm, is_streamed):
    server.streams(*wire.events('{"city": "Tokyo"}')) if is_streamed else server.says(wire.answer('{"city": "Tokyo"}'))
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "And now?"},
    ]

    await llm.generate_content_async(
        messages,
        system="You are a clerk.",
        max_tokens=99,
        temperature=0.5,
        stop="END",
        json_schema=SCHEMA,
        extras={"seedling": {"x": 1}},
        on_text=(lambda _: None) if is_streamed else None,
    )

    asked = wire.asked(server.bodies[0])
    assert asked.system == "You are a clerk.\n\nBe brief.\n\nBe kind."
    assert asked.turns == [("user", "Hi"), ("assistant", "Hello"), ("user", "And now?")]
    assert (asked.max_tokens, asked.temperature, asked.stop) == (99, 0.5, ["END"])
    assert asked.schema == (SCHEMA | {"additionalProperties": False} if wire.name == "anthropic" else SCHEMA)
    assert server.bodies[0]["seedling"] == {"x": 1}


async def test_options_left_out_are_left_to_the_provider(wire, server, llm):
    server.says(wire.answer("Tokyo."))

    await llm.generate_content_async(USER)

    asked = wire.asked(server.bodies[0])
    assert (asked.system, asked.temperature, asked.stop, asked.schema) == (None, None, None, None)


async def test_a_cut_by_max_tokens_is_returned_for_the_caller_to_judge(wire, server, llm):
    server.says(wire.answer("The capital of", "length"))

    answer = await llm.generate_content_async(USER, max_tokens=3)

    assert answer == "The capital of"
    assert answer.finish_reason is FinishReason.LENGTH


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_json_cut_by_max_tokens_is_an_error_that_still_says_what_it_cost(wire, server, llm, is_streamed):
    server.streams(*wire.events('{"city": "To', reason="length")) if is_streamed else server.says(
        wire.answer('{"city": "To', "length")
    )

    with pytest.raises(TruncatedError, match="max_tokens=5") as caught:
        await llm.generate_content_async(
            USER, json_schema=SCHEMA, max_tokens=5, on_text=(lambda _: None) if is_streamed else None
        )

    assert caught.value.answer.usage.output_tokens == wire.counts[3]


async def test_an_answer_that_is_not_the_json_asked_for_is_an_error(wire, server, llm):
    server.says(wire.answer("Sure! Tokyo."))

    with pytest.raises(BadOutputError, match=r"not JSON .*'Sure! Tokyo\.'") as caught:
        await llm.generate_content_async(USER, json_schema=SCHEMA)

    assert caught.value.answer == "Sure! Tokyo."


async def test_json_that_is_whole_is_returned_as_text(wire, server, llm):
    server.says(wire.answer('{"city": "Tokyo"}'))

    assert json.loads(await llm.generate_content_async(USER, json_schema=SCHEMA)) == {"city": "Tokyo"}


LIST = {
    "type": "array",
    "items": {"$ref": "#/$defs/city"},
    "$defs": {"city": {"type": "string"}},
}


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_json_with_another_top_than_an_object_is_asked_for_as_the_api_takes_it(wire, server, llm, is_streamed):
    text = '["Tōkyō"]'
    if wire.name in {"openai", "local"}:
        text = f'{{"answer": {text}}}'
    server.streams(*wire.events(text)) if is_streamed else server.says(wire.answer(text))

    answer = await llm.generate_content_async(USER, json_schema=LIST, on_text=(lambda _: None) if is_streamed else None)

    assert answer == '["Tōkyō"]'
    schema = wire.asked(server.bodies[0]).schema
    if wire.name in {"openai", "local"}:
        assert schema["properties"] == {"answer": {"type": "array", "items": {"$ref": "#/$defs/city"}}}
        assert (schema["type"], schema["required"], schema["$defs"]) == ("object", ["answer"], LIST["$defs"])
    else:
        assert schema["type"] == "array"


async def test_json_of_a_server_that_pays_no_heed_to_the_form_is_left_as_it_is(wire, server, llm):
    server.says(wire.answer('["Tokyo"]'))
    assert await llm.generate_content_async(USER, json_schema=LIST) == '["Tokyo"]'


async def test_json_with_another_top_that_was_cut_is_an_error_like_any_other(wire, server, llm):
    server.says(wire.answer('{"answer": ["Tok', "length"))
    with pytest.raises(TruncatedError):
        await llm.generate_content_async(USER, json_schema=LIST, max_tokens=5)


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_refusal_is_an_error_that_still_says_what_it_cost(wire, server, llm, is_streamed):
    server.streams(*wire.events(reason="refusal")) if is_streamed else server.says(wire.answer("", "refusal"))

    with pytest.raises(RefusalError, match=wire.reasons["refusal"]) as caught:
        await llm.generate_content_async(USER, on_text=(lambda _: None) if is_streamed else None)

    assert caught.value.answer.usage.input_tokens == wire.counts[0]


async def test_an_unknown_reason_to_end_is_passed_on_as_other(wire, server, llm):
    server.says(wire.answer("Hm", "OTHER" if wire.name == "gemini" else "brand_new_reason"))

    assert (await llm.generate_content_async(USER)).finish_reason is FinishReason.OTHER


@pytest.mark.parametrize("wire", ["openai", "anthropic"], indirect=True)
async def test_a_model_that_wants_a_tool_says_so(wire, server, llm):
    server.says(wire.answer("", "tool_use"))

    assert (await llm.generate_content_async(USER)).finish_reason is FinishReason.TOOL_USE


async def test_the_providers_own_headers_and_key_are_sent(wire, server, pool):
    server.says(wire.answer("Tokyo."))
    llm = wire.llm("m-0", api_key="k-1", base_url=server.url + wire.base, headers={"x-team": "blue"}, clients=pool)

    await llm.generate_content_async(USER)

    headers = server.requests[0].headers
    assert headers["x-team"] == "blue"
    assert "k-1" in {headers.get("x-api-key"), headers.get("x-goog-api-key"), headers.get("authorization", "")[7:]}


async def test_a_compatible_server_without_accounts_needs_no_key(wire, server, pool):
    server.says(wire.answer("Tokyo."))

    await wire.llm("m-0", base_url=server.url + wire.base, clients=pool).generate_content_async(USER)

    assert "not-needed" in str(dict(server.requests[0].headers))


async def test_malformed_messages_are_refused_before_any_request(wire, server, llm):
    with pytest.raises(ValueError, match="role 'robot'"):
        await llm.generate_content_async([{"role": "robot", "content": "hi"}])
    with pytest.raises(TypeError, match="unknown option 'tempature'"):
        llm.stream_content_async(USER, tempature=1)

    assert server.requests == []


# What differs between the wires on purpose.


@pytest.mark.parametrize("wire", ["openai"], indirect=True)
async def test_openai_itself_gets_the_field_its_reasoning_models_know(wire, pool):
    official = wire.llm("m", api_key="k", clients=pool)
    regional = wire.llm("m", api_key="k", base_url="https://eu.api.openai.com/v1", clients=pool)
    lookalike = wire.llm("m", api_key="k", base_url="https://notopenai.com/v1", clients=pool)

    assert official._max_tokens_field == regional._max_tokens_field == "max_completion_tokens"
    assert lookalike._max_tokens_field == "max_tokens"


@pytest.mark.parametrize("wire", ["openai"], indirect=True)
@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_refusal_in_words_is_a_refusal_whatever_its_finish_reason(wire, server, llm, is_streamed):
    body = wire.answer("")
    body["choices"][0]["message"] = {"role": "assistant", "content": None, "refusal": "I will not."}
    chunk = {"index": 0, "delta": {"refusal": "I will not."}, "finish_reason": None}
    event = b"data: " + json.dumps({"id": "x", "model": "m", "choices": [chunk]}).encode() + b"\n\n"
    server.streams(event, *wire.events()) if is_streamed else server.says(body)

    with pytest.raises(RefusalError, match="I will not"):
        await llm.generate_content_async(USER, on_text=(lambda _: None) if is_streamed else None)


@pytest.mark.parametrize("wire", ["openai"], indirect=True)
async def test_a_stream_is_asked_to_tell_its_usage(wire, server, llm):
    server.streams(*wire.events("x"))

    await llm.generate_content_async(USER, on_text=lambda _: None)

    assert server.bodies[0]["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("wire", ["anthropic"], indirect=True)
async def test_an_answer_of_anthropic_too_long_to_wait_for_is_streamed(wire, server, llm):
    server.streams(*wire.events("x"))

    await llm.generate_content_async(USER, max_tokens=60_000)

    assert server.bodies[0]["stream"] is True
    assert server.bodies[0]["max_tokens"] == 60_000


@pytest.mark.parametrize("wire", ["anthropic"], indirect=True)
async def test_a_compatible_anthropic_server_gets_the_key_in_both_places(wire, server, llm):
    server.says(wire.answer("x"))

    await llm.generate_content_async(USER)

    headers = server.requests[0].headers
    assert server.requests[0].path == "/v1/messages"
    assert headers["x-api-key"] == headers["authorization"].removeprefix("Bearer ")
    assert server.bodies[0]["max_tokens"] == 8192


@pytest.mark.parametrize("wire", ["anthropic"], indirect=True)
async def test_why_anthropic_declined_is_told(wire, server, llm):
    body = wire.answer("", "refusal") | {"stop_details": {"type": "refusal", "category": "cyber", "explanation": "no"}}
    server.says(body)

    with pytest.raises(RefusalError, match="'refusal': no"):
        await llm.generate_content_async(USER)


@pytest.mark.parametrize("wire", ["gemini"], indirect=True)
@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("", "/v1beta/models/m-0:generateContent"),
        ("/v1", "/v1/models/m-0:generateContent"),
        ("/proxy/v1beta/", "/proxy/v1beta/models/m-0:generateContent"),
    ],
)
async def test_a_gemini_base_url_may_carry_its_version_or_not(wire, server, pool, base, path):
    server.says(wire.answer("x"))

    await wire.llm("m-0", base_url=server.url + base, clients=pool).generate_content_async(USER)

    assert server.requests[0].path == path


@pytest.mark.parametrize("wire", ["gemini"], indirect=True)
async def test_a_blocked_gemini_prompt_is_a_refusal(wire, server, llm):
    feedback = {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": "not this"}
    server.says({"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 9}})

    with pytest.raises(RefusalError, match=r"PROHIBITED_CONTENT \(not this\)") as caught:
        await llm.generate_content_async(USER)

    assert caught.value.answer.usage.input_tokens == 9


async def test_a_connection_is_used_again(wire, server, llm):
    server.says(wire.answer("x"))

    for _ in range(3):
        await llm.generate_content_async(USER)

    assert len(set(server.peers)) == 1
