"""`kill -9` anywhere in opening, committing, merging and removing: nothing is lost, and the next one goes on."""

import asyncio
import contextlib
import os
import random
import signal
import sys
from pathlib import Path

import pytest

from orchestration.workspace import Merged, Workspaces, recover

DYING = Path(__file__).with_name("dying.py")


def gits_of(pid):
    """Return the processes that a process has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == pid:
            found.append(int(folder.name))
    return found


async def run_and_kill(root, start, after_s, *, files, with_gits, in_merge):
    """Let it work for so long and kill it; return the facts it told. Its gits die with it, or finish what they do."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(DYING), str(root), str(start), str(files), stdout=asyncio.subprocess.PIPE
    )
    first = await process.stdout.readline()  # it is at work
    intent = root / ".orchestration/worktrees/landing.json"
    while in_merge and not intent.exists():  # noqa: ASYNC110 -- a file of another process has no event
        await asyncio.sleep(0.001)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), after_s)
    os.kill(process.pid, signal.SIGSTOP)
    gits = gits_of(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    for pid in gits if with_gits else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    rest = await process.stdout.read()
    await process.wait()
    return [line.split() for line in (first + rest).decode().splitlines()]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("with_gits", [False, True])
@pytest.mark.parametrize(("in_merge", "files", "within_s"), [(False, 30, 0.4), (True, 80, 0.15)])
async def test_no_commit_is_lost_and_work_goes_on_after_a_kill(repo, with_gits, in_merge, files, within_s):
    chosen = random.Random(f"{with_gits} {in_merge}")
    for attempt in range(5):
        facts = await run_and_kill(
            repo.path,
            attempt * 1000,
            chosen.uniform(0.0, within_s),
            files=files,
            with_gits=with_gits,
            in_merge=in_merge,
        )
        workspaces = Workspaces(repo.path, "demo")
        await recover(repo.path)
        assert repo.status() == ""
        for kind, _, commit in facts:
            if kind == "merged":
                repo.git("merge-base", "--is-ancestor", commit, "HEAD")
        for left in await workspaces.list_left():
            workspace = await workspaces.open(left.task_id)
            await workspace.commit("Go on")
            assert isinstance(await workspace.merge("Merge what was left"), Merged)
            assert await workspace.remove() is None
        for _, _, commit in facts:
            repo.git("merge-base", "--is-ancestor", commit, "HEAD")
        assert repo.status() == ""
    assert repo.git("worktree", "list").count("\n") == 0
    assert repo.git("fsck", "--no-dangling", "--connectivity-only") == ""
    assert not [*(repo.path / ".git").rglob("*.lock")]
