"""What the prompts of an agent begin with: its files, as one text that is the same for all its tasks, byte for byte.

Knows files; nothing of models, and nothing of who caches what.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.errors import AttemptError
from orchestration.task import FailureKind
from orchestration.template import InnerFileError, read_file

if TYPE_CHECKING:
    from orchestration.agent_registry import AgentConfig

__all__ = ["Prefaces"]

# So many agents' texts are kept; of more, the one made first goes.
_KEPT_MAX = 16

# What tells that a file has changed: when it was written, and its size.
_Stamp = tuple[int, int] | None


class Prefaces:
    """The texts of the agents' files, read again only when one of them has changed."""

    def __init__(self, root: Path | None) -> None:
        self._root = root
        self._kept: dict[tuple[str, ...], tuple[list[_Stamp], str]] = {}
        # However many tasks of an agent begin at once, one reads and the others find what it read.
        self._reading = threading.Lock()

    async def of(self, agent: AgentConfig) -> str:
        """Return the text, with what separates it from the prompt; empty for an agent without files.

        Raises:
            AttemptError: of kind `bad_request`, naming the agent and the file, if one cannot be read.

        """
        return await asyncio.to_thread(self._find, agent) if agent.files else ""

    def _find(self, agent: AgentConfig) -> str:
        with self._reading:
            stamps = [self._stamp(path) for path in agent.files]
            kept = self._kept.get(agent.files)
            if kept is not None and kept[0] == stamps:
                return kept[1]
            text = "".join(f'<file path="{path}">\n{self._read(agent, path)}\n</file>\n\n' for path in agent.files)
            if len(self._kept) >= _KEPT_MAX:
                del self._kept[next(iter(self._kept))]
            self._kept[agent.files] = (stamps, text)
            return text

    def _read(self, agent: AgentConfig, path: str) -> str:
        try:
            return read_file(self._root, path)
        except InnerFileError as exc:
            raise AttemptError(
                f"the file {path!r} of agent {agent.name!r} {exc}; correct its `files`", kind=FailureKind.BAD_REQUEST
            ) from exc

    def _stamp(self, path: str) -> _Stamp:
        try:
            found = ((self._root or Path()) / path).stat()
        except OSError:
            return None  # what is wrong with it is told by reading it
        return found.st_mtime_ns, found.st_size
