"""A server that answers every OpenAI chat completion with the same text after a set delay, in a process of its own.

It ends when its standard input does, so that it never outlives who started it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ANSWER", "serving"]

ANSWER = "The answer is 42."
_BACKLOG = 4096  # a thousand callers knock at the same moment

_COMPLETION = {
    "id": "canned",
    "object": "chat.completion",
    "created": 0,
    "model": "canned",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": ANSWER}},
    ],
    "usage": {"prompt_tokens": 12, "completion_tokens": 6, "total_tokens": 18},
}


@contextlib.contextmanager
def serving(delay_s: float) -> Iterator[str]:
    """Run the server and give its base URL."""
    command = [sys.executable, "-m", __name__, "--delay-s", str(delay_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        if server.stdin is None or server.stdout is None:
            raise RuntimeError("the server's pipes are missing")
        port = server.stdout.readline().strip()
        if not port:
            raise RuntimeError("the canned server did not start; its error is above")
        try:
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.stdin.close()


def allow_many_sockets() -> None:
    """Raise this process's limit of open files as far as it may: 1,024 is the usual default."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _serve(delay_s: float) -> None:
    async def answer(request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(delay_s)
        return web.json_response(_COMPLETION)

    application = web.Application()
    application.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=_BACKLOG).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    # No clean-up: whoever closed our input wants no answer any more.


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay-s", type=float, default=0.0)
    allow_many_sockets()
    asyncio.run(_serve(parser.parse_args().delay_s))
