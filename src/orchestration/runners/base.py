"""The port every kind of worker implements. Knows nothing of retries, timeouts or storage: the executor owns those."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from orchestration.attempt import Outcome, Work

__all__ = ["Runner"]


class Runner(Protocol):
    """One kind of worker."""

    async def run(self, work: Work) -> Outcome:
        """Do the work once.

        When cancelled, stop everything that was started, then let the cancellation pass.

        Raises:
            AttemptError: if this attempt failed, with its kind.

        """

    async def aclose(self) -> None:
        """Release what is shared between attempts; calling it twice is fine."""
