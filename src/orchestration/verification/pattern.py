"""Checks of kind `matches`: a regular expression, searched for in the output. Knows what a search may cost."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from typing import TYPE_CHECKING

from orchestration.errors import AttemptError, FailureKind
from orchestration.runners.process import run_process
from orchestration.verification.excerpt import excerpt
from orchestration.verification.verdict import verdict_on

if TYPE_CHECKING:
    from orchestration.task_options import Check
    from orchestration.verification.verdict import Verdict

__all__ = ["match_output"]

# A search holds the interpreter until it is over, which for "(a+)+$" may be never, and nothing can break it off. So it
# is made by a process that can be killed, unless neither the pattern nor the text can make it long.
_REPEATING = frozenset("*+?{(")
_HERE_MAX_CHARS = 100_000
_TIMEOUT_S = 10.0
_TAIL_CHARS = 300
_SHOWN_CHARS = 300

_SEARCH = """
import re, sys
file = sys.stdin.buffer
pattern = file.read(int(file.readline())).decode(errors="surrogatepass")
found = re.search(pattern, file.read().decode())
print("none" if found is None else found.start())
"""


async def match_output(check: Check, output: str) -> Verdict:
    """Tell whether the pattern is found in the output, all of it, however long.

    A search that takes too long (10 s, unless the check says otherwise) has not found it.

    Raises:
        AttemptError: of kind `task_error`, if no process can be started for the search.

    """
    pattern = check.matches or ""
    shown = f"`{excerpt(pattern, _SHOWN_CHARS)}`"  # no repr: its doubled backslashes would show another pattern
    timeout_s = check.timeout_s or _TIMEOUT_S
    limit = asyncio.timeout(timeout_s)
    try:
        async with limit:
            position = await _search(pattern, output)
    except (OSError, ValueError) as exc:
        if limit.expired():
            evidence = (
                f"the search for {shown} in {len(output):,} characters took more than {timeout_s:g} s; "
                "repetitions within repetitions do that: simplify the pattern, or raise timeout_s"
            )
            return verdict_on(check, evidence, is_passed=False)
        raise AttemptError(
            f"check {check.label!r}: cannot start {sys.executable!r} to search the output: {exc}",
            kind=FailureKind.TASK_ERROR,
            details={"check": check.label},
        ) from exc
    except _SearchError as exc:
        return verdict_on(check, f"the search for {shown} {exc}", is_passed=False)
    if position is None:
        return verdict_on(check, f"{shown} was not found in {_described(output)}", is_passed=False)
    return verdict_on(check, f"{shown} was found at character {position:,} of {len(output):,}", is_passed=True)


class _SearchError(Exception):
    """A search that ended without a finding, such as for want of memory, in words that follow what it is."""


async def _search(pattern: str, text: str) -> int | None:
    """Return where the pattern is found first.

    Raises:
        OSError, ValueError: if the process for it cannot be started.
        _SearchError: if that process fails.

    """
    if len(text) <= _HERE_MAX_CHARS and _REPEATING.isdisjoint(pattern):
        found = re.search(pattern, text)
        return None if found is None else found.start()
    given = pattern.encode(errors="surrogatepass")
    stdin = b"%d\n%b%b" % (len(given), given, text.encode())
    end = await run_process([sys.executable, "-I", "-S", "-c", _SEARCH], stdin=stdin, env=os.environ, cwd=None)
    if end.exit_code != 0:
        said = end.stderr_tail.decode(errors="replace").strip()
        raise _SearchError(f"ended with exit code {end.exit_code}: {said}")
    return None if end.stdout.strip() == b"none" else int(end.stdout)


def _described(output: str) -> str:
    if not output:
        return "the output, which is empty"
    if len(output) <= _TAIL_CHARS:
        return f"the output: {output!r}"
    return f"the output ({len(output):,} characters), which ends: {output[-_TAIL_CHARS:]!r}"
