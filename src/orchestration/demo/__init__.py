"""The demo project: package data, and how to put it into a folder. Knows nothing of how it is run."""

from pathlib import Path

__all__ = ["PROJECT_FILES", "copy_to"]

PROJECT_FILES = (
    "README.md",
    "orchestrate.yaml",
    "prompts/read.txt",
    "prompts/tell.txt",
    "reading.schema.json",
    "tour.py",
)


def copy_to(folder: Path) -> list[Path]:
    """Write the project's files into the folder, which is made if need be; files that exist stay as they are.

    Returns the files that were written; empty when all of them were there already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in PROJECT_FILES:
        target = folder / name
        target.parent.mkdir(exist_ok=True)
        if not target.exists():
            target.write_bytes((Path(__file__).parent / name).read_bytes())
            written.append(target)
    return written
