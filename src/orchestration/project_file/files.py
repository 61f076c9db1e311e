"""The files a project file names: where they may lie, and their text. Knows nothing of keys or positions."""

from __future__ import annotations

from pathlib import Path

from orchestration.project_file.wording import shown

__all__ = ["FILE_MAX_BYTES", "NamedFileError", "locate", "read_named"]

# The limit of file('path') in a template, so that a text may move from one to the other.
FILE_MAX_BYTES = 4_000_000


class NamedFileError(Exception):
    """A path that cannot be used, in words for the author of the project file."""


def locate(root: Path, path: str) -> Path:
    """Return the absolute place of a path in the project's folder, symlinks followed.

    Raises:
        NamedFileError: if it lies outside of the folder, or no file can be there.

    """
    if Path(path).is_absolute():
        raise NamedFileError(f"{shown(path)} is an absolute path; expected one relative to the project's folder")
    try:
        home = root.resolve()
        found = (home / path).resolve()
        is_folder = found == home or found.is_dir()
    except (OSError, RuntimeError, ValueError) as exc:  # too long, or symlinks in a circle
        raise NamedFileError(f"{shown(path)} cannot be a file: {getattr(exc, 'strerror', None) or exc}") from exc
    if not found.is_relative_to(home):
        raise NamedFileError(
            f"{shown(path)} lies outside of the project's folder {str(root)!r}; expected a path inside"
        )
    if is_folder:
        raise NamedFileError(f"{shown(path)} is a folder; expected a file")
    return found


def read_named(root: Path, path: str) -> str:
    """Return the text of a file in the project's folder.

    Raises:
        NamedFileError: if it lies outside, is missing, cannot be read, is too large or is not text in UTF-8.

    """
    found = locate(root, path)
    try:
        if not found.is_file():
            reason = "is not a regular file" if found.exists() else "does not exist"
            raise NamedFileError(f"the file {shown(path)} {reason}; expected a file in {str(root)!r}")
        with found.open("rb") as file:
            content = file.read(FILE_MAX_BYTES + 1)
    except OSError as exc:
        raise NamedFileError(f"the file {shown(path)} cannot be read: {exc.strerror or exc}") from exc
    if len(content) > FILE_MAX_BYTES:
        raise NamedFileError(f"the file {shown(path)} is larger than {FILE_MAX_BYTES:,} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise NamedFileError(f"the file {shown(path)} is not UTF-8 text (byte {exc.start})") from None
    if "\0" in text:
        raise NamedFileError(f"the file {shown(path)} is a binary file; expected text")
    return text
