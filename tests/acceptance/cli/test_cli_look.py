"""Looking without touching: status, show, graph, validate, agents, doctor, schema, init, and the help."""

import fcntl
import json
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import termios
import time

import pytest

from orchestration.cli.commands import COMMANDS, SECTIONS

pytestmark = pytest.mark.acceptance


class TestHelp:
    def test_lists_every_command_in_a_section(self, project):
        done = project("--help")
        assert done.returncode == 0
        for name, entry in COMMANDS.items():
            assert re.search(rf"^  {name} +{re.escape(entry.help)}$", done.stdout, re.MULTILINE)
        assert sorted(name for names in SECTIONS.values() for name in names) == sorted(COMMANDS)

    def test_loads_none_of_what_the_commands_need(self):
        code = "import sys, orchestration.cli as cli; cli.main(['--help']); print(*sys.modules, file=sys.stderr)"
        env = {name: value for name, value in os.environ.items() if not name.startswith("COV")}  # it loads a lot itself
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
        loaded = {name.partition(".")[0] for name in done.stderr.split()}
        assert "click" in loaded
        assert not loaded & {
            "asyncio",
            "jinja2",
            "jsonschema",
            "llm_abstractions",
            "msgspec",
            "rich",
            "ruamel",
            "sqlite3",
        }

    def test_of_nothing_is_the_help(self, project):
        assert "Usage: orchestrate" in project().stderr

    def test_version(self, project):
        assert re.fullmatch(r"orchestrate \d+\.\d+\.\d+\n", project("--version").stdout)

    def test_an_unknown_command_is_met_with_the_nearest(self, project):
        done = project("statsu")
        assert done.returncode == 2
        assert "no command 'statsu'; did you mean 'status'?" in done.stderr


class TestStatus:
    def test_shows_every_task_and_what_to_type_next(self, finished):
        out = finished("status").stdout
        for line in (r"one +✓ done", r"two +✗ failed", r"three +⊘ blocked", r"ask +\? waits for you"):
            assert re.search(line, out), out
        for command in ("show two", "run", "answer ask", "approve draft"):
            assert f"orchestrate {command}" in out

    def test_before_the_first_run_it_shows_the_file(self, project):
        project.write({"one": ("say",), "two": ("say", "one")})
        out = project("status").stdout
        assert "It has not run yet. Start with: orchestrate run" in out
        assert not (project.folder / ".orchestration").exists()

    def test_works_while_the_file_is_broken(self, project):
        project.write({"one": ("say",)})
        project("run")
        (project.folder / "orchestrate.yaml").write_text("tasks: [\n")
        done = project("status")
        assert done.returncode == 0
        assert "has mistakes (orchestrate validate lists them)" in done.stderr
        assert "✓ done" in done.stdout

    def test_from_another_folder_the_commands_name_it(self, finished):
        for arguments in (["-C", str(finished.folder), "status"], ["status", "-C", str(finished.folder)]):
            folder = finished.folder / "elsewhere"
            folder.mkdir(exist_ok=True)
            done = subprocess.run(
                [finished.command, *arguments], cwd=folder, capture_output=True, text=True, check=True
            )
            assert f"orchestrate approve -C {finished.folder} draft" in done.stdout

    def test_another_file_is_named_in_the_commands_too(self, project):
        project.write({"ask": ("person",)})
        (project.folder / "orchestrate.yaml").rename(project.folder / "other.yaml")
        assert "orchestrate answer -C other.yaml ask" in project("run", "--file", "other.yaml").stdout
        assert project("answer", "-C", "other.yaml", "ask", "yes").returncode == 0
        assert project.json("show", "-C", "other.yaml", "ask")["result"]["output"] == "yes"

    def test_a_large_project_is_cut_to_what_matters(self, project):
        tasks = {f"task-{n}": ("say",) for n in range(60)} | {"bad": ("fail",), "ask": ("person",)}
        project.write(tasks)
        project("run")
        out = project("status").stdout
        assert re.search(r"^bad +✗ failed", out, re.MULTILINE)
        assert re.search(r"^ask +\? waits", out, re.MULTILINE)
        assert "... and 22 more tasks: orchestrate status --all" in out
        assert len(project("status", "--all").stdout.splitlines()) > 62


class TestShow:
    def test_tells_everything_about_a_failed_task(self, finished):
        out = finished("show", "two").stdout
        for part in ("✗ failed", "Attempts", "Given", "one  done  out of one", "Error", "it is broken \\x1b[31mred"):
            assert part in out
        assert "then: orchestrate run" in out

    def test_tells_what_a_person_is_asked(self, finished):
        out = finished("show", "ask").stdout
        assert "What you are asked" in out
        assert "orchestrate answer ask" in out

    def test_tells_what_blocks_a_task(self, finished):
        assert "orchestrate show two  (blocks it)" in finished("show", "three").stdout

    def test_an_unknown_task_is_met_with_the_known_ones(self, finished):
        done = finished("show", "on")
        assert done.returncode == 2
        assert "unknown task 'on'; known tasks: 'ask', 'draft', 'one'" in done.stderr


class TestGraph:
    def test_as_text_shows_each_task_once(self, finished):
        out = finished("graph").stdout
        assert re.search(r"^├ two +✗ failed", out, re.MULTILINE)
        assert re.search(r"^│ └ three .*also after one$", out, re.MULTILINE)

    def test_as_mermaid(self, finished):
        out = finished("graph", "--format", "mermaid").stdout
        assert out.startswith("flowchart TD\n")
        assert 't1["one: The #quot;first#quot; #lt;one#gt;"]:::completed' in out
        assert "t1 --> t2" in out

    def test_as_dot(self, finished):
        out = finished("graph", "--format", "dot").stdout
        assert '"one" [label="one: The \\"first\\" <one>"' in out
        assert '"two" -> "three";' in out
        if shutil.which("dot"):
            subprocess.run(["dot", "-Tsvg"], input=out, text=True, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["show", "one"], ["show", "two"], ["graph"], ["validate"], ["agents"], ["doctor"], ["cancel"]],
)
def test_every_json_is_one_document(finished, arguments):
    done = finished(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), dict)


class TestAgents:
    def test_says_what_each_needs_and_never_a_key(self, project):
        agents = {
            "claude": {"type": "anthropic"},
            "keyed": {"type": "openai"},
            "here": {"type": "python", "function": "work:say"},
            "gone": {"type": "python", "function": "nowhere.at:all"},
            "tool": {"type": "cli", "command": ["no-such-program"]},
            "script": {"type": "script", "command": ["./hold.sh"]},
            "off": {"type": "human", "enabled": False},
        }
        project.write({"one": ("here",)}, agents=agents)
        env = {"ANTHROPIC_API_KEY": "", "OPENAI_API_KEY": "sk-very-secret"}
        done = project("agents", env=env)
        assert done.returncode == 0, done.stderr
        assert re.search(r"^claude .* needs .*ANTHROPIC_API_KEY", done.stdout, re.MULTILINE)
        assert re.search(r"^keyed .* ready", done.stdout, re.MULTILINE)
        assert re.search(r"^here .* ready +work:say", done.stdout, re.MULTILINE)
        assert re.search(r"^gone .* needs +add the module 'nowhere'", done.stdout, re.MULTILINE)
        assert re.search(r"^tool .* needs +install the program 'no-such-program'", done.stdout, re.MULTILINE)
        assert re.search(r"^off .* disabled", done.stdout, re.MULTILINE)
        assert "sk-very-secret" not in done.stdout + project("doctor", env=env).stdout


class TestDoctor:
    def test_names_what_is_wrong_and_ends_with_1(self, project):
        project.write({"one": ("say",)})
        done = project("doctor", env={"OPENAI_API_KEY": " sk-with-blank"})
        assert done.returncode == 1
        assert re.search(r"^wrong +key +OPENAI_API_KEY .*blanks", done.stdout, re.MULTILINE)
        assert "sk-with-blank" not in done.stdout

    def test_says_who_runs_it(self, project):
        project.write({"one": ("hold",)})
        run = project.start("run")
        project.began("one")
        assert f"process {run.pid} is running it" in project("doctor").stdout

    def test_says_how_large_the_cache_of_answers_is(self, project):
        project.write({"one": ("say",)})
        assert "answers" not in project("doctor").stdout
        (project.folder / ".orchestration").mkdir(exist_ok=True)
        (project.folder / ".orchestration" / "answers.cache").write_bytes(b"x" * 1_500_000)
        assert re.search(r"answers.cache keeps 1.5 MB to use again; it may be deleted", project("doctor").stdout)

    def test_works_without_a_project(self, project):
        (project.folder / "orchestrate.yaml").unlink(missing_ok=True)
        done = project("doctor")
        assert done.returncode == 0
        assert "orchestrate.yaml" in done.stdout


class TestBadFiles:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\x00\x01\x02",
            b"tasks: [",
            b"- a\n- b",
            b"tasks:\n  a: {agent: nobody}",
            b"tasks:\n  a: {dependencies: [a]}",
        ],
    )
    def test_end_with_2_and_are_named(self, project, content):
        (project.folder / "orchestrate.yaml").write_bytes(content)
        done = project("run")
        assert done.returncode == 2
        assert "orchestrate.yaml" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (project.folder / ".orchestration").exists()

    @pytest.mark.parametrize("command", ["validate", "status", "graph", "agents", "cancel"])
    def test_end_every_command_with_2(self, project, command):
        (project.folder / "orchestrate.yaml").write_text("tasks: [")
        done = project(command)
        assert done.returncode == 2
        assert "orchestrate.yaml" in done.stderr
        assert "Traceback" not in done.stderr

    def test_that_are_not_there_are_met_with_what_to_do(self, project):
        done = project("run")
        assert done.returncode == 2
        assert "orchestrate.yaml" in done.stderr
        assert "orchestrate init" in done.stderr

    def test_are_listed_as_json_too(self, project):
        (project.folder / "orchestrate.yaml").write_text("tasks:\n  a: {agent: nobody}\n")
        done = project("validate", "--json")
        assert done.returncode == 2
        document = json.loads(done.stdout)
        assert document["is_valid"] is False
        assert "nobody" in document["problems"][0]


class TestInit:
    def test_makes_a_project_that_runs_to_its_end_without_a_key(self, project):
        done = project("init", "mine")
        assert done.returncode == 0
        assert "orchestrate run -C mine" in done.stdout
        waits = project("run", "-C", "mine")
        assert waits.returncode == 0
        assert "orchestrate approve -C mine draft" in waits.stdout
        project("approve", "-C", "mine", "draft")
        assert project("run", "-C", "mine").returncode == 0
        report = (project.folder / "mine" / "report.md").read_text()
        assert "# Report for the team" in report
        assert "alice:" in report

    def test_overwrites_nothing(self, project):
        (project.folder / "orchestrate.yaml").write_text("mine")
        done = project("init")
        assert done.returncode == 2
        assert "would be overwritten; nothing was written" in done.stderr
        assert (project.folder / "orchestrate.yaml").read_text() == "mine"
        assert not (project.folder / "notes").exists()

    def test_says_as_json_what_it_wrote(self, project):
        document = json.loads(project("init", "mine", "--json").stdout)
        assert "mine/orchestrate.yaml" in document["written"]


class TestSchema:
    def test_is_a_json_schema_printed_or_written(self, project):
        printed = project("schema").stdout
        assert json.loads(printed)["$schema"].startswith("https://json-schema.org/")
        assert project("schema", "--output", "schema.json").returncode == 0
        assert (project.folder / "schema.json").read_text() == printed


def test_a_reader_that_has_seen_enough_is_no_error(finished):
    command = f"{finished.command} status --all 2>&1 | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=finished.folder, capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
    assert done.stderr == ""


class Terminal:
    """A process on a terminal of its own, and everything it has drawn."""

    def __init__(self, project, *arguments, rows=12, columns=80, env=None):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environment = {**project.env, "TERM": "xterm-256color", "LINES": "", "COLUMNS": "", **(env or {})}
        environment = {name: value for name, value in environment.items() if value}
        self.process = project.start(
            *arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True, text=False,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(theirs)
        self.fd = ours
        self.drawn = ""

    def read_until(self, pattern, timeout_s=20):
        give_up_at = time.monotonic() + timeout_s
        while not re.search(pattern, self.drawn):
            assert time.monotonic() < give_up_at, self.drawn
            if not select.select([self.fd], [], [], 0.1)[0]:
                continue
            try:
                self.drawn += os.read(self.fd, 65536).decode()
            except OSError:  # the last of its processes has ended
                break
        assert re.search(pattern, self.drawn), self.drawn

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        """Read to the end and return the exit code."""
        while True:
            try:
                self.drawn += os.read(self.fd, 65536).decode()
            except OSError:
                break
        os.close(self.fd)
        return self.process.wait(timeout=20)


class TestOnATerminal:
    def test_a_table_is_redrawn_in_place_and_the_summary_stays(self, project):
        project.write({"one": ("hold",), "two": ("say", "one")})
        terminal = Terminal(project, "run")
        terminal.read_until(r"one.*● running")
        terminal.read_until(r"Ctrl-C: let what runs finish")
        project.let_go("one")
        assert terminal.end() == 0
        assert "\x1b[1A" in terminal.drawn  # the cursor went up to redraw
        assert terminal.drawn.rstrip().endswith("s")
        assert "All 2 tasks done." in terminal.drawn

    def test_what_functions_print_and_warnings_come_above_the_table(self, project):
        project.write({"one": ("say",), "two": ("hold", "one")})
        terminal = Terminal(project, "run")
        terminal.read_until(r"printed by one")
        terminal.read_until(r"two.*● running")
        project.let_go("two")
        assert terminal.end() == 0

    def test_ctrl_c_once_and_twice(self, project):
        project.write({"one": ("hold",), "two": ("say", "one")})
        terminal = Terminal(project, "run")
        project.began("one")
        terminal.type("\x03")
        terminal.read_until(r"Ctrl-C again: stop now")
        terminal.type("\x03")
        assert terminal.end() == 130
        assert "Go on with: orchestrate run" in terminal.drawn
        assert "\x1b[?25h" in terminal.drawn  # the cursor is shown again

    def test_no_colour_when_it_is_not_wanted(self, project):
        project.write({"one": ("fail",)})
        terminal = Terminal(project, "run", env={"NO_COLOR": "1"})
        assert terminal.end() == 1
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", terminal.drawn)

    def test_a_dumb_terminal_gets_lines(self, project):
        project.write({"one": ("say",)})
        terminal = Terminal(project, "run", env={"TERM": "dumb"})
        assert terminal.end() == 0
        assert re.search(r"\d\d:\d\d:\d\d  one  done", terminal.drawn)
        assert "\x1b" not in terminal.drawn

    def test_an_ascii_terminal_gets_ascii(self, project):
        project.write({"one": ("say",), "two": ("fail", "one")})
        terminal = Terminal(project, "run", env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
        assert terminal.end() == 1
        assert terminal.drawn.isascii()
        assert "+ done" in terminal.drawn
        assert "` two" in terminal.drawn
