"""Looking at a coding agent without using it."""

import os
import sys

import pytest

from orchestration.agent_registry import AgentConfig, AgentType, Tool
from orchestration.runners import cli_probe
from orchestration.runners.cli_probe import probe
from orchestration.runners.cli_tools import TOOLS


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home without any sign-in, and a PATH with nothing but what the test puts there."""
    folder = tmp_path / "home"
    (folder / "bin").mkdir(parents=True)
    return folder


@pytest.fixture
def install(home):
    """Return a function that installs a program, which answers `--version` so."""

    def install(name, says="1.2.3 (Tool)", code=0):
        path = home / "bin" / name
        path.write_text(f"#!{sys.executable}\nprint({says!r})\nimport sys\nsys.exit({code})\n")
        path.chmod(0o755)
        return path

    return install


async def look(home, tool=None, env=None, **options):
    agent = AgentConfig("writer", AgentType.CLI, tool=tool, **options)
    return await probe(agent, home, env={"PATH": str(home / "bin"), "HOME": str(home)} | (env or {}))


@pytest.mark.parametrize("tool", list(Tool))
async def test_a_tool_that_is_not_there_says_how_to_install_it(home, tool):
    seen = await look(home, tool)

    assert (seen.program, seen.path, seen.version) == (tool.value, "", "")
    assert seen.fix == f"install it: {TOOLS[tool].install}"


@pytest.mark.parametrize("tool", list(Tool))
async def test_a_tool_tells_its_version_and_that_it_is_not_signed_in(home, install, tool):
    path = install(tool.value)

    seen = await look(home, tool)

    assert (seen.path, seen.version) == (str(path), "1.2.3")
    assert seen.sign_in == TOOLS[tool].login
    if tool is Tool.OPENCODE:  # it has models that need no sign-in
        assert (seen.is_signed_in, seen.fix) == (None, "")
    else:
        assert (seen.is_signed_in, seen.fix) == (False, TOOLS[tool].login)


@pytest.mark.parametrize(
    ("tool", "variable"),
    [
        (Tool.CLAUDE, "ANTHROPIC_API_KEY"),
        (Tool.CLAUDE, "CLAUDE_CODE_USE_BEDROCK"),
        (Tool.CODEX, "CODEX_API_KEY"),
        (Tool.GEMINI, "GEMINI_API_KEY"),
        (Tool.OPENCODE, "OPENAI_API_KEY"),
        (Tool.AIDER, "ANTHROPIC_API_KEY"),
    ],
)
async def test_a_variable_signs_in(home, install, tool, variable):
    install(tool.value)

    seen = await look(home, tool, env={variable: "x"})

    assert (seen.is_signed_in, seen.sign_in, seen.fix) == (True, variable, "")


@pytest.mark.parametrize(
    ("tool", "path", "env"),
    [
        (Tool.CLAUDE, ".claude/.credentials.json", {}),
        (Tool.CLAUDE, "elsewhere/.credentials.json", {"CLAUDE_CONFIG_DIR": "{home}/elsewhere"}),
        (Tool.CODEX, ".codex/auth.json", {}),
        (Tool.CODEX, "elsewhere/auth.json", {"CODEX_HOME": "{home}/elsewhere"}),
        (Tool.GEMINI, ".gemini/oauth_creds.json", {}),
        (Tool.GEMINI, ".gemini/.env", {}),
        (Tool.OPENCODE, ".local/share/opencode/auth.json", {}),
        (Tool.OPENCODE, "data/opencode/auth.json", {"XDG_DATA_HOME": "{home}/data"}),
    ],
)
async def test_a_file_of_the_tools_own_signs_in(home, install, tool, path, env):
    install(tool.value)
    file = home / path
    file.parent.mkdir(parents=True)
    file.write_text("{}")

    seen = await look(home, tool, env={name: value.format(home=home) for name, value in env.items()})

    assert (seen.is_signed_in, seen.sign_in) == (True, str(file))


@pytest.mark.parametrize(
    ("tool", "path", "text"),
    [
        (Tool.CLAUDE, "Library/Keychains/login", ""),
        (Tool.CODEX, ".codex/config.toml", 'model_provider = "mine"'),
        (Tool.AIDER, ".aider.conf.yml", "model: x"),
    ],
)
async def test_where_files_do_not_tell_it_says_so(home, install, tool, path, text):
    install(tool.value)
    file = home / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)

    seen = await look(home, tool)

    assert (seen.is_signed_in, seen.fix) == (None, "")


async def test_a_codex_configuration_without_a_provider_of_its_own_signs_nobody_in(home, install):
    install("codex")
    (home / ".codex").mkdir()
    (home / ".codex" / "config.toml").write_text('model = "gpt"')

    assert (await look(home, Tool.CODEX)).is_signed_in is False


@pytest.mark.parametrize(("says", "code"), [("no number", 0), ("1.2.3", 1)])
async def test_a_tool_that_does_not_tell_its_version_is_to_be_installed_anew(home, install, says, code):
    install("claude", says, code)

    seen = await look(home, Tool.CLAUDE, env={"ANTHROPIC_API_KEY": "x"})

    assert seen.version == ""
    assert "does not answer; install it anew: npm install" in seen.fix


async def test_a_tool_that_never_answers_is_not_waited_for(home, install, monkeypatch):
    monkeypatch.setattr(cli_probe, "_TIMEOUT_S", 0.2)
    install("claude").write_text("#!/bin/sh\nexec /bin/sleep 60\n")

    assert (await look(home, Tool.CLAUDE)).version == ""


async def test_the_version_is_asked_for_once_until_the_program_changes(home, install):
    path, log = install("claude"), home / "log"
    path.write_text(f"#!/bin/sh\necho asked >> {log}\necho 1.2.3\n")
    for _ in range(2):
        assert (await look(home, Tool.CLAUDE)).version == "1.2.3"
    assert log.read_text() == "asked\n"

    changed_ns = path.stat().st_mtime_ns + 1
    os.utime(path, ns=(changed_ns, changed_ns))
    await look(home, Tool.CLAUDE)

    assert log.read_text() == "asked\n" * 2


async def test_a_command_in_place_of_the_tool_is_asked_with_all_its_words(home):
    command = (sys.executable, "-m", "orchestration.testing.cli_agents", "claude")

    assert (await look(home, Tool.CLAUDE, command=command)).version == "2.1.197"


async def test_a_program_of_the_users_own_is_found_in_the_project_or_not(home, install):
    path = install("tool.sh")

    assert (await look(home, command=("./bin/tool.sh",))).path == str(home / "./bin/tool.sh")
    assert (await look(home, command=("tool.sh",))).path == str(path)
    assert "correct the agent's `command`" in (await look(home, command=("other",))).fix
    assert "give the agent a `tool`" in (await look(home)).fix


async def test_the_environment_of_this_process_is_what_counts(home, install, monkeypatch):
    install("claude")
    for name in list(os.environ):
        if name.startswith(("ANTHROPIC", "CLAUDE")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", str(home / "bin"))
    monkeypatch.setenv("HOME", str(home))

    seen = await probe(AgentConfig("writer", AgentType.CLI, tool=Tool.CLAUDE))

    assert (seen.path, seen.is_signed_in) == (str(home / "bin" / "claude"), False)
