"""The made-up coding agents: each with the flags of the real one, and saying what the real one says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, ClassVar, NoReturn
from uuid import uuid4

from orchestration.testing.cli_agents.acts import Done, FakeTool

__all__ = ["TOOLS", "VERSIONS", "FakeAider", "FakeClaude", "FakeCodex", "FakeGemini", "FakeOpenCode"]

_STATUS_TEXT = {401: "authentication_error", 429: "rate_limit_error", 529: "overloaded_error"}


class FakeClaude(FakeTool):
    """`claude -p --output-format stream-json --verbose`."""

    name = "claude"
    flags: ClassVar[dict[str, int]] = {
        "-p": 0, "--output-format": 1, "--verbose": 0, "--resume": 1, "--session-id": 1, "--permission-mode": 1,
        "--disallowedTools": 1, "--allowedTools": 1, "--model": 1, "--append-system-prompt-file": 1, "--json-schema": 1,
        "--max-turns": 1, "--mcp-config": 1, "--strict-mcp-config": 0, "--setting-sources": 1,
    }  # fmt: skip

    def begin(self) -> None:
        """Open or find the conversation."""
        if self.given.get("--output-format") == "stream-json" and "--verbose" not in self.given:
            self.complain("Error: When using --print, --output-format=stream-json requires --verbose", 1)
        self.is_resumed = "--resume" in self.given
        self.session_id = self.given.get("--resume") or self.given.get("--session-id") or str(uuid4())
        if self.is_resumed and not self.knows(self.session_id):
            message = f"No conversation found with session ID: {self.session_id}"
            self._result("error_during_execution", is_error=True, turns=0, errors=[message])
            self.complain(message, 1)
        if not self.is_resumed and self.knows(self.session_id):
            self.complain(f"Error: Session ID {self.session_id} is already in use.", 1)
        if not self.asked.strip():
            self.complain("Error: Input must be provided either through stdin or as a prompt argument", 1)
        self.record(
            type="system", subtype="init", session_id=self.session_id, model="claude-fake", tools=["Bash", "Write"],
            permissionMode=self.given.get("--permission-mode", "default"), claude_code_version="2.1.197",
        )  # fmt: skip

    def say(self, text: str) -> None:
        """Say something on the way."""
        self._assistant({"type": "text", "text": text})

    def use(self, tool: str, shown: str) -> None:
        """Use a tool."""
        name = "file_path" if tool in {"Write", "Edit", "Read"} else "command"
        self._assistant({"type": "tool_use", "id": f"toolu_{self.steps}", "name": tool, "input": {name: shown}})
        result = [{"type": "tool_result", "tool_use_id": f"toolu_{self.steps}", "content": "ok"}]
        self.record(type="user", message={"role": "user", "content": result}, session_id=self.session_id)

    def retry(self, status: int) -> None:
        """Tell of a try that failed and will be repeated."""
        error = {401: "authentication_failed", 429: "rate_limit"}.get(status, "server_error")
        self.record(
            type="system", subtype="api_retry", attempt=1, max_retries=2, retry_delay_ms=527.8, error_status=status,
            error=error, session_id=self.session_id,
        )  # fmt: skip

    def fail(self, status: int, message: str) -> NoReturn:
        """End because the provider refuses: an error that calls itself a success."""
        self.answer = f"API Error: {status} {message}"
        self._result("success", is_error=True, turns=1, api_error_status=status, terminal_reason="api_error")
        raise Done(1)

    def finish(self) -> None:
        """Say that all is done."""
        more = {} if self.data is None else {"structured_output": self.data}
        self._result("success", is_error=False, turns=self.steps, terminal_reason="completed", **more)

    def act_turns(self, turns: int) -> None:
        """`{"turns": 0}`: say that it took so many turns."""
        self.steps = turns

    def _assistant(self, block: dict[str, Any]) -> None:
        usage = {"input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 5}
        message = {"id": f"msg_{self.steps}", "model": "claude-fake", "role": "assistant", "usage": usage}
        self.record(type="assistant", message={**message, "content": [block]}, session_id=self.session_id)

    def _result(self, subtype: str, *, is_error: bool, turns: int, **more: Any) -> None:
        cost = round(0.001 * turns, 6) if not is_error else 0
        use = {"inputTokens": 100 * turns, "outputTokens": 20 * turns, "cacheReadInputTokens": 5 * turns}
        models = {} if is_error or not turns else {"claude-fake": use | {"costUSD": cost}}
        self.record(
            type="result", subtype=subtype, is_error=is_error, num_turns=turns, result=self.answer,
            session_id=self.session_id, total_cost_usd=cost, usage={}, modelUsage=models, permission_denials=[], **more,
        )  # fmt: skip


class FakeCodex(FakeTool):
    """`codex exec --json`, and `codex exec resume`."""

    name = "codex"
    unknown_flag_code = 2
    flags: ClassVar[dict[str, int]] = {
        "--json": 0, "--skip-git-repo-check": 0, "-c": 1, "-m": 1, "-s": 1, "--output-schema": 1, "-o": 1, "-C": 1,
        "--ephemeral": 0, "--ignore-user-config": 0, "--color": 1, "--add-dir": 1,
    }  # fmt: skip

    def begin(self) -> None:
        """Open or find the conversation."""
        match self.words:
            case ["exec", "resume", session_id, "-"]:
                self.is_resumed, self.session_id = True, session_id
            case ["exec", "-"]:
                self.session_id = str(uuid4())
            case _:
                self.complain(f"error: unexpected arguments {self.words}", 2)
        if self.is_resumed and "-s" in self.given:
            self.complain("error: unexpected argument '-s' found", 2)
        if self.is_resumed and not self.knows(self.session_id):
            where = f"no rollout found for thread id {self.session_id} (code -32600)"
            self.complain(f"Error: thread/resume: thread/resume failed: {where}", 1)
        self.record(type="thread.started", thread_id=self.session_id)
        warning = {"id": "item_0", "type": "error", "message": "Model metadata for `fake` not found."}
        self.record(type="item.completed", item=warning)
        self.record(type="turn.started")

    def say(self, text: str) -> None:
        """Say something on the way."""
        self.record(type="item.completed", item={"id": f"item_{self.steps}", "type": "agent_message", "text": text})

    def use(self, tool: str, shown: str) -> None:
        """Use a tool: a command, or a change of files."""
        if tool == "Write":
            changes = [{"path": shown, "kind": "add"}]
            item = {"id": f"item_{self.steps}", "type": "file_change", "changes": changes, "status": "completed"}
            self.record(type="item.completed", item=item)
            return
        item = {"id": f"item_{self.steps}", "type": "command_execution", "command": f"/bin/bash -lc '{shown}'"}
        self.record(type="item.started", item=item | {"status": "in_progress", "exit_code": None})
        self.record(type="item.completed", item=item | {"status": "completed", "exit_code": 0})

    def retry(self, status: int) -> None:
        """Tell of a try that failed and will be repeated."""
        self.record(type="error", message=f"Reconnecting... 1/5 (unexpected status {status} : the fake says no)")

    def fail(self, status: int, message: str) -> NoReturn:
        """End because the provider refuses."""
        text = f"unexpected status {status} : {message}"
        self.record(type="error", message=text)
        self.record(type="turn.failed", error={"message": text})
        raise Done(1)

    def finish(self) -> None:
        """Say that all is done."""
        if self.data is not None:
            self.say(self.answer)
        usage = {"input_tokens": 100 * self.steps, "cached_input_tokens": 5, "output_tokens": 20 * self.steps}
        self.record(type="turn.completed", usage=usage | {"reasoning_output_tokens": 2})


class FakeGemini(FakeTool):
    """`gemini -o stream-json --skip-trust`."""

    name = "gemini"
    flags: ClassVar[dict[str, int]] = {
        "-o": 1, "--skip-trust": 0, "--approval-mode": 1, "--resume": 1, "--session-id": 1, "-m": 1, "--policy": 1,
        "-e": 1, "--include-directories": 1,
    }  # fmt: skip

    def begin(self) -> None:
        """Open or find the conversation, which it knows in its own folder only."""
        if "--skip-trust" not in self.given:
            self.complain("Gemini CLI is not running in a trusted directory.", 55)
        self.is_resumed = "--resume" in self.given
        self.session_id = self.given.get("--resume") or self.given.get("--session-id") or str(uuid4())
        place = self.state / f"{self.name}-{self.session_id}"
        if self.is_resumed and not (
            self.knows(self.session_id) and place.read_text(encoding="utf-8") == str(Path.cwd())
        ):
            self.complain(f'Error resuming session: Invalid session identifier "{self.session_id}".', 42)
        self.record(type="init", session_id=self.session_id, model="gemini-fake")
        self.record(type="message", role="user", content=self.asked)

    def say(self, text: str) -> None:
        """Say something on the way, in pieces."""
        middle = len(text) // 2
        for piece in (text[:middle], text[middle:]):
            self.record(type="message", role="assistant", content=piece, delta=True)

    def use(self, tool: str, shown: str) -> None:
        """Use a tool."""
        name = {"Write": "write_file", "Bash": "run_shell_command"}.get(tool, tool)
        given = {"file_path" if tool == "Write" else "command": shown}
        self.record(type="tool_use", tool_name=name, tool_id=f"{name}__{self.steps}", parameters=given)
        self.record(type="tool_result", tool_id=f"{name}__{self.steps}", status="success")

    def retry(self, status: int) -> None:
        """Tell of a try that failed and will be repeated: on stderr only."""
        sys.stderr.write(f"Attempt 1 failed with status {status}. Retrying with backoff...\n")
        sys.stderr.flush()

    def fail(self, status: int, message: str) -> NoReturn:
        """End because the provider refuses: with its status, modulo 256."""
        kind = _STATUS_TEXT.get(status, "api_error")
        words = json.dumps({"type": "error", "error": {"type": kind, "message": message, "code": status}})
        stats = {"total_tokens": 0, "input_tokens": 0, "output_tokens": 0, "models": {}}
        self.record(
            type="result", status="error", error={"type": "unknown", "message": f"[API Error: {words}]"}, stats=stats
        )
        self.complain(f"Error when talking to Gemini API _ApiError: {words}", status % 256)

    def finish(self) -> None:
        """Say that all is done."""
        if self.data is not None:
            self.say(self.answer)
        use = {"total_tokens": 125 * self.steps, "input_tokens": 100 * self.steps, "output_tokens": 20 * self.steps}
        use["cached"] = 5
        self.record(type="result", status="success", stats={**use, "models": {"gemini-fake": use}})


class FakeOpenCode(FakeTool):
    """`opencode run --format json`."""

    name = "opencode"
    flags: ClassVar[dict[str, int]] = {
        "--format": 1, "-s": 1, "-m": 1, "--auto": 0, "--agent": 1, "--pure": 0, "--variant": 1, "--title": 1,
    }  # fmt: skip

    def begin(self) -> None:
        """Open or find the conversation."""
        self.is_resumed = "-s" in self.given
        self.session_id = self.given.get("-s") or f"ses_{uuid4().hex[:26]}"
        if self.is_resumed and not self.knows(self.session_id):
            self.complain("\x1b[91m\x1b[1mError: \x1b[0mSession not found", 1)

    def say(self, text: str) -> None:
        """Say something on the way."""
        self._part("step_start", type="step-start")
        self._part("text", type="text", text=text)
        self._finish_step("tool-calls")

    def use(self, tool: str, shown: str) -> None:
        """Use a tool."""
        state = {"status": "completed", "title": shown, "input": {}, "output": ""}
        self._part("step_start", type="step-start")
        self._part("tool_use", type="tool", tool=tool.lower(), state=state)
        self._finish_step("tool-calls")

    def retry(self, status: int) -> None:
        """Tell nobody: it goes on trying in silence."""

    def fail(self, status: int, message: str) -> NoReturn:
        """End because the provider refuses."""
        data = {"message": message, "statusCode": status, "isRetryable": False}
        self._event("error", error={"name": "APIError", "data": data})
        raise Done(1)

    def finish(self) -> None:
        """Say that all is done: in a step of its own that wants no tool."""
        self._part("step_start", type="step-start")
        if self.answer:
            self._part("text", type="text", text=self.answer)
        self._finish_step("stop")

    def _finish_step(self, reason: str) -> None:
        tokens = {"total": 120, "input": 100, "output": 20, "reasoning": 0, "cache": {"write": 0, "read": 5}}
        self._part("step_finish", type="step-finish", reason=reason, tokens=tokens, cost=0.001)

    def _part(self, event: str, **part: Any) -> None:
        self._event(event, part={"sessionID": self.session_id, **part})

    def _event(self, event: str, **fields: Any) -> None:
        self.record(type=event, timestamp=0, sessionID=self.session_id, **fields)


class FakeAider(FakeTool):
    """`aider --message-file`: plain text, and exit code 0 whatever happened."""

    name = "aider"
    unknown_flag_code = 2
    flags: ClassVar[dict[str, int]] = {
        "--message-file": 1, "--yes-always": 0, "--no-stream": 0, "--no-pretty": 0, "--no-fancy-input": 0,
        "--no-check-update": 0, "--no-show-release-notes": 0, "--no-show-model-warnings": 0, "--analytics-disable": 0,
        "--no-detect-urls": 0, "--no-suggest-shell-commands": 0, "--no-gitignore": 0, "--no-auto-commits": 0,
        "--no-dirty-commits": 0, "--chat-history-file": 1, "--input-history-file": 1, "--llm-history-file": 1,
        "--chat-mode": 1, "--dry-run": 0, "--model": 1, "--edit-format": 1,
    }  # fmt: skip

    def prompt(self) -> str:
        """Return what it was asked, which it reads from a file."""
        return Path(self.given["--message-file"]).read_text(encoding="utf-8")

    def begin(self) -> None:
        """Tell of itself."""
        self.session_id = "none"
        model = self.given.get("--model", "fake/model")
        self._line(
            "Aider v0.86.2", f"Main model: {model} with whole edit format", "Git repo: none", "Repo-map: disabled", ""
        )

    def say(self, text: str) -> None:
        """Answer."""
        self._line(text, "", "Tokens: 1.2k sent, 20 received. Cost: $0.00045 message, $0.00045 session.")

    def use(self, tool: str, shown: str) -> None:
        """Tell of an edit; it has no other tools."""
        if tool == "Write":
            if self.steps == 1:
                self.say("Here it is.")
            self._line(f"Applied edit to {shown}")

    def retry(self, status: int) -> None:
        """Tell of a try that failed and will be repeated."""
        self._line(f"litellm.{self._error(status)}: the fake says no", "Retrying in 0.2 seconds...")

    def fail(self, status: int, message: str) -> NoReturn:
        """End because the provider refuses: as if nothing were."""
        self._line(f"litellm.{self._error(status)}: {self._error(status)}: OpenAIException - {message}")
        raise Done(0)

    def finish(self) -> None:
        """End; it has said it all."""
        if self.data is not None:
            self.say(self.answer)

    def _line(self, *lines: str) -> None:
        self.out.write("".join(f"{line}\n" for line in lines))
        self.out.flush()

    @staticmethod
    def _error(status: int) -> str:
        names = {401: "AuthenticationError", 429: "RateLimitError", 400: "BadRequestError"}
        return names.get(status, "InternalServerError")


TOOLS: dict[str, type[FakeTool]] = {
    tool.name: tool for tool in (FakeClaude, FakeCodex, FakeGemini, FakeOpenCode, FakeAider)
}
VERSIONS = {
    "claude": "2.1.197 (Claude Code)",
    "codex": "codex-cli 0.169.0",
    "gemini": "0.61.0",
    "opencode": "1.18.33",
    "aider": "aider 0.86.2",
}
