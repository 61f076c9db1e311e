"""One task, by a direct call of the provider and by a script, with the same canned answer: what comes on top of it.

The script prints the answer and imports nothing but the standard library: the cheapest script there can be. A second
one does what such scripts really do, it loads the SDK and makes the call. The answer's own time is the delay for the
scripts, and for the direct call what the plainest HTTP client needs to fetch it. Warm: the first call, which imports
the SDK once per run, is left out.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import tempfile
import time
import warnings
from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from benchmarks.canned_server import ANSWER, serving
from benchmarks.row import Row, emit, within
from orchestration import AgentConfig, AgentRegistry, AgentTask, AgentType, TaskExecutor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["measure"]

REPEATS = 50
WAIT_S = 0.05

SCRIPT = """\
import json, sys, time
task = json.load(sys.stdin)
time.sleep({delay_s})
print({answer!r})
"""
SDK_SCRIPT = """\
import json, sys
import openai
task = json.load(sys.stdin)
client = openai.OpenAI(api_key="none", base_url={base_url!r}, max_retries=0)
message = {{"role": "user", "content": task["title"]}}
print(client.chat.completions.create(model="canned", messages=[message]).choices[0].message.content)
"""

DIRECT = AgentTask("direct", "What is the answer?", agent="model")
BY_SCRIPT = AgentTask("script", "What is the answer?", agent="model", metadata={"use_direct_llm": False})


def measure() -> list[Row]:
    warnings.simplefilter("ignore", DeprecationWarning)  # the scripts' own; what they cost is the point here
    logging.getLogger("orchestration").setLevel(logging.ERROR)
    at_once, later = _on_top_ms(0.0), _on_top_ms(WAIT_S)
    name = "1 task, wall on top of the answer's own"
    share = at_once["direct"] / at_once["script"]
    later_share = later["direct"] / later["script"]
    return [
        Row(measure=f"{name}: script that prints it", figure=f"{at_once['script']:.1f} ms", ratio="1 x"),
        within(
            f"{name}: direct provider call",
            share * 100,
            10,
            "% of the script's",
            ratio=f"{at_once['direct']:.2f} ms, {1 - share:.1%} less",
        ),
        Row(
            measure=f"{name}: direct, answer takes {WAIT_S * 1_000:.0f} ms",
            figure=f"{later_share:.1%} of the script's",
            ratio=f"{later['direct']:.2f} ms, {1 - later_share:.1%} less",
        ),
        Row(
            measure=f"{name}: script that calls by the SDK",
            figure=f"{at_once['SDK script']:.0f} ms",
            ratio=f"direct call: {1 - at_once['direct'] / at_once['SDK script']:.1%} less",
        ),
    ]


def _on_top_ms(delay_s: float) -> dict[str, float]:
    """Return side -> median milliseconds on top of an answer that takes `delay_s`."""
    with serving(delay_s) as base_url, tempfile.TemporaryDirectory() as folder:
        total = asyncio.run(_totals_ms(base_url, Path(folder), delay_s))
    own = {"direct": total["plain HTTP"], "script": delay_s * 1_000, "SDK script": total["plain HTTP"]}
    return {side: total[side] - own[side] for side in own}


async def _totals_ms(base_url: str, folder: Path, delay_s: float) -> dict[str, float]:
    """Return side -> median milliseconds of a whole call; the sides take turns."""
    registry = AgentRegistry()
    registry.register_agent(AgentConfig("model", AgentType.OPENAI_GPT, model="canned", base_url=base_url))
    async with AsyncExitStack() as stack:
        executor, sdk_executor = [
            await stack.enter_async_context(TaskExecutor(registry, scripts_dir=_scripts(folder / name, text)))
            for name, text in (
                ("plain", SCRIPT.format(delay_s=delay_s, answer=ANSWER)),
                ("sdk", SDK_SCRIPT.format(base_url=base_url)),
            )
        ]
        session = await stack.enter_async_context(aiohttp.ClientSession(base_url + "/"))
        sides: dict[str, Callable[[], Awaitable[str]]] = {
            "plain HTTP": lambda: _fetch(session),
            "direct": lambda: _execute(executor, DIRECT),
            "script": lambda: _execute(executor, BY_SCRIPT),
            "SDK script": lambda: _execute(sdk_executor, BY_SCRIPT),
        }
        await sides["direct"]()
        walls = defaultdict(list)
        for repeat in range(REPEATS):
            for name, call in sides.items():
                if name != "SDK script" or repeat % 10 == 0:  # a second each
                    walls[name].append(await _wall_ms(call))
    return {name: statistics.median(values) for name, values in walls.items()}


def _scripts(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "execute_gpt.py").write_text(text, encoding="utf-8")
    return folder


async def _wall_ms(call: Callable[[], Awaitable[str]]) -> float:
    started = time.perf_counter()
    answer = await call()
    wall = time.perf_counter() - started
    if answer.strip() != ANSWER:
        raise RuntimeError(f"expected {ANSWER!r}, got {answer!r}")
    return wall * 1_000


async def _execute(executor: TaskExecutor, task: AgentTask) -> str:
    result = await executor.execute(task)
    return result.output or result.error


async def _fetch(session: aiohttp.ClientSession) -> str:
    """Make the call with the plainest client: what the answer takes by itself."""
    body = {"model": "canned", "messages": [{"role": "user", "content": DIRECT.title}]}
    async with session.post("chat/completions", json=body) as response:
        answer = await response.json()
    return str(answer["choices"][0]["message"]["content"])


if __name__ == "__main__":
    emit(measure())
