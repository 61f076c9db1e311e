"""Carry out a call for the providers that use a vendor's SDK: options, client, deadline, streaming, and the one place
where foreign exceptions become ours. Knows no vendor.
"""

import asyncio
import json
import traceback
from abc import abstractmethod
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import ClassVar

from llm_abstractions.base_llm import BaseLlm, PieceStream, TextStream
from llm_abstractions.clients import ClientPool
from llm_abstractions.errors import FailureKind, LlmError
from llm_abstractions.failures import Failure, error_from, kind_of, redact, transport_failure
from llm_abstractions.request import CallRequest, check_timeout_s, parse_request
from llm_abstractions.types import Completion, FinishReason, Message, Outcome
from llm_abstractions.vendor import DEFAULT_MODELS, Vendor

__all__ = ["CONNECT_TIMEOUT_S", "DEFAULT_TIMEOUT_S", "Answer", "SdkLlm", "count"]

DEFAULT_TIMEOUT_S = 600.0
# One loop that opens a thousand connections at once needs longer than the SDKs' 5 s for the last of them.
CONNECT_TIMEOUT_S = 30.0
# Compatible servers without accounts want some key; this says plainly that there is none.
_PLACEHOLDER_KEY = "not-needed"
_MIN_SECRET_CHARS = 8
_DIGEST_CHARS = 12
_JSON_ADVICE = "Ask again, ask for it in the prompt as well, or use a model that keeps to json_schema"

Answer = tuple[str, Outcome]


def count(record: object, *path: str) -> int:
    """Return the number at `path` inside an SDK's record, 0 where a server left a part of it out."""
    for name in path:
        record = getattr(record, name, None)
    return record if isinstance(record, int) else 0


class SdkLlm(BaseLlm):
    """A provider that talks through a vendor's SDK. Light: it holds options; the pool holds what is heavy.

    `clients` is the run's pool, which the run closes; without it the provider owns one, which `aclose()` closes. The
    key is `api_key`, else what `api_key_env` names, else the vendor's usual variable; with a `base_url` of a compatible
    server it may be missing.

    Raises: MissingSdkError, MissingKeyError: when it could never be called.
    """

    vendor: ClassVar[Vendor]

    def __init__(
        self,
        model: str | None = None,
        *,
        api_key: str | None = None,
        api_key_env: str | None = None,
        base_url: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        clients: ClientPool | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.model = _checked_model(model) or DEFAULT_MODELS[self.vendor.name]
        self.timeout_s = check_timeout_s(timeout_s)
        self.base_url = _checked_url(base_url or self.vendor.find_base_url())
        self._headers = _checked_headers(headers or {})
        self.vendor.require_modules(self.model)
        self._key_source = "api_key" if api_key else api_key_env or " or ".join(self.vendor.key_variables)
        self._api_key = self._find_key(api_key, api_key_env)
        self._owns_clients = clients is None
        self._clients = ClientPool() if clients is None else clients

    def __repr__(self) -> str:
        where = f" at {self.base_url}" if self.base_url else ""
        return f"<{type(self).__name__} {self.model}{where}>"

    async def generate_content_async(self, messages: Sequence[Message], **options: object) -> Completion:
        """Return the answer. See `BaseLlm`."""
        request = parse_request(messages, options)
        if request.options.on_text or request.options.on_start or self._prefers_stream(request):
            return await self._generate_by_stream(request)
        timeout_s = self._timeout_s(request)
        with self._own_errors(timeout_s):
            await self._connect()
            async with asyncio.timeout(timeout_s):
                text, outcome = await self._generate(request)
        return self._complete(text, outcome, request)

    def stream_content_async(self, messages: Sequence[Message], **options: object) -> TextStream:
        """Return the answer as it arrives; only waiting for the provider counts towards `timeout_s`. See `BaseLlm`."""
        return PieceStream(self._pieces(parse_request(messages, options)))

    async def aclose(self) -> None:
        """Close the clients this provider owns; a pool it was given stays open. Twice is fine."""
        if self._owns_clients:
            await self._clients.aclose()

    @classmethod
    def missing_variables(
        cls, *, api_key: str | None = None, api_key_env: str | None = None, base_url: str | None = None, **_: object
    ) -> tuple[str, ...]:
        """Return the variables of which one must be set before a provider with these options can be made."""
        is_optional = not cls.vendor.key_variables or (not api_key_env and (base_url or cls.vendor.find_base_url()))
        if api_key or is_optional or cls.vendor.find_key(api_key_env):
            return ()
        return (api_key_env,) if api_key_env else cls.vendor.key_variables

    @classmethod
    def fix_for(
        cls,
        missing_modules: tuple[str, ...],
        missing_variables: tuple[str, ...],
        **options: object,  # noqa: ARG003 - for the vendors that look at them
    ) -> str | None:
        """Return what a person should do next, None when nothing is missing."""
        steps = [f"run {cls.vendor.install_command}"] if missing_modules else []
        steps += [f"set {' or '.join(missing_variables)}"] if missing_variables else []
        return ", then ".join(steps) or None

    # What a vendor's module fills in.

    @abstractmethod
    async def _connect(self) -> object:
        """Return the pooled client, building it on the first call."""

    @abstractmethod
    async def _generate(self, request: CallRequest) -> Answer:
        """Make one plain call."""

    @abstractmethod
    def _stream(self, request: CallRequest) -> AsyncGenerator[str | Outcome, None]:
        """Make one streamed call: yields text, and the outcome last. Closing it closes the connection.

        What arrives without text is an empty piece, so that the first one tells that the answer has begun.
        """

    @abstractmethod
    def _read_failure(self, exc: Exception) -> Failure | None:
        """Read an exception of the SDK; None when it is not one of the SDK's."""

    def _prefers_stream(self, request: CallRequest) -> bool:  # noqa: ARG002 - for the vendors that look at it
        """Say whether a plain call had better be made as a stream."""
        return False

    # The parts every vendor shares.

    def _find_key(self, api_key: str | None, variable: str | None) -> str:
        key = (api_key or "").strip() or self.vendor.find_key(variable)
        if key is None:
            if self.vendor.key_variables and (variable or not self.base_url):
                raise self.vendor.missing_key_error(self.model, variable)
            return _PLACEHOLDER_KEY
        if not (key.isascii() and key.isprintable()):
            raise ValueError(f"the key for the {self.vendor.title} provider holds characters no HTTP header may hold")
        return key

    @property
    def account(self) -> str:
        """What the provider counts together, besides the model: the server and the key. Holds no secret."""
        from hashlib import sha256  # noqa: PLC0415 - a start without calls does not need it
        from urllib.parse import urlsplit  # noqa: PLC0415 - as above

        address = urlsplit(self.base_url).netloc if self.base_url else self.vendor.name
        return f"{address}#{sha256(self._api_key.encode()).hexdigest()[:_DIGEST_CHARS]}"

    @property
    def _client_key(self) -> tuple[object, ...]:
        return (self.vendor.name, self.base_url, self._api_key, tuple(sorted(self._headers.items())))

    def _timeout_s(self, request: CallRequest) -> float:
        return request.options.timeout_s or self.timeout_s

    async def _generate_by_stream(self, request: CallRequest) -> Completion:
        on_text = request.options.on_text
        async with PieceStream(self._pieces(request)) as stream:
            async for text in stream:
                if on_text:
                    on_text(text)
            return stream.completion

    async def _pieces(self, request: CallRequest) -> AsyncGenerator[str, None]:
        """Yield the text as it arrives, and the `Completion` last."""
        with self._own_errors():
            await self._connect()
        clock, parts, on_start = asyncio.get_running_loop().time, list[str](), request.options.on_start
        timeout_s = left_s = self._timeout_s(request)
        async with aclosing(self._stream(request)) as source:
            while True:
                asked_at = clock()
                with self._own_errors(timeout_s):
                    async with asyncio.timeout(left_s):
                        item = await anext(source)
                left_s -= clock() - asked_at  # the reader's own time between pieces is not the provider's
                if isinstance(item, Outcome):
                    break
                if on_start:
                    on_start()
                    on_start = None
                if item:
                    parts.append(item)
                    yield item
        yield self._complete("".join(parts), item, request)

    @contextmanager
    def _own_errors(self, timeout_s: float | None = None) -> Iterator[None]:
        """Let only our own errors out. What nobody can read is a bug and passes as it is."""
        try:
            yield
        except LlmError:
            raise
        except Exception as exc:
            failure = self._read_failure(exc) or transport_failure(exc) or self._sdk_fault(exc)
            if failure is None:
                raise
            if failure.kind is FailureKind.TIMEOUT and timeout_s is not None:
                failure = replace(failure, message=f"no answer within {timeout_s:g} s ({failure.message})")
            # A traceback prints the cause as well: drop a cause that repeats the key.
            cause = None if any(secret in str(exc) for secret in self._secrets) else exc
            raise self._error(failure) from cause

    def _sdk_fault(self, exc: Exception) -> Failure | None:
        """Read what is none of an SDK's usual errors but was made or raised in its code: it stumbled over an answer."""
        packages = {module.partition(".")[0] for module in self.vendor.modules}
        places = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(exc.__traceback__)]
        if packages.isdisjoint(place.partition(".")[0] for place in [*places, type(exc).__module__]):
            return None
        return Failure(kind=FailureKind.BAD_OUTPUT, message=f"the SDK stumbled over the answer: {exc!r}")

    def _error(self, failure: Failure, *, answer: Completion | None = None, advice: str = "") -> LlmError:
        kind = kind_of(failure)
        if kind is FailureKind.AUTH and self.vendor.key_variables:
            advice = advice or f"Check the key ({self._key_source}) and what it may do"
        if kind is FailureKind.CONNECTION and self.base_url:
            advice = advice or f"Check the network and base_url {self.base_url!r}, then call again"
        failure = redact(failure, self._secrets)
        return error_from(failure, provider=self.vendor.name, model=self.model, answer=answer, advice=advice)

    @property
    def _secrets(self) -> list[str]:
        # Headers may hold keys, too. Anything shorter than a key would mask ordinary words.
        return [text for text in (self._api_key, *self._headers.values()) if len(text) >= _MIN_SECRET_CHARS]

    def _unreadable(self, answer: object) -> LlmError:
        """Build the error for a 200 answer that is not an answer of this API."""
        said = answer if isinstance(answer, str) else repr(answer)
        return self._error(Failure(kind=FailureKind.BAD_OUTPUT, message=said))

    def _complete(self, text: str, outcome: Outcome, request: CallRequest) -> Completion:
        """Return the finished answer, or raise what its end means."""
        completion = Completion(
            text,
            usage=outcome.usage,
            model=outcome.model or self.model,
            provider=self.vendor.name,
            finish_reason=outcome.finish_reason or FinishReason.OTHER,
            request_id=outcome.request_id,
            rate_limits=outcome.rate_limits,
        )
        failure = _unfinished(outcome, len(text)) or _not_json(text, outcome, request)
        if failure is not None:
            failure = replace(failure, rate_limits=outcome.rate_limits)
            advice = _JSON_ADVICE if failure.kind is FailureKind.BAD_OUTPUT else ""
            raise self._error(failure, answer=completion, advice=advice)
        return completion


def _unfinished(outcome: Outcome, characters: int) -> Failure | None:
    if outcome.finish_reason is None:
        message = f"the answer was cut after {characters} characters: no reason for its end was sent"
        return Failure(kind=FailureKind.CONNECTION, message=message, request_id=outcome.request_id)
    if outcome.finish_reason is FinishReason.REFUSAL:
        message = outcome.explanation or "the model or a filter declined, and gave no reason"
        return Failure(kind=FailureKind.REFUSAL, message=message, request_id=outcome.request_id)
    return None


def _not_json(text: str, outcome: Outcome, request: CallRequest) -> Failure | None:
    if request.options.json_schema is None:
        return None
    if outcome.finish_reason is FinishReason.LENGTH:
        limit = request.options.max_tokens
        by = f"max_tokens={limit}" if limit else "the provider's own limit"
        message = f"the JSON was cut off after {len(text)} characters by {by}"
        return Failure(kind=FailureKind.TRUNCATED, message=message, request_id=outcome.request_id)
    try:
        json.loads(text)
    except ValueError as exc:
        message = f"JSON was asked for, but the answer is not JSON ({exc}): {text[:80]!r}"
        return Failure(kind=FailureKind.BAD_OUTPUT, message=message, request_id=outcome.request_id)
    return None


def _checked_model(model: str | None) -> str | None:
    if model is not None and (not isinstance(model, str) or not model.strip()):
        raise ValueError(f"model must be a model id or None for the default, not {model!r}")
    return model


def _checked_url(url: str | None) -> str | None:
    if url is None:
        return None
    from urllib.parse import urlsplit  # noqa: PLC0415 - 2 ms that a start without calls does not need

    parts = urlsplit(url) if isinstance(url, str) else None
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"base_url must be the address of an API, as in https://host/v1, not {url!r}")
    if parts.username or parts.password:
        raise ValueError(
            "base_url may not hold a user name or password, for it is shown in errors: use api_key or headers"
        )
    return url


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise TypeError(f"headers must be text by name; the value of {name!r} is {type(value).__name__}")
        if not (name.isascii() and name.isprintable() and value.isascii() and value.isprintable()):
            raise ValueError(f"the header {name!r} holds characters no HTTP header may hold")
    return dict(headers)
