"""The JSON Schema of a project file: the one source for checking its structure, for editors and for the reference.

Every key says what it is (`description`), what it looks like (`examples`) and, in `errorMessage`, what was expected:
editors show that text, and so do our own errors. Pure data; knows nothing of how a file is read.
"""

from __future__ import annotations

from typing import Any

from orchestration.agent_registry import LLM_TYPES, AgentType
from orchestration.project_file.schema_parts import END, Schema, cache, count, flag, never, seconds, text, texts
from orchestration.project_file.schema_traffic import (
    fallback_step,
    fallbacks,
    lane,
    limits,
    project_budget,
    retry,
    share,
    single_budget,
)
from orchestration.project_file.schema_workers import (
    check,
    cli_rules,
    dynamics,
    notify,
    program,
    sandbox,
    task_rules,
    verification,
)
from orchestration.task import EXECUTION_MODES, TaskPriority

__all__ = ["AGENT_TYPES", "agent_types_of", "json_schema"]

AGENT_TYPES = tuple(kind.value for kind in AgentType)
_MODELS = tuple(kind for kind in AGENT_TYPES if kind in LLM_TYPES)

# The options that only some kinds of worker read. Those not named here are for all.
_OPTION_TYPES: dict[str, tuple[str, ...]] = {
    "model": (*_MODELS, AgentType.SCRIPT.value, AgentType.CLI.value),
    "system": (*_MODELS, AgentType.SCRIPT.value, AgentType.CLI.value),
    "files": (*_MODELS, AgentType.SCRIPT.value, AgentType.CLI.value),
    "max_tokens": (*_MODELS, AgentType.SCRIPT.value),
    "temperature": _MODELS,
    "allow_truncated": _MODELS,
    "base_url": _MODELS,
    "api_key_env": _MODELS,
    "headers": _MODELS,
    "extras": (*_MODELS, AgentType.CLI.value),
    "cache": _MODELS,
    "budget": (*_MODELS, AgentType.CLI.value),
    "fallback": tuple(kind for kind in AGENT_TYPES if kind != AgentType.HUMAN),
    "model_path": (AgentType.LOCAL.value,),
    "command": (AgentType.SCRIPT.value, AgentType.CLI.value),
    "function": (AgentType.PYTHON.value,),
    **dict.fromkeys(("tool", "result", "permissions", "workspace", "env", "idle_timeout_s"), (AgentType.CLI.value,)),
}
_REQUIRED_OPTIONS = {AgentType.SCRIPT: "command", AgentType.PYTHON: "function"}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (Draft 2020-12) of a project file; a new copy with each call."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:async-orchestrator:project-file:1",
        "title": "Project file of async-orchestrator (orchestrate.yaml)",
        "description": "A project: tasks with dependencies, each given to an agent.",
        "type": "object",
        "properties": _top_level(),
        "required": ["tasks"],
        "additionalProperties": False,
        "errorMessage": "expected a mapping with the keys 'agents' and 'tasks'",
        "$defs": {
            "variable": _variable(),
            "agent": _agent(),
            "task": _task(),
            "listed_task": _listed_task(),
            "lane": lane(),
            "share": share(),
            "fallback_step": fallback_step(),
            "check": check(),
        },
    }


def agent_types_of(option: str) -> tuple[str, ...]:
    """Return the types of agent that read the option."""
    return _OPTION_TYPES.get(option, AGENT_TYPES)


def _top_level() -> Schema:
    return {
        "project": text(
            "Id and name of the project. Its state is kept under this id.", "a name", "blog", default="default"
        ),
        "description": text(
            "What the project is for; shown by the commands.", "text", "Write the launch post", min_length=0
        ),
        "scripts_dir": text(
            "Folder of the scripts `execute_claude.py`, `execute_gpt.py`, `execute_gemini.py` and `execute_local.py`, "
            "relative to this file. One of them stands in where a model's SDK or key is missing.",
            "a folder",
            "scripts",
        ),
        "max_concurrent": count("How many tasks may run at once, over all agents. Without it there is no limit.", 8),
        "default_agent": text("Agent of the tasks that name none.", "the name of an agent", "writer"),
        "mode": _mode("How tasks are carried out.") | {"default": "api"},
        "limits": limits(),
        "budget": project_budget(),
        "retry": retry(),
        "sandbox": sandbox(),
        "notify": notify(),
        "variables": {
            "type": "object",
            "description": "Values that prompts use as `vars.<name>` and that a run may replace. The value here is the "
            "default; a mapping says more.",
            "propertyNames": {
                "pattern": rf"^[A-Za-z_][A-Za-z0-9_]*{END}",
                "errorMessage": "expected a variable's name: letters, digits and _, not starting with a digit",
            },
            "additionalProperties": {"$ref": "#/$defs/variable"},
            "errorMessage": "expected variables with their defaults, such as topic: asyncio",
            "examples": [{"topic": "asyncio", "audience": {"required": True, "description": "Who reads it"}}],
        },
        "agents": {
            "type": "object",
            "description": "Who does the work: agents by name.",
            "additionalProperties": {"$ref": "#/$defs/agent"},
            "errorMessage": "expected agents by name, such as writer: {type: anthropic}",
            "examples": [{"writer": {"type": "anthropic"}}],
        },
        "tasks": {
            "type": ["object", "array"],
            "description": "What is to be done: tasks by id, or a list of tasks that each have an `id`.",
            "minProperties": 1,
            "minItems": 1,
            "additionalProperties": {"$ref": "#/$defs/task"},
            "items": {"$ref": "#/$defs/listed_task"},
            "errorMessage": "expected at least one task, such as draft: {agent: writer, prompt: Write a poem.}",
            "examples": [{"draft": {"agent": "writer", "prompt": "Write a poem."}}],
        },
    }


def _variable() -> Schema:
    return {
        "type": ["string", "number", "boolean", "object"],
        "description": "A default value, or a mapping that says more.",
        "properties": {
            "default": {
                "type": ["string", "number", "boolean"],
                "description": "Value where none is given. Prompts see it as text; quote a number to keep its form.",
                "errorMessage": "expected one value, such as asyncio",
                "examples": ["asyncio"],
            },
            "description": text(
                "What the value means; shown when it is missing.", "text", "Subject of the post", min_length=0
            ),
            "required": flag(
                "Whether a run has to give a value. Default: true when there is no `default`; with `required: false` "
                "and no `default` the value is empty."
            ),
        },
        "additionalProperties": False,
        "errorMessage": "expected a default value such as asyncio, or a mapping with default, description, required",
        "examples": ["asyncio", {"default": "asyncio", "description": "Subject of the post"}],
    }


def _agent() -> Schema:
    return {
        "type": "object",
        "description": "One agent: its type and options.",
        "properties": _agent_common() | _agent_model() | program(),
        "required": ["type"],
        "additionalProperties": False,
        "allOf": [_only_for(kind) for kind in AgentType],
        "errorMessage": "expected the agent's options, such as {type: anthropic}",
        "examples": [{"type": "anthropic", "max_tokens": 2000}],
    }


def _agent_common() -> Schema:
    return {
        "type": {
            "enum": list(AGENT_TYPES),
            "description": "The kind of worker: a model behind an API (`anthropic`, `openai`, `gemini`), a model on "
            "this machine (`local`), a program that gets the task as JSON (`script`) or the prompt as text (`cli`), a "
            "Python function (`python`), or a person (`human`).",
            "errorMessage": f"expected one of {', '.join(AGENT_TYPES)}",
            "examples": ["anthropic"],
        },
        "enabled": flag("Whether tasks may use it.", default=True),
        "description": text("What it is good at.", "text", "Writes in our house style", min_length=0),
        "capabilities": texts("What it can do, for programs that look for an agent by capability.", ["writing"]),
        "mode": _mode("How this agent's tasks are carried out, unless a task says otherwise."),
        "max_concurrent": count(
            "How many of its tasks may run at once. Default: 4 for `local` and `cli`, 8 for `script`, else no limit.", 4
        ),
        "timeout_s": seconds("Seconds that one of its tasks may take, all attempts together."),
        "max_attempts": count("How often one of its tasks is tried before it counts as failed.", 3),
        "fallback": fallbacks(),
    }


def _agent_model() -> Schema:
    return {
        "model": text(
            "Model to ask. Without it the provider's or the tool's default.", "a model's name", "claude-sonnet-5-5"
        ),
        "system": text("System prompt of its tasks.", "text", "You are a careful editor."),
        "files": texts(
            "Text files inside of the project's folder that stand before the prompt of each of its tasks. What all "
            "calls share comes first, so that providers with a prompt cache charge it once.",
            ["docs/style.md"],
            item="a path",
        ),
        "cache": cache("Whether the answer to an equal request is used again, instead of asking for another one."),
        "max_tokens": count("Longest answer, in tokens.", 2000),
        "budget": single_budget("What all calls of this agent may use, over the project's whole life."),
        "temperature": {
            "type": "number",
            "minimum": 0,
            "description": "Randomness of the answers, for models that still have the option.",
            "errorMessage": "expected a number from 0 up, such as 0.2",
            "examples": [0.2],
        },
        "allow_truncated": flag("Whether an answer that stopped at `max_tokens` counts as done.", default=False),
        "base_url": {
            "type": "string",
            "pattern": "^https?://",
            "description": "Address of a compatible server, instead of the provider's own.",
            "errorMessage": "expected an address that begins with http:// or https://, such as http://localhost:8000/v1",
            "examples": ["http://localhost:8000/v1"],
        },
        "api_key_env": {
            "type": "string",
            "pattern": rf"^[A-Za-z_][A-Za-z0-9_]*{END}",
            # A person who misreads this key puts a secret here; `writeOnly` keeps the value out of messages.
            "writeOnly": True,
            "description": "Name of the environment variable that holds the key. Never the key itself.",
            "errorMessage": "expected the name of an environment variable, such as ANTHROPIC_API_KEY, not the key",
            "examples": ["ANTHROPIC_API_KEY"],
        },
        "headers": {
            "type": "object",
            "additionalProperties": {
                "type": "string",
                "writeOnly": True,
                "errorMessage": "expected the header's text",
            },
            "description": "HTTP headers to add to each call. No secrets: this file is not the place for them.",
            "errorMessage": "expected headers by name, such as {X-Team: docs}",
            "examples": [{"X-Team": "docs"}],
        },
        "extras": {
            "type": "object",
            "description": "Further options, passed to the provider's SDK as they are. A coding agent has one: `args`, "
            "a list of words for its command line.",
            "errorMessage": "expected options by name, such as {top_p: 0.9}",
            "examples": [{"top_p": 0.9}],
        },
        "model_path": text("GGUF file of a `local` model. Without it the packaged one.", "a path", "models/tiny.gguf"),
    }


def _only_for(kind: AgentType) -> Schema:
    """Return the rule that an agent of this kind has its own options and no other kind's."""
    foreign = {
        option: never(f"means nothing for an agent of type {kind.value!r}, only for {' and '.join(types)}; remove it")
        for option, types in _OPTION_TYPES.items()
        if kind not in types
    }
    then: Schema = {"properties": foreign}
    if kind in _REQUIRED_OPTIONS:
        option = _REQUIRED_OPTIONS[kind]
        then["required"] = [option]
        # An annotation only: what the message of the missing key says.
        then["properties"][option] = {"errorMessage": program()[option]["errorMessage"]}
    if kind is AgentType.CLI:
        then["allOf"] = cli_rules()
    return {"if": {"properties": {"type": {"const": kind.value}}, "required": ["type"]}, "then": then}


def _task() -> Schema:
    return {
        "type": "object",
        "description": "One piece of work for one agent.",
        "properties": _task_work() | dynamics() | verification() | _task_limits(),
        "additionalProperties": False,
        "dependentSchemas": {
            "prompt_file": {"properties": {"prompt": never("and 'prompt_file' are both here; keep one")}}
        },
        "allOf": task_rules(),
        "errorMessage": "expected the task's fields, such as {agent: writer, prompt: Write a poem.}",
        "examples": [{"agent": "writer", "dependencies": ["outline"], "prompt": "Write: {{ tasks.outline.output }}"}],
    }


def _listed_task() -> Schema:
    task = _task()
    identity = {"id": text("Id of the task, unique in the file.", "a task's id", "draft")}
    return task | {
        "properties": identity | task["properties"],
        "required": ["id"],
        "description": "One piece of work for one agent, in the list form of `tasks`.",
        "errorMessage": "expected a task with its id, such as {id: draft, agent: writer}",
        "examples": [{"id": "draft", "agent": "writer", "prompt": "Write a poem."}],
    }


def _task_work() -> Schema:
    return {
        "title": text("One line that names the work. Default: the id.", "text", "Draft the post"),
        "description": text(
            "What is to be done. Without a prompt, title and description are the prompt.",
            "text",
            "Two pages, for people who know Python",
            min_length=0,
        ),
        "agent": text("Agent that does it. Default: `default_agent`.", "the name of an agent", "writer"),
        "dependencies": texts(
            "Tasks that have to be completed first; their outputs are at hand.", ["outline"], item="a task's id"
        ),
        "priority": {
            "enum": [priority.name.lower() for priority in TaskPriority],
            "default": "medium",
            "description": "Which of several ready tasks starts first.",
            "errorMessage": "expected low, medium, high or critical",
            "examples": ["high"],
        },
        "prompt": text(
            "Jinja2 template of the prompt. It knows `tasks`, `vars`, `task` and `file`; with `for_each`, `item` too.",
            "a template",
            "Write about {{ vars.topic }} along {{ tasks.outline.output }}",
        ),
        "prompt_file": text(
            "File that holds the prompt, inside of the project's folder.", "a path", "prompts/draft.md"
        ),
        "system": text("System prompt, instead of the agent's.", "text", "Answer in French.", min_length=0),
        "mode": _mode("How this task is carried out, instead of the agent's mode and the project's."),
        "model": text("Model to ask, instead of the agent's.", "a model's name", "claude-haiku-5-5"),
        "cache": cache("Whether the answer to an equal request is used again, instead of the agent's setting."),
        "use_direct_llm": flag(
            "Whether the model is called directly; false runs the agent type's script.", default=True
        ),
    }


def _task_limits() -> Schema:
    return {
        "max_tokens": count("Longest answer, in tokens, instead of the agent's.", 2000),
        "output_schema": {
            "type": ["object", "string"],
            "description": "JSON Schema the answer has to meet, or the path of a `.json` file that holds one. The "
            "answer is then JSON, and dependents read it as `tasks.<id>.data`.",
            "errorMessage": "expected a JSON Schema such as {type: object}, or the path of a .json file",
            "examples": [{"type": "object", "required": ["title"]}, "schemas/review.json"],
        },
        "output_file": text("File the output is written to, inside of the project's folder.", "a path", "out/draft.md"),
        "timeout_s": seconds("Seconds the task may take, all attempts together."),
        "max_attempts": count("How often the task is tried before it counts as failed.", 3),
        "budget": single_budget("What all calls for this task may use, over the project's whole life."),
        "tags": texts("Words that costs are counted under, and that budgets can be set for.", ["research"]),
        "metadata": {
            "type": "object",
            "description": "Facts of your own, kept with the task.",
            "properties": {
                "model": {"type": "string", "errorMessage": "expected a model's name"},
                "use_direct_llm": {"type": "boolean", "errorMessage": "expected true or false"},
                "cache": cache("The same as the task's own key."),
            },
            "errorMessage": "expected values by name, such as {ticket: DOC-12}",
            "examples": [{"ticket": "DOC-12"}],
        },
    }


def _mode(description: str) -> Schema:
    return {
        "enum": list(EXECUTION_MODES),
        "description": f"{description} `api`: by the agent; `interactive`: a person answers the prompt; `hybrid`: the "
        "agent drafts and a person approves.",
        "errorMessage": f"expected one of {', '.join(EXECUTION_MODES)}",
        "examples": ["hybrid"],
    }
