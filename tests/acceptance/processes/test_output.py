"""Whatever a worker says, and however much of it: memory and disk stay bounded, and what fits is not lost."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.runners.process import LINE_MAX_BYTES

pytestmark = pytest.mark.acceptance

GROWTH_MAX_KB = 60_000
LOG_MAX_BYTES = 20_000_100

GB_OF_LINES = """
import sys
for thousand in range(1000):
    sys.stdout.write(''.join('%09d' % (thousand * 1000 + one) + 'x' * 990 + '\\n' for one in range(1000)))
"""
GB_WITHOUT_END = """
import sys
for _ in range(1000): sys.stdout.write('x' * 1_000_000)
"""
GB_ON_STDERR = GB_WITHOUT_END.replace("stdout", "stderr")
LONG_LINE = """
import sys
print('000000000')
sys.stdout.write('000000001')
for _ in range(50): sys.stdout.write('x' * 1_000_000)
print('\\n000000002')
"""


@pytest.fixture
def listen(tmp_path):
    """Return a function that runs a worker in a process of its own, and returns what that tells."""

    def listen(code, **options):
        order = json.dumps({"code": code, "raw": str(tmp_path / "raw"), **options})
        command = [sys.executable, str(Path(__file__).with_name("listening.py")), order]
        done = subprocess.run(command, stdout=subprocess.PIPE, timeout=55, check=True)
        return json.loads(done.stdout)

    return listen


def test_a_gigabyte_of_lines_is_heard_to_the_last_one(listen, tmp_path):
    heard = listen(GB_OF_LINES)

    assert (heard["exit_code"], heard["lines"], heard["in_order"], heard["cut"]) == (0, 1_000_000, 1_000_000, 0)
    assert heard["growth_kb"] < GROWTH_MAX_KB
    log = (tmp_path / "raw" / "stdout.log").read_bytes()
    assert log.startswith(b"000000000xxx")
    assert b"\n[... 980,000,000 bytes are left out here ...]\n" in log
    assert log.endswith(b"000999999" + b"x" * 990 + b"\n")
    assert len(log) < LOG_MAX_BYTES
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == ["stderr.log", "stdout.log"]


@pytest.mark.parametrize(("code", "lines"), [(GB_WITHOUT_END, 1), (GB_ON_STDERR, 0)])
def test_a_gigabyte_without_a_line_end_costs_little(listen, tmp_path, code, lines):
    heard = listen(code)

    assert (heard["exit_code"], heard["lines"], heard["cut"]) == (0, lines, lines)
    assert heard["longest"] == lines * LINE_MAX_BYTES
    assert heard["growth_kb"] < GROWTH_MAX_KB
    assert max(path.stat().st_size for path in (tmp_path / "raw").iterdir()) < LOG_MAX_BYTES


def test_a_gigabyte_that_nobody_wants_line_by_line_ends_the_worker(listen):
    heard = listen(GB_OF_LINES, is_collected=True)

    assert (heard["is_overlong"], heard["stdout_bytes"]) == (True, 0)
    assert heard["growth_kb"] < GROWTH_MAX_KB


def test_a_line_of_50_mb_is_cut_and_its_neighbours_are_whole(listen):
    heard = listen(LONG_LINE)

    assert (heard["lines"], heard["cut"], heard["in_order"]) == (3, 1, 3)
    assert heard["said_bytes"] == LINE_MAX_BYTES + 18
    assert heard["last"] == "000000002"
    assert heard["growth_kb"] < GROWTH_MAX_KB


async def test_lines_are_bytes_whatever_they_hold(run):
    heard = []

    await run(
        r"import sys; sys.stdout.buffer.write(b'\xff\xfe\n\n\x00 \xc3\r\n{\"half')",
        on_line=lambda line, is_cut: heard.append((line, is_cut)),
    )

    assert heard == [(b"\xff\xfe", False), (b"", False), (b"\x00 \xc3\r", False), (b'{"half', False)]


async def test_lines_arrive_while_the_worker_goes_on(run, told, tell, tmp_path):
    heard = asyncio.Queue()
    code = f"print('first', flush=True); {tell}import time; time.sleep(60)"
    running = asyncio.create_task(run(code, on_line=lambda line, _: heard.put_nowait(line), raw=tmp_path / "raw"))

    assert await heard.get() == b"first"

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert (tmp_path / "raw" / "stdout.log").read_bytes() == b"first\n"


async def test_a_worker_that_never_ends_its_talk_is_ended_by_the_one_who_listens(run, count):
    heard = []

    def listen(line, _):
        heard.append(line)
        if len(heard) == 1_000:
            raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        await run("while True: print('and another thing')", on_line=listen)

    assert len(heard) == 1_000
    assert count() == 0


async def test_a_last_half_line_may_be_refused_too(run):
    def refuse(line, _):
        raise ValueError(line)

    with pytest.raises(ValueError, match="half"):
        await run("print('half', end='')", on_line=refuse)


async def test_a_silent_worker_is_ended(run, count, tmp_path):
    heard = []
    code = "import os, time\nprint('begun', flush=True)\nif os.fork() == 0: os.setsid()\ntime.sleep(60)"

    end = await run(code, on_line=lambda line, _: heard.append(line), idle_timeout_s=1, raw=tmp_path)

    assert (end.is_idle, heard) == (True, [b"begun"])
    assert end.exit_code != 0
    assert count() == 0


async def test_what_a_worker_says_when_told_to_end_is_heard(run, told, tell, tmp_path):
    heard = []
    code = (
        "import signal, sys, time\n"
        "def end(*_):\n"
        "    print('spent 3 cents', flush=True)\n"
        "    sys.exit(1)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        f"{tell}\n"
        "time.sleep(60)\n"
    )
    running = asyncio.create_task(run(code, on_line=lambda line, _: heard.append(line), raw=tmp_path / "raw"))
    await told[1]()

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)

    assert heard == [b"spent 3 cents"]
    assert (tmp_path / "raw" / "stdout.log").read_bytes() == b"spent 3 cents\n"
    assert (tmp_path / "raw" / "stderr.log").read_bytes() == b""
