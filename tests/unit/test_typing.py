"""The public API type-checks as its users write it, and each public name is used there."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import orchestration

ROOT = Path(__file__).parents[2]
API = ROOT / "tests" / "typing" / "api.py"


@pytest.mark.timeout(180)
def test_the_api_as_users_write_it_passes_mypy_strict():
    command = [sys.executable, "-m", "mypy", "--strict", str(API)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_public_name_is_used_as_users_would():
    words = Counter(re.findall(r"\w+", API.read_text(encoding="utf-8")))
    assert [name for name in orchestration.__all__ if words[name] < 2] == []
