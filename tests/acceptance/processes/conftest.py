"""Real processes, counted by the mark they carry, from the system's own records."""

import asyncio
import contextlib
import os
import secrets
import signal
import sys
from pathlib import Path

import pytest

from orchestration.runners.process import run_process


def marked(owner):
    """Return the living processes that carry the owner's mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{owner}#".encode() in (folder / "environ").read_bytes() and lives(folder.name):
                found.append(int(folder.name))
    return found


def lives(pid):
    try:
        return Path(f"/proc/{int(pid)}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def owner():
    """Return a name of its own for each test, and leave nothing of it behind, whatever the test finds."""
    name = f"test-{secrets.token_hex(8)}"
    yield name
    for pid in marked(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def count(owner):
    """Return a function that counts what carries the owner's mark, and those of the given numbers that live."""
    return lambda pids=(): len({*marked(owner), *(int(pid) for pid in pids if lives(pid))})


@pytest.fixture
def run(owner):
    """Return a function that runs Python code as a worker of the owner."""

    def run(code, **options):
        return run_process(
            [sys.executable, "-c", code], stdin=b"", env=dict(os.environ), cwd=None, owner=owner, **options
        )

    return run


@pytest.fixture
async def told(tmp_path):
    """Return a FIFO's path, and a function that waits until so many lines were written to it, and returns them."""
    path = tmp_path / "told"
    os.mkfifo(path)
    fifo = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    lines, more = [], asyncio.Event()

    def read():
        lines.extend(os.read(fifo, 65_536).split())
        more.set()

    asyncio.get_running_loop().add_reader(fifo, read)

    async def wait(number=1):
        async with asyncio.timeout(30):
            while len(lines) < number:
                more.clear()
                await more.wait()
        return lines

    yield path, wait
    asyncio.get_running_loop().remove_reader(fifo)
    os.close(fifo)


@pytest.fixture
def tell(told):
    """Return code that writes its process's number to the FIFO, as a line."""
    return f"import os; file = open({str(told[0])!r}, 'w'); print(os.getpid(), file=file, flush=True); "
