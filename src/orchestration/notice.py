"""How the user wants to be told that a task waits for them, and what they are told. Pure: sends nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import msgspec

from orchestration.errors import InvalidTaskError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from orchestration.run_state import TaskState

__all__ = ["Call", "Notice", "Occasion", "document"]

Occasion = Literal["asked", "reminder", "expired"]

_SCHEMES = ("http", "https")


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Where word goes when a task waits for a person: to a `command`, to a webhook, or to both.

    The command is a program and its arguments; it gets one JSON object on stdin. The webhook gets the same as the body
    of a POST; `webhook` is its address, `webhook_env` the variable that holds it, for addresses that are secret. What
    the person is asked is sent only with `include_prompt`: it may hold what should not leave the machine.

    Raises:
        InvalidTaskError: if there is nowhere to send to, or the webhook is not an address of http or https.

    """

    command: tuple[str, ...] = ()
    webhook: str = field(default="", repr=False)  # whoever knows it can write to it
    webhook_env: str = ""
    include_prompt: bool = False

    def __post_init__(self) -> None:
        words = self.command
        if isinstance(words, str) or not all(isinstance(word, str) and word for word in words):
            raise InvalidTaskError(f"notify: command is {words!r}, expected a program and its arguments")
        object.__setattr__(self, "command", tuple(words))
        if self.webhook and self.webhook_env:
            raise InvalidTaskError("notify: both webhook and webhook_env are given; give one of them")
        if not (self.command or self.webhook or self.webhook_env):
            raise InvalidTaskError("notify: there is nowhere to send to; give a command, a webhook or a webhook_env")
        if self.webhook:
            check_address(self.webhook, "notify: webhook")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One occasion to tell a person about one task. `deadline` is when the task no longer waits, if there is one."""

    occasion: Occasion
    known: TaskState
    asked_at: datetime
    at: datetime
    deadline: datetime | None = None


def check_address(address: str, what: str) -> None:
    """Refuse what is not the address of a web server. The address itself may be a secret and is not repeated.

    Raises:
        InvalidTaskError: naming `what` it is.

    """
    try:
        parts = urlsplit(address)
        is_right = parts.scheme in _SCHEMES and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        has_password = "@" in parts.netloc
    except ValueError:
        is_right = has_password = False
    if not is_right or not address.isprintable() or " " in address:
        raise InvalidTaskError(f"{what} is no address of http or https, such as https://example.org/hook")
    if has_password:
        raise InvalidTaskError(
            f"{what} holds a name or password before its host, which is not sent; leave that out, or send the news by "
            "a `command` such as curl"
        )


def document(call: Call, *, project: str, commands: Sequence[str] = (), include_prompt: bool = False) -> dict[str, Any]:
    """Return what is said of a call, as plain JSON values.

    `occasion` is `asked`, `needs_review`, `reminder` or `expired`. `commands` are what the person can type. Once it is
    `expired`, `status` and `error` say what became of the task.
    """
    known = call.known
    is_review = known.need == "review"
    said: dict[str, Any] = {
        "occasion": "needs_review" if is_review and call.occasion == "asked" else call.occasion,
        "project": project,
        "task_id": known.task.task_id,
        "title": known.task.title,
        "need": known.need or None,
        "cause": known.cause or None,
        "since": call.asked_at.isoformat(),
        "waited_s": round(max((call.at - call.asked_at).total_seconds(), 0.0)),
        "deadline": None if call.deadline is None else call.deadline.isoformat(),
        "commands": list(commands),
    }
    if call.occasion == "expired":
        said |= {"status": known.status.value, "error": known.last_error}
    if include_prompt:
        said["prompt"] = known.result.output if known.result else ""
    return said
