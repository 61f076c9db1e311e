"""The last step, which only ever sees what a person let through."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestration import Work


def publish(work: Work) -> str:
    """Return the announcement as it goes out."""
    return f"# Announcement\n\n{work.inputs['draft'].output.strip()}\n"
