"""The files that tasks without a worktree wrote."""

import hashlib
import os
from datetime import UTC, datetime, timedelta

import pytest

from orchestration.workspace import Change, ProducedFile, produced_since

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def age(path, moment):
    os.utime(path, (moment.timestamp(), moment.timestamp()), follow_symlinks=False)


async def test_files_under_the_scopes_that_are_new_enough_are_hashed(repo):
    since = datetime.now(UTC)
    repo.write("out/new.txt", "new")
    repo.write("out/deep/er.txt", "deeper")
    repo.write("elsewhere.txt", "no")
    age(repo.write("out/old.txt", "old"), since - timedelta(seconds=1))
    found = await produced_since(repo.path, ["out/**", "out/new.txt"], since)
    assert found.omitted == 0
    assert found.files == (
        ProducedFile(
            path="out/deep/er.txt",
            change=Change.MODIFIED,
            sha256=hashlib.sha256(b"deeper").hexdigest(),
            size_bytes=6,
        ),
        ProducedFile(
            path="out/new.txt", change=Change.MODIFIED, sha256=hashlib.sha256(b"new").hexdigest(), size_bytes=3
        ),
    )


async def test_a_file_written_right_after_the_moment_is_found_though_the_kernels_stamp_is_older(repo):
    for number in range(50):
        since = datetime.now(UTC)
        repo.write(f"out/{number}.txt", "x")
        assert len((await produced_since(repo.path, [f"out/{number}.txt"], since)).files) == 1


async def test_more_files_than_the_limit_are_counted(repo):
    for number in range(5):
        repo.write(f"out/{number}.txt", "x")
    found = await produced_since(repo.path, ["out"], LONG_AGO, limit=3)
    assert [file.path for file in found.files] == ["out/0.txt", "out/1.txt", "out/2.txt"]
    assert found.omitted == 2


async def test_links_are_not_followed_pipes_not_waited_for_and_our_state_is_not_looked_at(repo, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/secret").write_text("secret")
    (repo.path / "link").symlink_to(tmp_path / "elsewhere")
    (repo.path / "out").mkdir()
    (repo.path / "out/link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(repo.path / "out/pipe")
    repo.write(".orchestration/state", "x")
    everything = await produced_since(repo.path, ["**"], LONG_AGO)
    assert [(file.path, file.sha256 is None) for file in everything.files] == [
        ("a.txt", False),
        ("link", False),
        ("out/link", False),
        ("out/pipe", True),
    ]
    through = await produced_since(repo.path, ["link/secret", ".orchestration/*", ".git/*", "nothing"], LONG_AGO)
    assert through.files == ()


async def test_a_file_that_may_not_be_read_is_listed_without_a_hash(repo, monkeypatch):
    repo.write("out.txt", "x")
    real = os.open

    def refusing(path, *args, **options):
        if str(path).endswith("out.txt"):
            raise PermissionError(path)
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", refusing)  # tests may run as root, who may read everything
    (file,) = (await produced_since(repo.path, ["out.txt"], LONG_AGO)).files
    assert file.sha256 is None


async def test_a_scope_that_leads_out_is_refused(repo):
    with pytest.raises(ValueError, match="below the root"):
        await produced_since(repo.path, ["../x"], LONG_AGO)
