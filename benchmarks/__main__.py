"""Run the measures, each in a fresh process, and print one table."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from benchmarks import machine
from benchmarks.row import Row, missed, read
from benchmarks.table import as_markdown, as_text, put_between_marks

# What a person types -> the module that measures it, in the order of the table.
MEASURES = {
    "single": "benchmarks.single_task",
    "wide": "benchmarks.wide",
    "overhead": "benchmarks.overhead",
    "disk": "benchmarks.disk",
    "memory": "benchmarks.memory",
    "startup": "benchmarks.startup",
    "kill": "benchmarks.kill",
    "store": "benchmarks.store",
    "lanes": "benchmarks.lanes",
    "traffic": "benchmarks.traffic",
    "scripts": "benchmarks.script_starts",
    "coding": "benchmarks.coding_agents",
}
ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "benchmarks.md"
_TIMEOUT_S = 300


def main() -> int:
    """Return 0 if every figure met its bar, 1 otherwise."""
    arguments = _arguments()
    loads = [machine.load()]
    rows: list[Row] = []
    for name in arguments.names or MEASURES:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        rows += _measure(name)
    loads.append(machine.load())
    about = {
        **machine.describe(),
        "load before and after": " and ".join(loads),
        "async-orchestrator": metadata.version("async-orchestrator"),
        "measured on": f"{datetime.now(UTC):%Y-%m-%d}",
    }
    if arguments.json:
        print(json.dumps({"machine": about, "rows": [asdict(row) for row in rows]}, indent=1))
    else:
        print(as_text(rows, about))
    if arguments.write:
        put_between_marks(PAGE, as_markdown(rows, about))
    return int(any(row.passed is False for row in rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or more of {', '.join(MEASURES)}; default: all")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    parser.add_argument("--write", action="store_true", help=f"also put the table into {PAGE.relative_to(ROOT)}")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(MEASURES):
        parser.error(f"unknown measures {sorted(unknown)}; expected some of {', '.join(MEASURES)}")
    if arguments.write and arguments.names:
        parser.error("--write wants the whole table; leave the names out")
    return arguments


def _measure(name: str) -> list[Row]:
    """Run one measure in a process of its own, so that none finds what another has imported or left in memory."""
    command = [sys.executable, "-m", MEASURES[name]]
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return [missed(name, f"not done after {_TIMEOUT_S} s")]
    if done.returncode:
        return [missed(name, f"ended with exit code {done.returncode}; its error is above")]
    return read(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
