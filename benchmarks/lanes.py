"""What a lane costs, and how well it keeps to limits: against llmock, a third party's server with quotas of its own."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from benchmarks.row import Row, emit, within
from llm_abstractions.clients import ClientPool
from llm_abstractions.errors import FailureKind, LlmError
from llm_abstractions.lane import Lane, LaneLimits
from llm_abstractions.lanes import Lanes
from llm_abstractions.providers.anthropic import AnthropicLlm
from llm_abstractions.providers.gemini import GeminiLlm
from llm_abstractions.providers.openai import OpenAILlm
from llm_abstractions.rate_limits import Quota, RateLimits
from llm_abstractions.types import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_abstractions.sdk_llm import SdkLlm

__all__ = ["measure"]

ROUNDS, PER_ROUND = 7, 3_000
FEW, MANY = 1_000, 10_000
# The server's quotas are full at first. 300 calls are fewer than 600 requests, so the tokens have to bind: at about 410
# a call (what max_tokens asks for, and a quarter of the body's bytes), 123,000 are wanted, and the 23,000 that are not
# there at first take 14 seconds to come.
CALLS, RPM, TPM = 300, 600, 100_000
MAX_TOKENS = 375
_LATENCY_MS = 20
_PROVIDERS = {
    "OpenAI": (OpenAILlm, "/v1"),
    "Anthropic": (AnthropicLlm, "/anthropic"),
    "Gemini": (GeminiLlm, "/gemini"),
}


def measure() -> list[Row]:
    return [*_cost_rows(), *_wire_rows()]


# -- what a call through a lane costs ----------------------------------------------------------------------------------


def _cost_rows() -> list[Row]:
    bare, full = (asyncio.run(_uncontended_us(has_quotas=has_quotas)) for has_quotas in (False, True))
    few, many = (statistics.median(asyncio.run(_contended_us(calls)) for _ in range(3)) for calls in (FEW, MANY))
    return [
        within("a call through an idle lane without limits, CPU", bare, 25, "us"),
        within("a call through an idle lane with 7 quotas, CPU", full, 25, "us"),
        within(
            f"{MANY:,} calls in line, CPU each, against {FEW:,}",
            many / few,
            1.5,
            "x",
            ratio=f"{many:.1f} us against {few:.1f} us",
        ),
    ]


async def _uncontended_us(*, has_quotas: bool) -> float:
    """Return microseconds of CPU to estimate, acquire and settle one call."""
    huge = 10**9
    limits = LaneLimits(
        requests_per_minute=huge,
        tokens_per_minute=huge,
        input_tokens_per_minute=huge,
        output_tokens_per_minute=huge,
        concurrency=1_000,
    )
    quota = Quota(limit=huge, remaining=huge - 5)
    stated = RateLimits(requests=quota, input_tokens=quota, output_tokens=quota) if has_quotas else None
    lane = Lane("bench", limits if has_quotas else None)
    usage = Usage(input_tokens=1_000, output_tokens=100)
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(PER_ROUND):
            with await lane.acquire(lane.estimate(4_000, 1_000, "agent"), model="m") as permit:
                permit.succeed(usage, stated)
        rounds.append((time.process_time() - began) * 1e6 / PER_ROUND)
    return statistics.median(rounds)


async def _contended_us(calls: int) -> float:
    """Return microseconds of CPU per call where all come at once and few may go; tasks and loop included."""
    lane, usage = Lane("bench", LaneLimits(concurrency=20)), Usage()

    async def call() -> None:
        with await lane.acquire() as permit:
            await asyncio.sleep(0)
            permit.succeed(usage)

    began = time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(calls):
            group.create_task(call())
    return (time.process_time() - began) * 1e6 / calls


# -- limits on the wire ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Run:
    """How one fan-out against a limited server went; `charged` is what the server took from its tokens for it."""

    took_s: float
    charged: int
    answered: int
    refused: int
    findings: int

    @property
    def ratio(self) -> float:
        """Wall time over the theoretical optimum."""
        optimum_s = max(0.0, (CALLS - RPM) * 60 / RPM, (self.charged - TPM) * 60 / TPM) + _LATENCY_MS / 1_000
        return self.took_s / optimum_s


def _wire_rows() -> list[Row]:
    with _serving() as url:
        unknown = asyncio.run(_fan_out(url, "OpenAI", None))
        known = asyncio.run(_fan_out(url, "OpenAI", LaneLimits(requests_per_minute=RPM, tokens_per_minute=TPM)))
        others = [asyncio.run(_fan_out(url, name, None)) for name in ("Anthropic", "Gemini")]
    name = f"{CALLS} calls, {RPM} rpm, {TPM // 1_000}k tpm"
    rows = []
    for what, run, most, most_refused in (("unknown limits", unknown, 1.15, 0.03), ("limits given", known, 1.05, 0.0)):
        about = f"{run.took_s:.1f} s for {run.charged:,} tokens"
        rows += [
            within(f"{name}, {what}: wall over the optimum", run.ratio, most, "x", ratio=about),
            within(f"{name}, {what}: calls refused", 100 * run.refused / CALLS, 100 * most_refused, "%"),
        ]
    runs = [unknown, known, *others]
    failed = sum(CALLS - run.answered for run in runs)
    findings = sum(run.findings for run in runs)
    return [
        *rows,
        within(f"{CALLS} calls each by {', '.join(_PROVIDERS)}: failed", failed, 0, "calls"),
        within("llmock's findings about them", findings, 0, "findings", ratio=f"{len(runs)} verdicts"),
    ]


async def _fan_out(url: str, provider: str, limits: LaneLimits | None) -> _Run:
    """Make all calls at once through a lane, with a retry loop around it, and ask the server how it was."""
    make, base = _PROVIDERS[provider]
    async with aiohttp.ClientSession() as session, ClientPool() as clients:
        await session.post(f"{url}/_llmock/reset", json={})
        llm = make("m-0", api_key=f"key-{time.monotonic_ns()}", base_url=url + base, clients=clients)
        lanes = Lanes({"*": limits} if limits else None)
        lane = lanes.lane_of(llm.vendor.name, llm.account, llm.model)
        await llm._connect()  # noqa: SLF001 - a run imports its SDK once, whatever it then does
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(CALLS):
                group.create_task(_ask(lane, llm, f"Question number {number:03}: what is the capital of Japan?"))
        took_s = time.perf_counter() - began
        async with session.get(f"{url}/_llmock/requests") as answer:
            requests = (await answer.json())["requests"]
        async with session.get(f"{url}/_llmock/verdict") as answer:
            verdict = await answer.json()
    answered = [request for request in requests if request["status"] == 200]
    return _Run(
        took_s=took_s,
        charged=sum(_charge(request["body"]) for request in answered),
        answered=len(answered),
        refused=len(requests) - len(answered),
        findings=len(verdict["findings"]),
    )


def _charge(body: dict[str, object]) -> int:
    """Return what llmock charges for a request, by its own code."""
    import json  # noqa: PLC0415

    from llmock.ratelimit import requested_tokens  # noqa: PLC0415 - only this measure needs it

    return requested_tokens(body, len(json.dumps(body, separators=(",", ":")).encode()))


async def _ask(lane: Lane, llm: SdkLlm, prompt: str) -> None:
    while True:
        cost = lane.estimate(len(prompt), MAX_TOKENS, "agent")
        try:
            with await lane.acquire(cost, model=llm.model) as permit:
                answer = await llm.generate_content_async([{"role": "user", "content": prompt}], max_tokens=MAX_TOKENS)
                permit.succeed(answer.usage, answer.rate_limits)
                return
        except LlmError as error:
            if error.kind is not FailureKind.RATE_LIMIT:
                raise


@contextlib.contextmanager
def _serving() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = shutil.which("llmock", path=str(Path(sys.executable).parent))
    if command is None:
        raise RuntimeError("the command `llmock` is not installed beside this Python: run `make dev`")
    options = ["--port", str(port), "--log-level", "error", "--rpm", str(RPM), "--tpm", str(TPM)]
    process = subprocess.Popen(
        [command, "serve", *options, "--latency-ms", str(_LATENCY_MS)], stdout=subprocess.DEVNULL
    )
    try:
        _wait_for(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"llmock does not listen on port {port}; its exit code is {process.poll()}")


if __name__ == "__main__":
    emit(measure())
