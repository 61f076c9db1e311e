"""Coding agents on this machine: small programs with a version, and files and variables that say who is signed in."""

import json
import os

import pytest
from click.testing import CliRunner

from orchestration.cli.agents import agents
from orchestration.cli.output import to_json


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A home without any sign-in, and a folder on PATH for the programs of a test."""
    programs, home = tmp_path / "bin", tmp_path / "home"
    programs.mkdir()
    home.mkdir()
    for name in list(os.environ):
        if name.endswith(("_API_KEY", "_TOKEN")) or name.startswith(("CLAUDE", "CODEX", "GEMINI", "XDG")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")

    def install(name, script="echo 2.3.4"):
        program = programs / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return program

    return install


def told(tmp_path, configured, *words):
    document = {"project": "p", "agents": configured, "tasks": {"a": {"agent": next(iter(configured))}}}
    (tmp_path / "orchestrate.yaml").write_text(json.dumps(document))
    done = CliRunner().invoke(agents, ["-C", str(tmp_path), *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_coding_agent_is_told_with_version_permissions_and_who_is_signed_in(machine, tmp_path, monkeypatch):
    program = machine("claude")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")
    configured = {"coder": {"type": "cli", "tool": "claude", "permissions": "edit", "model": "opus"}}
    said = told(tmp_path, configured)
    assert said == "coder  cli  opus  claude 2.3.4  edit  ready  signed in by ANTHROPIC_API_KEY\n"
    (report,) = json.loads(told(tmp_path, configured, "--json"))["agents"]
    assert report == report | {
        "tool": "claude",
        "program": str(program),
        "version": "2.3.4",
        "is_signed_in": True,
        "permissions": "edit",
        "is_ready": True,
    }
    assert "sk-secret" not in said + to_json(report)


def test_one_that_is_not_signed_in_says_how_to(machine, tmp_path):
    machine("codex")
    said = told(tmp_path, {"coder": {"type": "cli", "tool": "codex"}})
    assert "codex 2.3.4  read-only  needs  run `codex login`" in said


def test_one_that_is_not_installed_says_how_to_get_it(machine, tmp_path):
    configured = {"coder": {"type": "cli", "tool": "gemini"}}
    assert "gemini (not found)  read-only  needs  install it: " in told(tmp_path, configured)
    (report,) = json.loads(told(tmp_path, configured, "--json"))["agents"]
    assert (report["version"], report["is_signed_in"], report["is_ready"]) == (None, None, False)


def test_one_that_does_not_say_its_version_is_not_taken_for_ready(machine, tmp_path, monkeypatch):
    machine("claude", "exit 3")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "set")
    assert "needs  `" in told(tmp_path, {"coder": {"type": "cli", "tool": "claude"}})


def test_other_programs_are_found_without_being_started(machine, tmp_path):
    machine("mine", f"touch {tmp_path}/started")
    said = told(tmp_path, {"a": {"type": "cli", "command": ["mine", "-x"]}, "b": {"type": "cli", "command": ["./no"]}})
    assert "a  cli  ready  mine -x" in said
    assert "chmod +x" in said
    assert not (tmp_path / "started").exists()


def test_full_permissions_stand_out_and_need_no_more_words(machine, tmp_path, monkeypatch):
    machine("claude")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "set")
    (tmp_path / "orchestrate.yaml").write_text(
        json.dumps(
            {
                "project": "p",
                "sandbox": "a container",
                "agents": {"coder": {"type": "cli", "tool": "claude", "permissions": "full"}},
                "tasks": {"a": {"agent": "coder"}},
            }
        )
    )
    done = CliRunner().invoke(agents, ["-C", str(tmp_path)], catch_exceptions=False)
    assert "claude 2.3.4  full  ready" in done.stdout


def test_people_functions_and_agents_that_are_off_are_told_in_a_line_each(machine, tmp_path):
    configured = {
        "me": {"type": "human"},
        "off": {"type": "human", "enabled": False},
        "gone": {"type": "python", "function": "nowhere.at:all"},
    }
    lines = told(tmp_path, configured).splitlines()
    assert lines[0].split() == ["me", "human", "ready", "a", "person:", "orchestrate", "answer"]
    assert lines[1].split()[:4] == ["off", "human", "-", "disabled"]
    assert "add the module 'nowhere' as" in lines[2]
