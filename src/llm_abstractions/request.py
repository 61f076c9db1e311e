"""Check and normalise what a caller asks for, before any I/O. Knows no vendor."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from llm_abstractions.types import Message, Role

__all__ = ["CallOptions", "CallRequest", "check_timeout_s", "parse_request"]

_ROLES: tuple[str, ...] = get_args(Role)
# What `extras` may not replace: these are what the other arguments and the way the answer is read depend on.
_RESERVED_EXTRAS = frozenset({"contents", "messages", "model", "n", "stream", "stream_options", "system"})
_MAX_TEMPERATURE = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class CallOptions:
    """What a call may ask for besides its messages; None leaves it to the provider.

    `json_schema` asks for JSON of that shape. `stop` ends the answer where one of the strings appears. `on_text` is
    called with each piece of text as it arrives, `on_start` once when the answer begins to arrive (a model may think
    long before its first text). `cache_prefix` is what the first message begins with, as other calls do too: it and the
    system text are marked for the provider's cache, the system text alone if it is empty. `extras` are fields of the
    provider's own request body, in its wire spelling, sent as they are.
    """

    max_tokens: int | None = None
    temperature: float | None = None
    system: str | None = None
    json_schema: Mapping[str, object] | None = None
    timeout_s: float | None = None
    stop: tuple[str, ...] = ()
    on_text: Callable[[str], object] | None = None
    on_start: Callable[[], object] | None = None
    cache_prefix: str | None = None
    extras: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class CallRequest:
    """One checked call: the system text, the turns after it (user and assistant only), and the options."""

    system: str | None
    turns: tuple[Message, ...]
    options: CallOptions


def parse_request(messages: object, options: Mapping[str, object]) -> CallRequest:
    """Return the checked call.

    System messages, wherever they stand, are joined behind `system=` in their order: not every provider knows them as
    turns.

    Raises: TypeError, ValueError: for a malformed message or option; the text names it and what was expected.
    """
    checked = _parse_options(options)
    turns = [_parse_message(index, message) for index, message in enumerate(_as_list(messages))]
    system = [checked.system] if checked.system else []
    system += [turn["content"] for turn in turns if turn["role"] == "system"]
    spoken = tuple(turn for turn in turns if turn["role"] != "system")
    if not spoken:
        raise ValueError(f"messages has no user message among its {len(turns)}: add {{'role': 'user', 'content': ...}}")
    if checked.cache_prefix and not spoken[0]["content"].startswith(checked.cache_prefix):
        raise ValueError(
            f"the first {spoken[0]['role']} message does not begin with cache_prefix, which is "
            f"{checked.cache_prefix[:40]!r}...: give the text that stands at its very beginning"
        )
    return CallRequest(system="\n\n".join(system) or None, turns=spoken, options=checked)


def _as_list(messages: object) -> Sequence[object]:
    if isinstance(messages, str) or not isinstance(messages, Sequence):
        raise TypeError(
            f"messages must be a list of {{'role', 'content'}}, not {type(messages).__name__}: "
            "for one question pass [{'role': 'user', 'content': ...}]"
        )
    return messages


def _parse_message(index: int, message: object) -> Message:
    where = f"messages[{index}]"
    if not isinstance(message, Mapping):
        raise TypeError(f"{where} must be {{'role', 'content'}}, not {type(message).__name__}")
    role, content = message.get("role"), message.get("content")
    if unknown := sorted(str(key) for key in message.keys() - {"role", "content"}):
        raise ValueError(f"{where} has unknown keys {unknown}: only 'role' and 'content' are sent to every provider")
    if role not in _ROLES:
        raise ValueError(f"{where} has role {role!r}; expected one of {', '.join(_ROLES)}")
    if not isinstance(content, str):
        raise TypeError(f"{where} has content of type {type(content).__name__}; expected text")
    if not content.strip():
        raise ValueError(f"{where} ({role}) is empty: providers refuse empty messages, so leave it out or fill it")
    _check_unicode(where, content)
    return Message(role=role, content=content)


def _check_unicode(where: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise ValueError(
            f"{where} holds half a character ({text[exc.start]!r} at position {exc.start}), which cannot be sent: "
            "read the text with errors='replace', or take it out"
        ) from None


def _parse_options(options: Mapping[str, object]) -> CallOptions:
    if unknown := sorted(options.keys() - _CHECKS.keys()):
        raise TypeError(
            f"unknown option {', '.join(map(repr, unknown))}; expected {', '.join(_CHECKS)} "
            "(a provider's own field goes into extras={...})"
        )
    given = {name: _CHECKS[name](value) for name, value in options.items() if value is not None}
    return CallOptions(**given)  # type: ignore[arg-type] # each value was checked by the row of its name


def _check_max_tokens(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"max_tokens must be a whole number, not {value!r}")
    if value < 1:
        raise ValueError(f"max_tokens must be at least 1, not {value}")
    return value


def _check_number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {value!r}")
    return value


def _check_temperature(value: object) -> float:
    number = _check_number("temperature", value)
    if not 0 <= number <= _MAX_TEMPERATURE:
        raise ValueError(f"temperature must be between 0 and {_MAX_TEMPERATURE}, not {value!r}")
    return number


def check_timeout_s(value: object) -> float:
    """Return `value` as seconds. Raises: TypeError, ValueError: when it is not a positive number."""
    number = _check_number("timeout_s", value)
    if not number > 0:
        raise ValueError(f"timeout_s must be more than 0 seconds, not {value!r}")
    return number


def _check_system(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"system must be text, not {type(value).__name__}")
    _check_unicode("system", value)
    return value.strip() and value


def _check_json_schema(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError(f"json_schema must be a JSON Schema as a dict, not {type(value).__name__}")
    _check_is_json("json_schema", value)
    return value


def _check_is_json(name: str, value: object) -> None:
    try:
        json.dumps(value)
    except (TypeError, ValueError) as exc:
        raise ValueError(f"{name} cannot be written as JSON: {exc}") from exc


def _check_stop(value: object) -> tuple[str, ...]:
    strings = (value,) if isinstance(value, str) else value
    if not isinstance(strings, Sequence) or not all(isinstance(item, str) for item in strings):
        raise TypeError(f"stop must be a string or a list of strings, not {value!r}")
    if not all(strings):
        raise ValueError(f"stop may not hold an empty string: {value!r}")
    return tuple(strings)


def _check_on_text(value: object) -> Callable[[str], object]:
    if not callable(value):
        raise TypeError(f"on_text must be callable with one piece of text, not {type(value).__name__}")
    return value


def _check_on_start(value: object) -> Callable[[], object]:
    if not callable(value):
        raise TypeError(f"on_start must be callable without arguments, not {type(value).__name__}")
    return value


def _check_cache_prefix(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"cache_prefix must be text, not {type(value).__name__}")
    return value


def _check_extras(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise TypeError(f"extras must be a dict of request fields, not {type(value).__name__}")
    if taken := sorted(_RESERVED_EXTRAS & value.keys()):
        raise ValueError(f"extras may not replace {', '.join(taken)}: use the arguments of the call for them")
    _check_is_json("extras", value)
    return value


_CHECKS: dict[str, Callable[[object], object]] = {
    "max_tokens": _check_max_tokens,
    "temperature": _check_temperature,
    "system": _check_system,
    "json_schema": _check_json_schema,
    "timeout_s": check_timeout_s,
    "stop": _check_stop,
    "on_text": _check_on_text,
    "on_start": _check_on_start,
    "cache_prefix": _check_cache_prefix,
    "extras": _check_extras,
}
