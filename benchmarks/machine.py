"""Describe the machine a table was measured on: what makes figures differ, nothing that names the machine."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import tempfile
from pathlib import Path

__all__ = ["describe", "load"]


def describe() -> dict[str, str]:
    """Return label -> value, in the order to show them."""
    model = _first("/proc/cpuinfo", r"model name\s*:\s*(.+)")
    memory_kib = int(_first("/proc/meminfo", r"MemTotal:\s*(\d+)", default="0"))
    return {
        "processor": f"{model}, {os.cpu_count()} cores",
        "memory": f"{memory_kib / 2**20:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": _file_system(Path(tempfile.gettempdir())),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "SQLite": sqlite3.sqlite_version,
    }


def load() -> str:
    """Return the load average of the last minute: how much else was going on."""
    return f"{os.getloadavg()[0]:.1f}"


def _first(path: str, pattern: str, default: str = "unknown") -> str:
    try:
        found = re.search(pattern, Path(path).read_text(encoding="utf-8"))
    except OSError:
        return default
    return found.group(1).strip() if found else default


def _file_system(folder: Path) -> str:
    """Return the type of the file system under the folder: on a tmpfs a commit costs nothing, on a disk it does."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return "unknown"
    holding = [(len(point), kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(holding)[1] if holding else "unknown"
