"""The small parts of the command line that a real process would be too large for."""

import io
import logging
import sys
import warnings
from dataclasses import replace

import click
import pytest

from orchestration import AgentConfig, AgentTask, AgentType, ProjectOrchestrator
from orchestration.cli import main
from orchestration.cli.agents import inspect_agent
from orchestration.cli.compose import reconcile
from orchestration.cli.logs import logs_shown_by
from orchestration.cli.output import is_ascii_only
from orchestration.cli.place import Place
from orchestration.cli.run import _split
from orchestration.errors import CycleError
from orchestration.project_file import ProjectFile


class Speaker:
    def __init__(self):
        self.said = []

    def say(self, message):
        self.said.append(message)


class TestLogs:
    def test_warnings_become_readable_lines_and_nothing_less_is_shown(self):
        speaker, log = Speaker(), logging.getLogger("orchestration.somewhere")
        with logs_shown_by(speaker):
            log.info("detail")
            log.warning("task %r: look\x1b[31m", "a")
        log.warning("after")
        assert speaker.said == ["warning: task 'a': look\\x1b[31m"]

    def test_an_exception_is_a_line_unless_more_is_asked_for(self):
        speaker, log = Speaker(), logging.getLogger("orchestration")
        for verbosity in (0, 1, 2, 9):
            with logs_shown_by(speaker, verbosity):
                try:
                    int("bad")
                except ValueError:
                    log.exception("task failed")
        assert (
            speaker.said[0]
            == "error: task failed: ValueError: invalid literal for int() with base 10: 'bad' (-v shows the traceback)"
        )
        assert all("Traceback (most recent call last)" in said for said in speaker.said[1:])

    def test_more_is_shown_when_asked_for_and_levels_are_put_back(self):
        speaker, log = Speaker(), logging.getLogger("orchestration")
        before = log.level
        with logs_shown_by(speaker, 1):
            log.info("info")
            log.debug("debug")
        with logs_shown_by(speaker, 2):
            log.debug("debug")
        assert speaker.said == ["info: info", "debug: debug"]
        assert log.level == before

    def test_pythons_own_warnings_are_shown_too(self):
        speaker = Speaker()
        with logs_shown_by(speaker), warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(True)
            warnings.warn("old way", DeprecationWarning, stacklevel=1)
        assert "DeprecationWarning: old way" in speaker.said[0]


class TestPlaces:
    def test_commands_can_be_pasted_into_a_shell(self):
        assert Place().command("run") == "orchestrate run"
        assert Place(folder="my project").command("show", "a b") == "orchestrate show -C 'my project' 'a b'"
        assert Place(file="other.yaml").command("run") == "orchestrate run -C other.yaml"
        assert Place(folder="x", file="y.yaml").command("run") == "orchestrate run -C x/y.yaml"


class TestVariables:
    def test_the_value_may_hold_anything(self):
        assert _split(["a=1=2", "b=", "c= x "]) == {"a": "1=2", "b": "", "c": " x "}

    @pytest.mark.parametrize("given", [["a"], ["=1"], ["a=1", "a=1"]])
    def test_what_is_no_pair_is_refused(self, given):
        with pytest.raises(click.UsageError, match="--var"):
            _split(given)


class TestReconcile:
    def test_the_stored_project_becomes_the_files(self):
        orchestrator = ProjectOrchestrator()
        for task in (AgentTask("a", "a"), AgentTask("gone", "gone", dependencies=("a",))):
            orchestrator.add_task(task)
        assert reconcile(orchestrator, [AgentTask("a", "a"), AgentTask("b", "b", dependencies=("a",))]) == ["gone"]
        assert set(orchestrator.state.tasks) == {"a", "b"}

    async def test_a_long_chain_can_be_turned_round(self, tmp_path):
        names = [f"t{n}" for n in range(6)]
        chain = [
            AgentTask(name, name, dependencies=tuple(names[n - 1 : n]) if n else ()) for n, name in enumerate(names)
        ]
        turned = [replace(task, dependencies=tuple(names[n + 1 : n + 2])) for n, task in enumerate(chain)]
        async with ProjectOrchestrator(tmp_path) as orchestrator:
            reconcile(orchestrator, chain)
        async with ProjectOrchestrator(tmp_path) as orchestrator:
            reconcile(orchestrator, turned)
            assert orchestrator.state.tasks["t0"].task.dependencies == ("t1",)
            assert orchestrator.get_ready_tasks() == ["t5"]

    def test_a_circle_in_the_file_itself_is_told(self):
        circle = [AgentTask("a", "a", dependencies=("b",)), AgentTask("b", "b", dependencies=("a",))]
        with pytest.raises(CycleError):
            reconcile(ProjectOrchestrator(), circle)


class TestAgents:
    @pytest.fixture
    def project(self, tmp_path):
        return ProjectFile(path=tmp_path / "orchestrate.yaml", root=tmp_path)

    def test_a_script_that_stands_in_makes_a_model_ready(self, project, tmp_path, monkeypatch):
        monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
        claude = AgentConfig("claude", AgentType.ANTHROPIC_CLAUDE)
        missing = inspect_agent(claude, project)
        assert not missing.is_ready
        assert "ANTHROPIC_API_KEY" in missing.fix
        (tmp_path / "execute_claude.py").touch()
        report = inspect_agent(claude, replace(project, scripts_dir=tmp_path))
        assert report.is_ready
        assert "execute_claude.py stands in" in report.note

    def test_the_variable_an_agent_names_is_the_one_that_counts(self, project, monkeypatch):
        monkeypatch.setenv("OPENAI_API_KEY", "set")
        monkeypatch.delenv("MY_KEY", raising=False)
        report = inspect_agent(AgentConfig("gpt", AgentType.OPENAI_GPT, api_key_env="MY_KEY", model="m"), project)
        assert report.model == "m"
        assert "MY_KEY" in report.fix

    def test_a_compatible_server_needs_no_key_and_is_named(self, project, monkeypatch):
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        report = inspect_agent(AgentConfig("gpt", AgentType.OPENAI_GPT, base_url="http://127.0.0.1:1/v1"), project)
        assert report.is_ready
        assert report.note == "http://127.0.0.1:1/v1"

    def test_a_model_file_is_looked_for_in_the_project(self, project, tmp_path):
        agent = AgentConfig("small", AgentType.LOCAL, model_path="model.gguf")
        assert "model.gguf" in inspect_agent(agent, project).fix
        (tmp_path / "model.gguf").touch()
        report = inspect_agent(agent, project)
        assert report.is_ready
        assert report.model == "model.gguf"

    def test_a_program_by_path_has_to_be_executable(self, project, tmp_path):
        agent = AgentConfig("tool", AgentType.CLI, command=("./tool.sh",))
        (tmp_path / "tool.sh").write_text("#!/bin/sh\n")
        assert "chmod +x" in inspect_agent(agent, project).fix
        (tmp_path / "tool.sh").chmod(0o755)
        assert inspect_agent(agent, project).is_ready

    def test_a_module_is_found_without_being_imported(self, project, tmp_path):
        (tmp_path / "explosive.py").write_text("raise SystemExit('imported')")
        assert inspect_agent(AgentConfig("f", AgentType.PYTHON, function="explosive:go"), project).is_ready
        assert inspect_agent(AgentConfig("g", AgentType.PYTHON, function="json.decoder:x"), project).is_ready


class TestMain:
    def test_a_failing_disk_is_a_message(self, monkeypatch, tmp_path, capsys):
        monkeypatch.setattr("pathlib.Path.write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        assert main(["init", str(tmp_path / "new")]) == 2
        assert "No space left" in capsys.readouterr().err

    def test_ctrl_c_anywhere_is_130(self, monkeypatch, tmp_path, capsys):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("orchestration.cli.check.load", lambda _place: (_ for _ in ()).throw(KeyboardInterrupt))
        assert main(["validate"]) == 130
        assert "interrupted" in capsys.readouterr().err

    def test_a_stream_that_cannot_be_set_up_is_used_as_it_is(self, monkeypatch):
        monkeypatch.setattr(sys, "stdout", io.StringIO())
        assert main(["--version"]) == 0

    def test_a_demo_whose_model_is_missing_says_what_to_do(self, monkeypatch, tmp_path, capsys):
        monkeypatch.setattr("llm_abstractions.providers.local.packaged_model", lambda: None)
        assert main(["demo", str(tmp_path / "demo")]) == 2
        assert "the demo cannot run yet: agent 'model': run pip install" in capsys.readouterr().err


def test_only_what_says_utf8_is_taken_for_it():
    def stream(encoding):
        return io.TextIOWrapper(io.BytesIO(), encoding=encoding)

    assert not is_ascii_only(stream("utf-8"))
    assert is_ascii_only(stream("ascii"))
    assert is_ascii_only(stream("latin-1"))
