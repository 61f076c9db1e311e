"""Whether a result is what it claims to be: a task's checks, run over it, and what they found.

Knows checks, folders and processes. Knows no task, agent, attempt or event: who judges, and what follows from a
verdict, is the caller's.
"""

from orchestration.verification.engine import verify
from orchestration.verification.verdict import Claim, Verdict, asks_person, evidence_text

__all__ = ["Claim", "Verdict", "asks_person", "evidence_text", "verify"]
