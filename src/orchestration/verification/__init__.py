"""Whether a result is what it claims to be: a task's checks, run over it, and what they found.

Knows checks, folders and processes. Knows no task, agent, attempt or event: who judges, and what follows from a
verdict, is the caller's.

Its names are loaded when they are first asked for (PEP 562): most tasks have no checks.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestration.verification.engine import verify
    from orchestration.verification.verdict import Claim, Verdict, asks_person, evidence_text

__all__ = ["Claim", "Verdict", "asks_person", "evidence_text", "verify"]

_HOMES = {
    "Claim": "verdict",
    "Verdict": "verdict",
    "asks_person": "verdict",
    "evidence_text": "verdict",
    "verify": "engine",
}


def __getattr__(name: str) -> object:
    """Load a name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
