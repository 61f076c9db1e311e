"""What each coding agent is called with, and how its records are read: the pure parts."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.agent_registry import Tool
from orchestration.errors import FailureKind
from orchestration.runners.cli_tools import TOOLS
from orchestration.runners.cli_tools.base import Call, Ended, Job, Transcript, Usage, last_words

FOLDER = Path("/attempt")


def job(**options):
    return Job(**{"program": ("tool",), "prompt": "Do it", "folder": FOLDER, "session_id": "s1"} | options)


def command(tool, **options):
    return TOOLS[tool].invocation(job(**options)).command


def heard(tool, *records, **seen):
    """Return the transcript of these records, and what was shown of them."""
    transcript = Transcript(**seen)
    shown = []
    for record in records:
        line = record if isinstance(record, bytes) else json.dumps(record).encode()
        shown += TOOLS[tool].read(line, transcript)
    return transcript, shown


def judged(tool, *records, exit_code=0, stderr=""):
    seen, _ = heard(tool, *records)
    return TOOLS[tool].problem(Ended(seen, exit_code, stderr))


# command lines: what was tried with the real programs


def test_claude_is_called_so():
    assert command(Tool.CLAUDE) == (
        *("tool", "-p", "--output-format", "stream-json", "--verbose", "--session-id", "s1"),
        *("--permission-mode", "dontAsk", "--disallowedTools", "Edit,Write,NotebookEdit"),
    )
    assert command(Tool.CLAUDE, is_resumed=True, permissions="edit", model="opus", system="Be brief.", args=("-x",))[
        5:
    ] == (
        *("--resume", "s1", "--permission-mode", "acceptEdits", "--model", "opus"),
        *("--append-system-prompt-file", "/attempt/system.md", "-x"),
    )


def test_claude_is_told_that_it_is_in_a_sandbox_only_where_it_may_do_anything():
    assert "IS_SANDBOX" not in TOOLS[Tool.CLAUDE].invocation(job(permissions="edit")).env
    full = TOOLS[Tool.CLAUDE].invocation(job(permissions="full"))
    assert full.env["IS_SANDBOX"] == "1"
    assert "bypassPermissions" in full.command


def test_codex_is_called_so():
    start = ("tool", "exec", "--json", "--skip-git-repo-check", "-c")
    assert command(Tool.CODEX, session_id="") == (*start, 'sandbox_mode="read-only"', "-")
    assert command(Tool.CODEX, is_resumed=True, permissions="edit", model="gpt", args=("-x",)) == (
        *("tool", "exec", "resume", "--json", "--skip-git-repo-check", "-c", 'sandbox_mode="workspace-write"'),
        *("-m", "gpt", "-x", "s1", "-"),
    )
    assert 'sandbox_mode="danger-full-access"' in command(Tool.CODEX, permissions="full")


def test_gemini_is_called_so():
    start = ("tool", "-o", "stream-json", "--skip-trust", "--approval-mode")
    assert command(Tool.GEMINI) == (*start, "plan", "--session-id", "s1")
    assert command(Tool.GEMINI, is_resumed=True, permissions="edit", model="pro") == (
        *start,
        *("auto_edit", "--resume", "s1", "-m", "pro"),
    )
    assert "yolo" in command(Tool.GEMINI, permissions="full")


def test_opencode_is_called_so():
    start = ("tool", "run", "--format", "json")
    assert command(Tool.OPENCODE, session_id="") == start
    assert command(Tool.OPENCODE, is_resumed=True, permissions="full") == (*start, "-s", "s1", "--auto")
    rules = json.loads(TOOLS[Tool.OPENCODE].invocation(job(permissions="edit")).env["OPENCODE_PERMISSION"])
    assert rules == {"edit": "allow", "bash": "deny", "external_directory": "deny"}


def test_aider_is_called_so():
    words = command(Tool.AIDER, session_id="", model="gpt")
    assert words[:3] == ("tool", "--message-file", "/attempt/prompt.md")
    assert {"--no-auto-commits", "--dry-run", "ask"} <= set(words)
    assert "--dry-run" not in command(Tool.AIDER, permissions="edit")


@pytest.mark.parametrize("tool", [Tool.CODEX, Tool.GEMINI, Tool.OPENCODE, Tool.AIDER])
def test_without_a_flag_for_it_the_system_prompt_stands_before_the_prompt_once(tool):
    call = TOOLS[tool].invocation(job(system="Be brief."))
    assert (call.stdin or call.files["prompt.md"]) == "Be brief.\n\nDo it"
    if TOOLS[tool].resumes:
        assert TOOLS[tool].invocation(job(system="Be brief.", is_resumed=True)).stdin == "Do it"


def test_claude_takes_schemas_of_objects_of_a_size():
    takes = TOOLS[Tool.CLAUDE].takes_schema
    assert takes({"type": "object"})
    assert not takes({"type": "array"})
    assert not takes({"type": "object", "description": "x" * 100_000})


@pytest.mark.parametrize(
    ("schema", "is_taken"),
    [
        ({"type": "object", "properties": {}, "additionalProperties": False}, True),
        ({"type": "object"}, False),
        ({"type": "array", "items": {"type": "string"}}, False),
        (
            {
                "type": "object",
                "properties": {"a": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {}}]}},
                "required": ["a"],
                "additionalProperties": False,
            },
            False,
        ),
        (
            {
                "type": "object",
                "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                "required": ["a"],
                "additionalProperties": False,
            },
            False,
        ),
    ],
)
def test_codex_takes_schemas_that_its_provider_takes(schema, is_taken):
    assert TOOLS[Tool.CODEX].takes_schema(schema) is is_taken


# records


def result(**fields):
    return {"type": "result", "subtype": "success", "is_error": False, "num_turns": 1, "result": "Done.", **fields}


def test_claudes_account_counts_what_came_from_a_cache_and_each_model():
    use = {"inputTokens": 100, "cacheReadInputTokens": 30, "cacheCreationInputTokens": 20, "outputTokens": 7}
    models = {"opus": use | {"costUSD": 0.0030074999999999998}, "haiku": {"outputTokens": 1, "costUSD": 1e-7}}

    seen, _ = heard(Tool.CLAUDE, result(modelUsage=models))

    usage = Usage(input_tokens=150, cached_tokens=30, cache_write_tokens=20, output_tokens=7)
    assert seen.account() == [
        Call(model="opus", usage=usage, cost_usd="0.0030075"),
        Call(model="haiku", usage=Usage(output_tokens=1), cost_usd="0.0000001"),
    ]


def test_a_cost_of_nothing_is_told_as_nothing():
    seen, _ = heard(Tool.CLAUDE, result(modelUsage={"free": {"costUSD": 0}}))

    assert seen.account()[0].cost_usd == "0"


def test_claude_killed_on_the_way_has_used_what_its_messages_say_each_once():
    use = {"input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 5}
    text = {"type": "text", "text": "a"}
    first = {"type": "assistant", "message": {"id": "m1", "usage": use, "content": [text]}}
    second = {"type": "assistant", "message": {"id": "m2", "usage": use, "content": [text]}}

    seen, _ = heard(Tool.CLAUDE, first, first, second)

    assert seen.account() == [Call(usage=Usage(input_tokens=210, cached_tokens=10, output_tokens=40))]


@pytest.mark.parametrize(
    ("record", "text", "kind"),
    [
        (result(is_error=True, api_error_status=529, result="Overloaded"), "Overloaded", None),
        (result(subtype="error_max_budget_usd", result=None), "error_max_budget_usd", None),
        (result(subtype="error_during_execution", result=None, errors=["a", "b"]), "a; b", None),
        (result(stop_reason="refusal", result=""), "the model refused", FailureKind.REFUSAL),
        (result(num_turns=0, result="Unknown command: /x"), "Unknown command: /x", FailureKind.BAD_OUTPUT),
        (result(num_turns=0, result=""), "it took no turn", FailureKind.BAD_OUTPUT),
        (result(result="  "), "its answer is empty", FailureKind.BAD_OUTPUT),
    ],
)
def test_claude_is_not_believed_that_all_went_well(record, text, kind):
    assert judged(Tool.CLAUDE, record) == (text, kind)


def test_a_structured_answer_without_words_is_an_answer():
    assert judged(Tool.CLAUDE, result(result="", structured_output={"n": 3})) is None


def test_success_needs_the_exit_code_too():
    assert judged(Tool.CLAUDE, result(), exit_code=143, stderr="boom") == ("boom", None)


def test_what_claude_was_not_permitted_is_told():
    seen, _ = heard(Tool.CLAUDE, result(permission_denials=[{"tool_name": "Write"}, {}]))

    assert seen.facts["permission_denials"] == ["Write", ""]


def test_a_refused_sign_in_is_hopeless_and_another_retry_is_not():
    retry = {"type": "system", "subtype": "api_retry", "attempt": 1, "retry_delay_ms": 1_600.0}

    seen, shown = heard(Tool.CLAUDE, {**retry, "error_status": 429, "error": "rate_limit"})
    assert not seen.is_hopeless
    assert shown == [("retry", "rate_limit 429 (try 1), again in 2 s")]
    assert heard(Tool.CLAUDE, {**retry, "error_status": 403})[0].is_hopeless
    assert heard(Tool.CODEX, {"type": "error", "message": "Reconnecting... 2/5 (unexpected status 401 X)"})[
        0
    ].is_hopeless


def test_an_error_of_the_provider_that_claude_says_as_an_answer_is_none():
    message = {"model": "<synthetic>", "content": [{"type": "text", "text": "API Error"}]}

    seen, shown = heard(Tool.CLAUDE, {"type": "assistant", "message": message})

    assert (shown, seen.has_worked) == ([], False)


def test_what_codex_does_is_shown():
    items = [
        ({"type": "command_execution", "command": "ls"}, "item.started"),
        ({"type": "command_execution", "command": "ls"}, "item.completed"),
        ({"type": "file_change", "changes": [{"path": "a"}, {"path": "b"}]}, "item.completed"),
        ({"type": "web_search", "query": "x"}, "item.completed"),
        ({"type": "mcp_tool_call", "tool": "find"}, "item.completed"),
        ({"type": "reasoning", "text": "hm"}, "item.completed"),
    ]

    _, shown = heard(Tool.CODEX, *({"type": moment, "item": item} for item, moment in items))

    assert [text for _, text in shown] == ["ls", "edit a b", "web_search x", "mcp_tool_call find"]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ('{"error": {"message": "context_length_exceeded"}}', "context_length_exceeded"),
        ("{broken", "{broken"),
        ('{"other": 1}', '{"other": 1}'),
        ("", "the turn failed"),
    ],
)
def test_codex_errors_are_unwrapped(message, text):
    failed = {"type": "turn.failed", "error": {"message": message}}

    assert judged(Tool.CODEX, {"type": "error", "message": message}, failed, exit_code=1) == (text, None)


def test_codex_that_worked_and_was_cut_has_used_something_unknown():
    seen, _ = heard(Tool.CODEX, {"type": "item.completed", "item": {"type": "agent_message", "text": "a"}})

    assert seen.account() == [Call()]
    assert heard(Tool.CODEX, {"type": "turn.started"})[0].account() == []


def test_the_thoughts_of_gemini_are_output():
    use = {"total_tokens": 150, "input_tokens": 100, "output_tokens": 20, "cached": 40}

    seen, _ = heard(Tool.GEMINI, {"type": "result", "status": "success", "stats": {**use, "models": {"pro": use}}})

    usage = Usage(input_tokens=100, cached_tokens=40, output_tokens=50, reasoning_tokens=30)
    assert seen.account() == [Call(model="pro", usage=usage)]


def test_geminis_answer_is_what_it_says_after_its_last_tool():
    say = {"type": "message", "role": "assistant", "delta": True}

    seen, _ = heard(
        Tool.GEMINI,
        {**say, "content": "I will look."},
        {"type": "tool_use", "tool_name": "glob", "parameters": {"pattern": "*"}},
        {**say, "content": "All "},
        {**say, "content": "done."},
    )

    assert seen.answer == "All done."


@pytest.mark.parametrize(
    ("exit_code", "stderr", "kind", "status"),
    [
        (41, "Warning: x\nPlease set an Auth method\n", FailureKind.AUTH, None),
        (55, "not trusted", FailureKind.UNAVAILABLE, None),
        (173, "Error: no", None, 429),
        (244, "Error: no", None, 500),
        (1, "Error: no", None, None),
    ],
)
def test_geminis_exit_codes_tell_the_kind(exit_code, stderr, kind, status):
    seen = Transcript()

    problem = TOOLS[Tool.GEMINI].problem(Ended(seen, exit_code, stderr))

    assert (problem.kind, seen.status) == (kind, status)


def test_gemini_may_only_say_warnings():
    assert judged(Tool.GEMINI, exit_code=41, stderr="Warning: x\n").text == "Warning: x"


def test_opencode_adds_up_its_steps_and_a_cost_of_0_is_unknown():
    tokens = {"input": 100, "output": 20, "reasoning": 3, "cache": {"read": 5, "write": 2}}
    step = {"type": "step_finish", "part": {"reason": "stop", "tokens": tokens, "cost": 0.001}}
    usage = Usage(input_tokens=214, cached_tokens=10, cache_write_tokens=4, output_tokens=46, reasoning_tokens=6)

    assert heard(Tool.OPENCODE, step, step)[0].account() == [Call(usage=usage, cost_usd="0.002")]
    free = {"type": "step_finish", "part": {"reason": "stop", "tokens": tokens, "cost": 0}}
    assert heard(Tool.OPENCODE, free)[0].account()[0].cost_usd is None


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        ({"type": "step_finish", "part": {"reason": "length"}}, FailureKind.TRUNCATED),
        ({"type": "step_finish", "part": {"reason": "content-filter"}}, FailureKind.REFUSAL),
        ({"type": "error", "error": {"name": "ProviderAuthError", "data": {}}}, FailureKind.AUTH),
        ({"type": "error", "error": {"name": "UnknownError", "data": {"message": "x"}}}, None),
    ],
)
def test_opencodes_ends_tell_the_kind(record, kind):
    assert judged(Tool.OPENCODE, record).kind is kind


AIDER_SAID = (
    b"Analytics have been permanently disabled.",
    b"Main model: openai/gpt-4o with whole edit format",
    b"Repo-map: using 4096 tokens, auto refresh",
)
AIDER_USED = b"Tokens: 1.2k sent, 1.5M cache hit, 20 received. Cost: $0.00045 message, $0.00045 session."


def test_aiders_answer_is_between_its_preamble_and_its_account():
    seen, shown = heard(Tool.AIDER, *AIDER_SAID, b"Hello", b"", AIDER_USED, b"Applied edit to a.txt")

    assert TOOLS[Tool.AIDER].problem(Ended(seen, 0, "")) is None
    assert seen.answer == "Hello"
    assert seen.account() == [
        Call(model="openai/gpt-4o", usage=Usage(input_tokens=1_200, output_tokens=20), cost_usd="0.00045")
    ]
    assert ("tool", "edit a.txt") in shown


@pytest.mark.parametrize(
    ("lines", "kind"),
    [
        ((b"litellm.AuthenticationError: no",), FailureKind.AUTH),
        ((b"litellm.RateLimitError: slow down", b"Retrying in 0.2 seconds..."), FailureKind.RATE_LIMIT),
        ((b"litellm.NewError: what",), None),
        ((b"Hello", AIDER_USED, b"litellm.InternalServerError: no"), FailureKind.OVERLOADED),
        ((b"Hello",), FailureKind.BAD_OUTPUT),
        ((AIDER_USED,), FailureKind.BAD_OUTPUT),
    ],
)
def test_aider_that_ends_with_code_0_may_have_failed(lines, kind):
    assert judged(Tool.AIDER, *AIDER_SAID, *lines).kind is kind


def test_an_answer_after_a_retry_is_a_success_of_aider():
    assert judged(Tool.AIDER, *AIDER_SAID, b"litellm.RateLimitError: x", b"Hello", AIDER_USED) is None


def test_aiders_exit_code_counts_where_there_is_one():
    assert judged(Tool.AIDER, *AIDER_SAID, b"bad flag", exit_code=2).text == "bad flag"


def test_an_answer_without_end_is_cut():
    seen = Transcript()
    for _ in range(30):
        seen.say("x" * 1_000_000)

    assert len(seen.answer) == 10_000_000


def test_the_last_words_of_a_program_are_its_error():
    stderr = "\x1b[91mError: \x1b[0mSession not found\n    at main (file.js:1)\n\n"

    assert "Session not found" in last_words(stderr)
    assert last_words("a\nb\n") == "b"
    assert last_words("") == ""


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KINDS = (
    *("system", "assistant", "result", "item.completed", "item.started", "error", "turn.completed", "turn.failed"),
    *("thread.started", "message", "tool_use", "init", "step_finish", "text", "step_start"),
)
FIELDS = (
    *("message", "item", "part", "usage", "stats", "error", "content", "result", "modelUsage", "tokens", "type"),
    *("permission_denials", "errors", "changes", "models", "data", "parameters", "subtype", "state", "cost", "role"),
)
shapes = st.recursive(
    json_values | st.sampled_from(["assistant", "text", "agent_message", "file_change", "api_retry", "init", "stop"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=10,
)
kinds, fields = st.sampled_from(KINDS), st.sampled_from(FIELDS)


@pytest.mark.parametrize("tool", list(Tool))
@given(records=st.lists(st.tuples(kinds, st.dictionaries(fields, shapes, max_size=5)), max_size=4), raw=st.binary())
def test_no_record_of_whatever_shape_makes_a_reader_fail(tool, records, raw):
    seen, _ = heard(tool, *({**rest, "type": kind} for kind, rest in records), raw)

    TOOLS[tool].problem(Ended(seen, 0, ""))
    TOOLS[tool].problem(Ended(seen, 1, ""))
    assert isinstance(seen.answer, str)
    seen.account()
