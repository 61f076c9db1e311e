"""Any program as a coding agent: where its arguments get the prompt, and where its result is. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from orchestration.errors import AttemptError, FailureKind
from orchestration.runners.cli_tools.base import Invocation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["RESULT_FILE", "invocation", "picked"]

RESULT_FILE = "result"
_PROMPT_FILE = "prompt.md"
_SHOWN_CHARS = 120


def invocation(command: Sequence[str], prompt: str, folder: Path) -> Invocation:
    """Return the call of a command whose arguments may hold `{prompt}`, `{prompt_file}` and `{result_file}`.

    Nothing else in the arguments has a meaning. Without one of the first two the prompt goes to stdin.
    """
    asks_for = {word for word in ("{prompt}", "{prompt_file}") if any(word in argument for argument in command[1:])}
    places = {
        "{prompt_file}": str(folder / _PROMPT_FILE),
        "{result_file}": str(folder / RESULT_FILE),
    }
    arguments = [_filled(argument, places, prompt) for argument in command[1:]]
    return Invocation(
        command=(command[0], *arguments),
        stdin="" if asks_for else prompt,
        files={_PROMPT_FILE: prompt} if "{prompt_file}" in asks_for else {},
    )


def _filled(argument: str, places: dict[str, str], prompt: str) -> str:
    for word, value in places.items():
        argument = argument.replace(word, value)
    return argument.replace("{prompt}", prompt)  # last: what a prompt says is no place


def picked(text: str, path: str) -> tuple[str, Any]:
    """Return what a dotted path such as `choices.0.text` leads to in JSON: as text, and as data if it is not text.

    Raises:
        AttemptError: of kind `bad_output`, saying how far the path leads.

    """
    try:
        value: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise AttemptError(
            f"its output is not JSON ({exc}), but the agent's `result: {path}` picks a part of it; "
            f"it begins with {text[:_SHOWN_CHARS]!r}",
            kind=FailureKind.BAD_OUTPUT,
        ) from exc
    for step in path.split("."):
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, ValueError, TypeError):
            raise AttemptError(
                f"its output has no {step!r} of the agent's `result: {path}`; there is {_described(value)}",
                kind=FailureKind.BAD_OUTPUT,
            ) from None
    return (value, None) if isinstance(value, str) else (msgspec.json.encode(value).decode(), value)


def _described(value: Any) -> str:
    if isinstance(value, dict):
        return f"an object with {', '.join(map(repr, list(value)[:20])) or 'no names'}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return f"{value!r:.{_SHOWN_CHARS}}"
