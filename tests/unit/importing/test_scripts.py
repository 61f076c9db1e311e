"""A folder of scripts: what becomes an agent, and what is said about each."""

import sys
import textwrap

import pytest

from orchestration.importing import ImportRefusedError, check_loads, migrate_scripts, to_yaml
from orchestration.importing.script_source import read_script_source

GOOD = "import json, sys\nprint(json.load(sys.stdin)['prompt'])\n"
SHEBANG = f"#!/usr/bin/env python3\n{GOOD}"


@pytest.fixture
def migrate(tmp_path):
    """Return a function that migrates a folder with these files, of which nothing may ever be run."""
    folder = tmp_path / "scripts"
    folder.mkdir()

    def made(files, executable=()):
        for name, content in files.items():
            (folder / name).write_bytes(content if isinstance(content, bytes) else textwrap.dedent(content).encode())
            (folder / name).chmod(0o755 if name in executable else 0o644)
        project = migrate_scripts(folder, tmp_path)
        check_loads(to_yaml(project), tmp_path)
        return project

    return made


def options_of(project):
    return {agent.name: dict(agent.options) for agent in project.agents if agent.name != "me"}


class TestAgents:
    def test_scripts_of_providers_stand_in_for_them(self, migrate):
        names = {"execute_claude.py": "anthropic", "execute_gpt.py": "openai", "execute_gemini.py": "gemini"}
        project = migrate(dict.fromkeys([*names, "execute_local.py"], GOOD))
        assert options_of(project) == {
            "claude": {"type": "anthropic"},
            "gemini": {"type": "gemini"},
            "gpt": {"type": "openai"},
            "local": {"type": "local"},
        }
        assert (project.scripts_dir, project.told) == ("scripts", ())

    def test_how_to_call_the_provider_and_how_to_keep_the_script_stand_beside_the_agent(self, migrate):
        text = to_yaml(migrate({"execute_claude.py": GOOD}))
        assert "install async-orchestrator[anthropic] and set ANTHROPIC_API_KEY" in text
        assert "{ type: script, command: [python3, scripts/execute_claude.py] }" in text

    def test_other_programs_are_agents_of_type_script(self, migrate):
        project = migrate(
            {
                "execute_review.py": GOOD,
                "lint.py": SHEBANG,
                "count.sh": "wc\n",
                "go": "#!/bin/sh\nwc\n",
                "bin": b"\x7fELF\0",
            },
            executable=("lint.py", "go", "bin"),
        )
        assert options_of(project) == {
            "bin": {"type": "script", "command": ["scripts/bin"]},
            "count": {"type": "script", "command": ["sh", "scripts/count.sh"]},
            "review": {"type": "script", "command": ["python3", "scripts/execute_review.py"]},
            "go": {"type": "script", "command": ["scripts/go"]},
            "lint": {"type": "script", "command": ["scripts/lint.py"]},
        }
        assert (project.scripts_dir, project.told) == (None, ())

    def test_an_interpreter_that_is_named_runs_what_is_not_executable(self, migrate):
        project = migrate(
            {"a.sh": "#!/usr/bin/env bash\n", "b.sh": "#!/bin/sh -e\n", "c.py": f"#!{sys.executable}\n{GOOD}"}
        )
        assert [options["command"] for options in options_of(project).values()] == [
            ["bash", "scripts/a.sh"],
            ["/bin/sh", "-e", "scripts/b.sh"],
            [sys.executable, "scripts/c.py"],
        ]

    def test_scripts_of_one_name_are_told_apart(self, migrate):
        project = migrate({"run.py": GOOD, "run.sh": "wc\n", "execute_run.py": GOOD, "me.sh": "wc\n"})
        assert [agent.name for agent in project.agents] == ["run", "me", "run-py", "run-sh", "me-2"]

    def test_the_only_task_is_a_persons(self, migrate):
        project = migrate({"count.sh": "wc\n"})
        (task,) = project.tasks
        assert (task.agent, project.default_agent) == ("me", None)
        assert "('count')" in task.description

    def test_a_folder_beside_the_project_is_reached(self, tmp_path):
        (tmp_path / "project").mkdir()
        (tmp_path / "execute_gpt.py").write_text(GOOD)
        (tmp_path / "a.sh").write_text("wc\n")
        project = migrate_scripts(tmp_path, tmp_path / "project")
        assert project.scripts_dir == ".."
        assert options_of(project)["a"]["command"] == ["sh", "../a.sh"]
        check_loads(to_yaml(project), tmp_path / "project")

    def test_the_projects_own_folder_can_be_the_one(self, tmp_path):
        (tmp_path / "go").write_text("#!/bin/sh\n")
        (tmp_path / "go").chmod(0o755)
        assert options_of(migrate_scripts(tmp_path, tmp_path)) == {"go": {"type": "script", "command": ["./go"]}}


class TestFindings:
    @pytest.mark.parametrize(
        ("source", "said"),
        [
            (
                "import sys\nprint(sys.argv[1])",
                "takes its task from arguments, but it comes as one JSON object on stdin",
            ),
            (
                "from argparse import ArgumentParser as P\nprint(P().parse_args())",
                "takes its task from arguments, but it comes as one JSON object on stdin",
            ),
            ("print('hello')", "reads no task, but it comes as one JSON object on stdin"),
            ("import sys\nopen('x', 'w').write(sys.stdin.read())", "prints nothing that can be seen"),
            ("import no_such_module_1, no_such_2\nprint(input())", "imports 'no_such_2', 'no_such_module_1', which "),
            ("import asyncio\nasyncio.run(main(input()))\nprint()", "starts an event loop of its own"),
        ],
    )
    def test_what_keeps_a_script_from_its_work_is_said_with_the_fix(self, migrate, source, said):
        project = migrate({"work.py": source})
        (told,) = project.told
        assert told.startswith(f"work.py: {said}")
        assert project.agents[0].notes == (told.removeprefix("work.py: "),)

    @pytest.mark.parametrize(
        "source",
        [
            "import json, sys as s\nprint(json.load(s.stdin))",
            "from sys import stdin, stdout\nstdout.write(stdin.read())",
            "import fileinput\nprint(list(fileinput.input()))",
            "print(open(0).read())",
            "print(open('/dev/stdin').read())",
            "import beside\nprint(input())",
            "try:\n    import no_such\nexcept (ImportError, OSError):\n    no_such = None\nprint(input())",
            "from . import anything\nprint(input())",
            "import __main__\nprint(input())",
        ],
    )
    def test_scripts_that_are_right_are_not_talked_about(self, migrate, source):
        assert migrate({"work.py": source, "beside.sh": "wc\n", "beside.py": GOOD}).told == ()

    def test_modules_needed_after_a_try_are_still_looked_for(self):
        source = read_script_source(
            b"try:\n    import a\nexcept ValueError:\n    import b\nelse:\n    from c.d import e\n"
        )
        assert source.modules == {"a", "b", "c"}

    def test_first_lines_the_system_cannot_follow_are_told_and_not_relied_on(self, migrate):
        project = migrate(
            {
                "dos.sh": "#!/bin/sh\r\nwc\r\n",
                "gone.py": f"#!/no/such/python\n{GOOD}",
                "lost.sh": "#!/usr/bin/env no-such-shell\n",
                "none.sh": "wc\n",
            },
            executable=("dos.sh", "gone.py", "lost.sh", "none.sh"),
        )
        assert [line.partition(";")[0] for line in project.told] == [
            "dos.sh: its lines end as on Windows, so its '#!' line names no program",
            "gone.py: its '#!' line names '/no/such/python', which is not on this machine",
            "lost.sh: its '#!' line names 'no-such-shell', which is not on the PATH",
            "none.sh: has no '#!' line, so sh runs it",
        ]
        assert [options["command"] for options in options_of(project).values()] == [
            ["/bin/sh", "scripts/dos.sh"],
            ["python3", "scripts/gone.py"],
            ["no-such-shell", "scripts/lost.sh"],
            ["sh", "scripts/none.sh"],
        ]


class TestLeftOut:
    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [
            ("two.py", "print 'hello'\n", "it is not Python 3 (line 1: Missing parentheses"),
            ("execute_gpt.py", "exec 'x'\n", "it is not Python 3 (line 1: Missing parentheses"),
            ("nul.py", b"x = 1\0", "it is not Python 3 ("),
            ("deep.py", "(" * 3000, "it is not Python 3 ("),
            ("deeper.py", "-" * 200_000 + "1", "it is not Python 3 ("),
            ("lib.py", '"""Words."""\nimport os\nX = 1\ndef f(): pass\n', "it does nothing when it is run; it stays"),
            ("notes.txt", "words", "it is no program; if it is one"),
            ("large.py", b"#" * 2_000_001, "it is larger than 2,000,000 bytes"),
        ],
    )
    def test_what_cannot_be_an_agent_is_told_with_the_reason(self, migrate, name, content, said):
        project = migrate({name: content, "good.py": GOOD})
        assert list(options_of(project)) == ["good"]
        (told,) = project.told
        assert told.startswith(f"{name}: left out: {said}")

    def test_an_executable_without_interpreter_is_told(self, migrate):
        project = migrate({"tool": "wc\n", "good.py": GOOD}, executable=("tool",))
        assert project.told[0].startswith("tool: left out: it has no '#!' line that names its interpreter")

    def test_modules_the_scripts_share_stay_where_they_are(self, migrate):
        project = migrate({"common.py": "X = 1\n", "good.py": f"import common\n{GOOD}"})
        assert project.told == (
            "common.py: left out: it does nothing when it is run and other scripts import it; it stays where it is",
        )

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            ("import subprocess, sys\nsubprocess.run([sys.executable, 'scripts/good.py'])", "('good.py')"),
            ("import os\nfor n in 'ab': os.system('python ' + 'execute_' + n)", "(execute_*.py)"),
        ],
    )
    def test_the_program_that_ran_the_scripts_is_not_one_of_them(self, migrate, source, said):
        project = migrate({"main.py": source, "good.py": GOOD})
        (told,) = project.told
        assert told.startswith(f"main.py: left out: it runs other scripts {said}, which is the orchestrator's work now")

    def test_folders_hidden_files_and_dead_links(self, migrate, tmp_path):
        folder = tmp_path / "scripts"
        (folder / "more").mkdir()
        (folder / "__pycache__").mkdir()
        (folder / "dead.py").symlink_to("nowhere")
        project = migrate({".hidden.py": GOOD, "good.py": GOOD})
        assert project.told == (
            "dead.py: left out: it is no file, or leads to none",
            "more: is a folder, which was not looked into; migrate it by itself if it has scripts",
        )

    def test_a_file_that_cannot_be_read_is_told(self, migrate, tmp_path):
        (tmp_path / "scripts" / "memory.py").symlink_to("/proc/self/mem")  # opens, also for root, and does not read
        project = migrate({"good.py": GOOD})
        assert project.told == ("memory.py: left out: it cannot be read: Input/output error",)

    def test_a_folder_without_scripts_is_refused_with_what_was_found(self, migrate, tmp_path):
        with pytest.raises(ImportRefusedError, match=r"holds no script that could be an agent\n- a\.txt: left out"):
            migrate({"a.txt": "x"})
        with pytest.raises(ImportRefusedError, match="is not a folder"):
            migrate_scripts(tmp_path / "no", tmp_path)

    def test_no_script_is_ever_run(self, migrate, tmp_path):
        ran = tmp_path / "ran"
        source = f"open({str(ran)!r}, 'w').write(input())\nprint()\n"
        migrate({"execute_gpt.py": source, "a.py": f"import execute_gpt\n{source}", "b.sh": f"touch {ran}\n"}, {"b.sh"})
        assert not ran.exists()
