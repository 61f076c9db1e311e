"""When whoever reads our output has seen enough. Imports nothing of its own."""

from __future__ import annotations

import os
import sys

__all__ = ["leave_stdout"]


def leave_stdout() -> None:
    """Let go of a pipe without a reader, so that nothing complains about it, now or when Python exits."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
