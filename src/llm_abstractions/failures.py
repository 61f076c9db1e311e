"""Turn the facts of a failed call into one error of our own tree. Pure; the facts come from each provider's reading of
its SDK's exceptions, or from `transport_failure` for what the transports raise by themselves.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llm_abstractions.errors import ERRORS_BY_KIND, FailureKind, LlmError
from llm_abstractions.rate_limits import RateLimits, parse_rate_limits

if TYPE_CHECKING:
    from datetime import datetime

__all__ = [
    "Failure",
    "error_from",
    "kind_of",
    "parse_retry_after",
    "read_sdk_error",
    "read_status_error",
    "redact",
    "transport_failure",
]

_MAX_MESSAGE_CHARS = 600
_SERVER_ERROR = 500

# A vendor's machine-readable code or error type says more than the status, so it is asked first.
_KIND_BY_CODE = {
    "insufficient_quota": FailureKind.QUOTA,
    "billing_error": FailureKind.QUOTA,
    "billing_hard_limit_reached": FailureKind.QUOTA,
    "billing_not_active": FailureKind.QUOTA,
    "contract_spend_limit_reached": FailureKind.QUOTA,
    "enforced_spend_limit_reached": FailureKind.QUOTA,
    "linked_organization_billing_unavailable": FailureKind.QUOTA,
    "linked_organization_spend_limit_reached": FailureKind.QUOTA,
    "ramp_limit_exceeded": FailureKind.QUOTA,
    "user_profile_not_billable": FailureKind.QUOTA,
    "daily_quota": FailureKind.QUOTA,
    "context_length_exceeded": FailureKind.CONTEXT_LENGTH,
    "exceed_context_size_error": FailureKind.CONTEXT_LENGTH,
    "content_filter": FailureKind.REFUSAL,
    "content_policy_violation": FailureKind.REFUSAL,
    "invalid_api_key": FailureKind.AUTH,
    "api_key_invalid": FailureKind.AUTH,
}
# Statuses of an answer; 5xx without a row are the server's fault (overloaded), 4xx without one are ours.
_KIND_BY_STATUS = {
    401: FailureKind.AUTH,
    402: FailureKind.QUOTA,
    403: FailureKind.AUTH,
    407: FailureKind.CONNECTION,
    408: FailureKind.TIMEOUT,
    409: FailureKind.OVERLOADED,  # a lock on the server's side: both US SDKs repeat it
    413: FailureKind.CONTEXT_LENGTH,
    425: FailureKind.OVERLOADED,
    429: FailureKind.RATE_LIMIT,
    499: FailureKind.CONNECTION,
    504: FailureKind.TIMEOUT,
}
# Error events inside a stream come with status 200 or none: only their type tells.
_KIND_BY_EVENT_TYPE = {
    "rate_limit_error": FailureKind.RATE_LIMIT,
    "rate_limit_exceeded": FailureKind.RATE_LIMIT,
    "timeout_error": FailureKind.TIMEOUT,
    "authentication_error": FailureKind.AUTH,
    "permission_error": FailureKind.AUTH,
    "invalid_request_error": FailureKind.BAD_REQUEST,
    "not_found_error": FailureKind.BAD_REQUEST,
}
# Providers that only say it in words. Patterns stay uncompiled: importing this should cost nothing.
_CONTEXT_WORDS = r"prompt is too long|context (length|window|size)|maximum context|input token count .* exceeds"
_KEY_WORDS = r"api key (not valid|expired|not found)"

_ADVICE = {
    FailureKind.RATE_LIMIT: "Wait and call again, or run fewer calls at once",
    FailureKind.QUOTA: "The account's money or quota is used up: raise it, or use another provider",
    FailureKind.OVERLOADED: "The provider is busy or failing: call again later",
    FailureKind.CONNECTION: "Check the network and base_url, then call again",
    FailureKind.TIMEOUT: "Call again, raise timeout_s, or ask for less",
    FailureKind.AUTH: "Check the key and what it may do",
    FailureKind.CONTEXT_LENGTH: "Shorten the prompt, lower max_tokens, or use a model with a longer context",
    FailureKind.REFUSAL: "Rephrase the request, or use another model",
    FailureKind.TRUNCATED: "Raise max_tokens, or ask for a shorter answer",
    FailureKind.BAD_OUTPUT: "Check that base_url is an API of this provider's kind, and that the model can do this",
    FailureKind.BAD_REQUEST: "Check the model id, the options and base_url",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """What is known about one failed call. `kind` is set only where the facts behind it are not in the other fields."""

    message: str
    kind: FailureKind | None = None
    status_code: int | None = None
    codes: tuple[str, ...] = ()
    request_id: str | None = None
    retry_after_s: float | None = None
    rate_limits: RateLimits | None = None


def kind_of(failure: Failure) -> FailureKind:
    """Say which kind of failure this is: by its codes, then its status, then its words."""
    if failure.kind is not None:
        return failure.kind
    for code in failure.codes:
        if known := _KIND_BY_CODE.get(code.lower()):
            return known
    return _kind_without_code(failure)


def _kind_without_code(failure: Failure) -> FailureKind:
    status = failure.status_code
    if status is None or status < 300:  # noqa: PLR2004 - the range of HTTP's own definition
        return next((_KIND_BY_EVENT_TYPE[code] for code in failure.codes if code in _KIND_BY_EVENT_TYPE), _EVENT)
    if status in _KIND_BY_STATUS:
        return _KIND_BY_STATUS[status]
    if status >= _SERVER_ERROR:
        return FailureKind.OVERLOADED
    if re.search(_CONTEXT_WORDS, failure.message, re.IGNORECASE):
        return FailureKind.CONTEXT_LENGTH
    is_key = re.search(_KEY_WORDS, failure.message, re.IGNORECASE)
    return FailureKind.AUTH if is_key else FailureKind.BAD_REQUEST


# An error event of a type nobody has seen yet: the server broke off by itself, so it may go better next time.
_EVENT = FailureKind.OVERLOADED


def error_from(failure: Failure, *, provider: str, model: str, advice: str = "", answer: str | None = None) -> LlmError:
    """Build the error to raise. `advice` replaces the kind's general one."""
    kind = kind_of(failure)
    facts = [str(failure.status_code)] if failure.status_code else []
    facts += [code for code in failure.codes if code]
    said = _shorten(failure.message)
    about = f"{provider} call to {model!r} failed ({kind}{'; ' if facts else ''}{' '.join(facts)})"
    wait = f" The provider asks to wait {failure.retry_after_s:g} s." if failure.retry_after_s is not None else ""
    return ERRORS_BY_KIND[kind](
        f"{about}: {said}{'' if said.endswith(('.', '!', '?')) else '.'}{wait} {advice or _ADVICE[kind]}.",
        provider=provider,
        model=model,
        status_code=failure.status_code,
        request_id=failure.request_id,
        retry_after_s=failure.retry_after_s,
        answer=answer,
        rate_limits=failure.rate_limits,
    )


def _shorten(message: str) -> str:
    text = " ".join(message.split())
    if text.startswith("<"):
        return f"the server sent a web page, not an API answer: {text[:80]!r}"
    if not text:
        return "the provider gave no reason"
    return text if len(text) <= _MAX_MESSAGE_CHARS else text[:_MAX_MESSAGE_CHARS] + " [...]"


def parse_retry_after(headers: Mapping[str, str], *, now: "datetime | None" = None) -> float | None:
    """Return the seconds to wait that a `retry-after` (seconds or date) or `retry-after-ms` header asks for, if any."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    return _seconds_until(value, now)


def _seconds_until(date: str, now: "datetime | None") -> float | None:
    from datetime import UTC, datetime  # noqa: PLC0415 - 5 ms that only a date in a header is worth
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    try:
        when = parsedate_to_datetime(date)
    except ValueError:
        return None  # not a form HTTP knows: the same as none at all
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds()) if when.tzinfo else None


def read_status_error(exc: Exception, *codes: str | None) -> Failure:
    """Read an error answer, or an error event in a stream, as the two Stainless-made SDKs (OpenAI, Anthropic) raise it.

    `codes` are what the vendor calls the error, the most exact first.
    """
    body = getattr(exc, "body", None)
    inner = body.get("error", body) if isinstance(body, Mapping) else None
    said = inner.get("message") if isinstance(inner, Mapping) else body
    response = getattr(exc, "response", None)
    named = tuple(code for code in codes if code)
    return Failure(
        message=said if isinstance(said, str) else str(exc),
        status_code=getattr(exc, "status_code", None) or next((int(code) for code in named if code.isdigit()), None),
        codes=tuple(code for code in named if not code.isdigit()),
        request_id=getattr(exc, "request_id", None),
        retry_after_s=parse_retry_after(response.headers) if response is not None else None,
        rate_limits=parse_rate_limits(response.headers) if response is not None else None,
    )


def read_sdk_error(exc: Exception, package: str, kinds: Mapping[str, FailureKind]) -> Failure | None:
    """Read an exception of an SDK by the nearest of its classes that `kinds` names; None when there is none."""
    own = [cls.__name__ for cls in type(exc).__mro__ if cls.__module__.partition(".")[0] == package]
    kind = next((kinds[name] for name in own if name in kinds), None)
    if kind is None:
        return None
    # "Connection error." helps nobody, and the transports call some broken connections a timeout: ask the first cause.
    if kind in {FailureKind.CONNECTION, FailureKind.TIMEOUT} and exc.__cause__ is not None:
        return transport_failure(exc.__cause__) or Failure(kind=kind, message=str(exc))
    return Failure(kind=kind, message=str(exc), status_code=getattr(exc, "status_code", None))


def _number(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None


def transport_failure(exc: BaseException) -> Failure | None:
    """Read what a transport or a parser raised by itself; None when `exc` is neither, so a bug of ours.

    Call it for exceptions that came out of an SDK: there, a `ValueError` is an answer nobody could parse. Layers of
    transports rename each other's errors, so the first cause is what counts.
    """
    layers: list[BaseException] = []
    inner: BaseException | None = exc
    while inner is not None and inner not in layers:
        layers.append(inner)
        inner = inner.__cause__
    for layer in reversed(layers):
        if kind := _transport_kind(layer):
            said = getattr(layer, "message", None) or str(layer)
            return Failure(kind=kind, message=f"{type(layer).__name__}: {said}" if said else type(layer).__name__)
    return None


def _transport_kind(exc: BaseException) -> FailureKind | None:
    import aiohttp.http_exceptions  # noqa: PLC0415 - whoever raised is loaded already; importing us must load neither
    import httpx2  # noqa: PLC0415

    table: tuple[tuple[tuple[type[BaseException], ...], FailureKind], ...] = (
        ((TimeoutError, httpx2.TimeoutException), FailureKind.TIMEOUT),
        (
            (aiohttp.InvalidURL, aiohttp.TooManyRedirects, httpx2.InvalidURL, httpx2.UnsupportedProtocol),
            FailureKind.BAD_REQUEST,
        ),
        ((httpx2.TooManyRedirects, httpx2.CookieConflict), FailureKind.BAD_REQUEST),
        ((aiohttp.ContentTypeError, httpx2.DecodingError), FailureKind.BAD_OUTPUT),
        ((httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError), FailureKind.CONNECTION),
        ((aiohttp.http_exceptions.HttpProcessingError, OSError, EOFError), FailureKind.CONNECTION),
        ((ValueError,), FailureKind.BAD_OUTPUT),
    )
    return next((kind for classes, kind in table if isinstance(exc, classes)), _closed_by_us(exc))


def _closed_by_us(exc: BaseException) -> FailureKind | None:
    # aiohttp and asyncio say with a bare RuntimeError that the client was closed while the call ran.
    closed = isinstance(exc, RuntimeError) and re.search(r"(session|loop|client).* closed", str(exc), re.IGNORECASE)
    return FailureKind.CONNECTION if closed else None


def redact(failure: Failure, secrets: Iterable[str]) -> Failure:
    """Return `failure` with the secrets masked, should a server have repeated one."""
    message = failure.message
    for secret in secrets:
        message = message.replace(secret, "***")
    return failure if message == failure.message else replace(failure, message=message)
