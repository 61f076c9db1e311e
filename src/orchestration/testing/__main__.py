"""Play seeds again: `python -m orchestration.testing SEED [SEED ...] [--verbose]`, or a range of them: `1:2000`."""

from __future__ import annotations

import argparse
import sys

from orchestration.testing.simulation import simulate


def main() -> int:
    """Return 0 when everything held, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m orchestration.testing", description=__doc__)
    parser.add_argument("seeds", nargs="+", type=_seeds, metavar="SEED", help="a number, or a range such as 1:2000")
    parser.add_argument("--verbose", action="store_true", help="tell each story, a line per fact")
    arguments = parser.parse_args()
    failed = total = 0
    for seed in (seed for seeds in arguments.seeds for seed in seeds):
        report = simulate(seed)
        total += 1
        failed += not report.is_ok
        if arguments.verbose:
            sys.stdout.writelines(f"{line}\n" for line in report.transcript)
        if arguments.verbose or not report.is_ok:
            sys.stdout.write(f"{report.describe()}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{total} stories, {failed} with violations\n")
    return 1 if failed else 0


def _seeds(text: str) -> range:
    first, _, last = text.partition(":")
    return range(int(first), int(last) if last else int(first) + 1)


if __name__ == "__main__":
    sys.exit(main())
