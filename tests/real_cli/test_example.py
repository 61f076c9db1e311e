"""The example `coding-agents`, with the real claude, codex and gemini in place of the made-up ones."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mock_provider import MockProvider, Say, Use

pytestmark = pytest.mark.timeout(300)

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "examples" / "coding-agents"
NPM = REPOSITORY / ".tools" / "npm" / "node_modules" / ".bin"
BIN = Path(sys.executable).parent
TOOLS = ("claude", "codex", "gemini")
CODEX = """\
model_provider = "mock"
model = "gpt-5.1-codex"
[model_providers.mock]
name = "mock"
base_url = "{url}/v1"
env_key = "MOCK_KEY"
wire_api = "responses"
"""


class Models(MockProvider):
    """A provider whose models know what to do from what they are asked: words of a prompt -> turns."""

    def __init__(self, stories):
        super().__init__()
        self.stories = {words: list(turns) for words, turns in stories.items()}

    def _next(self, body, *, has_tools):
        if not has_tools:
            return Say("fine")
        self.requests.append(body)
        text = json.dumps(body)
        turns = next(turns for words, turns in self.stories.items() if words in text)
        turn = turns.pop(0) if len(turns) > 1 else turns[0]
        return turn() if callable(turn) else turn


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """The example in a repository of its own, for the real tools."""
    if not os.environ.get("ORCHESTRATION_REAL_CLI"):
        pytest.skip("the real coding agents are tried on request: make test-cli (it sets ORCHESTRATION_REAL_CLI)")
    monkeypatch.setenv("PATH", f"{NPM}:{BIN}:{os.environ['PATH']}")
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}; make test-cli installs them")
    folder = tmp_path / "shop"
    subprocess.run([EXAMPLE / "set-up.sh", folder], check=True)
    file = folder / "orchestrate.yaml"
    lines = [line for line in file.read_text().splitlines() if "agents/fake.sh" not in line]
    lines[lines.index("    tool: codex")] += "\n    env: [MOCK_KEY]"
    lines[lines.index("    tool: gemini")] += "\n    model: gemini-2.5-pro"
    file.write_text("\n".join(lines) + "\n")
    identity = ("-c", "user.name=You", "-c", "user.email=you@example.org")
    subprocess.run(["git", *identity, "commit", "-qam", "Let the real ones work"], cwd=folder, check=True)
    return folder


def sign_in(home, url, monkeypatch):
    """Have the tools talk to the provider at this address, with keys that are none."""
    (home / ".codex").mkdir(parents=True)
    (home / ".codex" / "config.toml").write_text(CODEX.format(url=url))
    (home / ".gemini").mkdir()
    auth = {"security": {"auth": {"selectedType": "gemini-api-key"}}}
    (home / ".gemini" / "settings.json").write_text(json.dumps(auth))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    key = "mock-key-123456"
    for name, value in {
        "HOME": str(home),
        "CODEX_HOME": str(home / ".codex"),
        "ANTHROPIC_API_KEY": key,
        "ANTHROPIC_BASE_URL": url,
        "MOCK_KEY": key,
        "GEMINI_API_KEY": key,
        "GOOGLE_GEMINI_BASE_URL": url,
    }.items():
        monkeypatch.setenv(name, value)


def stories(folder):
    """Let the models do what the made-up agents do, each by the tools of its own program."""
    plays = json.loads((EXAMPLE / "agents" / "developers.json").read_text())
    (resolving,) = json.loads((EXAMPLE / "agents" / "integrator.json").read_text())["*"]
    trees = folder / ".orchestration" / "worktrees" / "shop"

    def files(play):
        return {name: text for act in play for name, text in act.get("write", {}).items()}

    def said(play):
        return Say(play[-1]["say"])

    def claude(task, play):
        return [Use("Write", {"file_path": str(trees / task / n), "content": t}) for n, t in files(play).items()]

    def codex(task, play):
        parts = [f"mkdir -p $(dirname {n}) && cat > {n} <<'EOF'\n{t}EOF" for n, t in files(play).items()]
        return [Use("exec_command", {"cmd": "\n".join(parts)})]

    def gemini(task, play):
        return [Use("write_file", {"file_path": str(trees / task / n), "content": t}) for n, t in files(play).items()]

    def in_conflict():
        found = [tree / "shop" / "__init__.py" for tree in trees.iterdir() if tree.is_dir()]
        return str(next(file for file in found if "<<<<<<<" in file.read_text()))

    first, second = plays["discount"]
    (text,) = files(resolving).values()
    return {
        "Resolve the merge conflict": [
            lambda: Use("Read", {"file_path": in_conflict()}),
            lambda: Use("Write", {"file_path": in_conflict(), "content": text}),
            said(resolving),
        ],
        "Write shop/discount.py": [*claude("discount", first), said(first), *claude("discount", second), said(second)],
        "Write shop/tax.py": [*codex("tax", plays["tax"][0]), said(plays["tax"][0])],
        "Write shop/shipping.py": [*gemini("shipping", plays["shipping"][0]), said(plays["shipping"][0])],
    }


async def command(folder, *words):
    process = await asyncio.create_subprocess_exec(
        *words, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await process.communicate()
    return process.returncode, out.decode()


async def test_the_real_ones_work_in_parallel_one_mends_its_check_one_conflicts_and_all_is_merged(
    shop, tmp_path, monkeypatch
):
    async with Models(stories(shop)) as models:
        sign_in(tmp_path / "home", models.url, monkeypatch)
        code, printed = await command(shop, "orchestrate", "run")

    assert code == 0, printed
    assert "check failed" in printed
    assert (await command(shop, "orchestrate", "show", "release"))[1].count("by add_shipping and add_tax") == 1
    assert (await command(shop, "python3", "release.py"))[0] == 0
    code, log = await command(shop, "git", "log", "--merges", "--format=%s")
    assert log.count("Merge task") == 3
    assert (await command(shop, "git", "status", "--porcelain")) == (0, "")
    assert (await command(shop, "git", "branch", "--list", "orchestrate/*")) == (0, "")
    asked = json.dumps(models.requests)
    assert "AssertionError: 10000 != 9000" in asked
    assert "Resolve the merge conflict" in asked
