"""Real repositories, small and in temporary folders, and git by hand."""

import asyncio
import os
import subprocess

import pytest

from orchestration.workspace import Workspaces


class Repo:
    """A repository with one commit, in which git runs as a user would run it."""

    def __init__(self, path):
        self.path = path

    def git(self, *args, at=None, check=True, stdin=None):
        done = subprocess.run(
            ["git", *args], cwd=at or self.path, capture_output=True, text=True, check=False, input=stdin, timeout=60
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip("\n")

    def write(self, name, text, at=None):
        path = (at or self.path) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def commit(self, name, text, at=None):
        self.write(name, text, at)
        self.git("add", "-A", at=at)
        self.git("commit", "-qm", f"Write {name}", at=at)
        return self.head(at)

    def head(self, at=None):
        return self.git("rev-parse", "HEAD", at=at)

    def status(self, at=None):
        return self.git("status", "--porcelain", "--untracked-files=all", at=at)

    def read(self, name):
        return (self.path / name).read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch, tmp_path):
    """Keep the machine's own configuration of git out; a test's user has a name unless the test takes it away."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    config = tmp_path / "gitconfig"
    config.write_text(
        '[user]\nname = Ada\nemail = ada@example.org\n[init]\ndefaultBranch = main\n[protocol "file"]\nallow = always\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)


@pytest.fixture
def repo(tmp_path):
    root = tmp_path / "project"
    root.mkdir()
    made = Repo(root)
    made.git("init", "-q")
    made.commit("a.txt", "one\ntwo\nthree\n")
    return made


@pytest.fixture
def workspaces(repo):
    return Workspaces(repo.path, "demo")


@pytest.fixture
def work(repo, workspaces):
    """Open a workspace, write files into it and commit them: `await work("t", {"f": "text"})`."""

    async def work(task_id, files):
        workspace = await workspaces.open(task_id)
        for name, text in files.items():
            await asyncio.to_thread(repo.write, name, text, workspace.path)
        await workspace.commit(f"Do {task_id}")
        return workspace

    return work
