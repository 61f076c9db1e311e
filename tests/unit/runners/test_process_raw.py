"""The files that keep the beginning and the end of what a process says."""

import asyncio
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.runners import raw_output
from orchestration.runners.raw_output import BoundedFile, RawLog


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(raw_output, "RAW_HEAD_BYTES", 10)
    monkeypatch.setattr(raw_output, "RAW_TAIL_BYTES", 10)
    monkeypatch.setattr(raw_output, "_COPY_BYTES", 3)


def keep(folder, chunks):
    file = BoundedFile(folder / "log")
    for chunk in chunks:
        file.append([chunk])
    file.close()
    assert [path.name for path in folder.iterdir()] == ["log"]
    return (folder / "log").read_bytes()


def test_silence_leaves_an_empty_file(tmp_path):
    assert keep(tmp_path, []) == b""


def test_what_fits_is_kept_as_it_is(tmp_path):
    assert keep(tmp_path, [b"0123456789", b"abcdefghij"]) == b"0123456789abcdefghij"


def test_the_middle_is_left_out_and_its_size_told(tmp_path):
    assert keep(tmp_path, [b"0123456789--abcdefghij"]) == b"0123456789\n[... 2 bytes are left out here ...]\nabcdefghij"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return lambda: tmp_path_factory.mktemp("raw")


@given(chunks=st.lists(st.binary(max_size=35), max_size=8))
def test_beginning_and_end_are_kept_whatever_the_pieces(folders, chunks):
    said = b"".join(chunks)

    kept = keep(folders(), chunks)

    gap = b"\n[... %d bytes are left out here ...]\n" % (len(said) - 20) if len(said) > 20 else b""
    assert kept == said[:10] + gap + said[10:][-10:]


def test_while_it_grows_its_beginning_is_readable_and_its_size_is_bounded(tmp_path):
    file = BoundedFile(tmp_path / "new" / "folder" / "log")
    for _ in range(10):
        file.append([b"0123456789"])

    folder = tmp_path / "new" / "folder"
    assert (folder / "log").read_bytes() == b"0123456789"
    assert (folder / "log.tail").stat().st_size == 10
    file.close()


async def test_a_log_is_whole_when_it_is_closed(tmp_path):
    log = RawLog(tmp_path / "log", pause=pytest.fail, resume=pytest.fail)
    for piece in (b"one", b"two", b"three"):
        log.write(piece)

    await log.aclose()

    assert (tmp_path / "log").read_bytes() == b"onetwothree"


async def test_a_disk_that_does_not_answer_is_given_up_on(tmp_path, monkeypatch, caplog):
    path = tmp_path / "log"
    os.mkfifo(path)  # opening it waits for somebody who reads
    monkeypatch.setattr(raw_output, "_CLOSE_S", 0.01)
    log = RawLog(path, pause=pytest.fail, resume=pytest.fail)
    log.write(b"one")

    await log.aclose()

    assert f"cannot keep what the process says in {path}: the disk does not answer" in caplog.text
    assert await asyncio.to_thread(path.read_bytes) == b"one"


@pytest.mark.parametrize("cut", range(1, 30))
def test_secrets_are_not_written_however_they_are_cut(tmp_path, monkeypatch, cut):
    monkeypatch.setattr(raw_output, "RAW_HEAD_BYTES", 1_000)
    said = b"key=sk-12345-long and sk-12345, the end: sk-123"
    file = BoundedFile(tmp_path / "log", ("sk-12345-long", "sk-12345"))
    for at in range(0, len(said), cut):
        file.append([said[at : at + cut]])
    file.close()
    assert (tmp_path / "log").read_bytes() == b"key=*** and ***, the end: sk-123"
