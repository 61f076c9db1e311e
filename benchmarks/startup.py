"""What it costs to import the package and to ask the command for help, each in fresh processes."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.row import Row, emit, within

__all__ = ["measure"]

REPEATS = 15
SDKS = ("anthropic", "openai", "google.genai", "xllamacpp", "httpx2", "aiohttp", "pydantic")

BASE = "import asyncio, msgspec, sqlite3"
PACKAGE = f"{BASE}, orchestration"
NAMES = f"{BASE}\nfrom orchestration import ProjectOrchestrator, TaskExecutor"


def measure() -> list[Row]:
    programs = {"base": BASE, "package": PACKAGE, "names": NAMES}
    commands = {name: [sys.executable, "-c", text] for name, text in programs.items()}
    commands["help"] = [str(Path(sys.executable).with_name("orchestrate")), "--help"]
    for command in commands.values():
        _wall_ms(command)  # the first one compiles
    walls: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(REPEATS):
        for name, command in commands.items():
            walls[name].append(_wall_ms(command))
    base = statistics.median(walls["base"])
    return [
        Row(measure=f"`{BASE}`, process, wall", figure=f"{base:.0f} ms", ratio="1 x"),
        *(_more(programs[name], walls[name], walls["base"]) for name in ("package", "names")),
        _loaded_sdks(NAMES),
        within(
            "`orchestrate --help`, process, wall",
            statistics.median(walls["help"]),
            200,
            "ms",
            ratio=f"{statistics.median(walls['help']) / base:.1f} x the imports above",
            strictly=True,
        ),
    ]


def _more(program: str, walls: list[float], base: list[float]) -> Row:
    added = statistics.median(ours - theirs for ours, theirs in zip(walls, base, strict=True))
    ratio = f"{statistics.median(walls) / statistics.median(base):.2f} x"
    shown = program.rsplit("\n", maxsplit=1)[-1].replace(f"{BASE}, ", "import ")
    return within(f"`{shown}`, on top of that", added, 40, "ms", ratio=ratio)


def _loaded_sdks(program: str) -> Row:
    listed = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport json, sys\nprint(json.dumps(list(sys.modules)))"],
        check=True,
        capture_output=True,
        text=True,
    )
    loaded = sorted(set(SDKS) & set(json.loads(listed.stdout)))
    return Row(
        measure="vendor SDKs and transports they load",
        figure=", ".join(loaded) or "none",
        bar="none",
        passed=not loaded,
    )


def _wall_ms(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""})
    return (time.perf_counter() - started) * 1_000


if __name__ == "__main__":
    emit(measure())
