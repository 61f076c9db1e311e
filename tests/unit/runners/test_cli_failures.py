"""What the last words of a tool mean."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestration.errors import FailureKind
from orchestration.runners.cli_tools.failures import kind_of, wait_s

NOW = datetime(2026, 11, 22, 14, 0, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Not logged in · Please run /login", FailureKind.AUTH),
        ("Failed to authenticate. API Error: 401 invalid x-api-key", FailureKind.AUTH),
        ("Missing environment variable: `OPENAI_API_KEY`.", FailureKind.AUTH),
        ("When using Gemini API, you must specify the GEMINI_API_KEY environment variable.", FailureKind.AUTH),
        ("Invalid auth method selected.", FailureKind.AUTH),
        ("API Error: Request rejected (429) · slow down", FailureKind.RATE_LIMIT),
        ("exceeded retry limit, last status: 429 Too Many Requests", FailureKind.RATE_LIMIT),
        ("RESOURCE_EXHAUSTED: You exceeded your current quota", FailureKind.RATE_LIMIT),
        ("Claude AI usage limit reached|1795370000", FailureKind.QUOTA),
        ("You've hit your session limit · resets 3pm (Europe/London)", FailureKind.QUOTA),
        ("Your credit balance is too low to access the Anthropic API", FailureKind.QUOTA),
        ("API Error: 529 Overloaded", FailureKind.OVERLOADED),
        ("We're currently experiencing high demand", FailureKind.OVERLOADED),
        ("stream disconnected before completion: error sending request", FailureKind.CONNECTION),
        ("API Error: Unable to connect (ECONNREFUSED)", FailureKind.CONNECTION),
        ("Prompt is too long · the request is ~250000 tokens", FailureKind.CONTEXT_LENGTH),
        ("Your input exceeds the context window of this model.", FailureKind.CONTEXT_LENGTH),
        ("The input token count exceeds the maximum number of tokens allowed", FailureKind.CONTEXT_LENGTH),
        ("Claude Code is unable to respond: it violates our Usage Policy", FailureKind.REFUSAL),
        ("model 'gpt-9' does not exist", FailureKind.BAD_REQUEST),
        ("something else", FailureKind.TASK_ERROR),
        ("", FailureKind.TASK_ERROR),
    ],
)
def test_words_tell_the_kind(text, kind):
    assert kind_of(text) is kind


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (401, "no", FailureKind.AUTH),
        (403, "no", FailureKind.AUTH),
        (403, "your credit balance is too low", FailureKind.QUOTA),
        (429, "no", FailureKind.RATE_LIMIT),
        (429, "You've hit your usage limit.", FailureKind.QUOTA),
        (400, "no", FailureKind.BAD_REQUEST),
        (400, "prompt is too long", FailureKind.CONTEXT_LENGTH),
        (500, "authentication service failed", FailureKind.OVERLOADED),
        (529, "no", FailureKind.OVERLOADED),
        (408, "no", FailureKind.CONNECTION),
        (418, "no", FailureKind.TASK_ERROR),
    ],
)
def test_a_status_goes_before_words(status, text, kind):
    assert kind_of(text, status) is kind


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("try again in 3 hours 5 minutes.", 11_100),
        ("Your quota will reset after 3h5m12s.", 11_112),
        ("Please retry in 34.07s.", 34.07),
        ("try again in 1 day 2 hours and 3 minutes", 93_780),
        ("You've hit your limit · resets 3pm", 3_600),
        ("limit reached ∙ resets at 2:30pm", 1_800),
        ("limit reached ∙ resets 1pm", 82_800),
        ("limit reached ∙ resets 12am", 36_000),
        ("resets 3pm (Europe/London)", 7_200),
        ("resets 3pm (Nowhere/City)", None),
        ("or try again at Nov 23rd, 2026 1:05 PM.", 83_100),
        ("try again at Nov 99th, 2026 1:05 PM.", None),
        ("usage limit reached|1795356000", 3_600),
        ("usage limit reached|1000000000", 0),
        ("resets 99pm", None),
        ("resets soon", None),
    ],
)
def test_words_tell_until_when_to_wait(text, seconds):
    assert datetime.fromtimestamp(1_795_356_000, UTC) == NOW + timedelta(hours=1)
    if "Nowhere" in text:  # the machine's own zone
        assert 0 <= wait_s(text, NOW) <= 86_400
    else:
        assert wait_s(text, NOW) == seconds


@given(st.text(alphabet="resets again in at reached|:0123456789hmsdapPM ,()Nov", max_size=80))
def test_no_words_make_it_fail_or_wait_backwards(text):
    found = wait_s(text, NOW)

    assert found is None or found >= 0
    assert kind_of(text) in FailureKind
