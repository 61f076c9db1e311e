"""The keys about workers: what programs may do, checks, effects, where work is done, people, tasks made at run time.

Pure data, as in `schema`.
"""

from __future__ import annotations

from orchestration.agent_registry import PERMISSIONS, Tool
from orchestration.project_file.schema_parts import END, Schema, count, flag, never, seconds, text, texts
from orchestration.task import AgentTask
from orchestration.task_options import EFFECTS, WORKSPACES, AddsTasks, Check

__all__ = [
    "check",
    "cli_rules",
    "dynamics",
    "notify",
    "program",
    "sandbox",
    "task_rules",
    "verification",
]

_TOOLS = [tool.value for tool in Tool]
_CLI_COMMAND = "[./review.sh, --strict]"

_KINDS = ("command", "schema", "matches", "files", "changed", "judge", "person")


def program() -> Schema:
    """Return the schemas of the options that say what program or function an agent is, and what it may do."""
    return {
        "tool": {
            "enum": _TOOLS,
            "description": "The coding agent that a `cli` agent runs: its options, its output and its sessions are "
            "known. Another program is named by `command`.",
            "errorMessage": f"expected one of {', '.join(_TOOLS)}; another program is named by 'command'",
            "examples": ["claude"],
        },
        "command": texts(
            "Program and arguments of a `script` or `cli` agent; with `tool`, what is run in place of the program of "
            "that name. In a `cli` agent's arguments `{prompt}`, `{prompt_file}` and `{result_file}` are filled in. "
            "Without the first two the prompt goes to stdin, without the last the result is what is printed.",
            ["./review.sh", "--strict"],
        )
        | {"minItems": 1},
        "result": {
            "type": "string",
            "pattern": rf"^[^.]+(\.[^.]+)*{END}",
            "description": "Where the result stands in the JSON that a program prints: keys and positions in lists, "
            "with dots between them. Without it the result is all that is printed.",
            "errorMessage": "expected keys and positions with dots between them, such as choices.0.text",
            "examples": ["choices.0.text"],
        },
        "permissions": {
            "enum": list(PERMISSIONS),
            "default": "read-only",
            "description": "What a coding agent may do without being asked: only look (`read-only`), change files "
            "where it works (`edit`), or anything (`full`, only where the file declares a `sandbox`).",
            "errorMessage": f"expected one of {', '.join(PERMISSIONS)}",
            "examples": ["edit"],
        },
        "workspace": _workspace(
            "Where its tasks work, unless they say otherwise. Default: `worktree` for a coding agent that may change "
            "files, else `shared`."
        ),
        "env": _environment_names(),
        "idle_timeout_s": seconds("Seconds without any output after which it is taken for stuck and ended.", 300),
        "function": {
            "type": "string",
            "pattern": r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*" + END,
            "description": "What a `python` agent calls. The module is found in the project's folder or among those "
            "installed.",
            "errorMessage": "expected module:function, such as steps:count_words",
            "examples": ["steps:count_words"],
        },
    }


def cli_rules() -> list[Schema]:
    """Return what goes together in an agent of type `cli`."""
    words = {"type": "string", "minLength": 1, "errorMessage": "expected text"}
    args = {"type": "array", "items": words, "errorMessage": "expected a list of texts, such as [--verbose]"}
    expected = f"expected it or 'tool', such as command: {_CLI_COMMAND} or tool: claude"
    foreign = never("means nothing without 'tool': it cannot be made known to any other program; remove it")
    return [
        {"properties": {"extras": {"properties": {"args": args}, "additionalProperties": False}}},
        {
            "if": {"required": ["tool"]},
            "then": {
                "properties": {"result": never("means nothing with 'tool', whose output is known; remove one of them")}
            },
            "else": {
                "required": ["command"],
                # For `command` an annotation only: what the message of the missing key says.
                "properties": {"command": {"errorMessage": expected}}
                | dict.fromkeys(("model", "permissions", "extras"), foreign),
            },
        },
    ]


def _environment_names() -> Schema:
    return {
        "type": "array",
        "items": {
            "type": "string",
            "pattern": rf"^[A-Za-z_][A-Za-z0-9_*]*{END}",
            # As with `api_key_env`: who misreads this key puts a secret here.
            "writeOnly": True,
            "errorMessage": "expected the name of an environment variable, such as DATABASE_URL, without a value",
        },
        "description": "Names of further environment variables a `cli` agent may see; `AWS_*` stands for all that "
        "begin so. Without them it sees the usual ones and those of its own tool.",
        "errorMessage": "expected a list of names, such as [DATABASE_URL]",
        "examples": [["DATABASE_URL", "AWS_*"]],
    }


def _workspace(description: str) -> Schema:
    return {
        "enum": list(WORKSPACES),
        "description": f"{description} `shared`: the project's folder; `worktree`: a git worktree and branch of the "
        "task's own, merged when it is done; `none`: an empty folder that is removed afterwards.",
        "errorMessage": f"expected one of {', '.join(WORKSPACES)}",
        "examples": ["worktree"],
    }


def verification() -> Schema:
    """Return the schemas of a task's keys that say where it works, and when its result counts."""
    return {
        "checks": {
            "type": "array",
            "items": {"$ref": "#/$defs/check"},
            "description": "What has to hold before the task is completed. What a failed check found is told to the "
            "worker, which tries again.",
            "errorMessage": "expected a list of checks, such as [{command: [make, test]}]",
            "examples": [[{"command": ["make", "test"]}, {"files": ["out/report.md"]}]],
        },
        "effects": {
            "enum": list(EFFECTS),
            "default": AgentTask.effects,
            "description": "What an attempt may have done outside of the project when it is cut off: `none`; "
            "`idempotent`, what a repetition does no second time; `once`, what must not happen twice, such as sending "
            "mail: then a person decides how it goes on, and it is never repeated by itself.",
            "errorMessage": f"expected one of {', '.join(EFFECTS)}",
            "examples": ["once"],
        },
        "workspace": _workspace("Where the task works, instead of where its agent says."),
        "writes": texts(
            "What it may change: globs below the folder it works in. Tasks whose globs meet never run at the same "
            "time.",
            ["src/**", "docs/*.md"],
            item="a glob",
        ),
        "on_conflict": text(
            "Agent that resolves the conflict when the task's worktree cannot be merged. Without it a person does.",
            "the name of an agent",
            "integrator",
        ),
        "wait": _wait(),
    }


def dynamics() -> Schema:
    """Return the schemas of a task's keys that decide at run time what becomes of it."""
    return {
        "when": text(
            "Jinja2 expression on what its dependencies came to. If it does not hold, the task is skipped, and what "
            "depends on it can run.",
            "an expression",
            "tasks.review.data.score < 7",
        ),
        "for_each": text(
            "Jinja2 expression that gives a list: the task is done once for each `item` of it, and comes to the list "
            "of what these come to.",
            "an expression",
            "tasks.plan.data.files",
        ),
        "max_items": count("How long the list of `for_each` may be.", 20) | {"default": AgentTask.max_items},
        "adds_tasks": {
            "type": ["boolean", "object"],
            "description": "Whether its result adds tasks to the project, which what depends on it then waits for. A "
            "mapping says more.",
            "properties": {
                "max_tasks": count("How many tasks a result may add.", 5) | {"default": AddsTasks.max_tasks},
                "max_depth": count("How many generations: with 1, added tasks add none themselves.", 2)
                | {"default": AddsTasks.max_depth},
                "approval": {
                    "enum": ["costly", "always", "never"],
                    "default": AddsTasks.approval,
                    "description": "Whether a person sees the tasks before they are added: `costly`, if one of them is "
                    "given to a model or to a `cli` agent; `always`; `never`.",
                    "errorMessage": "expected costly, always or never",
                    "examples": ["always"],
                },
            },
            "minProperties": 1,
            "additionalProperties": False,
            "errorMessage": "expected true, or how many, such as {max_tasks: 5}",
            "examples": [True, {"max_tasks": 5, "approval": "always"}],
        },
    }


def task_rules() -> list[Schema]:
    """Return what goes together in a task."""
    repeated = "expected no more than 1: what must not happen twice (effects: once) is never repeated by itself"
    merged = never("means nothing without a worktree, which alone is merged; remove it, or let workspace be worktree")
    return [
        {
            "if": {"properties": {"effects": {"const": "once"}}, "required": ["effects"]},
            "then": {"properties": {"max_attempts": {"maximum": 1, "errorMessage": repeated}}},
        },
        {
            "if": {"properties": {"workspace": {"enum": ["shared", "none"]}}, "required": ["workspace"]},
            "then": {"properties": {"on_conflict": merged}},
        },
        _needs("max_items", ["for_each"]),
    ]


def check() -> Schema:
    """Return the schema of one check."""
    return {
        "type": "object",
        "description": "One thing that has to hold of a result.",
        "properties": _kinds_of_check() | _check_options(),
        "anyOf": [{"required": [kind]} for kind in _KINDS],
        "dependentSchemas": {
            kind: {
                "properties": {other: never(f"and {kind!r} are both here; make two checks of them") for other in later}
            }
            for kind, *later in (_KINDS[at:] for at in range(len(_KINDS)))
        },
        "allOf": [
            _needs("threshold", ["judge"]),
            _needs("criteria", ["judge", "person"]),
            _needs("timeout_s", ["command", "matches", "judge"]),
            {
                "if": {"properties": {"person": {"type": "string"}}, "required": ["person"]},
                "then": {"properties": {"criteria": never("and a text under 'person' say the same; keep one")}},
            },
        ],
        "additionalProperties": False,
        "errorMessage": "expected one thing to check, such as {command: [make, test]}",
        "examples": [{"command": ["make", "test"]}, {"judge": "critic", "criteria": "No jargon", "threshold": 0.8}],
    }


def _kinds_of_check() -> Schema:
    return {
        "command": texts(
            "Program and arguments. It gets the result on stdin and passes it with exit code 0. It runs where the task "
            "has worked.",
            ["make", "test"],
        )
        | {"minItems": 1},
        "schema": {
            "type": ["object", "string"],
            "minProperties": 1,
            "minLength": 1,
            "description": "JSON Schema the result has to meet, or the path of a `.json` file that holds one.",
            "errorMessage": "expected a JSON Schema such as {type: object}, or the path of a .json file",
            "examples": [{"type": "object", "required": ["title"]}, "schemas/review.json"],
        },
        "matches": text("Regular expression that is found in the output.", "a regular expression", "(?m)^# "),
        "files": texts("Files or folders that have to be there.", ["out/report.md"], item="a path") | {"minItems": 1},
        "changed": texts("Globs of which each has to match a file that changed.", ["tests/**"], item="a glob")
        | {"minItems": 1},
        "judge": text("Agent that scores the result from 0 to 1.", "the name of an agent", "critic"),
        "person": {
            "type": ["boolean", "string"],
            "minLength": 1,
            "if": {"type": "boolean"},
            "then": {"const": True, "errorMessage": "expected true, or what the person is asked; or no check at all"},
            "description": "Whether a person approves the result; a text says what they are asked.",
            "errorMessage": "expected true, or what the person is asked, such as Is the tone right?",
            "examples": [True, "Is the tone right?"],
        },
    }


def _check_options() -> Schema:
    return {
        "name": text("What messages call the check. Default: what it looks at.", "a name", "unit tests"),
        "criteria": text("What the judge goes by, or what the person is asked.", "text", "Every claim has a source."),
        "threshold": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "default": Check.threshold,
            "description": "The least of the judge's scores that passes.",
            "errorMessage": "expected a number from 0 to 1, such as 0.8",
            "examples": [0.8],
        },
        "timeout_s": seconds(
            "Seconds the command, the search or the judge may take. Default: 600 for a command, 10 for a search."
        ),
    }


def _wait() -> Schema:
    expected = "expected seconds above 0, such as 86400: without a deadline the default would never count"
    return {
        "type": "object",
        "description": "How long the task waits for a person. Without it, for as long as it takes.",
        "properties": {
            "deadline_s": seconds("Seconds after the asking at which it is given up.", 86400),
            "remind_every_s": seconds("Seconds after which the person is told again, and again.", 14400),
            "default": text(
                "What counts as the answer at the deadline; `approve` accepts a draft. Without it the task fails.",
                "text",
                "approve",
                min_length=0,
            ),
        },
        "dependentSchemas": {
            "default": {"required": ["deadline_s"], "properties": {"deadline_s": {"errorMessage": expected}}}
        },
        "minProperties": 1,
        "additionalProperties": False,
        "errorMessage": "expected how long, such as {deadline_s: 86400}",
        "examples": [{"deadline_s": 86400, "remind_every_s": 14400, "default": "approve"}],
    }


def sandbox() -> Schema:
    """Return the schema of what keeps programs with full permissions from doing harm."""
    return text(
        "What keeps coding agents with `permissions: full` from doing harm. It is your word that there is something: "
        "nothing is started because of it.",
        "text",
        "devcontainer",
    )


def notify() -> Schema:
    """Return the schema of how people are told that something waits for them."""
    return {
        "type": "object",
        "description": "How you are told that a task waits for you, is overdue or was given up.",
        "properties": {
            "command": texts("Program and arguments; it gets the news as JSON on stdin.", ["./tell.sh", "editors"])
            | {"minItems": 1},
            "webhook": {
                "type": "string",
                "pattern": "^https?://",
                # Whoever knows the address of a webhook can write to it.
                "writeOnly": True,
                "description": "Address that is sent the news as JSON, by POST.",
                "errorMessage": "expected an address that begins with http:// or https://, such as "
                "https://chat.example.org/hook",
                "examples": ["https://chat.example.org/hook"],
            },
            "webhook_env": {
                "type": "string",
                "pattern": rf"^[A-Za-z_][A-Za-z0-9_]*{END}",
                "writeOnly": True,
                "description": "Name of the environment variable that holds that address, where it is a secret.",
                "errorMessage": "expected the name of an environment variable, such as CHAT_WEBHOOK, not the address",
                "examples": ["CHAT_WEBHOOK"],
            },
            "include_prompt": flag(
                "Whether the news holds all that is asked. Else: the task's title, what is wanted, since when.",
                default=False,
            ),
        },
        "anyOf": [{"required": [way]} for way in ("command", "webhook", "webhook_env")],
        "dependentSchemas": {
            "webhook_env": {"properties": {"webhook": never("and 'webhook_env' are both here; keep one")}}
        },
        "additionalProperties": False,
        "errorMessage": "expected a way to tell you, such as {command: [./tell.sh]}",
        "examples": [{"command": ["./tell.sh", "editors"]}],
    }


def _needs(key: str, others: list[str]) -> Schema:
    """Return the rule that a key is there only beside one of the others."""
    named = " or ".join(map(repr, others))
    return {
        "if": {"not": {"anyOf": [{"required": [other]} for other in others]}},
        "then": {"properties": {key: never(f"means nothing without {named}; remove it")}},
    }
