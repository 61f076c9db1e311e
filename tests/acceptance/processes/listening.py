"""Run a worker and tell what came of it and of our memory: `python listening.py '{"code": ..., "raw": ...}'`.

A process of its own, so that its memory is that of listening alone.
"""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import msgspec

from orchestration.runners.process import run_process


class Ear:
    """Keeps of the lines what a test wants to know; numbered lines are expected to come one after the other."""

    def __init__(self):
        self.lines = self.cut = self.longest = self.said_bytes = self.in_order = 0
        self.last = ""

    def hear(self, line, is_cut):
        self.in_order += line[:9] == b"%09d" % self.lines
        self.lines += 1
        self.cut += is_cut
        self.longest = max(self.longest, len(line))
        self.said_bytes += len(line)
        self.last = line[:100].decode(errors="replace")


def peak_kb():
    """Return the most memory this program has had; what resource.getrusage says includes whoever started it."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="utf-8"))[1])


async def listen(code, raw=None, *, is_collected=False, **options):
    ear = Ear()
    before_kb = peak_kb()
    end = await run_process(
        [sys.executable, "-c", code],
        stdin=b"",
        env=dict(os.environ),
        cwd=None,
        on_line=None if is_collected else ear.hear,
        raw=None if raw is None else Path(raw),
        **options,
    )
    plain = {name: value for name, value in msgspec.structs.asdict(end).items() if not isinstance(value, bytes)}
    return {**plain, **vars(ear), "growth_kb": peak_kb() - before_kb, "stdout_bytes": len(end.stdout)}


if __name__ == "__main__":
    json.dump(asyncio.run(listen(**json.loads(sys.argv[1]))), sys.stdout)
