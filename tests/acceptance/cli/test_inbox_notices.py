"""Telling people that something waits for them, and answers that come back in files: with the real command."""

import json
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

pytestmark = pytest.mark.acceptance


def end(process, timeout=20):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def test_a_question_is_answered_in_a_file(project):
    project.write({"ask": ("person",), "draft": ("drafter",), "file": ("say", "ask")})
    project("run")
    done = project("export", "--all", "--to", "out")
    assert done.returncode == 0
    package = project.folder / "out" / "ask.md"
    lines = package.read_text().split("\n")
    begin = max(index for index, line in enumerate(lines) if line.endswith("from the next line on -->"))
    package.write_text("\n".join([*lines[: begin + 1], "Short and done", *lines[begin + 1 :]]))
    taken = project("import", "out")
    assert taken.returncode == 0, taken.stderr
    assert "the answer to 'ask' is recorded" in taken.stdout
    assert "the draft is unchanged, left alone" in taken.stdout
    project("run")
    assert project.statuses()["file"] == "completed"
    project("reset", "ask")
    project("run")
    refused = project("import", "out/ask.md")
    assert refused.returncode == 2
    assert "this answers attempt 1 of task 'ask', which is at attempt 2 now" in refused.stderr


KEEP = "import sys; open('told.jsonl', 'a').write(sys.stdin.read() + '\\n')"


class TestNotices:
    def told(self, project):
        path = project.folder / "told.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def test_a_command_is_told_once_by_whichever_run_finds_the_question(self, project):
        project.write({"ask": ("person",)}, notify={"command": [sys.executable, "-c", KEEP]})
        assert project("run").returncode == 0
        assert project("run").returncode == 0
        (said,) = self.told(project)
        assert (said["occasion"], said["task_id"], said["commands"]) == ("asked", "ask", ["orchestrate answer ask"])

    def test_reminders_and_the_end_of_waiting_are_told(self, project):
        wait = {"deadline_s": 1.5, "remind_every_s": 0.6, "default": "go on"}
        tasks = {"ask": {"agent": "person", "wait": wait}, "gate": ("hold",)}
        project.write(tasks, notify={"command": [sys.executable, "-c", KEEP]})
        run = project.start("run")
        project.until(lambda: [said["occasion"] for said in self.told(project)][-1:] == ["expired"])
        project.let_go("gate")
        assert end(run)[0] == 0
        occasions = [said["occasion"] for said in self.told(project)]
        assert occasions[:2] == ["asked", "reminder"]
        assert occasions[-1] == "expired"
        assert project("run").returncode == 0
        assert [said["occasion"] for said in self.told(project)] == occasions

    def test_a_webhook_gets_a_post_and_no_prompt(self, project, hook):
        project.write(
            {"ask": {"agent": "person", "title": "Find a headline", "description": "Quote the secret plan."}},
            notify={"webhook_env": "MY_HOOK"},
        )
        assert project("run", env={"MY_HOOK": hook.url}).returncode == 0
        (said,) = hook.bodies
        assert (said["task_id"], said["title"]) == ("ask", "Find a headline")
        assert "secret plan" not in json.dumps(said)

    def test_nobody_who_can_be_told_is_no_reason_to_fail(self, project):
        project.write({"ask": ("person",), "alone": ("say",)}, notify={"command": ["no-such-program-anywhere"]})
        done = project("run")
        assert done.returncode == 0
        assert "nobody was told that task 'ask' waits" in done.stderr + done.stdout
        assert project.statuses() == {"ask": "waiting", "alone": "completed"}

    def test_a_command_that_hangs_when_the_run_is_killed_is_told_again_and_leaves_nothing(self, project):
        hang = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(1000)"
        project.write({"ask": ("person",), "gate": ("hold",)}, notify={"command": [sys.executable, "-c", hang]})
        run = project.start("run")
        pid = project.until(lambda: (project.folder / "pid").exists() and (project.folder / "pid").read_text())
        run.send_signal(signal.SIGKILL)
        run.wait()
        project.let_go("gate")
        project.write({"ask": ("person",), "gate": ("hold",)}, notify={"command": [sys.executable, "-c", KEEP]})
        assert project("run").returncode == 0
        assert [said["occasion"] for said in self.told(project)] == ["asked"]
        state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True, check=False).stdout
        assert state.strip()[:1] in {"", "Z"}  # whoever has inherited it may not have buried it yet


@pytest.fixture
def hook():
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.bodies = []
    server.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
