"""The example `coding-agents`, and projects of workers that misbehave: the real command in real processes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
sys.path.insert(0, str(REPOSITORY))  # the harness is the benchmark's

from benchmarks import stubborn_project  # noqa: E402
from benchmarks.coding_agents_project import live_and_die, marked  # noqa: E402

from orchestration.orchestrator import state_path  # noqa: E402
from orchestration.testing.cli_agents import calls_of  # noqa: E402

BIN = Path(sys.executable).parent
EXAMPLE = REPOSITORY / "examples" / "coding-agents"


def until(condition, timeout_s=30):
    """Wait, not for ever, until something is the case."""
    give_up_at = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < give_up_at, f"waited {timeout_s} s for {condition}"
        time.sleep(0.01)
    return found


class Project:
    """A folder with an orchestrate.yaml, and the commands typed in it."""

    until = staticmethod(until)

    def __init__(self, folder, project_id):
        self.folder = folder
        self.owner = str(state_path(folder, project_id).absolute())
        # What a killed process would save of its coverage is lost anyway, and measuring makes it slow.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
        self.env = {**inherited, "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
        self.started = []

    def start(self, *words):
        """Start a command in a session of its own, and leave it running."""
        process = subprocess.Popen(
            words,
            cwd=self.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def __call__(self, *words, exit_code=0):
        """Run a command to its end and return what it printed."""
        process = self.start(*words)
        out, err = process.communicate(timeout=60)
        assert process.returncode == exit_code, f"{' '.join(words)}: exit code {process.returncode}\n{out}\n{err}"
        assert "Traceback" not in err, err
        return out

    def git(self, *words, **options):
        return self("git", *words, **options)

    def status(self):
        """Return task id -> its entry in `orchestrate status --json`."""
        return {task["task_id"]: task for task in json.loads(self("orchestrate", "status", "--json"))["tasks"]}

    def show(self, task):
        return json.loads(self("orchestrate", "show", task, "--json"))

    def count(self):
        """Return how many processes of the project's workers are alive."""
        return len(marked(self.owner))

    def close(self):
        """Leave nothing behind, whatever the test has found."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        end(self.owner)


def end(owner):
    for pid in marked(owner):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Shop(Project):
    """A copy of the example, in a git repository of its own."""

    def __init__(self, folder):
        super().__init__(folder, "shop")
        subprocess.run([EXAMPLE / "set-up.sh", folder], check=True, env=self.env)
        self.git("config", "user.name", "You")
        self.git("config", "user.email", "you@example.org")

    def change(self, name, old, new):
        """Change a file of the project, and commit that."""
        file = self.folder / name
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
        self.git("commit", "--quiet", "--all", "--message", f"Change {name}")

    def integrate(self, first):
        """Let the integrator's first call come to something else; the next ones resolve the conflict."""
        file = self.folder / "agents" / "integrator.json"
        file.write_text(json.dumps({"*": [first, *json.loads(file.read_text())["*"]]}))
        self.git("commit", "--quiet", "--all", "--message", "Change the integrator")

    def calls(self, script="developers"):
        """Return what was asked of made-up agents."""
        return calls_of(self.folder / "agents" / f"{script}.json")


@pytest.fixture
def shop(tmp_path):
    made = Shop(tmp_path / "shop")
    yield made
    made.close()


@pytest.fixture
def project(tmp_path):
    """A project in an empty folder that is a git repository."""
    made = Project(tmp_path, "trial")
    made.git("init", "--quiet", "--initial-branch=main")
    made.git("config", "user.name", "You")
    made.git("config", "user.email", "you@example.org")
    yield made
    made.close()


@pytest.fixture
def cancel(tmp_path):
    """Return a function that runs workers of every kind, and stops them in one of the ways."""
    yield lambda way: stubborn_project.cancel(tmp_path, way)
    end(stubborn_project.owner_of(tmp_path))


@pytest.fixture
def lives(tmp_path):
    """Return a function that lets the example live and die as chance has it, and tells what came of it."""
    return lambda seed, reviewer: live_and_die(tmp_path / "shop", seed, reviewer)
