"""Files with their hashes: read in a thread, never through a symbolic link, never waiting for a pipe."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from datetime import timedelta
from typing import TYPE_CHECKING

from orchestration.workspace.records import Change, ProducedFile, ProducedFiles
from orchestration.workspace.scopes import fixed_folder, is_inside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

__all__ = ["FILES_MAX", "describe", "produced_since", "shown"]

FILES_MAX = 1000
_CHUNK_BYTES = 1 << 20
_STAMP_SLACK = timedelta(milliseconds=20)  # the kernel stamps files by its last tick, which was before `since`
_OURS = {".git", ".orchestration"}


async def produced_since(
    root: Path, scopes: Sequence[str], since: datetime, *, limit: int = FILES_MAX
) -> ProducedFiles:
    """Return the files under the scopes that were written since then; for tasks that work in the root itself.

    They appear as modified: what was there before is not known. At most `limit`, by path; `.git` and `.orchestration`
    never count, and links to folders are not followed.

    Raises:
        ValueError: if a scope is no path below the root.

    """
    return await asyncio.to_thread(_produced_since, root, tuple(scopes), since - _STAMP_SLACK, limit)


async def describe(root: Path, changes: Mapping[str, Change]) -> tuple[ProducedFile, ...]:
    """Return the files of these relative paths, by path. One that is missing counts as deleted."""
    return await asyncio.to_thread(lambda: tuple(_file(root, path, changes[path]) for path in sorted(changes)))


def shown(path: str) -> str:
    """Return a path as text that can be stored: bytes that are no UTF-8 are spelled out in hexadecimal."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _produced_since(root: Path, scopes: Sequence[str], since: datetime, limit: int) -> ProducedFiles:
    tops = sorted({fixed_folder(scope) for scope in scopes})
    found = {
        path
        for top in tops
        for path, written_at_s in _walk(root, top)
        if written_at_s >= since.timestamp() and is_inside(path, scopes)
    }
    chosen = sorted(found)[:limit]
    files = tuple(_file(root, path, Change.MODIFIED) for path in chosen)
    return ProducedFiles(files=files, omitted=len(found) - len(chosen))


def _walk(root: Path, top: str) -> Iterator[tuple[str, float]]:
    """Yield each file at or below `top`, relative to the root, with the moment it was last written."""
    start = root / top
    above = start.parent if top else start  # it may lead out through a link
    if not above.resolve().is_relative_to(root.resolve()) or _OURS & set(top.split("/")):
        return
    if start.is_symlink() or not start.is_dir():
        yield from _stamped(root, [top])
        return
    for folder, folders, files in os.walk(start):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]  # noqa: PTH114, PTH118 -- many
        folders[:] = [name for name in folders if name not in _OURS]
        yield from _stamped(root, (os.path.relpath(os.path.join(folder, name), root) for name in [*files, *links]))  # noqa: PTH118


def _stamped(root: Path, paths: Iterable[str]) -> Iterator[tuple[str, float]]:
    for path in paths:
        try:
            yield path, (root / path).lstat().st_mtime
        except OSError:  # it vanished
            continue


def _file(root: Path, path: str, change: Change) -> ProducedFile:
    try:
        digest, size = _digest(root / path)
    except FileNotFoundError:
        change, digest, size = Change.DELETED, None, 0
    except OSError:  # not ours to read, or replaced by something else meanwhile
        digest, size = None, 0
    return ProducedFile(path=shown(path), change=change, sha256=digest, size_bytes=size)


def _digest(file: Path) -> tuple[str | None, int]:
    """Return the hash and size of the content of a file, or of a link's target; of anything else None and 0."""
    mode = file.lstat().st_mode
    if stat.S_ISLNK(mode):
        target = os.fsencode(file.readlink())
        return hashlib.sha256(target).hexdigest(), len(target)
    if not stat.S_ISREG(mode):
        return None, 0
    digest, size = hashlib.sha256(), 0
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size
