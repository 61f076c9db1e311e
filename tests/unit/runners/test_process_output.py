"""What a process says: cut into lines, waited for, and kept."""

import asyncio
import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.runners import process_output
from orchestration.runners.process import run_process
from orchestration.runners.process_output import Lines, Output


@pytest.fixture
def heard():
    return []


@pytest.fixture
def lines(heard, monkeypatch):
    monkeypatch.setattr(process_output, "LINE_MAX_BYTES", 5)
    return Lines(lambda line, is_cut: heard.append((line, is_cut)))


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([b"one\ntwo\n"], [(b"one", False), (b"two", False)]),
        ([b"on", b"e\ntw", b"o"], [(b"one", False), (b"two", False)]),
        ([b"\n\n"], [(b"", False), (b"", False)]),
        ([b"12345\n"], [(b"12345", False)]),
        ([b"123", b"45", b"\n6"], [(b"12345", False), (b"6", False)]),
        ([b"123456\n7"], [(b"12345", True), (b"7", False)]),
        ([b"123", b"456", b"78", b"9\n1\n"], [(b"12345", True), (b"1", False)]),
        ([b"1234567"], [(b"12345", True)]),
        ([], []),
    ],
)
def test_lines_are_whole_or_cut_at_the_limit(lines, heard, chunks, expected):
    for chunk in chunks:
        lines.feed(chunk)
    lines.end()

    assert heard == expected


@given(st.lists(st.binary(max_size=50)), st.integers(1, 20))
def test_however_the_stream_is_divided_the_lines_are_the_same(texts, size):
    stream = b"\n".join(texts)
    whole, divided = [], []
    for heard, chunks in (
        (whole, [stream]),
        (divided, [stream[start : start + size] for start in range(0, len(stream), size)]),
    ):
        lines = Lines(lambda line, is_cut, heard=heard: heard.append((line, is_cut)))
        for chunk in chunks:
            lines.feed(chunk)
        lines.end()

    expected = stream.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert divided == whole == [(line, False) for line in expected]


@pytest.mark.looptime
async def test_each_byte_gives_a_process_more_time_and_silence_takes_it():
    output = Output(asyncio.get_running_loop(), idle_timeout_s=10)
    output.connection_made(asyncio.SubprocessTransport())
    for fd in (1, 2):
        await asyncio.sleep(9)
        output.pipe_data_received(fd, b".")

    await asyncio.sleep(9)
    assert not output.ended.done()
    await asyncio.sleep(2)

    assert output.ended.done()
    assert output.is_idle


@pytest.mark.looptime
async def test_a_process_that_ended_is_no_longer_waited_for():
    output = Output(asyncio.get_running_loop(), idle_timeout_s=10)
    output.connection_made(asyncio.SubprocessTransport())
    output.stop_watching()

    await asyncio.sleep(20)

    assert not output.is_idle


async def test_one_who_refused_a_line_gets_no_other(heard):
    def refuse(line, _):
        heard.append(line)
        raise LookupError(line)

    output = Output(asyncio.get_running_loop(), on_line=refuse)
    output.pipe_data_received(1, b"one\ntwo\n")
    output.pipe_data_received(1, b"three\n")

    assert output.ended.done()
    with pytest.raises(LookupError, match="one"):
        output.end_lines()
    assert heard == [b"one"]


@pytest.mark.looptime
@pytest.mark.parametrize(("pieces", "is_over"), [(0, True), (10, False), (60, True)])
async def test_what_was_said_before_the_end_is_waited_for_while_it_comes_but_not_for_ever(pieces, is_over):
    output = Output(asyncio.get_running_loop())
    output.pipe_data_received(2, b".")
    flushing = asyncio.create_task(output.flush())
    for _ in range(pieces):
        await asyncio.sleep(0.1)
        output.pipe_data_received(2, b".")
    await asyncio.sleep(0.25 if pieces == 0 else 0)

    assert flushing.done() == is_over
    await flushing


async def test_when_the_disk_is_slower_the_process_waits_and_is_neither_idle_nor_lost(tmp_path):
    """The log is a pipe that nobody reads until the process has been held up for longer than it may be idle."""
    log = tmp_path / "stdout.log"
    os.mkfifo(log)
    is_held_up = asyncio.Event()

    class Listener(Output):
        def _watch(self):
            super()._watch()
            if self._is_paused() and not self.ended.done():
                is_held_up.set()

    code = "import sys; sys.stdout.write('x' * 9_000_000)"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestration.runners.process.Output", Listener)
        running = asyncio.create_task(
            run_process(
                [sys.executable, "-c", code],
                stdin=b"",
                env=dict(os.environ),
                cwd=None,
                raw=tmp_path,
                idle_timeout_s=0.5,
            )
        )
        await is_held_up.wait()
        reading = asyncio.create_task(asyncio.to_thread(log.read_bytes))
        end = await running

    assert (end.exit_code, end.is_idle, len(end.stdout)) == (0, False, 9_000_000)
    assert len(await reading) == 9_000_000


@pytest.mark.parametrize("target", ["/dev/full", "/proc/no-such-folder/log"])
async def test_a_disk_that_takes_no_more_costs_the_log_and_nothing_else(tmp_path, caplog, target):
    (tmp_path / "stdout.log").symlink_to(target)
    code = "import sys; sys.stdout.write('x' * 9_000_000)"

    end = await run_process([sys.executable, "-c", code], stdin=b"", env=dict(os.environ), cwd=None, raw=tmp_path)

    assert (end.exit_code, len(end.stdout)) == (0, 9_000_000)
    assert caplog.text.count(f"cannot keep what the process says in {tmp_path}/stdout.log") == 1
    assert (tmp_path / "stderr.log").read_bytes() == b""
