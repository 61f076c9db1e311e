"""What all made-up coding agents do with a script's acts. How each says it is its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TextIO

__all__ = ["Done", "FakeTool"]

_HANG_S = 3_600.0
_MEGABYTE = 1_000_000


class Done(Exception):  # noqa: N818 -- the way out of a play
    """The program ends with this exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(kw_only=True)
class FakeTool:
    """What all of them do with a script's acts; how they say it is each one's own.

    `flags` are those that the real program has, and how many words follow each.
    """

    name: ClassVar[str]
    flags: ClassVar[dict[str, int]]
    unknown_flag_code: ClassVar[int] = 1

    state: Path
    out: TextIO = field(default_factory=lambda: sys.stdout)
    given: dict[str, str] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    session_id: str = ""
    is_resumed: bool = False
    answer: str = ""
    data: Any = None
    steps: int = 0

    def parse(self, arguments: list[str]) -> None:
        """Take the flags apart; one that the real program does not have ends this one, too."""
        rest = list(arguments)
        while rest:
            word = rest.pop(0)
            if not word.startswith("-") or word == "-":
                self.words.append(word)
            elif word in self.flags:
                self.given[word] = rest.pop(0) if self.flags[word] else "yes"
            else:
                self.complain(f"error: unknown option '{word}'", self.unknown_flag_code)

    def prompt(self) -> str:
        """Return what it was asked."""
        return sys.stdin.read()

    def begin(self) -> None:
        """Check the flags, and open or find the conversation."""

    def say(self, text: str) -> None:
        """Say something on the way."""

    def use(self, tool: str, shown: str) -> None:
        """Use a tool."""

    def retry(self, status: int) -> None:
        """Tell of a try that failed and will be repeated."""

    def fail(self, status: int, message: str) -> NoReturn:
        """End because the provider refuses."""
        raise NotImplementedError

    def finish(self) -> None:
        """Say that all is done."""

    # acts

    def play(self, acts: list[dict[str, Any]]) -> None:
        """Perform the acts, and end well unless one of them ends it otherwise."""
        for act in acts:
            for name, value in act.items():
                getattr(self, f"act_{name}")(value)
        self.finish()

    def act_say(self, text: str) -> None:
        """`{"say": text}`: say something; the last one is the answer."""
        self.answer = text
        self.steps += 1
        self.say(text)

    def act_use(self, shown: str) -> None:
        """`{"use": "Bash ls"}`: use a tool, without effect."""
        tool, _, rest = shown.partition(" ")
        self.steps += 1
        self.use(tool, rest)

    def act_write(self, files: dict[str, str]) -> None:
        """`{"write": {path: text}}`: write files, by a tool."""
        for name, text in files.items():
            path = Path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            self.steps += 1
            self.use("Write", name)

    def act_data(self, value: Any) -> None:
        """`{"data": value}`: give the answer that the schema asks for."""
        self.data = value
        self.steps += 1
        self.answer = json.dumps(value)

    def act_retry(self, status: int) -> None:
        """`{"retry": 429}`: tell of a failed try."""
        self.retry(status)

    def act_fail(self, status: int) -> None:
        """`{"fail": 529}`: the provider refuses, with this HTTP status."""
        self.fail(status, "the fake says no")

    def act_error(self, message: str) -> None:
        """`{"error": text}`: the provider refuses, in these words (status 429)."""
        self.fail(429, message)

    def act_exit(self, code: int) -> None:
        """`{"exit": 3}`: end at once, without a word."""
        raise Done(code)

    def act_kill(self, signum: int) -> None:
        """`{"kill": 9}`: be killed by a signal."""
        self.out.flush()
        os.kill(os.getpid(), signum)

    def act_sleep(self, seconds: float) -> None:
        """`{"sleep": 0.5}`: take time."""
        time.sleep(seconds)

    def act_hang(self, _value: object) -> None:
        """`{"hang": true}`: never end."""
        self.out.flush()
        time.sleep(_HANG_S)

    def act_deaf(self, _value: object) -> None:
        """`{"deaf": true}`: ignore SIGTERM, SIGINT and SIGHUP from now on."""
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)

    def act_fork(self, seconds: float) -> None:
        """`{"fork": 60}`: leave a process behind that has left the session and ignores SIGTERM."""
        code = (
            "import os, signal, sys, time\n"
            "if os.fork(): os._exit(0)\n"
            "os.setsid()\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            f"time.sleep({float(seconds)})\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True, stdin=subprocess.DEVNULL)  # noqa: S603 -- our own code

    def act_print(self, text: str) -> None:
        """`{"print": text}`: say something that is none of its records, invalid UTF-8 by surrogates."""
        self.out.flush()
        sys.stdout.buffer.write(text.encode(errors="surrogateescape") + b"\n")
        sys.stdout.buffer.flush()

    def act_half(self, _value: object) -> None:
        """`{"half": true}`: be cut off in the middle of a record."""
        self.out.write('{"type":"result","subtype":"succ')
        self.out.flush()
        raise Done(0)

    def act_flood(self, megabytes: int) -> None:
        """`{"flood": 50}`: say one line of so many megabytes."""
        for _ in range(megabytes):
            self.out.write("x" * _MEGABYTE)
        self.out.write("\n")

    def act_chatter(self, lines: int) -> None:
        """`{"chatter": 1000}`: say so many things."""
        for number in range(lines):
            self.say(f"line {number}")

    def act_check(self, text: str) -> None:
        """`{"check": text}`: end with code 97 unless the prompt holds this text."""
        if text not in self.asked:
            self.complain(f"the prompt has no {text!r}", 97)

    # means

    asked: str = ""

    def record(self, **fields: Any) -> None:
        """Say a record."""
        self.out.write(json.dumps(fields) + "\n")
        self.out.flush()

    def complain(self, text: str, code: int) -> NoReturn:
        """Say what is wrong on stderr, and end."""
        sys.stderr.write(f"{text}\n")
        raise Done(code)

    def knows(self, session_id: str) -> bool:
        """Tell whether there is such a conversation."""
        return (self.state / f"{self.name}-{session_id}").exists()

    def remember(self) -> None:
        """Keep the conversation."""
        (self.state / f"{self.name}-{self.session_id}").write_text(str(Path.cwd()), encoding="utf-8")
