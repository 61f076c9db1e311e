"""A claim to check, and one call that checks it."""

from datetime import UTC, datetime, timedelta

import pytest

from orchestration.verification import Claim, verify

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


async def nobody(check, prompt, schema):
    pytest.fail(f"{check.judge} was asked")


@pytest.fixture
def claim():
    """Make a claim: `claim("output", data=...)`."""

    def make(output="", *, since=LONG_AGO, **fields):
        return Claim(output=output, since=since, **fields)

    return make


@pytest.fixture
def check_all(tmp_path, claim):
    """Verify a claim or an output by the checks, in `tmp_path` unless told otherwise; return the verdicts."""

    async def run(*checks, of="", cwd=tmp_path, env=None, judge=nobody, report=lambda _: None):
        made = claim(of) if isinstance(of, str) else of
        return await verify(checks, made, cwd=cwd, env=env or {}, owner="", judge=judge, report=report)

    return run


@pytest.fixture
def check_one(check_all):
    """The same for one check."""

    async def run(check, **options):
        (verdict,) = await check_all(check, **options)
        return verdict

    return run


@pytest.fixture
def moment():
    """A file's own time as a moment, and so much later: `moment(path, 5)`."""
    return lambda path, later_s=0: datetime.fromtimestamp(path.lstat().st_ctime, UTC) + timedelta(seconds=later_s)
