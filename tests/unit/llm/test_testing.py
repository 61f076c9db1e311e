"""The models shipped for tests behave as the real ones do, and complain loudly where a script or recording ends."""

import asyncio
import json
import subprocess
import sys
from math import inf

import pytest

from llm_abstractions.errors import (
    CallTimeoutError,
    ConnectionFailedError,
    FailureKind,
    LlmError,
    OverloadedError,
    RateLimitError,
    TruncatedError,
)
from llm_abstractions.rate_limits import Quota, RateLimits
from llm_abstractions.testing import (
    RecordingLlm,
    ReplayLlm,
    ReplayMissError,
    Reply,
    ScriptedLlm,
    UnscriptedCallError,
)
from llm_abstractions.types import Completion, FinishReason, Usage

USER = [{"role": "user", "content": "What is the capital of Japan?"}]


def asking(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def now() -> float:
    return asyncio.get_running_loop().time()


# -- scripted ----------------------------------------------------------------------------------------------------------


async def test_one_reply_answers_every_call():
    llm = ScriptedLlm("Tokyo", model="m-1", provider="p", account="a")

    answers = [await llm.generate_content_async(USER) for _ in range(3)]

    assert answers == ["Tokyo"] * 3
    assert all(isinstance(answer, Completion) for answer in answers)
    assert (answers[0].model, answers[0].provider, llm.account) == ("m-1", "p", "a")
    assert answers[0].finish_reason is FinishReason.STOP
    assert answers[0].usage == Usage(input_tokens=8, output_tokens=2)
    assert [call.turns[0]["content"] for call in llm.calls] == [USER[0]["content"]] * 3


async def test_replies_are_used_up_in_turn_and_one_call_more_is_an_error():
    llm = ScriptedLlm(["Tokyo", FailureKind.RATE_LIMIT, RateLimitError("my own", retry_after_s=3), "Kyoto"])

    assert await llm.generate_content_async(USER) == "Tokyo"
    with pytest.raises(RateLimitError, match="scripted failure"):
        await llm.generate_content_async(USER)
    with pytest.raises(RateLimitError, match="my own"):
        await llm.generate_content_async(USER)
    assert await llm.generate_content_async(USER) == "Kyoto"
    with pytest.raises(UnscriptedCallError, match="has 4 replies, and one more call came, with the prompt 'What is"):
        await llm.generate_content_async(USER)


async def test_rules_look_at_the_prompt_and_the_first_that_fits_counts():
    llm = ScriptedLlm({"Japan": "Tokyo", "capital": "Some town", "": Reply(text="Who knows")})

    assert await llm.generate_content_async(USER) == "Tokyo"
    assert await llm.generate_content_async(asking("the capital of France?")) == "Some town"
    assert await llm.generate_content_async(asking("Hm?"), system="Japan only") == "Tokyo"
    assert await llm.generate_content_async(asking("Hm?")) == "Who knows"


async def test_a_prompt_that_no_rule_fits_is_an_error_that_shows_it():
    llm = ScriptedLlm({"Japan": "Tokyo"})

    with pytest.raises(UnscriptedCallError, match=r"occurs in the prompt 'Hm\?.* \[\.\.\.\]'; it has 'Japan'"):
        await llm.generate_content_async(asking("Hm? " * 100))


async def test_a_script_may_be_a_function_of_the_call_asynchronous_or_not():
    async def slow(call):
        await asyncio.sleep(0)
        return str(call.options.max_tokens)

    assert await ScriptedLlm(slow).generate_content_async(USER, max_tokens=5) == "5"
    assert await ScriptedLlm(lambda call: call.turns[0]["content"]).generate_content_async(USER) == USER[0]["content"]


@pytest.mark.parametrize("kind", FailureKind)
async def test_a_failure_has_its_kind_and_says_what_the_script_says(kind):
    limits = RateLimits(requests=Quota(limit=1, remaining=0))
    llm = ScriptedLlm(Reply(failure=kind, retry_after_s=2, rate_limits=limits), model="m-1", provider="p")

    with pytest.raises(LlmError) as caught:
        await llm.generate_content_async(USER)

    error = caught.value
    assert (error.kind, error.retry_after_s, error.rate_limits) == (kind, 2, limits)
    assert (error.provider, error.model) == ("p", "m-1")


async def test_a_failure_of_ones_own_is_raised_anew_each_time():
    own = OverloadedError("busy")
    llm = ScriptedLlm(own)
    raised = []
    for _ in range(2):
        with pytest.raises(OverloadedError, match="busy") as caught:
            await llm.generate_content_async(USER)
        raised.append(caught.value)

    assert raised[0] is not raised[1]
    assert own.__traceback__ is None


async def test_an_answer_says_what_the_script_says():
    limits, usage = RateLimits(requests=Quota(limit=9)), Usage(input_tokens=1, output_tokens=2)
    reply = Reply(text="To", usage=usage, finish_reason=FinishReason.LENGTH, rate_limits=limits)

    answer = await ScriptedLlm(reply).generate_content_async(USER)

    assert (answer.usage, answer.finish_reason, answer.rate_limits) == (usage, FinishReason.LENGTH, limits)


@pytest.mark.looptime
async def test_time_passes_as_the_script_says_and_calls_run_together():
    llm = ScriptedLlm(Reply(text="a few words", latency_s=10, word_s=1))

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(llm.generate_content_async(USER))
        group.create_task(llm.generate_content_async(USER))

    assert now() == 13
    assert (llm.most_under_way, llm.under_way) == (5, 0)


@pytest.mark.looptime
@pytest.mark.parametrize("reply", [Reply(latency_s=inf), Reply(text="a b c", word_s=3), Reply(latency_s=5)])
async def test_a_call_ends_at_its_timeout(reply):
    with pytest.raises(CallTimeoutError, match="no answer within 5 s"):
        await ScriptedLlm(reply).generate_content_async(USER, timeout_s=5)

    assert now() == 5


@pytest.mark.looptime
async def test_a_call_that_never_ends_can_be_cancelled():
    llm = ScriptedLlm(Reply(latency_s=inf))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1_000):
            await llm.generate_content_async(USER)

    assert llm.under_way == 0


async def test_a_stream_comes_word_by_word_and_ends_with_the_whole():
    llm = ScriptedLlm("To be or not")

    async with llm.stream_content_async(USER) as stream:
        pieces = [text async for text in stream]

    assert pieces == ["To ", "be ", "or ", "not"]
    assert stream.completion == "To be or not"
    heard = []
    await llm.generate_content_async(USER, on_text=heard.append, on_start=lambda: heard.append("!"))
    assert heard == ["!", *pieces]


async def test_an_empty_answer_is_one():
    llm = ScriptedLlm("")

    assert [text async for text in llm.stream_content_async(USER)] == []
    assert await llm.generate_content_async(USER) == ""


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_cut_stream_fails_after_what_came(is_streamed):
    llm, heard = ScriptedLlm(Reply(text="To be or not", cut_after=5)), []

    async def read() -> None:
        async for text in llm.stream_content_async(USER):
            heard.append(text)  # noqa: PERF401 - a comprehension loses what came before the error

    with pytest.raises(ConnectionFailedError, match="cut after 5 characters"):
        await (read() if is_streamed else llm.generate_content_async(USER, on_text=heard.append))

    assert heard == ["To ", "be"]


async def test_a_malformed_call_is_refused_as_by_real_providers():
    llm = ScriptedLlm("Tokyo")

    with pytest.raises(TypeError, match="max_token"):
        await llm.generate_content_async(USER, max_token=5)
    with pytest.raises(ValueError, match="role"):
        await llm.generate_content_async([{"role": "robot", "content": "x"}])
    assert llm.calls == []


# -- recorded and replayed ---------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    return tmp_path / "calls.jsonl"


async def record(path, script, *calls, model="m-1"):
    llm = RecordingLlm(ScriptedLlm(script, model=model, provider="p"), path)
    outcomes = []
    for messages, options in calls:
        try:
            outcomes.append(await llm.generate_content_async(messages, **options))
        except LlmError as error:
            outcomes.append(error)
    return outcomes


async def test_what_was_recorded_is_said_again(path):
    script = {"Japan": Reply(text="Tōkyō", usage=Usage(input_tokens=7, cached_tokens=3)), "": "Who knows"}
    options = {"max_tokens": 9, "json_schema": {"type": "string"}, "stop": ["x"], "extras": {"seed": 1}, "system": "Hi"}
    calls = [(USER, {}), (USER, options), (asking("Hm?"), {"temperature": 0})]
    recorded = await record(path, script, *calls)

    replay = ReplayLlm(path, model="m-1")
    again = [await replay.generate_content_async(messages, **options) for messages, options in reversed(calls)]

    for answer, before in zip(reversed(again), recorded, strict=True):
        assert answer == before
        facts = ("usage", "model", "provider", "finish_reason", "request_id")
        assert [getattr(answer, name) for name in facts] == [getattr(before, name) for name in facts]


async def test_what_does_not_shape_the_answer_does_not_matter(path):
    await record(path, "Tokyo", (USER, {"system": "Be brief.", "timeout_s": 5}))
    heard = []

    answer = await ReplayLlm(path, model="m-1").generate_content_async(
        [{"role": "system", "content": "Be brief."}, *USER], on_text=heard.append, on_start=lambda: heard.append("!")
    )

    assert answer == "Tokyo"
    assert heard == ["!", "Tokyo"]


async def test_failures_are_recorded_with_all_they_say(path):
    cut = TruncatedError("cut", provider="p", answer=Completion("{", usage=Usage(output_tokens=5)), request_id="r")
    limit = RateLimitError("slow down", status_code=429, retry_after_s=3)
    await record(path, [cut, limit, "{}"], *[(USER, {})] * 3)
    replay = ReplayLlm(path, model="m-1")

    with pytest.raises(TruncatedError, match="cut") as caught:
        await replay.generate_content_async(USER)
    assert (caught.value.answer, caught.value.answer.usage.output_tokens) == ("{", 5)
    with pytest.raises(RateLimitError, match="slow down") as caught:
        await replay.generate_content_async(USER)
    assert (caught.value.status_code, caught.value.retry_after_s) == (429, 3)
    assert await replay.generate_content_async(USER) == "{}"


async def test_a_call_repeated_more_often_than_recorded_is_a_miss(path):
    await record(path, "Tokyo", (USER, {}))
    replay = ReplayLlm(path, model="m-1")
    await replay.generate_content_async(USER)

    with pytest.raises(ReplayMissError, match=r"has this call recorded once, and it came once more:\nmodel: \"m-1\""):
        await replay.generate_content_async(USER)


async def test_a_miss_shows_the_difference_to_the_nearest_recording(path):
    long = "You are a translator.\nTranslate into French:\n" + "word " * 20
    await record(path, "Oui", (asking("Hm?"), {}), (asking(long), {"max_tokens": 5, "system": "Be brief."}))

    with pytest.raises(ReplayMissError) as caught:
        await ReplayLlm(path, model="m-2").generate_content_async(
            asking(long.replace("French", "German")), max_tokens=5, system="Be brief."
        )

    assert str(caught.value) == (
        f"{str(path)!r} has no recording of this call to 'm-2'. The nearest of 2 recorded calls differs so:\n"
        "--- recorded\n+++ asked\n@@ -1,3 +1,3 @@\n"
        '-model: "m-1"\n+model: "m-2"\n max_tokens: 5\n [system]\n'
        "@@ -5,4 +5,4 @@\n [user]\n You are a translator.\n"
        f"-Translate into French:\n+Translate into German:\n {'word ' * 20}\n"
        "Change the call back, or record it again with RecordingLlm."
    )


async def test_a_miss_in_an_empty_recording_shows_the_call(path):
    path.write_text("")

    with pytest.raises(
        ReplayMissError, match=r"holds none at all\. The call:\nmodel: \"\"\n\[user\]\nWhat is the capital"
    ):
        await ReplayLlm(path).generate_content_async(USER)


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"answer": {}}'])
async def test_a_file_that_is_no_recording_is_told_with_its_line(path, line):
    await record(path, "Tokyo", (USER, {}))
    with path.open("a") as file:
        file.write(line + "\n")

    with pytest.raises(ValueError, match=r"line 2 of .*calls.jsonl' is no recording"):
        await ReplayLlm(path, model="m-1").generate_content_async(USER)


async def test_a_stream_is_passed_on_as_it_comes_and_recorded_at_its_end(path):
    llm = RecordingLlm(ScriptedLlm("To be or not", model="m-1"), path)

    async with llm.stream_content_async(USER) as stream:
        pieces = [text async for text in stream]

    assert pieces == ["To ", "be ", "or ", "not"]
    assert stream.completion == "To be or not"
    async with ReplayLlm(path, model="m-1").stream_content_async(USER) as stream:
        assert [text async for text in stream] == ["To be or not"]


async def test_a_stream_that_fails_is_recorded_too(path):
    llm = RecordingLlm(ScriptedLlm(Reply(text="To be", cut_after=2), model="m-1"), path)
    with pytest.raises(ConnectionFailedError):
        _ = [text async for text in llm.stream_content_async(USER)]

    with pytest.raises(ConnectionFailedError, match="cut after 2"):
        await ReplayLlm(path, model="m-1").generate_content_async(USER)


async def test_calls_made_together_are_all_written_and_read(path):
    llm = RecordingLlm(ScriptedLlm(lambda call: call.turns[0]["content"], model="m-1", account="a"), path)
    texts = [f"number {number}" for number in range(50)]
    await asyncio.gather(*(llm.generate_content_async(asking(text)) for text in texts))
    replay = ReplayLlm(path, model="m-1")

    answers = await asyncio.gather(*(replay.generate_content_async(asking(text)) for text in texts))

    assert answers == texts
    assert len(path.read_text().splitlines()) == 50
    assert (llm.model, llm.account) == ("m-1", "a")


async def test_a_plain_text_of_a_provider_of_ones_own_is_recorded_as_one(path):
    class Plain(ScriptedLlm):
        async def generate_content_async(self, messages, **options):
            return str(await super().generate_content_async(messages, **options))

    await RecordingLlm(Plain("Tokyo", model="m-1"), path).generate_content_async(USER)

    assert json.loads(path.read_text())["answer"] == {"text": "Tokyo"}
    assert await ReplayLlm(path, model="m-1").generate_content_async(USER) == "Tokyo"


async def test_closing_the_recording_closes_the_model(path):
    class Closing(ScriptedLlm):
        is_closed = False

        async def aclose(self):
            self.is_closed = True

    llm = Closing("Tokyo")
    async with RecordingLlm(llm, path):
        pass

    assert llm.is_closed


def test_the_kit_needs_no_test_framework_and_no_sdk():
    program = "import sys, llm_abstractions.testing; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint({"pytest", "_pytest", "openai", "anthropic", "aiohttp", "httpx2"})
