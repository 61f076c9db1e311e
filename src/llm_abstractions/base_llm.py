"""Define the port every provider fills: messages in, text out. Knows no vendor, transport or key."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from types import TracebackType
from typing import Self

from llm_abstractions.types import Completion, Message

__all__ = ["BaseLlm", "PieceStream", "TextStream"]


class TextStream(ABC, AsyncIterator[str]):
    """Iterate over an answer's text as it arrives; `completion` holds the whole once the stream is exhausted.

    Leaving early? Call `aclose()` or use `async with`: that closes the connection, which stops the provider's work.
    """

    _completion: Completion | None = None

    @property
    def completion(self) -> Completion:
        """The whole answer. Raises: RuntimeError: while the stream is not exhausted."""
        if self._completion is None:
            raise RuntimeError("the stream is not exhausted yet: iterate to its end before reading .completion")
        return self._completion

    async def aclose(self) -> None:
        """Stop reading and release the connection; twice is fine."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class BaseLlm(ABC):
    """A model that answers. Only `generate_content_async` must be written for a provider of one's own.

    The options of a call are those of `CallOptions`: max_tokens, temperature, system, json_schema, timeout_s, stop,
    on_text, on_start, cache_prefix, extras.
    """

    @property
    def caches_prefixes(self) -> bool:
        """Whether the provider charges less for a long beginning that it has read before in the last minutes."""
        return False

    @property
    def account(self) -> str:
        """What the provider counts together, besides the model; holds no secret. Calls of one account share limits."""
        return ""

    @abstractmethod
    async def generate_content_async(self, messages: Sequence[Message], **options: object) -> str:
        """Return the answer to `messages`, a list of `{"role", "content"}`.

        The providers of this package return a `Completion`, a `str` that also carries usage and finish reason.

        Raises: TypeError, ValueError: for a malformed message or option, before any I/O.
            LlmError: when the call fails; its `kind` says how.
        """

    def stream_content_async(self, messages: Sequence[Message], **options: object) -> TextStream:
        """Return the answer as a stream of text; a provider that cannot stream yields it in one piece.

        Raises: the same as `generate_content_async`; a stream cut before its end raises while iterating.
        """
        return _OnePiece(self, messages, options)

    async def aclose(self) -> None:  # noqa: B027 - most providers of one's own have nothing to close
        """Release what this provider owns; twice is fine."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class PieceStream(TextStream):
    """The stream over a generator that yields text, and the `Completion` last. It runs from the first read on."""

    def __init__(self, pieces: AsyncGenerator[str, None]) -> None:
        self._pieces = pieces

    async def __anext__(self) -> str:
        piece = await anext(self._pieces)
        if isinstance(piece, Completion):
            self._completion = piece
            await self.aclose()
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """Close the generator."""
        await self._pieces.aclose()


class _OnePiece(TextStream):
    """The stream of a provider that only generates."""

    def __init__(self, llm: BaseLlm, messages: Sequence[Message], options: dict[str, object]) -> None:
        self._llm, self._messages, self._options = llm, messages, options

    async def __anext__(self) -> str:
        if self._completion is not None:
            raise StopAsyncIteration
        text = await self._llm.generate_content_async(self._messages, **self._options)
        self._completion = text if isinstance(text, Completion) else Completion(text)
        return text
