"""Every example, in a copy of its folder, by the commands its README names."""

import json
import re
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.acceptance

EXAMPLES = Path(__file__).parents[3] / "examples"

uses_model = [pytest.mark.model, pytest.mark.xdist_group("local model")]


@pytest.fixture
def example(tmp_path, open_shell):
    """Open a shell in a copy of an example."""

    def copy(name):
        ignored = shutil.ignore_patterns(".orchestration", "__pycache__")
        return open_shell(shutil.copytree(EXAMPLES / name, tmp_path / name, ignore=ignored))

    return copy


def test_every_example_has_a_readme_and_a_test():
    source = Path(__file__).read_text()

    for folder in sorted(path for path in EXAMPLES.iterdir() if path.is_dir()):
        assert (folder / "README.md").is_file(), folder.name
        assert f'example("{folder.name}")' in source, folder.name


@pytest.mark.parametrize("project", sorted(EXAMPLES.rglob("orchestrate.yaml")), ids=lambda path: path.parent.name)
def test_every_project_file_of_the_examples_is_valid(project, open_shell):
    assert "is fine" in open_shell(project.parent)("orchestrate", "validate")


class TestThreeReviewers:
    pytestmark = uses_model

    def test_three_reviews_meet_in_one_summary(self, example):
        shell = example("three-reviewers")

        shell("orchestrate", "run")

        summary = shell.read("summary.md")
        reviews = [json.loads(shell.output(name)) for name in REVIEWERS]
        against = [name for name, review in zip(REVIEWERS, reviews, strict=True) if review["verdict"] == "needs work"]
        assert all(review["remark"] in summary for review in reviews)
        assert summary.startswith(f"# Needs work, says {', '.join(against)}." if against else "# All reviewers")


REVIEWERS = ("security", "clarity", "robustness")


class TestHumanApproval:
    pytestmark = uses_model

    def test_nothing_is_published_before_a_person_approves(self, example):
        shell = example("human-approval")

        printed = shell("orchestrate", "run")

        assert "orchestrate approve draft" in printed
        assert shell.status()["draft"]["status"] == "waiting"
        assert not (shell.folder / "announcement.md").exists()

        shell("orchestrate", "reject", "draft", "Mention 2.4")
        shell("orchestrate", "run")

        assert shell.status()["draft"]["status"] == "waiting"
        assert shell.status()["draft"]["attempt"] == 2

        second_draft = shell.output("draft")
        shell("orchestrate", "approve", "draft")
        shell("orchestrate", "run")

        assert shell.read("announcement.md") == f"# Announcement\n\n{second_draft.strip()}\n"


class TestScriptMigration:
    def test_every_step_gives_the_digest_of_the_old_executor(self, example):
        shell = example("script-migration")

        before = shell("python", "before/main.py").strip()
        step1 = shell("python", "step1.py").strip()
        shell("orchestrate", "run")

        assert before.startswith("The upload server ran out of disk")
        assert step1 == before
        assert shell.read("digest.txt").strip() == before

    def test_the_new_executor_runs_the_notes_together_and_nothing_twice(self, example):
        shell = example("script-migration")

        shell("python", "step1.py")
        (shell.folder / "scripts" / "execute_claude.py").write_text("raise SystemExit('it was called again')")

        assert "The upload server" in shell("python", "step1.py")


class TestPythonApi:
    def test_a_program_builds_runs_and_resumes_its_project(self, example, tmp_path):
        shell = example("python-api")
        texts = tmp_path / "texts"
        texts.mkdir()
        (texts / "long.txt").write_text("one two three\nfour\n")
        (texts / "short.md").write_text("one\n")

        first = shell("python", "main.py", str(texts))
        second = shell("python", "main.py", str(texts))

        rows = [re.split(r"\s{2,}", line.strip()) for line in first.splitlines()[-2:]]
        assert rows == [["4 words", "2 lines", "long.txt"], ["1 words", "1 lines", "short.md"]]
        assert first.count("TaskStarted") == 3
        assert second.count("TaskStarted") == 0
        assert second.splitlines()[-2:] == first.splitlines()[-2:]


class TestCodingAgents:
    def test_three_agents_write_what_the_tests_ask_for_and_it_is_merged(self, example, open_shell):
        copy = example("coding-agents")
        copy("./set-up.sh", str(copy.folder.parent / "shop"))
        shell = open_shell(copy.folder.parent / "shop")

        shell("orchestrate", "run")

        log = shell("git", "log", "--graph", "--oneline")
        assert [f"Merge task {task}" in log for task in ("discount", "tax", "shipping")] == [True] * 3
        assert shell.output("release").strip() == "A purchase of 100.00 costs 125.88, by add_shipping and add_tax."
        assert (
            sorted(line.split()[0] for line in shell.read("outbox.log").splitlines()) == ["sending"] * 2 + ["sent"] * 2
        )
