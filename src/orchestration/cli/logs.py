"""Where log records go while the command works: to the screen, as readable lines. Nothing else configures logging."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from orchestration.views.wording import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["logs_shown_by"]

_LOGGERS = ("orchestration", "llm_abstractions", "py.warnings")
_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


class _Speaker(Protocol):
    def say(self, message: str) -> None: ...


class _ScreenHandler(logging.Handler):
    def __init__(self, speaker: _Speaker, *, with_traceback: bool) -> None:
        super().__init__()
        self._speaker = speaker
        self._with_traceback = with_traceback

    def emit(self, record: logging.LogRecord) -> None:
        lines = [printable(record.getMessage())]
        if record.exc_info and record.exc_info[1] is not None:
            if self._with_traceback:
                lines.append(printable(logging.Formatter().formatException(record.exc_info)))
            else:
                error = record.exc_info[1]
                lines[0] += f": {type(error).__name__}: {printable(str(error))} (-v shows the traceback)"
        self._speaker.say(f"{record.levelname.lower()}: " + "\n".join(lines))


@contextmanager
def logs_shown_by(speaker: _Speaker, verbosity: int = 0) -> Iterator[None]:
    """Send this program's warnings to the speaker; 1: also what it does, 2: everything, with tracebacks from 1 on."""
    handler = _ScreenHandler(speaker, with_traceback=verbosity > 0)
    level = _LEVELS[min(verbosity, len(_LEVELS) - 1)]
    logging.captureWarnings(True)
    before = {}
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        before[name] = logger.level
        logger.addHandler(handler)
        logger.setLevel(level)
    try:
        yield
    finally:
        for name, old in before.items():
            logging.getLogger(name).removeHandler(handler)
            logging.getLogger(name).setLevel(old)
        logging.captureWarnings(False)
