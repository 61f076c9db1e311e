"""What an agent's prompts begin with: the same text for all its tasks, read again only when a file has changed."""

import asyncio
import os
from pathlib import Path
from unittest.mock import patch

import pytest

from orchestration.agent_registry import AgentConfig, AgentRegistry, AgentType
from orchestration.errors import AttemptError, FailureKind, InvalidTaskError
from orchestration.executor import TaskExecutor
from orchestration.runners import preface
from orchestration.runners.preface import Prefaces
from orchestration.task import AgentTask
from orchestration.template import read_file


@pytest.fixture
def root(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/style.md").write_text("Short words.\n", "utf-8")
    (tmp_path / "facts.txt").write_text("Grüße", "utf-8")
    return tmp_path


def writer(*files, **options):
    return AgentConfig("writer", AgentType.ANTHROPIC_CLAUDE, files=files, **options)


async def test_the_files_stand_in_the_agent_s_order_each_under_its_name(root):
    text = await Prefaces(root).of(writer("facts.txt", "docs/style.md"))

    assert text == (
        '<file path="facts.txt">\nGrüße\n</file>\n\n<file path="docs/style.md">\nShort words.\n\n</file>\n\n'
    )


async def test_an_agent_without_files_has_no_preface():
    assert await Prefaces(None).of(writer()) == ""


async def test_many_tasks_at_once_share_one_text_that_was_read_once(root):
    with patch.object(preface, "read_file", side_effect=read_file) as reads:
        prefaces = Prefaces(root)
        texts = await asyncio.gather(*(prefaces.of(writer("facts.txt")) for _ in range(20)))

    assert all(text is texts[0] for text in texts)
    reads.assert_called_once_with(root, "facts.txt")


async def test_a_file_that_changed_is_read_again(root):
    prefaces = Prefaces(root)
    before = await prefaces.of(writer("facts.txt"))

    (root / "facts.txt").write_text("Others", "utf-8")
    os.utime(root / "facts.txt", ns=(1, 1))

    assert "Grüße" in before
    assert "Others" in await prefaces.of(writer("facts.txt"))


async def test_only_the_texts_of_some_agents_are_kept(root):
    prefaces = Prefaces(root)
    for number in range(20):
        (root / f"{number}.txt").write_text("x", "utf-8")
        await prefaces.of(writer(f"{number}.txt"))

    assert len(prefaces._kept) == 16
    assert ("0.txt",) not in prefaces._kept
    assert ("19.txt",) in prefaces._kept


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("missing.md", "the file 'missing.md' of agent 'writer' cannot be found: no such file in"),
        ("out.md", "the file 'out.md' of agent 'writer' lies outside the project's folder"),
        ("binary", "is not UTF-8 text (byte 0)"),
        ("large", "is larger than 4,000,000 bytes"),
        ("docs", "cannot be found: no such file"),
    ],
)
async def test_a_file_that_cannot_be_read_is_named_with_its_agent(root, tmp_path_factory, path, says):
    (root / "binary").write_bytes(b"\xff")
    (root / "large").write_bytes(b"x" * 4_000_001)
    outside = tmp_path_factory.mktemp("outside") / "secret.md"
    outside.write_text("secret", "utf-8")
    (root / "out.md").symlink_to(outside)

    with pytest.raises(AttemptError) as caught:
        await Prefaces(root).of(writer(path))

    assert says in str(caught.value)
    assert str(caught.value).endswith("correct its `files`")
    assert caught.value.kind is FailureKind.BAD_REQUEST


async def test_a_project_without_a_folder_has_no_files():
    with pytest.raises(AttemptError, match="this project has no folder"):
        await Prefaces(None).of(writer("a.md"))


async def test_a_file_nobody_may_read_says_so(root, monkeypatch):
    def refuse(*_args):  # for a user who is not root, to whom every file is open
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)

    with pytest.raises(AttemptError, match="cannot be read: Permission denied; check its permissions"):
        await Prefaces(root).of(writer("facts.txt"))


@pytest.mark.parametrize("path", ["/etc/passwd", "../a.md", "", "a\0b"])
def test_a_path_that_leads_out_of_the_project_is_refused_with_the_agent(path):
    with pytest.raises(InvalidTaskError, match=r"agent 'writer': .* is not a path inside the project's folder"):
        writer(path)


def test_files_are_a_list_of_paths():
    with pytest.raises(InvalidTaskError, match=r"agent 'writer': files is 'a\.md', expected a sequence of words"):
        AgentConfig("writer", AgentType.ANTHROPIC_CLAUDE, files="a.md")


async def test_a_program_gets_the_files_before_its_prompt(root):
    registry = AgentRegistry()
    registry.register_agent(AgentConfig("cat", AgentType.CLI, command=("cat",), files=("facts.txt",)))
    async with TaskExecutor(registry, root=root) as executor:
        result = await executor.execute(AgentTask("t", "Sum it up", agent="cat"))

    assert result.output.strip() == '<file path="facts.txt">\nGrüße\n</file>\n\nSum it up'


@pytest.mark.parametrize("prompt", [None, "Sum it up"])
async def test_a_person_gets_the_files_once_apart_from_what_is_to_be_done(root, prompt):
    registry = AgentRegistry()
    registry.register_agent(writer("facts.txt"))
    async with TaskExecutor(registry, root=root, execution_mode="interactive") as executor:
        result = await executor.execute(AgentTask("t", "T", "Sum it up", agent="writer", prompt=prompt))

    assert result.output.startswith(
        '# T\n\n## Files\n\n<file path="facts.txt">\nGrüße\n</file>\n\n## What to do\n\nSum it up\n\n'
    )
    assert result.output.count("Grüße") == 1
