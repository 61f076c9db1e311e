"""Puts simulated servers in the place of providers, where the orchestrator looks for them. Knows no test framework."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from llm_abstractions.base_llm import BaseLlm
from llm_abstractions.factory import LlmFactory
from llm_abstractions.request import parse_request
from orchestration.testing.server import Request, SimulatedServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llm_abstractions.types import Completion, Message

__all__ = ["SimulatedLlm", "serving"]

_DEFAULT_MODEL = "simulated"


class SimulatedLlm(BaseLlm):
    """A model of a simulated server."""

    def __init__(self, server: SimulatedServer, model: str | None = None) -> None:
        self.server = server
        self.model = model or _DEFAULT_MODEL

    @property
    def account(self) -> str:
        """Each server is an account of its own."""
        return self.server.name

    async def generate_content_async(self, messages: Sequence[Message], **options: object) -> Completion:
        """Return the server's answer to all the messages' text."""
        asked = parse_request(messages, options)
        return await self.server.handle(
            Request(
                model=self.model,
                prompt="\n\n".join(message["content"] for message in messages),
                max_tokens=asked.options.max_tokens,
                timeout_s=asked.options.timeout_s,
                on_start=asked.options.on_start,
            )
        )


@contextmanager
def serving(*servers: SimulatedServer) -> Iterator[None]:
    """Inside the block, agents of the servers' types talk to them: to the one whose `base_url` they name, if any does.

    Raises:
        ValueError: when an agent's call finds no server.

    """
    before = dict(LlmFactory._registered)  # noqa: SLF001 -- what was in their place has to come back
    for agent_type in dict.fromkeys(server.agent_type for server in servers):
        own = tuple(server for server in servers if server.agent_type is agent_type)
        LlmFactory.register(agent_type, partial(_build, own), replace=True)
    try:
        yield
    finally:
        LlmFactory._registered.clear()  # noqa: SLF001 -- the same
        LlmFactory._registered.update(before)  # noqa: SLF001 -- the same


def _build(
    servers: tuple[SimulatedServer, ...], *, model: str | None, base_url: object = None, **_options: object
) -> SimulatedLlm:
    for server in servers:
        if server.base_url in {None, base_url}:
            return SimulatedLlm(server, model)
    known = ", ".join(server.name for server in servers)
    raise ValueError(f"no simulated server for base_url {base_url!r}; those serving: {known}")
