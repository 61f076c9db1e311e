"""One git command: bounded, ended with everything it started, never asked in vain."""

import asyncio
import os
import signal

import pytest

from orchestration.workspace import Refusal, WorkspaceError
from orchestration.workspace.git import Git


@pytest.fixture
def slow(repo, monkeypatch):
    """Make `git` a program that ignores polite requests, and write its id down."""
    pid_file = repo.path.parent / "pid"
    os.mkfifo(pid_file)
    fake = repo.write("bin/git", f"#!/bin/sh\ntrap '' TERM\necho $$ > {pid_file}\nwhile :; do sleep 0.01; done\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    monkeypatch.setattr("orchestration.workspace.git._GRACE_S", 0.05)
    return pid_file


def is_alive(pid):
    try:
        os.kill(pid, signal.SIG_DFL)
    except ProcessLookupError:
        return False
    return True


async def test_a_git_that_takes_too_long_is_ended(repo, slow, monkeypatch):
    monkeypatch.setattr("orchestration.workspace.git.TIMEOUT_S", 0.5)
    async with asyncio.TaskGroup() as group:
        pid = group.create_task(asyncio.to_thread(slow.read_text))
        with pytest.raises(WorkspaceError, match=r"longer than 0\.5 s") as caught:
            await Git(repo.path)("status")
    assert caught.value.kind is Refusal.GIT_FAILED
    assert not is_alive(int(pid.result()))


async def test_a_cancelled_git_is_gone_when_the_cancellation_arrives_even_if_it_comes_twice(repo, slow):
    async with asyncio.TaskGroup() as group:
        running = group.create_task(Git(repo.path)("status"))
        pid = int(await asyncio.to_thread(slow.read_text))
        running.cancel()
        await asyncio.wait([running], timeout=0.02)
        running.cancel()
    assert running.cancelled()
    assert not is_alive(pid)


async def test_output_is_cut_where_that_is_wanted_and_refused_where_it_would_be_wrong(repo, monkeypatch):
    repo.commit("long.txt", "x" * 100_000)
    cut = await Git(repo.path)("cat-file", "blob", "HEAD:long.txt", limit_bytes=10)
    assert (cut.out, cut.is_cut) == (b"x" * 10, True)
    monkeypatch.setattr("orchestration.workspace.git._OUTPUT_MAX_BYTES", 1000)
    with pytest.raises(WorkspaceError, match="more than 1000 bytes"):
        await Git(repo.path)("cat-file", "blob", "HEAD:long.txt")


async def test_a_failure_is_told_in_gits_words(repo):
    with pytest.raises(WorkspaceError, match="nowhere") as caught:
        await Git(repo.path)("rev-parse", "nowhere", "--")
    assert caught.value.kind is Refusal.GIT_FAILED


async def test_a_lock_in_the_way_is_told_apart_from_other_failures(repo):
    repo.write(".git/index.lock", "")
    with pytest.raises(WorkspaceError) as caught:
        await Git(repo.path)("add", "--all")
    assert caught.value.kind is Refusal.BUSY


async def test_input_that_git_does_not_read_is_no_failure(repo):
    assert (await Git(repo.path)("version", stdin=b"x" * 1_000_000)).line.startswith("git version")
