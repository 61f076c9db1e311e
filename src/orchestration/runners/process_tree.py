"""The processes that a child has become: found by what the system knows of them, and ended.

Knows pids, sessions, marks and signals; no pipe and no task. Everything it finds it reads from /proc. Where there is
none (macOS), a tree is the process group of its leader: descendants in groups of their own, and what a dead
orchestrator left behind, are not found there.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["MARK_VARIABLE", "Process", "ProcessTree", "end_all", "has_group", "sweep"]

MARK_VARIABLE = "ORCHESTRATION_OWNER"  # "<owner>#<unique>", a line for each orchestrator it runs under

_GRACE_S = 0.8  # between the polite signal and the last one: all is gone within 2 s of a cancellation
_KILL_S = 5.0  # a process stuck in the kernel is not waited for longer
_AGAIN_S = 0.1  # killed ones that are slow to go do not keep the search for new ones waiting
_POLL_S = 0.02
_EXEC_S = 2.0  # what a dead orchestrator had forked has become a program by then
_YOUNG_S = 10.0
_PROC = Path("/proc")
# Flags of a process, from linux/sched.h; /proc/PID/stat shows them.
_FORKED_NO_EXEC = 0x40
_KERNEL_THREAD = 0x200000


class Process(NamedTuple):
    """A living process. `started` is in clock ticks since the system's start: with it, a pid names one process."""

    pid: int
    parent: int
    group: int
    session: int
    flags: int
    started: int


class ProcessTree:
    """A child and what came of it: its session, whatever carries its mark, and the descendants of all these.

    The mark is a variable of the environment, which children inherit: it finds those that left the session (forked
    twice, `setsid`). One that did so, outlived its parent and has cleared its environment is not found.

    Raises:
        ValueError: if the owner has more than one line.

    """

    def __init__(self, owner: str) -> None:
        if "\n" in owner:
            raise ValueError(f"cannot mark processes with owner {owner!r}; expected a name of one line")
        inherited = os.environ.get(MARK_VARIABLE)
        self._mark = f"{owner}#{os.urandom(8).hex()}"
        self.mark = f"{inherited}\n{self._mark}" if inherited else self._mark
        self._since = _ticks_now() - 1  # rounded down there, too

    def living(self, leader: int) -> list[Process]:
        """Return the processes of the tree that are alive now."""
        if not _has_proc():
            return _group_alone(leader)
        mark = self._mark.encode(errors="surrogateescape")
        everyone = list(_processes())
        roots = {
            each.pid
            for each in everyone
            if each.session == leader or (each.started >= self._since and mark in _environment(each.pid))
        }
        return _with_descendants(everyone, roots)


async def end_all(find: Callable[[], Sequence[Process]], *, group: int | None = None) -> Sequence[Process]:
    """End what `find` finds, until it finds nothing: SIGTERM, a second's grace, SIGKILL. Return those that survived.

    A `group` that holds nothing else is signalled as one, so that none of its members can fork in between. It takes
    6 s at most.
    """
    clock = asyncio.get_running_loop().time
    found: Sequence[Process] = ()
    for signum, patience_s, again_s in ((signal.SIGTERM, _GRACE_S, _GRACE_S), (signal.SIGKILL, _KILL_S, _AGAIN_S)):
        deadline_s = clock() + patience_s
        while found := await _found_for_sure(find):
            if clock() >= deadline_s:
                break
            _signal(found, signum, group)
            await _until_gone(found, min(deadline_s, clock() + again_s))
        else:
            return ()
    return found


async def sweep(owner: str) -> list[int]:
    """End what a dead orchestrator of this owner left behind, and return the pids, in order.

    To be called by one that has taken the dead one's place: it cannot tell leftovers from what a living orchestrator
    runs. It spares itself, its ancestors, its descendants and its session. Where there is no /proc it finds nothing.

    Raises:
        ValueError: if the owner is empty, as that of projects in memory is.

    """
    if not owner:
        raise ValueError("cannot sweep up after owner ''; expected the name that was given to run_process")
    if not _has_proc():
        return []
    ended: set[int] = set()

    def find() -> list[Process]:
        found = _left_by(owner)
        ended.update(each.pid for each in found)
        return found

    deadline_s = asyncio.get_running_loop().time() + _EXEC_S
    while _fledglings(owner) and asyncio.get_running_loop().time() < deadline_s:  # noqa: ASYNC110 -- nothing tells of it
        await asyncio.sleep(_POLL_S)
    survivors = await end_all(find)
    return sorted(ended.difference(each.pid for each in survivors))


async def _found_for_sure(find: Callable[[], Sequence[Process]]) -> Sequence[Process]:
    """Find; look a second time before it is nothing: in the middle of an exec, a process shows no environment."""
    found = find()
    if not found and _has_proc():
        await asyncio.sleep(_POLL_S)
        found = find()
    return found


def _signal(processes: Sequence[Process], signum: int, group: int | None) -> None:
    """Send each the signal, once."""
    if group is not None and any(each.group == group for each in processes):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signum)
    for each in processes:
        if each.group != group:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(each.pid, signum)


async def _until_gone(processes: Iterable[Process], deadline_s: float) -> None:
    clock = asyncio.get_running_loop().time
    pause_s = _POLL_S / 8
    left = list(processes)
    while left and clock() < deadline_s:
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _POLL_S)
        left = [each for each in left if _is_living(each)]


def _is_living(process: Process) -> bool:
    if not _has_proc():
        return has_group(process.pid)
    now = _look(process.pid)
    return now is not None and now.started == process.started


def _left_by(owner: str) -> list[Process]:
    """Return what carries the owner's mark, and its descendants, less those that `sweep` spares."""
    everyone = list(_processes())
    roots = {each.pid for each in everyone if owner in _owners(each.pid)}
    me, session = os.getpid(), os.getsid(0)
    spared = {each.pid for each in _with_descendants(everyone, {me})} | set(_ancestors(everyone, me))
    found = _with_descendants(everyone, roots)
    return [each for each in found if each.pid not in spared and each.session != session]


def _owners(pid: int) -> Iterator[str]:
    """Yield whose marks the process carries."""
    name = f"{MARK_VARIABLE}=".encode()
    for variable in _environment(pid).split(b"\0"):
        if variable.startswith(name):
            for mark in variable.removeprefix(name).split(b"\n"):
                yield mark.rpartition(b"#")[0].decode(errors="surrogateescape")


def _fledglings(owner: str) -> list[Process]:
    """Return those that an orchestrator may have forked just before it died, and that are no program of their own yet.

    Such a process has the environment of the orchestrator, not the mark. It is an orphan, runs the interpreter that we
    run, and is young; nothing is done to it but to wait.
    """
    everyone = {each.pid: each for each in _processes()}
    since = _ticks_now() - round(_YOUNG_S * _ticks_per_s())
    me, interpreter = os.getpid(), _program(os.getpid())
    return [
        each
        for each in everyone.values()
        if each.flags & _FORKED_NO_EXEC
        and not each.flags & _KERNEL_THREAD
        and each.started >= since
        and each.pid != me
        and _program(each.pid) == interpreter
        and (each.parent == 1 or _program(each.parent) != interpreter)
        and owner not in _owners(each.pid)
    ]


def _with_descendants(everyone: Iterable[Process], roots: set[int]) -> list[Process]:
    children: dict[int, list[Process]] = {}
    found = []
    for each in everyone:
        children.setdefault(each.parent, []).append(each)
        if each.pid in roots:
            found.append(each)
    for each in found:  # grows
        found += [child for child in children.get(each.pid, ()) if child.pid not in roots]
    return found


def _ancestors(everyone: Iterable[Process], pid: int) -> Iterator[int]:
    parents = {each.pid: each.parent for each in everyone}
    while pid := parents.get(pid, 0):
        yield pid


def _processes() -> Iterator[Process]:
    """Yield all living processes that can be seen."""
    for name in os.listdir(_PROC):  # noqa: PTH208 -- a tenth of the time of iterdir, on the event loop
        if name.isdigit() and (process := _look(int(name))) is not None:
            yield process


def _look(pid: int) -> Process | None:
    """Return the living process of that number.

    A zombie is not living: it only waits for its parent to notice, which in a container may be never. But with a main
    thread that has ended before the others, a process looks like one.
    """
    # The name, in parentheses, may contain anything.
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    if not fields or (fields[0] in b"ZX" and int(fields[17]) <= 1):
        return None
    return Process(
        pid=pid,
        parent=int(fields[1]),
        group=int(fields[2]),
        session=int(fields[3]),
        flags=int(fields[6]),
        started=int(fields[19]),
    )


def _environment(pid: int) -> bytes:
    """Return the environment with which the process was started; empty where that is not ours to see."""
    return _read(pid, "environ")


def _read(pid: int, name: str) -> bytes:
    """Return a file of the process; empty if it is gone, as it may be at any point, or not ours to see."""
    try:
        with open(f"{_PROC}/{pid}/{name}", "rb", buffering=0) as file:  # noqa: PTH123 -- half of the time of Path.open
            return file.read()
    except OSError:
        return b""


def _program(pid: int) -> Path | None:
    try:
        return (_PROC / str(pid) / "exe").readlink()
    except OSError:
        return None


def _has_proc() -> bool:
    return (_PROC / "self" / "stat").exists()


def has_group(group: int) -> bool:
    """Say whether the process group has members, at the price of one system call."""
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _group_alone(leader: int) -> list[Process]:
    known = Process(pid=leader, parent=0, group=leader, session=leader, flags=0, started=0)
    return [known] if has_group(leader) else []


def _ticks_now() -> int:
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return int(time.clock_gettime(clock) * _ticks_per_s())


def _ticks_per_s() -> int:
    return os.sysconf("SC_CLK_TCK")
