"""Name every way a model call can fail. Knows no vendor and no transport.

LlmError                    kind
├── RateLimitError          rate_limit      too many calls just now
├── QuotaError              quota           money or a daily quota is gone
├── OverloadedError         overloaded      the provider is busy or failing
├── ConnectionFailedError   connection      no connection, or a stream was cut
├── CallTimeoutError        timeout         no answer within timeout_s
├── AuthError               auth            the key is wrong or may not do this
│   └── MissingKeyError                     no key is set (also a RuntimeError)
├── ContextLengthError      context_length  the prompt does not fit the model
├── RefusalError            refusal         the model or a filter declined
├── TruncatedError          truncated       structured output cut by max_tokens
├── BadOutputError          bad_output      the answer is not what was asked for
└── BadRequestError         bad_request     the call itself is wrong
    └── MissingSdkError                     an extra is not installed (also an ImportError)
"""

from enum import StrEnum
from typing import ClassVar

from llm_abstractions.rate_limits import RateLimits

__all__ = [
    "ERRORS_BY_KIND",
    "AuthError",
    "BadOutputError",
    "BadRequestError",
    "CallTimeoutError",
    "ConnectionFailedError",
    "ContextLengthError",
    "FailureKind",
    "LlmError",
    "MissingKeyError",
    "MissingSdkError",
    "OverloadedError",
    "QuotaError",
    "RateLimitError",
    "RefusalError",
    "TruncatedError",
]


class FailureKind(StrEnum):
    """Why a call failed, in the words that retry, fallback and reports act on."""

    RATE_LIMIT = "rate_limit"
    QUOTA = "quota"
    OVERLOADED = "overloaded"
    CONNECTION = "connection"
    TIMEOUT = "timeout"
    AUTH = "auth"
    CONTEXT_LENGTH = "context_length"
    REFUSAL = "refusal"
    TRUNCATED = "truncated"
    BAD_OUTPUT = "bad_output"
    BAD_REQUEST = "bad_request"


class LlmError(Exception):
    """A model call that failed, with what a caller can act on.

    `retry_after_s` is the provider's own wish, if it sent one, `rate_limits` what it said of its limits. `answer` is
    what had arrived when the call failed: a `Completion` with its usage when the provider will bill for it, else None.
    """

    kind: ClassVar[FailureKind]

    def __init__(
        self,
        message: str,
        *,
        provider: str = "",
        model: str = "",
        status_code: int | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
        answer: str | None = None,
        rate_limits: RateLimits | None = None,
    ) -> None:
        super().__init__(message)
        self.provider = provider
        self.model = model
        self.status_code = status_code
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.answer = answer
        self.rate_limits = rate_limits


class RateLimitError(LlmError):
    """Too many calls or tokens in a short time; the same call works later."""

    kind = FailureKind.RATE_LIMIT


class QuotaError(LlmError):
    """The account's money, spend limit or daily quota is gone; waiting seconds does not help."""

    kind = FailureKind.QUOTA


class OverloadedError(LlmError):
    """The provider is busy or has an internal failure; the same call may work later."""

    kind = FailureKind.OVERLOADED


class ConnectionFailedError(LlmError):
    """The connection could not be made, broke, or ended before the answer did."""

    kind = FailureKind.CONNECTION


class CallTimeoutError(LlmError):
    """The answer did not come within the time allowed."""

    kind = FailureKind.TIMEOUT


class AuthError(LlmError):
    """The key is wrong, expired, or not allowed to do this."""

    kind = FailureKind.AUTH


class MissingKeyError(AuthError, RuntimeError):
    """No key was given and no variable holds one."""


class ContextLengthError(LlmError):
    """The prompt (with the room asked for the answer) does not fit."""

    kind = FailureKind.CONTEXT_LENGTH


class RefusalError(LlmError):
    """The model declined, or a filter blocked the prompt or the answer."""

    kind = FailureKind.REFUSAL


class TruncatedError(LlmError):
    """Structured output was cut off by `max_tokens`, so it cannot be read."""

    kind = FailureKind.TRUNCATED


class BadOutputError(LlmError):
    """An answer came that is not JSON where JSON was asked for, or not an API's answer at all."""

    kind = FailureKind.BAD_OUTPUT


class BadRequestError(LlmError):
    """The provider will never accept this call as it is."""

    kind = FailureKind.BAD_REQUEST


class MissingSdkError(BadRequestError, ImportError):
    """A package this provider needs is not installed."""


ERRORS_BY_KIND: dict[FailureKind, type[LlmError]] = {
    error.kind: error
    for error in (
        RateLimitError,
        QuotaError,
        OverloadedError,
        ConnectionFailedError,
        CallTimeoutError,
        AuthError,
        ContextLengthError,
        RefusalError,
        TruncatedError,
        BadOutputError,
        BadRequestError,
    )
}
