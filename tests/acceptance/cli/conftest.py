"""A project in a folder of its own, driven by the real command in real processes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from orchestration.cli.place import Place
from orchestration.cli.snapshot import read_snapshot
from orchestration.views.model import view

# Started in the background of a shell, as CI may be, the tests inherit an ignored SIGINT, and so would the commands.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ORCHESTRATE = str(Path(sys.executable).with_name("orchestrate"))

WORK = '''\
import asyncio, signal, threading, time, warnings
from pathlib import Path

def _note(work, what):
    with open(work.root / "ledger.txt", "a") as ledger:
        ledger.write(f"{what} {work.task.task_id}\\n")

def say(work):
    """Answer at once."""
    _note(work, "did")
    print("printed by", work.task.task_id)
    said = f" ({work.context.comment})" if work.context.comment else ""
    return f"out of {work.task.task_id}{said}"

async def hold(work):
    """Answer when <id>.go is there."""
    _note(work, "began")
    (work.root / f"{work.task.task_id}.began").touch()
    while not (work.root / f"{work.task.task_id}.go").exists():
        await asyncio.sleep(0.01)
    _note(work, "did")
    return f"out of {work.task.task_id}"

def fail(work):
    """Fail until the file "mended" is there."""
    if not (work.root / "mended").exists():
        raise ValueError("it is broken \\x1b[31mred")
    return say(work)

def block(work):
    """Hold a thread for ever."""
    (work.root / f"{work.task.task_id}.began").touch()
    threading.Event().wait()

async def freeze(work):
    """Hold the event loop for ever, which a function should not."""
    (work.root / f"{work.task.task_id}.began").touch()
    while True:
        time.sleep(0.01)
'''

HOLDING_SCRIPT = """\
#!/bin/sh
echo $$ > script.pid.tmp && mv script.pid.tmp script.pid
sleep 1000
"""

AGENTS = {
    name: {"type": "python", "function": f"work:{name}"} for name in ("say", "hold", "fail", "block", "freeze")
} | {
    "person": {"type": "human"},
    "drafter": {"type": "python", "function": "work:say", "mode": "hybrid"},
    "script": {"type": "script", "command": ["./hold.sh"]},
}


def until(condition, timeout_s=20):
    """Wait, not for ever, until something is the case."""
    give_up_at = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < give_up_at, f"waited {timeout_s} s for {condition}"
        time.sleep(0.005)
    return found


def environment(cache, **more):
    """Return this environment, with compiled modules kept in a folder of the tests': each command starts faster."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**inherited, "PYTHONPYCACHEPREFIX": str(cache), **more}


class Project:
    """A folder with an orchestrate.yaml, and the processes started on it."""

    command = ORCHESTRATE
    until = staticmethod(until)

    def __init__(self, folder, cache):
        self.folder = folder
        self.env = environment(cache)
        self.started = []
        (folder / "work.py").write_text(WORK)
        (folder / "hold.sh").write_text(HOLDING_SCRIPT)
        (folder / "hold.sh").chmod(0o755)

    def write(self, tasks, **top):
        """Write the project file; `tasks` is id -> (agent, dependencies...) or a mapping. JSON is YAML."""
        full = {
            name: task if isinstance(task, dict) else {"agent": task[0], "dependencies": list(task[1:])}
            for name, task in tasks.items()
        }
        document = {"project": "trial", "agents": AGENTS, "tasks": full} | top
        (self.folder / "orchestrate.yaml").write_text(json.dumps(document, indent=1))

    def __call__(self, *arguments, stdin="", env=None, timeout=30):
        """Run the command to its end."""
        return subprocess.run(
            [ORCHESTRATE, *arguments],
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            env={**self.env, **(env or {})},
            timeout=timeout,
            check=False,
        )

    def start(self, *arguments, **options):
        """Start the command and leave it running."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": self.env} | options
        process = subprocess.Popen([ORCHESTRATE, *arguments], cwd=self.folder, **options)
        self.started.append(process)
        return process

    def json(self, *arguments):
        """Run the command with --json and return its document."""
        done = self(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def statuses(self):
        """Return task id -> status, read as `orchestrate status` does."""
        seen = view(read_snapshot(Place(folder=str(self.folder))).state, datetime.now(UTC))
        return {row.task_id: row.status.value for row in seen.rows}

    def began(self, task):
        return until((self.folder / f"{task}.began").exists)

    def let_go(self, *tasks):
        for task in tasks:
            (self.folder / f"{task}.go").touch()

    def ledger(self):
        path = self.folder / "ledger.txt"
        return path.read_text().splitlines() if path.exists() else []

    def close(self):
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.communicate()


class ModelServer:
    """Speaks OpenAI's wire over real sockets: answers at once, with 200 tokens in and 150 out.

    Save for models with a word of trouble in their name. `busy`: 503 until `mend()`; `broke`: 429 insufficient_quota
    until `mend()`; `limited`: the first call gets a 429 that asks for a second of patience; `stuck`: no answer until
    `mend()`.
    """

    def __init__(self):
        self.calls = Counter()
        self._mended = threading.Event()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def agent(self, model, **more):
        """Return an agent of a project file that asks this server."""
        return {"type": "openai", "model": model, "base_url": self.url, "max_tokens": 200} | more

    def mend(self):
        self._mended.set()

    def close(self):
        self.mend()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, model):
        """Return status, headers and body for a call."""
        with self._lock:
            self.calls[model] += 1
            is_first = self.calls[model] == 1
        if "stuck" in model:
            self._mended.wait()
        if "busy" in model and not self._mended.is_set():
            return 503, {}, _error("try later", "server_error")
        if "broke" in model and not self._mended.is_set():
            return 429, {}, _error("you exceeded your current quota", "insufficient_quota")
        if "limited" in model and is_first:
            return 429, {"retry-after": "1"}, _error("slow down", "rate_limit_exceeded")
        choice = {"index": 0, "message": {"role": "assistant", "content": f"by {model}"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 200, "completion_tokens": 150, "total_tokens": 350}
        return 200, {}, {"id": "1", "object": "chat.completion", "model": model, "choices": [choice], "usage": usage}

    def _handler(server):  # noqa: N805 -- the handler's own self is another
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status, headers, answer = server._answer(body["model"])
                raw = json.dumps(answer).encode()
                try:
                    self.send_response(status)
                    for name, value in {
                        "content-type": "application/json",
                        "content-length": len(raw),
                        **headers,
                    }.items():
                        self.send_header(name, str(value))
                    self.end_headers()
                    self.wfile.write(raw)
                except ConnectionError:  # whoever asked was killed
                    self.close_connection = True

            def log_message(self, *_):
                """Say nothing."""

        return Handler


def _error(message, code):
    return {"error": {"message": message, "type": code, "code": code, "param": None}}


@pytest.fixture
def models():
    server = ModelServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A folder for compiled modules."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def project(tmp_path, cache):
    made = Project(tmp_path, cache)
    yield made
    made.close()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache):
    """A project that ran: one task of each ending. Only for looking at."""
    made = Project(tmp_path_factory.mktemp("finished"), cache)
    made.write(
        {
            "one": {"agent": "say", "title": 'The "first" <one>', "description": "Say something."},
            "two": ("fail", "one"),
            "three": ("say", "two", "one"),
            "ask": ("person", "one"),
            "draft": ("drafter",),
        }
    )
    made("run")
    return made
