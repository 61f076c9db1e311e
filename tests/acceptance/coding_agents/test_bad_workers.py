"""Workers that misbehave, in a run with others that do not: each is told apart in words, and nobody else suffers."""

import itertools
import json
import sys
import threading
import time
from pathlib import Path

import pytest

from orchestration.testing.cli_agents import calls_of

pytestmark = pytest.mark.acceptance

# Prints 1 GB: as lines of 1,000 characters, or as one.
LINES = "import sys; [sys.stdout.buffer.write((b'x' * 999 + b'\\n') * 1_000) for _ in range(1_000)]"
ONE_LINE = "import sys; [sys.stdout.buffer.write(b'x' * 1_000_000) for _ in range(1_000)]"
RSS_MAX_BYTES = 150_000_000


def fake(project, **more):
    """Return an agent that plays what the project's plays.json says."""
    script = str(project.folder / "plays.json")
    command = [sys.executable, "-m", "orchestration.testing.cli_agents", "claude", "--script", script]
    return {"type": "cli", "tool": "claude", "command": command, **more}


class Memory:
    """The most memory that a process had, as long as it was looked at."""

    def __init__(self, pid):
        self.most_bytes = 0
        self._status = Path(f"/proc/{pid}/status")
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self):
        try:
            while True:
                text = self._status.read_text()
                self.most_bytes = int(text.partition("VmHWM:")[2].split()[0]) * 1024
                time.sleep(0.02)
        except (OSError, IndexError):  # it has ended
            return


@pytest.fixture
def run(project):
    """Return a function that runs workers beside good ones; it returns what became of them, and the most memory."""

    def run(workers, plays=None):
        agents = {name: worker["agent"] for name, worker in workers.items()}
        tasks = {name: {"agent": name, **worker.get("task", {})} for name, worker in workers.items()}
        agents["good"] = {"type": "script", "command": ["sh", "-c", "sleep 0.2; echo well"]}
        good = [f"good-{number}" for number in range(8)]
        before = {"good-0": []} | {name: [above] for above, name in itertools.pairwise(good)}
        tasks |= {name: {"agent": "good", "dependencies": before[name]} for name in good}
        document = {"project": "trial", "agents": agents, "tasks": tasks, "retry": {"base_delay_s": 0.01}}
        (project.folder / "orchestrate.yaml").write_text(json.dumps(document, indent=1))
        (project.folder / "plays.json").write_text(json.dumps(plays or {}))
        (project.folder / ".gitignore").write_text("plays.json.state/\n")
        project.git("add", ".")
        project.git("commit", "--quiet", "--message", "Begin")
        process = project.start("orchestrate", "run")
        memory = Memory(process.pid)
        out, err = process.communicate(timeout=200)
        assert "Traceback" not in out + err
        status = project.status()
        assert {status[name]["status"] for name in good} == {"completed"}
        assert project.count() == 0
        found = {name: (status[name]["status"], project.show(name)) for name in workers}
        return found, memory.most_bytes

    return run


def program(code):
    return [sys.executable, "-c", code]


def ends(found):
    """Return, by task, its status with the kind of its failure and what there is to say."""
    told = {}
    for name, (status, shown) in found.items():
        result = shown["result"]
        kind = result["metadata"].get("failure_kind", "")
        told[name] = (f"{status} {kind}".strip(), result["error"] or result["output"])
    return told


@pytest.mark.timeout(240)
def test_workers_that_print_1_gb_take_no_memory_for_it_and_are_told(run, project):
    once = {"max_attempts": 1}
    found, most_bytes = run(
        {
            "script": {"agent": {"type": "script", "command": program(LINES)}},
            "command": {"agent": {"type": "cli", "command": program(ONE_LINE)}},
            "tool": {"agent": fake(project, command=program(LINES)), "task": once},
            "tool-one-line": {"agent": fake(project, command=program(ONE_LINE)), "task": once},
        }
    )

    told = ends(found)
    for name, advice in {"script": "have it write a file", "command": "have it write its result to"}.items():
        assert told[name][0] == "failed task_error"
        assert f"printed more than 10,000,000 bytes and was stopped; {advice}" in told[name][1]
    for name in ("tool", "tool-one-line"):
        assert told[name][0] == "failed bad_output"
        assert "ended without saying that it is done" in told[name][1]
    assert "lines of more than 10 MB were dropped" in told["tool-one-line"][1]
    assert 0 < most_bytes < RSS_MAX_BYTES
    kept = sum(file.stat().st_size for file in project.folder.rglob("*.log"))
    assert 0 < kept < 2 * 4 * 20_000_000, "of each output the first and the last 10 MB are kept"


def test_workers_that_never_end_are_ended_when_their_time_is_over(run, project):
    found, _ = run(
        {
            "script": {"agent": {"type": "script", "command": ["sleep", "3600"]}, "task": {"timeout_s": 1}},
            "deaf": {"agent": fake(project), "task": {"timeout_s": 2}},
            "silent": {"agent": fake(project, idle_timeout_s=1), "task": {"max_attempts": 2}},
            "checked": {
                "agent": {"type": "cli", "command": ["echo", "done"]},
                "task": {"timeout_s": 1, "checks": [{"command": ["sleep", "3600"]}]},
            },
        },
        {
            "deaf": [[{"say": "Let me see."}, {"deaf": True}, {"fork": 3600}, {"hang": True}]],
            "silent": [[{"say": "Let me see."}, {"hang": True}]],
        },
    )

    told = ends(found)
    assert {status for status, _ in told.values()} == {"failed timeout"}
    for name, seconds in {"script": 1, "deaf": 2, "checked": 1}.items():
        assert f"{name!r} did not finish within {seconds} s; raise its timeout_s" in told[name][1]
    assert "said nothing for 1 s; raise idle_timeout_s" in told["silent"][1]


def test_what_is_written_outside_of_its_scope_is_refused_by_name_and_never_merged(run, project):
    writes = {"writes": ["mine/**"], "max_attempts": 2}
    found, _ = run(
        {"stray": {"agent": fake(project, permissions="edit"), "task": writes}},
        {"stray": [[{"write": {"mine/a": "a", "yours/b": "b"}}, {"say": "done"}]]},
    )

    status, error = ends(found)["stray"]
    assert status == "failed check_failed"
    assert "outside of what the task may write (mine/**): yours/b; take the changes back" in error
    assert not (project.folder / "yours").exists()
    assert not (project.folder / "mine").exists()
    assert error in calls_of(project.folder / "plays.json")[1]["prompt"], "the second attempt was told"


def test_half_a_line_is_a_failure_and_lines_too_long_or_in_no_encoding_do_no_harm(run, project):
    found, most_bytes = run(
        {
            "half": {"agent": fake(project), "task": {"max_attempts": 1}},
            "not-utf-8": {"agent": fake(project)},
            "not-utf-8-at-all": {"agent": {"type": "script", "command": ["printf", "caf\\351"]}},
            "only-noise": {"agent": fake(project), "task": {"max_attempts": 1}},
            "fifty-mb": {"agent": fake(project)},
        },
        {
            "half": [[{"say": "done"}, {"half": True}]],
            "not-utf-8": [[{"print": "\udcff\udcfe"}, {"say": "done"}]],
            "only-noise": [[{"print": "\udcff\udcfe{"}, {"exit": 0}]],
            "fifty-mb": [[{"flood": 50}, {"say": "done"}]],
        },
    )

    told = ends(found)
    for name in ("half", "only-noise"):
        assert told[name][0] == "failed bad_output"
        assert "ended without saying that it is done" in told[name][1]
    assert told["not-utf-8"] == ("completed", "done")
    assert told["not-utf-8-at-all"] == ("completed", "caf\ufffd")
    assert told["fifty-mb"] == ("completed", "done")
    assert 0 < most_bytes < RSS_MAX_BYTES
