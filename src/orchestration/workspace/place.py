"""Where a task's workspace is: its folder, branch, refs, lock and note. Names only; nothing is read but the note."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path  # noqa: TC003 -- a field of a record

from orchestration.workspace.scopes import WORKTREES

__all__ = ["Note", "Place", "Stage", "place_of", "write_durably"]

# One case, so that no two ids share a folder on a disk that ignores it; nothing git refuses in the name of a branch.
_PLAIN = re.compile(r"[a-z0-9_](?:[a-z0-9_+-]|\.(?!\.|lock$))*(?<!\.)")
_PLAIN_MAX = 100
_HASH_LENGTH = 10


@dataclass(frozen=True, kw_only=True)
class Place:
    """The names that belong to one task."""

    task_id: str
    folder: Path
    branch: str

    @property
    def ref(self) -> str:
        """The full name of the branch."""
        return f"refs/heads/{self.branch}"

    @property
    def base_ref(self) -> str:
        """A ref of our own at the commit the work started from, which also keeps that from git's clean-up."""
        return f"refs/{self.branch}/base"

    @property
    def lock(self) -> Path:
        """The file whose lock is held by whoever changes this workspace."""
        return self.folder.with_name(f"{self.folder.name},lock")

    @property
    def note(self) -> Path:
        """The file that says how far the workspace has come."""
        return self.folder.with_name(f"{self.folder.name},json")

    def git_locks(self, git_folder: Path, admin: Path) -> list[Path]:
        """Return the lock files that a git killed in this workspace may leave."""
        refs = [git_folder / f"{ref}.lock" for ref in (self.ref, self.base_ref)]
        return [admin / "index.lock", admin / "HEAD.lock", *refs]


def place_of(root: Path, project_id: str, task_id: str) -> Place:
    """Return the names of a task: the same for the same ids, and never those of another task."""
    project, task = _safe(project_id), _safe(task_id)
    folder = root / WORKTREES / project / task
    return Place(task_id=task_id, folder=folder, branch=f"orchestrate/{project}/{task}")


def _safe(name: str) -> str:
    if len(name) <= _PLAIN_MAX and _PLAIN.fullmatch(name):
        return name
    # A comma, which no plain name has, keeps the two kinds apart.
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:_HASH_LENGTH]
    return f"{re.sub('[^a-z0-9_]+', '-', name.lower()).strip('-')[:40]},{digest}"


class Stage(StrEnum):
    """How far a workspace has come; a crash is told from work by it."""

    CREATING = "creating"  # nobody has worked in it: it may be thrown away
    READY = "ready"
    BRINGING = "bringing"  # the root's branch is being merged into it; all work is in `commit`


@dataclass(frozen=True, kw_only=True)
class Note:
    """What is kept beside the workspace. `target` is the branch it is for."""

    task_id: str
    target: str
    stage: Stage
    commit: str = ""

    def at(self, stage: Stage, commit: str = "") -> Note:
        """Return the note of another stage."""
        return replace(self, stage=stage, commit=commit)

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        write_durably(
            path, json.dumps({"task": self.task_id, "target": self.target, "stage": self.stage, "commit": self.commit})
        )

    @classmethod
    def read(cls, path: Path) -> Note | None:
        """Return the note; None where there is none that can be read."""
        try:
            data = json.loads(path.read_bytes())
            return cls(task_id=data["task"], target=data["target"], stage=Stage(data["stage"]), commit=data["commit"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def write_durably(path: Path, text: str) -> None:
    """Write a small file whole or not at all, so that it outlives a power cut."""
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
