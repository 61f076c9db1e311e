"""Telling the user: a real program and a real web server get the word, and nothing that goes wrong is raised."""

import json
import re
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from orchestration import events as ev
from orchestration import messenger
from orchestration.errors import InvalidTaskError
from orchestration.fold import fold
from orchestration.messenger import Messenger
from orchestration.notice import Call, Notice, document
from orchestration.task import AgentTask, ExecutionResult

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = datetime(2026, 3, 1, 14, tzinfo=UTC)
SECRET = "sk-secret-of-mine-0123"

KEEP = """
import json, os, sys
said = json.load(sys.stdin)
env = {name: value for name, value in os.environ.items() if name.startswith("ORCHESTRATION_")}
json.dump({"said": said, "env": env, "cwd": os.getcwd()}, open("said.json", "w"))
"""


def call(occasion="asked", *, need="answer", output="the whole prompt", title="Find a headline"):
    facts = [
        ev.TaskAdded(at=AT, task=AgentTask("ask", title)),
        ev.TaskStarted(at=AT, task_id="ask", attempt=1),
    ]
    if need == "review":
        facts.append(ev.TaskNeedsReview(at=AT, task_id="ask", cause="effect", reason="who knows"))
    else:
        facts.append(ev.TaskWaiting(at=AT, task_id="ask", need=need, result=ExecutionResult("ask", output=output)))
    if occasion == "expired":
        failed = ExecutionResult("ask", error="nobody answered")
        facts.append(ev.TaskFailed(at=LATER, task_id="ask", result=failed))
    return Call(occasion=occasion, known=fold(facts).tasks["ask"], asked_at=AT, at=LATER)


class Hook:
    """A web server that keeps what it is sent and answers as it is told to."""

    def __init__(self):
        self.bodies, self.requests = [], []
        self.status, self.headers, self.answer = 204, {}, b""
        self.held = threading.Event()
        self.held.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook/{SECRET}"

    def close(self):
        self.held.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(hook):  # noqa: N805 -- the handler's own self is another
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                hook.requests.append((self.command, self.headers["content-type"]))
                hook.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                hook.held.wait()
                try:
                    self.send_response(hook.status)
                    for name, value in {"content-length": str(len(hook.answer)), **hook.headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(hook.answer)
                except ConnectionError:  # nobody waited for the answer
                    self.close_connection = True

            def do_GET(self):
                hook.requests.append((self.command, None))
                self.send_error(404)

            def log_message(self, *_):
                """Say nothing."""

        return Handler


@pytest.fixture
def hook():
    made = Hook()
    yield made
    made.close()


@pytest.fixture
async def messengers(tmp_path):
    made = []

    def make(notice, **options):
        made.append(Messenger(notice, project="trial", root=tmp_path, **options))
        return made[-1]

    yield make
    for each in made:
        await each.aclose()


class TestTheRecord:
    @pytest.mark.parametrize(
        ("fields", "says"),
        [
            ({}, "nowhere to send to"),
            ({"webhook": "https://a.org", "webhook_env": "A"}, "give one of them"),
            ({"command": "notify-send"}, "expected a program and its arguments"),
            ({"command": ("",)}, "expected a program"),
            ({"webhook": "file:///etc/passwd"}, "no address of http or https"),
            ({"webhook": "ftp://a.org/x"}, "no address of http or https"),
            ({"webhook": "https://"}, "no address"),
            ({"webhook": "http://a.org:99999/"}, "no address"),
            ({"webhook": "http://a.org/\r\nX: y"}, "no address"),
            ({"webhook": "http://[::1"}, "no address"),
        ],
    )
    def test_what_nobody_could_be_told_by_is_refused(self, fields, says):
        with pytest.raises(InvalidTaskError, match=says) as refused:
            Notice(**fields)
        assert fields.get("webhook", "https://a.org") not in str(refused.value).replace("https://example.org/hook", "")

    def test_a_webhook_is_not_shown(self):
        assert SECRET not in repr(Notice(webhook=f"https://a.org/{SECRET}"))


class TestWhatIsSaid:
    def test_it_names_the_task_the_need_since_when_and_the_commands(self):
        said = document(call(), project="trial", commands=("orchestrate answer ask",))
        assert said == {
            "occasion": "asked",
            "project": "trial",
            "task_id": "ask",
            "title": "Find a headline",
            "need": "answer",
            "cause": None,
            "since": "2026-03-01T12:00:00+00:00",
            "waited_s": 7200,
            "deadline": None,
            "commands": ["orchestrate answer ask"],
        }

    def test_the_prompt_is_said_only_on_request(self):
        assert "the whole prompt" not in json.dumps(document(call(), project="trial"))
        assert document(call(), project="trial", include_prompt=True)["prompt"] == "the whole prompt"
        assert document(call(need="review"), project="trial", include_prompt=True)["prompt"] == ""

    def test_a_review_is_an_occasion_of_its_own_at_first(self):
        assert document(call(need="review"), project="trial")["occasion"] == "needs_review"
        assert document(call("reminder", need="review"), project="trial")["occasion"] == "reminder"

    def test_what_is_over_says_what_became_of_it(self):
        said = document(call("expired"), project="trial")
        assert (said["status"], said["error"]) == ("failed", "nobody answered")


class TestTheCommand:
    async def test_it_gets_json_on_stdin_and_the_task_in_its_environment(self, messengers, tmp_path):
        messenger = messengers(
            Notice(command=(sys.executable, "-c", KEEP)), commands_of=lambda known: [f"answer {known.task.task_id}"]
        )
        assert await messenger.tell(call()) == ""
        kept = json.loads((tmp_path / "said.json").read_text())
        assert kept["said"]["commands"] == ["answer ask"]
        assert kept["env"]["ORCHESTRATION_TASK_ID"] == "ask"
        assert kept["env"]["ORCHESTRATION_OCCASION"] == "asked"
        assert kept["env"]["ORCHESTRATION_PROJECT"] == "trial"
        assert kept["cwd"] == str(tmp_path.resolve())

    async def test_a_path_is_relative_to_the_project(self, messengers, tmp_path):
        script = tmp_path / "tell.sh"
        script.write_text("#!/bin/sh\ncat > said.json\n")
        script.chmod(0o755)
        assert await messengers(Notice(command=("./tell.sh",))).tell(call()) == ""
        assert json.loads((tmp_path / "said.json").read_text())["task_id"] == "ask"

    async def test_secrets_are_sent_to_nobody(self, messengers, tmp_path):
        messenger = messengers(Notice(command=(sys.executable, "-c", KEEP)), secrets=lambda: (SECRET,))
        await messenger.tell(call(title=f"Use {SECRET}"))
        assert json.loads((tmp_path / "said.json").read_text())["said"]["title"] == "Use ***"

    @pytest.mark.parametrize(
        ("command", "says"),
        [
            ((sys.executable, "-c", "import sys; sys.exit('no display')"), r"ended with exit code 1; .*no display"),
            ((sys.executable, "-c", "raise SystemExit(3)"), r"ended with exit code 3$"),
            (("no-such-program-anywhere",), r"cannot be started.*correct `command` under notify"),
            (("./missing.sh",), r"cannot be started"),
        ],
    )
    async def test_what_goes_wrong_is_said_and_not_raised(self, messengers, command, says):
        problem = await messengers(Notice(command=command)).tell(call())
        assert re.search(says, problem), problem

    async def test_one_that_never_ends_is_ended(self, messengers, monkeypatch):
        monkeypatch.setattr(messenger, "COMMAND_TIMEOUT_S", 0.2)
        notice = Notice(command=(sys.executable, "-c", "import time; time.sleep(1000)"))
        assert "was still running after 0.2 s and was ended" in await messengers(notice).tell(call())


class TestTheWebhook:
    async def test_it_gets_a_json_post(self, messengers, hook):
        assert await messengers(Notice(webhook=hook.url)).tell(call()) == ""
        assert hook.requests == [("POST", "application/json")]
        assert hook.bodies[0]["task_id"] == "ask"

    async def test_its_address_may_come_from_the_environment(self, messengers, hook, monkeypatch):
        monkeypatch.setenv("MY_HOOK", hook.url)
        assert await messengers(Notice(webhook_env="MY_HOOK")).tell(call()) == ""
        assert len(hook.bodies) == 1

    async def test_a_variable_that_is_not_set_is_named(self, messengers, monkeypatch):
        monkeypatch.delenv("MY_HOOK", raising=False)
        assert "the variable 'MY_HOOK' is not set" in await messengers(Notice(webhook_env="MY_HOOK")).tell(call())

    async def test_a_variable_that_holds_something_else_is_named_and_not_followed(self, messengers, monkeypatch):
        monkeypatch.setenv("MY_HOOK", "file:///etc/passwd")
        problem = await messengers(Notice(webhook_env="MY_HOOK")).tell(call())
        assert "the webhook in 'MY_HOOK' is no address of http or https" in problem
        assert "passwd" not in problem

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_a_redirect_is_not_followed(self, messengers, hook, status):
        hook.status, hook.headers = status, {"Location": hook.url}
        problem = await messengers(Notice(webhook=hook.url)).tell(call())
        assert "redirects are not followed" in problem
        assert hook.requests == [("POST", "application/json")]

    async def test_a_page_that_is_answered_is_said_in_one_line(self, messengers, hook):
        hook.status, hook.answer = 404, b"<html>\n  <title>Not\r\n found</title>\n"
        problem = await messengers(Notice(webhook=hook.url)).tell(call())
        assert problem.endswith("answered 404: <html> <title>Not found</title>")

    async def test_an_address_with_a_password_in_it_is_refused_and_not_repeated(self, messengers, monkeypatch):
        monkeypatch.setenv("MY_HOOK", "https://me:pass-word@example.org/hook")
        problem = await messengers(Notice(webhook_env="MY_HOOK")).tell(call())
        assert "the webhook in 'MY_HOOK' holds a name or password before its host" in problem
        assert "pass-word" not in problem

    async def test_a_refusal_is_said_with_the_beginning_of_its_reason(self, messengers, hook):
        hook.status, hook.answer = 500, f"broken, says {SECRET}".encode()
        messenger = messengers(Notice(webhook=hook.url), secrets=lambda: (SECRET,))
        assert (await messenger.tell(call())).endswith("answered 500: broken, says ***")
        hook.answer = b""
        assert (await messenger.tell(call())).endswith("answered 500")

    async def test_a_server_that_is_not_there_is_said_without_its_address(self, messengers, hook):
        url = hook.url
        hook.close()
        problem = await messengers(Notice(webhook=url)).tell(call())
        assert "the webhook at 127.0.0.1 cannot be reached" in problem
        assert SECRET not in problem

    async def test_a_server_that_never_answers_holds_nobody(self, messengers, hook, monkeypatch):
        monkeypatch.setattr(messenger, "WEBHOOK_TIMEOUT_S", 0.2)
        hook.held.clear()
        assert "did not answer within 0.2 s" in await messengers(Notice(webhook=hook.url)).tell(call())

    async def test_both_ways_are_tried_whatever_becomes_of_the_other(self, messengers, hook):
        hook.status = 500
        notice = Notice(command=("no-such-program-anywhere",), webhook=hook.url)
        problem = await messengers(notice).tell(call())
        assert "cannot be started" in problem
        assert "answered 500" in problem
        assert len(hook.bodies) == 1


async def test_a_messenger_may_be_closed_twice():
    made = Messenger(Notice(command=("true",)), project="trial")
    await made.aclose()
    await made.aclose()
