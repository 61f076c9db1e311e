"""Hold the records every provider shares: what an answer cost, how it ended, and the answer itself. Knows no vendor."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Self, TypedDict

from llm_abstractions.rate_limits import RateLimits

__all__ = ["Completion", "FinishReason", "Message", "Outcome", "Role", "Usage"]

Role = Literal["system", "user", "assistant"]


class Message(TypedDict):
    """One turn of a conversation, in the OpenAI style."""

    role: Role
    content: str


class FinishReason(StrEnum):
    """Why the model stopped writing."""

    STOP = "stop"
    LENGTH = "length"
    REFUSAL = "refusal"
    TOOL_USE = "tool_use"
    OTHER = "other"


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Tokens of one call, counted the same way for every provider.

    `input_tokens` includes `cached_tokens` (read from a cache) and `cache_write_tokens`; `output_tokens` includes
    `reasoning_tokens`. Adding two gives their sum; price each call by itself, never a sum, for prices have tiers.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: object) -> "Usage":
        if not isinstance(other, Usage):
            return NotImplemented
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
        )


NO_USAGE = Usage()


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a call ended on the wire.

    `finish_reason` is None when no terminal reason was seen, which means that the answer was cut. `explanation` is the
    provider's own words for a refusal or an unusual end.
    """

    finish_reason: FinishReason | None
    usage: Usage = NO_USAGE
    model: str = ""
    request_id: str | None = None
    explanation: str = ""
    rate_limits: RateLimits | None = None


class Completion(str):
    """An answer: the text itself, which also says what it cost and how it ended.

    `finish_reason` is `LENGTH` when `max_tokens` cut the text; the caller decides what that means. `model` is the one
    that answered, as the provider names it. `rate_limits` is what the response said of the provider's limits.
    """

    __slots__ = ("finish_reason", "model", "provider", "rate_limits", "request_id", "usage")

    usage: Usage
    model: str
    provider: str
    finish_reason: FinishReason
    request_id: str | None
    rate_limits: RateLimits | None

    def __new__(
        cls,
        text: str = "",
        *,
        usage: Usage = NO_USAGE,
        model: str = "",
        provider: str = "",
        finish_reason: FinishReason = FinishReason.STOP,
        request_id: str | None = None,
        rate_limits: RateLimits | None = None,
    ) -> Self:
        """Make an answer; without more than its text, one that ended by itself and cost nothing."""
        completion = super().__new__(cls, text)
        completion.usage = usage
        completion.model = model
        completion.provider = provider
        completion.finish_reason = finish_reason
        completion.request_id = request_id
        completion.rate_limits = rate_limits
        return completion
