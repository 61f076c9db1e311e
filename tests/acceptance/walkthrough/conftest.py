"""A folder to type commands in, as a reader of the documentation does: the real command in real processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
KEYS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY")


class Shell:
    """A folder, and an environment without any key."""

    def __init__(self, folder):
        self.folder = folder
        self.env = {name: value for name, value in os.environ.items() if name not in KEYS}
        self.env |= {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}

    def start(self, *words):
        """Start a command whose output is read while it runs."""
        return subprocess.Popen(words, cwd=self.folder, env=self.env, stdout=subprocess.PIPE, text=True)

    def __call__(self, *words, exit_code=0):
        """Run a command to its end and return what it printed."""
        done = subprocess.run(words, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False)
        said = f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert str(done.returncode) in str(exit_code).split(" or "), said
        assert "Traceback" not in done.stderr, said
        return done.stdout

    def status(self):
        """Return each task's entry in `orchestrate status --json` by its id."""
        return {task["task_id"]: task for task in json.loads(self("orchestrate", "status", "--json"))["tasks"]}

    def output(self, task_id):
        """Return what `orchestrate show --json` gives as the task's output, or as its draft."""
        return json.loads(self("orchestrate", "show", task_id, "--json"))["result"]["output"]

    def read(self, name):
        """Return a file's text."""
        return (self.folder / name).read_text("utf-8")


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


@pytest.fixture(scope="session")
def open_shell():
    """Open a shell in any folder."""
    return Shell
