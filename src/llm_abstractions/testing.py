"""Models for tests: scripted ones, and real ones that are recorded once and replayed from then on.

They need no key, no network and no test framework, and wait by `asyncio.sleep`, so that virtual clocks work:

    llm = ScriptedLlm(["Tokyo", FailureKind.RATE_LIMIT, "Kyoto"])  # in turn
    llm = ScriptedLlm({"capital": "Tokyo", "": Reply(text="Who knows", latency_s=2)})  # by what the prompt holds
    llm = RecordingLlm(OpenAILlm(), "calls.jsonl")  # calls OpenAI and writes down what it says
    llm = ReplayLlm("calls.jsonl", model="gpt-6-sol")  # says it again, calls nobody

`LlmFactory.register("openai", lambda *, model, **_: llm, replace=True)` puts one in the place of a provider.
"""

import asyncio
import difflib
import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass
from inspect import isawaitable
from math import inf
from pathlib import Path
from typing import Any

from llm_abstractions.base_llm import BaseLlm, PieceStream, TextStream
from llm_abstractions.errors import (
    ERRORS_BY_KIND,
    CallTimeoutError,
    ConnectionFailedError,
    FailureKind,
    LlmError,
)
from llm_abstractions.rate_limits import RateLimits
from llm_abstractions.request import CallRequest, parse_request
from llm_abstractions.types import Completion, FinishReason, Message, Usage

__all__ = ["RecordingLlm", "ReplayLlm", "ReplayMissError", "Reply", "ScriptedLlm", "UnscriptedCallError"]

_CHARS_PER_TOKEN = 4
_SHOWN_CHARS = 120
_COMPARED_CHARS = 4_000
_CONTEXT_LINES = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What a scripted model does with one call: answer `text` after `latency_s`, or fail with `failure` by then.

    `latency_s` of `inf` never ends, unless the call's `timeout_s` does. A stream comes word by word, `word_s` apart;
    `cut_after` breaks it, as a lost connection does, after that many characters, streamed or not. Without a `usage`,
    four characters are counted as a token. `rate_limits` and `retry_after_s` are what the provider says besides.
    """

    text: str = ""
    failure: FailureKind | LlmError | None = None
    latency_s: float = 0.0
    word_s: float = 0.0
    cut_after: int | None = None
    usage: Usage | None = None
    finish_reason: FinishReason = FinishReason.STOP
    rate_limits: RateLimits | None = None
    retry_after_s: float | None = None


_Scripted = str | FailureKind | LlmError | Reply
_Rule = Callable[[CallRequest], _Scripted | Awaitable[_Scripted]]


class UnscriptedCallError(LookupError):
    """A call came that the script has no reply for. The test is wrong, or what it tests."""


class ReplayMissError(LookupError):
    """A call came that was not recorded; the text shows how it differs from the nearest one that was."""


class ScriptedLlm(BaseLlm):
    """A model that does what its script says.

    A reply is a text, a failure's kind, an `LlmError`, or a `Reply`. The script is one reply for every call; a list,
    used up in turn; a dict, whose first key that occurs in the prompt counts ("" always does); or a function of the
    checked call, which may be asynchronous. `calls` keeps what was asked, `most_under_way` how many ran at once.

    Raises: UnscriptedCallError: by a call the script does not foresee.
    """

    def __init__(
        self,
        script: _Scripted | Sequence[_Scripted] | Mapping[str, _Scripted] | _Rule,
        *,
        model: str = "scripted-1",
        provider: str = "scripted",
        account: str = "",
    ) -> None:
        self.model = model
        self.provider = provider
        self.calls: list[CallRequest] = []
        self.under_way = 0
        self.most_under_way = 0
        self._account = account
        self._rule = _rule_of(script)

    @property
    def account(self) -> str:
        """The account given, so that a test can have several."""
        return self._account

    async def generate_content_async(self, messages: Sequence[Message], **options: object) -> Completion:
        """Return the scripted answer. See `BaseLlm`."""
        request = parse_request(messages, options)
        async with PieceStream(self._pieces(request)) as stream:
            async for text in stream:
                if request.options.on_text:
                    request.options.on_text(text)
            return stream.completion

    def stream_content_async(self, messages: Sequence[Message], **options: object) -> TextStream:
        """Return the scripted answer word by word. See `BaseLlm`."""
        return PieceStream(self._pieces(parse_request(messages, options)))

    async def _pieces(self, request: CallRequest) -> AsyncGenerator[str, None]:
        self.calls.append(request)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            said = self._rule(request)
            reply = _reply_of(await said if isawaitable(said) else said)
            wait = _Deadline(request.options.timeout_s, self._error)
            await wait.sleep(reply.latency_s)
            if reply.failure is not None:
                raise self._failure(reply)
            if request.options.on_start:
                request.options.on_start()
            for word in _words(reply.text[: reply.cut_after]):
                yield word
                await wait.sleep(reply.word_s)
            if reply.cut_after is not None:
                raise self._error(ConnectionFailedError, f"the answer was cut after {reply.cut_after} characters")
            yield self._completion(reply, request)
        finally:
            self.under_way -= 1

    def _completion(self, reply: Reply, request: CallRequest) -> Completion:
        return Completion(
            reply.text,
            usage=reply.usage or _estimated_usage(request, reply.text),
            model=self.model,
            provider=self.provider,
            finish_reason=reply.finish_reason,
            request_id=f"scripted-{len(self.calls)}",
            rate_limits=reply.rate_limits,
        )

    def _failure(self, reply: Reply) -> LlmError:
        if isinstance(reply.failure, LlmError):
            return copy(reply.failure)  # raised again and again, one error would collect the tracebacks of all
        assert reply.failure is not None  # noqa: S101 - only called for a failure
        error = self._error(ERRORS_BY_KIND[reply.failure], f"scripted failure ({reply.failure})")
        error.retry_after_s, error.rate_limits = reply.retry_after_s, reply.rate_limits
        return error

    def _error(self, kind: type[LlmError], message: str) -> LlmError:
        return kind(message, provider=self.provider, model=self.model)


class _Deadline:
    """The time one scripted call may take."""

    def __init__(self, timeout_s: float | None, error: Callable[[type[LlmError], str], LlmError]) -> None:
        self._timeout_s = timeout_s
        self._error = error
        self._left_s = inf if timeout_s is None else timeout_s

    async def sleep(self, seconds: float) -> None:
        """Wait so long. Raises: CallTimeoutError: at the deadline, when that comes first."""
        if seconds < self._left_s:
            self._left_s -= seconds
            if seconds > 0:
                await asyncio.sleep(seconds)
            return
        if self._left_s == inf:
            await asyncio.Event().wait()  # for ever: nothing sets it
        await asyncio.sleep(self._left_s)
        raise self._error(CallTimeoutError, f"no answer within {self._timeout_s:g} s")


def _rule_of(script: _Scripted | Sequence[_Scripted] | Mapping[str, _Scripted] | _Rule) -> _Rule:
    if callable(script):
        return script
    if isinstance(script, str | FailureKind | LlmError | Reply):
        return lambda _: script
    return _by_prompt(script) if isinstance(script, Mapping) else _in_turn(script)


def _by_prompt(replies: Mapping[str, _Scripted]) -> _Rule:
    def rule(request: CallRequest) -> _Scripted:
        prompt = _prompt(request)
        for part, reply in replies.items():
            if part in prompt:
                return reply
        raise UnscriptedCallError(
            f"no key of the script occurs in the prompt {_shorten(prompt)!r}; "
            f'it has {", ".join(map(repr, replies))}: add one, or "" for every other prompt'
        )

    return rule


def _in_turn(replies: Sequence[_Scripted]) -> _Rule:
    left = iter(replies)

    def rule(request: CallRequest) -> _Scripted:
        for reply in left:
            return reply
        raise UnscriptedCallError(
            f"the script has {len(replies)} replies, and one more call came, with the prompt "
            f"{_shorten(_prompt(request))!r}: add a reply, or find out why it was called again"
        )

    return rule


def _reply_of(said: _Scripted) -> Reply:
    if isinstance(said, Reply):
        return said
    # A failure's kind is a str as well, so it has to be asked for first.
    return Reply(failure=said) if isinstance(said, FailureKind | LlmError) else Reply(text=said)


def _prompt(request: CallRequest) -> str:
    return "\n\n".join([request.system or "", *(turn["content"] for turn in request.turns)])


def _shorten(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + " [...]"


def _words(text: str) -> list[str]:
    """Cut a text behind its blanks; together the pieces are the text."""
    words = text.split(" ")
    return [piece for piece in [*(f"{word} " for word in words[:-1]), words[-1]] if piece]


def _estimated_usage(request: CallRequest, text: str) -> Usage:
    return Usage(
        input_tokens=-(-len(_prompt(request)) // _CHARS_PER_TOKEN), output_tokens=-(-len(text) // _CHARS_PER_TOKEN)
    )


class RecordingLlm(BaseLlm):
    """A model that passes calls on to another one and writes down what comes of them, for `ReplayLlm`.

    `path` gets one line of JSON per call, behind those it has; delete it to begin anew. Prompts and answers are in it
    as they are, keys are not. Failures are recorded, too. Closing this closes the other model.
    """

    def __init__(self, llm: BaseLlm, path: str | Path) -> None:
        self.model: str = getattr(llm, "model", "")
        self._llm = llm
        self._path = Path(path)
        self._writing = asyncio.Lock()

    @property
    def account(self) -> str:
        """The other model's."""
        return self._llm.account

    async def generate_content_async(self, messages: Sequence[Message], **options: object) -> str:
        """Return the other model's answer. See `BaseLlm`."""
        asked = _canonical(self.model, parse_request(messages, options))
        try:
            answer = await self._llm.generate_content_async(messages, **options)
        except LlmError as error:
            await self._write(asked, error)
            raise
        await self._write(asked, answer)
        return answer

    def stream_content_async(self, messages: Sequence[Message], **options: object) -> TextStream:
        """Return the other model's answer as it arrives; it is recorded when it is complete."""
        return PieceStream(self._pieces(messages, options))

    async def aclose(self) -> None:
        """Close the other model; twice is fine."""
        await self._llm.aclose()

    async def _pieces(self, messages: Sequence[Message], options: Mapping[str, object]) -> AsyncGenerator[str, None]:
        asked = _canonical(self.model, parse_request(messages, options))
        try:
            async with self._llm.stream_content_async(messages, **options) as stream:
                async for text in stream:
                    yield text
        except LlmError as error:
            await self._write(asked, error)
            raise
        await self._write(asked, stream.completion)
        yield stream.completion

    async def _write(self, asked: dict[str, Any], came: str | LlmError) -> None:
        outcome = {"error": _plain_error(came)} if isinstance(came, LlmError) else {"answer": _plain_answer(came)}
        line = json.dumps({"request": asked, **outcome}, ensure_ascii=False) + "\n"
        async with self._writing:
            await asyncio.to_thread(self._append, line)

    def _append(self, line: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line)


class ReplayLlm(BaseLlm):
    """A model that says what was recorded for the same call: model, messages and the options that shape an answer.

    A call that was recorded several times gets its outcomes in their order, each once.

    Raises: ReplayMissError: by a call that was not recorded, or not so often; it shows the difference to the nearest.
    """

    def __init__(self, path: str | Path, *, model: str | None = None) -> None:
        self.model = model or ""
        self._path = Path(path)
        self._recorded: dict[str, list[dict[str, Any]]] | None = None
        self._used: Counter[str] = Counter()
        self._reading = asyncio.Lock()

    async def generate_content_async(self, messages: Sequence[Message], **options: object) -> Completion:
        """Return the recorded answer, or raise the recorded failure. See `BaseLlm`."""
        request = parse_request(messages, options)
        asked = _canonical(self.model, request)
        record = self._find(asked, await self._records())
        if "error" in record:
            raise _error_from(record["error"])
        answer = _answer_from(record["answer"])
        if request.options.on_start:
            request.options.on_start()
        if request.options.on_text and answer:
            request.options.on_text(str(answer))
        return answer

    async def _records(self) -> dict[str, list[dict[str, Any]]]:
        async with self._reading:
            if self._recorded is None:
                self._recorded = await asyncio.to_thread(_read, self._path)
        return self._recorded

    def _find(self, asked: dict[str, Any], recorded: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
        key = _key(asked)
        outcomes = recorded.get(key, [])
        self._used[key] += 1
        if self._used[key] <= len(outcomes):
            return outcomes[self._used[key] - 1]
        if outcomes:
            often = "once" if len(outcomes) == 1 else f"{len(outcomes)} times"
            raise ReplayMissError(
                f"{str(self._path)!r} has this call recorded {often}, and it came once more:\n{_as_text(asked)}\n"
                "Find out why it is repeated, or record it again with RecordingLlm."
            )
        raise ReplayMissError(
            f"{str(self._path)!r} has no recording of this call to {self.model!r}. {_difference(asked, recorded)}\n"
            "Change the call back, or record it again with RecordingLlm."
        )


def _canonical(model: str, request: CallRequest) -> dict[str, Any]:
    """Return what an answer depends on, in one form however it was asked for."""
    options = request.options
    everything = {
        "model": model,
        "max_tokens": options.max_tokens,
        "temperature": options.temperature,
        "stop": list(options.stop),
        "json_schema": options.json_schema and dict(options.json_schema),
        "extras": dict(options.extras),
        "system": request.system,
        "turns": [dict(turn) for turn in request.turns],
    }
    return {name: value for name, value in everything.items() if value not in (None, [], {})}


def _key(asked: Mapping[str, Any]) -> str:
    return json.dumps(asked, sort_keys=True, ensure_ascii=False)


def _read(path: Path) -> dict[str, list[dict[str, Any]]]:
    recorded: dict[str, list[dict[str, Any]]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record = json.loads(line)
            recorded.setdefault(_key(record["request"]), []).append(record)
        except (ValueError, KeyError, TypeError) as exc:
            raise ValueError(
                f"line {number} of {str(path)!r} is no recording ({exc!r}): delete the line, or record again"
            ) from exc
    return recorded


def _difference(asked: dict[str, Any], recorded: Mapping[str, list[dict[str, Any]]]) -> str:
    others = [outcomes[0]["request"] for outcomes in recorded.values()]
    if not others:
        return f"It holds none at all. The call:\n{_as_text(asked)}"
    wanted = _as_text(asked)
    nearest = max(map(_as_text, others), key=lambda other: _likeness(other, wanted))
    lines = difflib.unified_diff(
        nearest.splitlines(), wanted.splitlines(), "recorded", "asked", n=_CONTEXT_LINES, lineterm=""
    )
    return f"The nearest of {len(others)} recorded calls differs so:\n" + "\n".join(lines)


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one[:_COMPARED_CHARS], other[:_COMPARED_CHARS]).quick_ratio()


def _as_text(asked: Mapping[str, Any]) -> str:
    """Return a call as a person reads it, line by line."""
    spoken = [{"role": "system", "content": asked["system"]}] if "system" in asked else []
    fields = {name: value for name, value in asked.items() if name not in {"system", "turns"}}
    lines = [f"{name}: {json.dumps(value, sort_keys=True)}" for name, value in fields.items()]
    lines += [f"[{turn['role']}]\n{turn['content']}" for turn in [*spoken, *asked["turns"]]]
    return "\n".join(lines)


def _plain_answer(answer: str) -> dict[str, Any]:
    if not isinstance(answer, Completion):
        return {"text": answer}
    return {
        "text": str(answer),
        "usage": asdict(answer.usage),
        "model": answer.model,
        "provider": answer.provider,
        "finish_reason": answer.finish_reason,
        "request_id": answer.request_id,
    }


def _answer_from(plain: Mapping[str, Any]) -> Completion:
    fields = dict(plain)
    if "usage" in fields:
        fields["usage"] = Usage(**fields["usage"])
        fields["finish_reason"] = FinishReason(fields["finish_reason"])
    return Completion(fields.pop("text"), **fields)


_ERROR_FIELDS = ("provider", "model", "status_code", "request_id", "retry_after_s")


def _plain_error(error: LlmError) -> dict[str, Any]:
    plain = {"kind": error.kind, "message": str(error), **{name: getattr(error, name) for name in _ERROR_FIELDS}}
    return plain if error.answer is None else {**plain, "answer": _plain_answer(error.answer)}


def _error_from(plain: Mapping[str, Any]) -> LlmError:
    answer = _answer_from(plain["answer"]) if "answer" in plain else None
    fields = {name: plain[name] for name in _ERROR_FIELDS}
    return ERRORS_BY_KIND[FailureKind(plain["kind"])](plain["message"], answer=answer, **fields)
