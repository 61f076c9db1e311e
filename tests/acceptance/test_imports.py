"""Importing is free of effects and of what a program may never need. Fresh processes, for ours has imported it all."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.acceptance

# SDKs, their transports, and what only the command line, project files, templates or schemas need.
HEAVY = {
    "aiohttp",
    "anthropic",
    "click",
    "genai_prices",
    "google",
    "httpx",
    "httpx2",
    "jinja2",
    "jsonschema",
    "openai",
    "pydantic",
    "rich",
    "ruamel",
    "xllamacpp",
}

ORCHESTRATION = "import orchestration"
FACADE = "from orchestration import AgentTask, ParallelExecutor, ProjectOrchestrator, TaskExecutor"
ABSTRACTIONS = "import llm_abstractions"
FACTORY = "from llm_abstractions.factory import LlmFactory"
CLASSES = "from llm_abstractions import AnthropicLlm, BaseLlm, GeminiLlm, OpenAILlm"
ALL = (ORCHESTRATION, FACADE, ABSTRACTIONS, FACTORY, CLASSES)

# Runs the statement; `before` and `after` see the process around it, and what `report` holds in the end is printed.
WATCHED = """\
import json, os, sys
report = {{}}
{before}
{statement}
{after}
print(json.dumps(report))
"""


def watch(statement, *, before="", after=""):
    """Run a statement in a fresh process and return the report of the code around it."""
    program = WATCHED.format(statement=statement, before=before, after=after)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.returncode == 0
    return json.loads(done.stdout)


@pytest.mark.parametrize("statement", ALL)
def test_an_import_loads_no_vendor_sdk_and_nothing_that_only_some_programs_need(statement):
    report = watch(statement, after='report["loaded"] = sorted({name.partition(".")[0] for name in sys.modules})')

    assert HEAVY.isdisjoint(report["loaded"])
    assert {"orchestration", "llm_abstractions"} & set(report["loaded"])


@pytest.mark.parametrize("statement", [ABSTRACTIONS, FACTORY, CLASSES])
def test_the_providers_are_imported_without_the_orchestrator(statement):
    report = watch(statement, after='report["loaded"] = sorted(sys.modules)')

    assert "orchestration" not in report["loaded"]


READING = """\
class Watched(dict):
    def __getitem__(self, name):
        note(name)
        return super().__getitem__(name)

    def get(self, name, default=None):
        note(name)
        return super().get(name, default)

    def __contains__(self, name):
        note(name)
        return super().__contains__(name)

    def __iter__(self):
        note("all of it")
        return super().__iter__()


def note(name):
    frame = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__", "").partition(".")[0]
        if module in ("orchestration", "llm_abstractions"):
            report.setdefault("read", []).append(f"{name} by {frame.f_globals['__name__']}")
        frame = frame.f_back


os.environ = Watched(os.environ)
"""


@pytest.mark.parametrize("statement", ALL)
def test_an_import_reads_no_environment_variable(statement):
    assert watch(statement, before=READING) == {}


def test_the_watch_for_environment_variables_sees_them():
    statement = f"{FACTORY}\nLlmFactory.is_provider_available('openai')"

    assert any("OPENAI" in line for line in watch(statement, before=READING)["read"])


LOOKING = """\
import asyncio, logging, signal, sqlite3, threading, warnings


def look():
    return {
        "threads": threading.active_count(),
        "open files": sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")[:-1]),
        "children": open(f"/proc/self/task/{os.getpid()}/children").read(),
        "log handlers": len(logging.getLogger().handlers) + len(logging.getLogger("orchestration").handlers),
        "signals": [str(signal.getsignal(number)) for number in signal.valid_signals()],
        "warning filters": len(warnings.filters),
        "event loop policy": str(asyncio.events._event_loop_policy),
        "path": list(sys.path),
        "folder": os.getcwd(),
    }


before = look()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks at the process through /proc")
@pytest.mark.parametrize("statement", ALL)
def test_an_import_starts_opens_and_installs_nothing(statement):
    report = watch(statement, before=LOOKING, after="report.update(before=before, after=look())")

    assert report["after"] == report["before"]
