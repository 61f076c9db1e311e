"""The work of this project's Python agents. A function gets the `Work` and returns text, or data that JSON can say."""

from pathlib import Path

from orchestration import Work


def collect(work: Work) -> str:
    """Return all notes, each under its file's name."""
    folder = (work.root or Path()) / "notes"
    return "\n\n".join(
        f"{note.stem}:\n{note.read_text(encoding='utf-8').strip()}" for note in sorted(folder.glob("*.md"))
    )


async def draft(work: Work) -> str:
    """Return a report made of the notes; asynchronous functions run on the event loop, others in a thread."""
    notes = work.inputs["collect"].output
    lines = [f"# Report for {work.context.variables['audience']}", "", notes]
    if work.context.comment:  # you rejected the last draft, and said why
        lines += ["", f"You said: {work.context.comment}"]
    return "\n".join(lines)
