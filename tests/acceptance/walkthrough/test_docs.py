"""The documentation is true: every block of it runs, the reference is current, every link leads somewhere.

How a page is read, top to bottom, in a folder of its own:
- a block named after a file (```yaml orchestrate.yaml) is written there;
- a `console` block is typed: `$ command`, with `# exit code N` where that is not 0. The lines below a command are what
  it prints; `...` stands for anything within a line, and on a line of its own for any lines;
- a `python` block without a name runs as a program; a `yaml` block without a name is a part of a valid project file;
- a `sh` block is not run: it installs or needs a key. Its extras, commands and options are looked up instead.
"""

import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from orchestration.cli.commands import COMMANDS
from orchestration.project_file import load_project

REPOSITORY = Path(__file__).parents[3]
DOCS = REPOSITORY / "docs"
PAGES = sorted(
    page
    for page in DOCS.rglob("*.md")
    if page.relative_to(DOCS).parts[0] not in {"decisions", "reference", "benchmarks.md"}
)
# Other than these nothing needs the model, which takes seconds to start.
MODEL_PAGES = {"tutorial.md", "local-models.md"}

BLOCK = re.compile(r"^```(\w+)(?: ([\w./-]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXIT_CODE = re.compile(r"\s+# exit code (\d+)$")


@dataclass(frozen=True)
class Block:
    language: str
    name: str
    text: str
    line: int


def blocks(page):
    text = page.read_text("utf-8")
    return [
        Block(found[1], found[2] or "", found[3], text[: found.start()].count("\n") + 1)
        for found in BLOCK.finditer(text)
    ]


def as_parameter(page):
    marks = [pytest.mark.acceptance, pytest.mark.timeout(180)]
    if page.name in MODEL_PAGES:
        marks += [pytest.mark.model, pytest.mark.xdist_group("local model")]
    return pytest.param(page, marks=marks, id=page.relative_to(DOCS).as_posix())


@pytest.mark.parametrize("page", [as_parameter(page) for page in PAGES])
def test_every_block_of_the_page_does_what_the_page_says(page, shell):
    for block in blocks(page):
        where = f"{page.name}:{block.line}"
        if block.name:
            path = shell.folder / block.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, "utf-8")
            path.chmod(0o755 if block.text.startswith("#!") else 0o644)
        elif block.language == "console":
            type_in(block.text, shell, where)
        elif block.language == "python":
            done = subprocess.run(
                [sys.executable, "-c", block.text],
                cwd=shell.folder,
                env=shell.env,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{where}: {done.stderr}"
        elif block.language == "yaml":
            load_part(block.text, shell.folder, where)
        elif block.language == "sh":
            look_up(block.text, where)
        else:
            assert block.language in {"json", "text", "mermaid"}, f"{where}: a {block.language} block is never run"


def test_every_project_of_the_readme_is_valid(shell):
    projects = [block for block in blocks(REPOSITORY / "README.md") if block.language == "yaml"]

    assert projects
    for block in projects:
        (shell.folder / "orchestrate.yaml").write_text(block.text)
        assert "is fine" in shell("orchestrate", "validate"), block.line


def type_in(text, shell, where):
    """Type each command and compare what it prints with the lines below it."""
    for typed in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        line, _, expected = typed.partition("\n")
        code = EXIT_CODE.search(line)
        command = EXIT_CODE.sub("", line)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=shell.folder,
            env=shell.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        said = f"{where}: $ {command}\nexit code {done.returncode}, it printed:\n{done.stdout}"
        assert done.returncode == (int(code[1]) if code else 0), said
        printed = re.sub(r"[ \t]+$", "", done.stdout, flags=re.MULTILINE).strip("\n") + "\n"
        if expected.strip():
            assert pattern_of(expected).fullmatch(printed), f"{said}\nthe page says:\n{expected}"


def pattern_of(expected):
    lines = []
    for line in expected.strip("\n").splitlines():
        within = ".*".join(map(re.escape, line.rstrip().split("...")))
        lines.append(r"(?:.*\n)*" if line.strip() == "..." else f"{within}\n")
    return re.compile("".join(lines))


def load_part(text, folder, where):
    """Complete a part of a project file with what it leaves out, and load that."""
    part = YAML(typ="safe", pure=True).load(text)
    agents = dict(part.get("agents") or {})
    tasks = dict(part.get("tasks") or {"any": {"agent": next(iter(agents))} if agents else {}})
    for name, task in list(tasks.items()):
        if task.get("agent"):
            agents.setdefault(task["agent"], {"type": "human"})
        for dependency in task.get("dependencies", ()):
            tasks.setdefault(dependency, {"agent": task.get("agent", name)})
    if not agents:
        agents["anyone"] = {"type": "human"}
        part.setdefault("default_agent", "anyone")
    path = folder / "part.yaml"
    path.write_text(json.dumps({"project": "part"} | part | {"agents": agents, "tasks": tasks}))
    assert load_project(path).tasks, where


def look_up(text, where):
    """Check that what the block names exists."""
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for named in re.findall(r"async-orchestrator\[([\w,]+)\]", text):
        assert set(named.split(",")) <= set(extras), f"{where}: no such extra: {named}"
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["orchestrate"]:
            assert words[1] in COMMANDS, f"{where}: no such command: {words[1]}"


@pytest.fixture(scope="module")
def builder():
    spec = importlib.util.spec_from_file_location("docs_build", DOCS / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_relative_link_leads_somewhere(builder):
    assert builder.broken_links(builder.written_pages()) == []


def test_a_link_to_a_missing_file_or_heading_is_found(builder, tmp_path):
    page = tmp_path / "a.md"
    page.write_text("# Here\n[b](b.md) [c](a.md#there) [d](#here) [e](https://example.org)\n```\n[f](no.md)\n```\n")

    assert builder.broken_links([page], tmp_path) == [
        "a.md: b.md: there is no b.md",
        "a.md: a.md#there: a.md has no heading #there",
    ]


@pytest.mark.parametrize("name", ["reference/api.md", "reference/cli.md", "reference/project-file.md"])
def test_the_reference_is_what_the_code_says(builder, name):
    assert (DOCS / name).read_text("utf-8") == builder.pages()[name], "run: make docs"


def test_every_page_is_linked_from_the_index(builder):
    index = (DOCS / "index.md").read_text("utf-8")

    for page in PAGES:
        if page.name != "index.md":
            assert f"({page.relative_to(DOCS).as_posix()})" in index, page
