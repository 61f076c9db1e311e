"""What all coding agents on the command line have in common: a job in, a call of the program, a transcript out.

Pure: builds command lines and reads lines of output. Starts nothing, and knows no task, fact or event loop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import msgspec

from orchestration.errors import FailureKind

if TYPE_CHECKING:
    from pathlib import Path

    from orchestration.agent_registry import Permissions

__all__ = [
    "Call",
    "CliTool",
    "Ended",
    "Invocation",
    "Job",
    "JsonLinesTool",
    "Problem",
    "Record",
    "Report",
    "SignIn",
    "Transcript",
    "Usage",
    "as_dict",
    "as_list",
    "as_text",
    "count",
    "last_words",
    "number",
    "plain",
]

Record = Mapping[str, Any]

_ERROR_CHARS = 600
_ANSWER_CHARS = 10_000_000
_NUMBER_MAX = 1e15  # what is larger is a mistake


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a tool is asked to do.

    `folder` is this attempt's own, for files that go with the call; it is removed afterwards. `session_id` is the
    conversation to begin under that name or, with `is_resumed`, to go on with.
    """

    program: tuple[str, ...]
    prompt: str
    folder: Path
    permissions: Permissions = "read-only"
    system: str | None = None
    model: str | None = None
    schema: Mapping[str, Any] | None = None
    session_id: str = ""
    is_resumed: bool = False
    args: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """A call of the program. `files` are written into the job's folder before, by name; `env` is set on top."""

    command: tuple[str, ...]
    stdin: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SignIn:
    """Whether the tool can reach its provider, as far as files and variables tell; None: they do not.

    `how` names what was found, or the way to sign in.
    """

    is_signed_in: bool | None
    how: str


class Report(NamedTuple):
    """Something worth showing while the tool works."""

    kind: Literal["text", "tool", "retry"]
    text: str


class Usage(NamedTuple):
    """Tokens, counted as `CallFinished` does: the input includes what came from and went to a cache."""

    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


NO_USAGE = Usage()


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a model was used for, as the tool accounts for it. `cost_usd` None: it does not say."""

    model: str = ""
    usage: Usage = NO_USAGE
    cost_usd: str | None = None


class Problem(NamedTuple):
    """Why a transcript is no success: what was said, and a kind where the tool makes it plain."""

    text: str
    kind: FailureKind | None = None


@dataclass(kw_only=True)
class Transcript:
    """What the tool has said so far.

    `is_done`: it has said, in so many words, that it is done and well. `error` is the last error it told of, `status`
    the HTTP status that goes with it. `is_hopeless`: the tool would go on trying what cannot succeed. `noise` is the
    last line that was none of the tool's own records. `unsettled` is what is known to be used, by message, before the
    tool's own account arrives.
    """

    session_id: str = ""
    model: str = ""
    data: Any = None
    is_done: bool = False
    is_hopeless: bool = False
    error: str = ""
    status: int | None = None
    kind: FailureKind | None = None
    noise: str = ""
    has_worked: bool = False
    is_settled: bool = False
    calls: list[Call] = field(default_factory=list)
    unsettled: dict[str, Usage] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    _parts: list[str] = field(default_factory=list)
    _size: int = 0

    @property
    def answer(self) -> str:
        """What the model has answered."""
        return "".join(self._parts)

    def say(self, text: str) -> None:
        """Add to the answer; what goes beyond 10 million characters is dropped."""
        if self._size < _ANSWER_CHARS:
            self._parts.append(text)
            self._size += len(text)

    def unsay(self, text: str = "") -> None:
        """Begin the answer anew: what was said so far only led up to it."""
        self._parts, self._size = [text] if text else [], len(text)

    def fail(self, text: str, *, status: int | None = None, kind: FailureKind | None = None) -> None:
        """Note an error; a later one replaces it."""
        self.error = text[:_ERROR_CHARS]
        self.status = status
        self.kind = kind

    def account(self) -> list[Call]:
        """Return what is known to be used; a call without figures where only that something was used is known."""
        if self.calls or self.is_settled or not self.has_worked:
            return self.calls
        totals = [sum(parts) for parts in zip(*self.unsettled.values(), strict=True)]
        return [Call(model=self.model, usage=Usage(*totals))]


class Ended(NamedTuple):
    """How a tool's process ended: what it said, its exit code, and the last of its stderr."""

    seen: Transcript
    exit_code: int
    stderr: str


class CliTool(ABC):
    """One coding agent: stateless; what it said is in the transcript.

    `program` is its usual name, `install` and `login` are how to get and sign in to it. `variables` are the patterns of
    environment variables it may see beyond those all programs may. `bypasses` are arguments that take its limits away.
    `starts_named`: its conversations get the id we choose; otherwise it tells at its first word. `resumes`: it can go
    on with a conversation, and with `resumes_in_place`, only from the same folder; `session_unknown` is what it says
    where it does not know that conversation. `answers_apart`: an answer that has to meet a schema comes as data.
    `states_cost`: it says what was spent.
    `litter` are the caches it leaves in the folder it works in.
    """

    program: ClassVar[str]
    install: ClassVar[str]
    login: ClassVar[str]
    variables: ClassVar[tuple[str, ...]]
    bypasses: ClassVar[tuple[str, ...]]
    starts_named: ClassVar[bool] = False
    resumes: ClassVar[bool] = True
    resumes_in_place: ClassVar[bool] = False
    answers_apart: ClassVar[bool] = False
    states_cost: ClassVar[bool] = False
    litter: ClassVar[tuple[str, ...]] = ()
    session_unknown: ClassVar[str] = ""

    @abstractmethod
    def invocation(self, job: Job) -> Invocation:
        """Return the call for a job."""

    @abstractmethod
    def read(self, line: bytes, seen: Transcript) -> Iterator[Report]:
        """Take one line of output into the transcript, and yield what is worth showing of it."""

    @abstractmethod
    def problem(self, ended: Ended) -> Problem | None:
        """Return why this is no success; None where it is one."""

    @abstractmethod
    def sign_in(self, env: Mapping[str, str], home: Path) -> SignIn:
        """Say, without the network, whether the tool is signed in."""

    def lost_session(self, ended: Ended) -> bool:
        """Tell whether it ended because it does not know the conversation it should go on with."""
        said = ended.stderr + ended.seen.error
        return ended.exit_code != 0 and bool(self.session_unknown) and self.session_unknown in said

    def takes_schema(self, schema: Mapping[str, Any]) -> bool:  # noqa: ARG002 -- for those that do
        """Tell whether it can hold the model to this schema itself; otherwise the prompt says it."""
        return False


class JsonLinesTool(CliTool):
    """A tool that says one JSON object per line. Other lines, and objects of unknown types, are passed over."""

    def read(self, line: bytes, seen: Transcript) -> Iterator[Report]:
        """Take one line of output into the transcript, and yield what is worth showing of it."""
        if not line.strip():
            return
        try:
            record = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError):
            record = None
        if not isinstance(record, dict):
            seen.noise = plain(line)
            return
        yield from self.take(record, seen)

    @abstractmethod
    def take(self, record: Record, seen: Transcript) -> Iterator[Report]:
        """Take one record into the transcript, and yield what is worth showing of it."""

    def problem(self, ended: Ended) -> Problem | None:
        """Return why this is no success; None where it is one."""
        seen = ended.seen
        if seen.error:
            return Problem(seen.error, seen.kind)
        if ended.exit_code != 0:
            return Problem(last_words(ended.stderr) or seen.noise)
        if not seen.is_done:
            return Problem("it ended without saying that it is done", FailureKind.BAD_OUTPUT)
        if not seen.answer.strip() and seen.data is None:
            return Problem("its answer is empty", FailureKind.BAD_OUTPUT)
        return None


def as_dict(value: object) -> Record:
    """Return a mapping as it is, and anything else as an empty one: records may be of any shape."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return a list as it is, and anything else as an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: object) -> str:
    """Return text as it is, and anything else as none."""
    return value if isinstance(value, str) else ""


def number(record: Record, name: str) -> float | None:
    """Return a number that is 0 or more; None where there is none, or what is there is none."""
    value = record.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value if 0 <= value < _NUMBER_MAX else None


def count(record: Record, name: str) -> int:
    """Return a number of tokens, or of other things; 0 where there is none."""
    return int(number(record, name) or 0)


def plain(line: bytes) -> str:
    """Return a line as text that can be shown: decoded, without control characters, cut."""
    text = line[:_ERROR_CHARS].decode(errors="replace")
    return "".join(char if char.isprintable() else " " for char in text).strip()


def last_words(stderr: str) -> str:
    """Return the end of what a program said on stderr: its error, more often than not."""
    lines = [text for line in stderr.splitlines() if (text := plain(line.encode(errors="replace")))]
    errors = [line for line in lines if "error" in line.lower() and not line.startswith("at ")]
    return (errors or lines or [""])[-1]
