"""Checks that look at files: those that must exist, and those that must have changed."""

import os

import pytest

from orchestration.errors import AttemptError, FailureKind
from orchestration.task_options import Check


@pytest.fixture
def write(tmp_path):
    def make(*paths):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text("text")
        return tmp_path / paths[-1]

    return make


async def test_files_and_folders_that_exist_pass(check_one, write, tmp_path):
    write("out/report.md")
    (tmp_path / "out" / "empty").touch()

    verdict = await check_one(Check(files=("out/report.md", "out", "out/empty")))

    assert verdict.is_passed
    assert verdict.evidence == "out/report.md: 4 bytes\nout: is a folder\nout/empty: 0 bytes"


async def test_what_is_missing_is_named_first(check_one, write):
    write("a")

    verdict = await check_one(Check(files=("a", "b", "a/c")))

    assert not verdict.is_passed
    assert verdict.evidence == "b: does not exist\na/c: does not exist\na: 4 bytes"


async def test_links_count_only_while_they_stay_in_the_folder(check_one, write, tmp_path):
    write("root/real")
    write("outside")
    root = tmp_path / "root"
    (root / "good").symlink_to("real")
    (root / "up").symlink_to("..")
    (root / "out").symlink_to("../outside")
    (root / "nowhere").symlink_to("missing")
    (root / "round").symlink_to("round")

    async def is_there(path):
        return (await check_one(Check(files=(path,)), cwd=root)).is_passed

    assert await is_there("good")
    for path in ("out", "up/outside", "up", "nowhere", "round"):
        assert not await is_there(path), path


async def test_a_name_that_no_file_can_have_does_not_exist(check_one):
    assert not (await check_one(Check(files=("x" * 5_000,)))).is_passed
    assert not (await check_one(Check(files=("\ud800",)))).is_passed


@pytest.mark.parametrize(
    "check",
    [Check(files=("../x",)), Check(files=("/etc",)), Check(changed=("../**",)), Check(changed=("/etc",))],
)
async def test_a_path_that_leads_out_is_the_authors_mistake(check_one, check):
    with pytest.raises(AttemptError, match="cannot be made") as caught:
        await check_one(check)

    assert caught.value.kind is FailureKind.BAD_REQUEST


@pytest.mark.parametrize("check", [Check(files=("x",)), Check(changed=("x",))])
async def test_a_project_in_memory_has_no_files(check_one, check):
    with pytest.raises(AttemptError, match="no folder; open it with a project_root"):
        await check_one(check, cwd=None)


async def test_each_glob_must_match_a_path_that_the_workspace_knows_to_have_changed(check_one, claim):
    made = claim(changed=("src/a.py", "docs/x/y.md"))

    assert (await check_one(Check(changed=("src/*.py", "docs")), of=made)).is_passed
    verdict = await check_one(Check(changed=("src/**", "docs/*.md")), of=made)

    assert not verdict.is_passed
    assert verdict.evidence == "src/**: src/a.py\ndocs/*.md: no change among src/a.py, docs/x/y.md"


async def test_where_nothing_changed_that_is_the_evidence(check_one, claim):
    verdict = await check_one(Check(changed=("src/**",)), of=claim(changed=()), cwd=None)

    assert verdict.evidence == "src/**: nothing was changed"


async def test_in_a_shared_folder_files_written_since_the_beginning_count(check_one, claim, write, moment):
    new = write("src/deep/a.py")

    async def is_changed(glob, later_s):
        made = claim(since=moment(new, later_s))
        return (await check_one(Check(changed=(glob,)), of=made)).is_passed

    for glob in ("src/**", "src", "**/*.py", "src/deep/a.py", "src/deep/?.py", "**"):
        assert await is_changed(glob, 0), glob
        assert await is_changed(glob, 0.009), glob  # within a tick of the system's clock
        assert not await is_changed(glob, 1), glob
    for glob in ("docs/**", "*.py", "src/deep/a", "src/a.py"):
        assert not await is_changed(glob, 0), glob


async def test_a_file_moved_to_its_place_was_written_whatever_its_date(check_one, claim, write, moment):
    old = write("old")
    os.utime(old, (0, 0))
    new = old.rename(old.with_name("new"))

    verdict = await check_one(Check(changed=("new", "old")), of=claim(since=moment(new)))

    assert verdict.evidence == "new: new\nold: no file was written"


async def test_the_files_of_git_and_of_the_orchestrator_are_not_work(check_one, write):
    write(".git/index", ".orchestration/default.db", "sub/.git/HEAD")

    assert not (await check_one(Check(changed=("**",)))).is_passed


async def test_links_are_not_followed_out_of_the_folder(check_one, claim, write, tmp_path):
    write("outside/new.txt")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to("../outside")
    (root / "inner").mkdir()

    async def is_changed(glob):
        return (await check_one(Check(changed=(glob,)), cwd=root)).is_passed

    assert not await is_changed("link/*.txt")
    assert not await is_changed("**/*.txt")
    assert await is_changed("*")  # the link itself


async def test_the_first_few_of_many_files_are_enough(check_one, write):
    write(*(f"many/{n:03}" for n in range(50)))

    verdict = await check_one(Check(changed=("many/*",)))

    assert verdict.evidence == "many/*: " + ", ".join(f"many/{n:03}" for n in range(10))
