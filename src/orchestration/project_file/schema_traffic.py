"""The keys about traffic and money: limits of lanes, budgets, retries, fallback chains. Pure data, as in `schema`."""

from __future__ import annotations

from orchestration.errors import FailureKind
from orchestration.project_file.schema_parts import Schema, count, flag, seconds, text

__all__ = [
    "LANE_PATTERN",
    "fallback_step",
    "fallbacks",
    "lane",
    "limits",
    "project_budget",
    "retry",
    "share",
    "single_budget",
]

# A provider, its model family, and the account where there are several: "*", "anthropic", "openai/gpt-mini".
# A model's first word may hold digits ("o4-mini"), the others are without: versions, sizes and dates are no family.
LANE_PATTERN = r"^(\*|(anthropic|openai|gemini|local)(/(-?[a-z]+|[a-z0-9]+)(-[a-z]+)*(@.+)?)?)$(?!\n)"


def limits() -> Schema:
    """Return the schema of all lanes' limits."""
    return {
        "type": "object",
        "description": "What calls of models are held to, by lane. A lane is a provider and a model family without "
        "versions (`anthropic/claude-sonnet`); the beginning of its name (`anthropic`) stands for all of them, `*` for "
        "every lane. The longest name that fits is in force, alone. What a provider itself states is kept anyway.",
        "propertyNames": {
            "pattern": LANE_PATTERN,
            "errorMessage": "expected a provider, or a provider and a model family without version or date, such as "
            "anthropic or anthropic/claude-sonnet",
        },
        "additionalProperties": {"$ref": "#/$defs/lane"},
        "errorMessage": "expected limits by lane, such as anthropic: {rpm: 50}",
        "examples": [{"anthropic/claude-sonnet": {"rpm": 50, "input_tpm": 30000}}],
    }


def lane() -> Schema:
    """Return the schema of one lane's limits."""
    return {
        "type": "object",
        "description": "Ceilings of one lane. What is left out is not limited by you.",
        "properties": {
            "rpm": count("Requests per minute.", 50),
            "tpm": count("Tokens per minute, input and output together, as OpenAI counts them.", 200000),
            "input_tpm": count("Input tokens per minute.", 30000),
            "output_tpm": count("Output tokens per minute.", 8000),
            "concurrency": count("Calls under way at once.", 10),
        },
        "minProperties": 1,
        "additionalProperties": False,
        "errorMessage": "expected at least one limit, such as {rpm: 50}",
        "examples": [{"rpm": 50, "input_tpm": 30000, "output_tpm": 8000}],
    }


def _amounts() -> Schema:
    return {
        "usd": {
            "type": "number",
            "exclusiveMinimum": 0,
            "description": "US dollars.",
            "errorMessage": "expected US dollars above 0, such as 2.5",
            "examples": [2.5],
        },
        "tokens": count("Tokens, input and output together.", 2000000),
    }


def project_budget() -> Schema:
    """Return the schema of the project's budget, the budgets of tags, and what goes for all of them."""
    return {
        "type": "object",
        "description": "What all calls of models may use, over the project's whole life. A call is made only if its "
        "worst case still fits.",
        "properties": _amounts()
        | {
            "on_limit": {
                "enum": ["stop", "wait"],
                "default": "stop",
                "description": "What happens when a call does not fit any budget and no agent of the fallback chain "
                "takes over: `stop` ends the run, which can be resumed with more; `wait` parks the task until you "
                "raise the budget with `orchestrate budget`.",
                "errorMessage": "expected stop or wait",
                "examples": ["wait"],
            },
            "allow_unknown_price": flag(
                "Whether calls whose price is not known are made under a budget in money, which cannot count them.",
                default=False,
            ),
            "tags": {
                "type": "object",
                "description": "Budgets of tags: what all calls for tasks with that tag may use together.",
                "additionalProperties": {"$ref": "#/$defs/share"},
                "errorMessage": "expected budgets by tag, such as research: {usd: 1.5}",
                "examples": [{"research": {"usd": 1.5}}],
            },
        },
        "minProperties": 1,
        "additionalProperties": False,
        "errorMessage": "expected a budget, such as {usd: 2.5}",
        "examples": [{"usd": 2.5, "on_limit": "wait"}],
    }


def share() -> Schema:
    """Return the schema of the budget of an agent, a task or a tag."""
    return single_budget("The budget of an agent, a task or a tag.")


def single_budget(description: str) -> Schema:
    """Return the schema of one budget: money, tokens or both."""
    return {
        "type": "object",
        "description": description,
        "properties": _amounts(),
        "minProperties": 1,
        "additionalProperties": False,
        "errorMessage": "expected a budget, such as {usd: 0.5}",
        "examples": [{"usd": 0.5}],
    }


def retry() -> Schema:
    """Return the schema of how patiently failed attempts are tried again."""
    return {
        "type": "object",
        "description": "How often and how patiently tasks are tried again.",
        "properties": {
            "max_attempts": count("How often a task is tried, unless it or its agent says otherwise.", 3)
            | {"default": 3},
            "base_delay_s": seconds("Wait before the second attempt; doubled with each further one.", 1, default=1),
            "max_delay_s": seconds("The longest such wait.", 60, default=60),
            "max_parked_s": seconds(
                "How long a task may be parked in all, waiting for an overloaded provider or a quota that comes back.",
                86400,
                default=86400,
            ),
            "park": flag(
                "Whether tasks are parked. If not, the run ends instead, and can be resumed later.", default=True
            ),
        },
        "minProperties": 1,
        "additionalProperties": False,
        "errorMessage": "expected how to retry, such as {max_attempts: 5}",
        "examples": [{"max_attempts": 5, "park": False}],
    }


def fallbacks() -> Schema:
    """Return the schema of an agent's fallback chain."""
    return {
        "type": "array",
        "items": {"$ref": "#/$defs/fallback_step"},
        "description": "Agents that take over one after the other where this one cannot: after rate limits, used-up "
        "quotas, overload, broken connections, timeouts, and where the budget does not hold a call. "
        "`{agent: name, on: [kind]}` names the kinds of failure instead.",
        "errorMessage": "expected a list of agents, such as [gpt, local]",
        "examples": [["gpt", {"agent": "large", "on": ["context_length"]}]],
    }


def fallback_step() -> Schema:
    """Return the schema of one agent in a fallback chain."""
    kinds = [kind.value for kind in FailureKind]
    return {
        "type": ["string", "object"],
        "minLength": 1,
        "description": "An agent that takes over, or a mapping that says after which failures.",
        "properties": {
            "agent": text("Agent that takes over.", "the name of an agent", "gpt"),
            "on": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "enum": kinds,
                    "errorMessage": f"expected one of {', '.join(kinds)}",
                },
                "description": f"Kinds of failure after which it does: {', '.join(f'`{kind}`' for kind in kinds)}.",
                "errorMessage": "expected a list of kinds of failure, such as [overloaded, quota]",
                "examples": [["overloaded", "quota"]],
            },
        },
        "required": ["agent"],
        "additionalProperties": False,
        "errorMessage": "expected the name of an agent, or {agent: gpt, on: [overloaded]}",
        "examples": ["gpt", {"agent": "large", "on": ["context_length"]}],
    }
