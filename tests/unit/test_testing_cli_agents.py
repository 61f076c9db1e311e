"""The made-up coding agents: they play what the script says, and refuse what the real ones refuse."""

import io
import json
import sys

import pytest

from orchestration.testing.cli_agents import calls_of, main
from orchestration.testing.cli_agents.tools import TOOLS, VERSIONS

BEGINNINGS = {
    "claude": ["-p", "--output-format", "stream-json", "--verbose"],
    "codex": ["exec", "--json", "-"],
    "gemini": ["-o", "stream-json", "--skip-trust"],
    "opencode": ["run", "--format", "json"],
    "aider": ["--message-file", "{prompt}"],
}
RESUMING = {
    "claude": ["-p", "--resume", "s1"],
    "codex": ["exec", "resume", "--json", "s1", "-"],
    "gemini": ["--skip-trust", "--resume", "s1"],
    "opencode": ["run", "-s", "s1"],
}


@pytest.fixture
def play(tmp_path, monkeypatch, capsys):
    """Return a function that plays acts and returns the exit code and what was said on stdout and stderr."""
    monkeypatch.setenv("ORCHESTRATION_TASK_ID", "draft")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompt.md").write_text("Do it")

    def play(tool, *acts, args=None, plays=None):
        monkeypatch.setattr(sys, "stdin", io.StringIO("Do it"))
        script = tmp_path / "script.json"
        script.write_text(json.dumps(plays or {"*": [list(acts)]}))
        given = BEGINNINGS[tool] if args is None else args
        words = [word.format(prompt=tmp_path / "prompt.md") for word in given]
        code = main([tool, "--script", str(script), *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return play


@pytest.mark.parametrize("tool", list(TOOLS))
def test_it_works_and_says_so(play, tool, tmp_path):
    acts = [{"use": "Bash ls"}, {"write": {"sub/a.txt": "hi"}}, {"retry": 429}, {"sleep": 0}, {"say": "All done."}]

    code, out, _ = play(tool, *acts)

    assert code == 0
    assert (tmp_path / "sub" / "a.txt").read_text() == "hi"
    assert out
    assert calls_of(tmp_path / "script.json")[0]["prompt"] == "Do it"


@pytest.mark.parametrize("tool", list(TOOLS))
def test_an_answer_of_a_form_is_given(play, tool):
    _, out, _ = play(tool, {"data": {"n": 3}})

    assert "3}" in out


@pytest.mark.parametrize("tool", list(TOOLS))
def test_a_provider_that_refuses_ends_it(play, tool):
    code, out, err = play(tool, {"fail": 429})

    assert (code == 0) is (tool == "aider")
    assert "the fake says no" in out + err
    assert play(tool, {"error": "in other words"})[0] == code


@pytest.mark.parametrize("tool", list(TOOLS))
def test_a_flag_that_the_real_one_does_not_have_is_refused(play, tool):
    code, _, err = play(tool, args=["--no-such-flag"])

    assert code in {1, 2}
    assert "unknown option" in err


@pytest.mark.parametrize("tool", list(RESUMING))
def test_a_conversation_it_does_not_know_is_refused(play, tool):
    code, _, err = play(tool, {"say": "x"}, args=RESUMING[tool])

    assert code == (42 if tool == "gemini" else 1)
    assert err


@pytest.mark.parametrize("tool", ["claude", "gemini"])
def test_a_conversation_it_knows_is_gone_on_with(play, tool):
    play(tool, {"say": "x"}, args=[*BEGINNINGS[tool], "--session-id", "s1"])

    code, out, _ = play(tool, {"say": "more"}, args=[*BEGINNINGS[tool], "--resume", "s1"])

    assert code == 0
    assert '"s1"' in out


@pytest.mark.parametrize(
    ("tool", "args", "code"),
    [
        ("claude", ["-p", "--output-format", "stream-json"], 1),
        ("codex", ["exec", "the prompt"], 2),
        ("codex", ["exec", "resume", "-s", "read-only", "s1", "-"], 2),
        ("gemini", ["-o", "stream-json"], 55),
    ],
)
def test_what_the_real_one_does_not_take_is_refused(play, tool, args, code):
    assert play(tool, {"say": "x"}, args=args)[0] == code


def test_claude_does_not_begin_a_conversation_twice(play):
    words = [*BEGINNINGS["claude"], "--session-id", "s1"]

    assert play("claude", {"say": "x"}, args=words)[0] == 0
    assert "already in use" in play("claude", {"say": "x"}, args=words)[2]


def test_calls_for_a_task_play_its_plays_one_by_one_and_the_last_again(play):
    plays = {"draft": [[{"exit": 3}], [{"say": "x"}]], "*": [[{"exit": 9}]]}

    assert [play("claude", plays=plays)[0] for _ in range(3)] == [3, 0, 0]


def test_odd_output_is_made(play):
    assert play("claude", {"half": True})[1].endswith('"succ')
    assert len(play("claude", {"flood": 1})[1]) > 1_000_000
    assert play("codex", {"chatter": 3})[1].count("agent_message") == 3
    assert '"num_turns": 0' in play("claude", {"turns": 0})[1]
    assert play("claude", {"check": "Do it"})[0] == 0
    assert play("claude", {"check": "something else"})[0] == 97


@pytest.mark.parametrize("tool", list(VERSIONS))
def test_it_tells_its_version(capsys, tool):
    assert main([tool, "--version"]) == 0
    assert VERSIONS[tool] in capsys.readouterr().out


def test_without_a_script_it_says_how_it_is_called(capsys):
    assert main(["claude"]) == 2
    assert "--script FILE" in capsys.readouterr().err


def test_before_the_first_call_nothing_was_asked(tmp_path):
    assert calls_of(tmp_path / "script.json") == []
