"""The reference page of project files, written from the schema so that the two cannot differ. Returns text only."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchestration.project_file.document import MAX_BYTES
from orchestration.project_file.files import FILE_MAX_BYTES
from orchestration.project_file.nodes import MAX_DEPTH, MAX_VALUES
from orchestration.project_file.schema import AGENT_TYPES, agent_types_of, json_schema

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EXAMPLE", "MISTAKEN_EXAMPLE", "MISTAKEN_MESSAGES", "reference_page"]

EXAMPLE = """\
# yaml-language-server: $schema=orchestrate.schema.json
project: launch-post
description: Write the launch post, with a check by a person
max_concurrent: 8
default_agent: writer

variables:
  topic: asyncio
  audience:
    description: Who reads it
    default: Python developers

agents:
  writer:
    type: anthropic
    max_tokens: 2000
    timeout_s: 300
  counter:
    type: python
    function: steps:count_words
  editor:
    type: human

tasks:
  outline:
    title: Outline the post
    priority: high
    prompt: |
      Outline a post about {{ vars.topic }} for {{ vars.audience }}.
      {{ file('notes.md') }}
    output_schema:
      type: object
      properties:
        sections: {type: array, items: {type: string}}
      required: [sections]

  draft:
    dependencies: [outline]
    prompt: |
      Write the post. Its sections:
      {% for section in tasks.outline.data.sections %}
      - {{ section }}
      {% endfor %}
    output_file: out/draft.md
    timeout_s: 600
    max_attempts: 2

  word-count:
    agent: counter
    dependencies: [draft]

  final-check:
    agent: editor
    dependencies: [draft, word-count]
    prompt: |
      {{ tasks['word-count'].output }} words. Is this ready?
      {{ tasks.draft.output }}
"""

MISTAKEN_EXAMPLE = """\
agents:
  writer: {type: anthropic, max_token: 500}
tasks:
  outline:
    agent: writter
    prompt: Outline a post about {{ vars.topic }}.
  draft:
    agent: writer
    dependencies: [outlin]
    timeout_s: ten
"""

MISTAKEN_MESSAGES = """\
orchestrate.yaml:2:29: agents.writer.max_token: this key is not known; did you mean 'max_tokens'?
orchestrate.yaml:5:12: tasks.outline.agent: there is no agent 'writter'; did you mean 'writer'?
orchestrate.yaml:6:37: tasks.outline.prompt: the variable 'topic' is not declared; add it to variables
orchestrate.yaml:9:20: tasks.draft.dependencies[0]: there is no task 'outlin'; did you mean 'outline'?
orchestrate.yaml:10:16: tasks.draft.timeout_s: 'ten' is not a number; expected seconds above 0, such as 120
"""

_PAGE = """\
# Project files

A project file says what is to be done (`tasks`), by whom (`agents`), and in what order (`dependencies`). It is usually
called `orchestrate.yaml`. All paths in it are relative to its folder, the project's folder.

This page is written from the JSON Schema that checks the files. `orchestrate schema` prints that schema; an editor that
speaks YAML completes keys and shows mistakes with it.

## A complete example

```yaml
{example}```

## The form

- YAML 1.2 in UTF-8. `no`, `on` and dates are text; `true` and `false` are not. Tags such as `!!int` and merges by `<<`
  are refused.
- Keys are text as it is written: `1:` names the task `'1'`. Elsewhere, text that looks like a number needs quotes.
- A value that begins with `{{{{` needs quotes, or a `|` block, because `{{` begins a mapping.
- Times are numbers of seconds, and their keys end in `_s`.
- A path leads to a file inside of the project's folder, symbolic links followed. Only `scripts_dir` may lie elsewhere.
- At most {max_bytes:,} bytes, {max_values:,} values with aliases followed, and {max_depth} levels; each further file at
  most {max_file_bytes:,} bytes.

## Top level

{top_level}

## Variables

`variables` maps names to default values. A mapping in place of the value says more:

{variables}

## Agents

`agents` maps names to options. Names consist of letters, digits and `_ - . : @ +`.

{agents}

A `fallback` chain is a list of agents, or of mappings that say after which kinds of failure
([what they mean](../concepts.md#failures)):

{fallback}

## Tasks

`tasks` maps ids to fields. Ids are formed like the names of agents. A list of tasks is accepted too; each then has its
`id`. How-tos: [`checks`](../howto/checks.md), [`effects`](../howto/effects.md),
[`when`, `for_each` and `adds_tasks`](../howto/dynamic-tasks.md), [`wait`](../howto/human-steps.md).

{tasks}

## Checks

`checks` of a task is a list of mappings, each with exactly one of the first seven keys:

{checks}

## Waiting for people

`wait` of a task:

{wait}

It counts where a person has the next word: for an agent of type `human`, with `mode: interactive` or `hybrid`, for
checks by a person, and for added tasks that are to be approved. `notify` at the top says how you are told
([how-to](../howto/human-steps.md)):

{notify}

## Tasks made at run time

`adds_tasks` of a task is true, or a mapping:

{adds_tasks}

## Cache

`cache` of an agent or a task is true, false, or a mapping ([how-to](../howto/caching.md)):

{cache}

Changing it does not make completed tasks run again.

## Limits

`limits` maps lanes to ceilings ([how-to](../howto/rate-limits.md)):

{lanes}

## Budgets

`budget` at the top is the project's; agents and tasks have one of their own with `usd` and `tokens` only
([how-to](../howto/budgets.md)):

{budget}

Changing a budget or tags does not make completed tasks run again.

## Retries

{retry}

## Templates

A `prompt` is a [Jinja2](https://jinja.palletsprojects.com/en/stable/templates/) template. It knows:

| name | is |
|---|---|
| `tasks.<id>.output` | the output of a task among the `dependencies`, as text |
| `tasks.<id>.data` | the same as data, where the output is JSON: `tasks.outline.data.sections` |
| `tasks.<id>.files` | what it produced: a list of mappings with `path`, `sha256` and more |
| `tasks.<id>.skipped` | whether it was skipped; then there is no output |
| `tasks.<id>.added` | what the tasks that its result has added came to, by id |
| `tasks['word-count']` | a task whose id holds other characters than letters, digits and `_` |
| `vars.<name>` | a variable |
| `task.<field>` | the task itself: `task.title`, `task.description` |
| `file('path')` | the text of a file in the project's folder |
| `item` | in a task with `for_each`: the element of the list |

`when` and `for_each` are expressions with the same names: what may stand between `{{{{` and `}}}}`.

Without a prompt, the title, the description and the outputs of the dependencies are the prompt. `include`, `import` and
`extends` are not available.

## Mistakes

Every mistake is told, all at once and in the order of the file: where it is, what was found, and what was expected.

```yaml
{mistaken}```

```text
{messages}```
"""


def reference_page() -> str:
    """Return the page in Markdown."""
    schema = json_schema()
    definitions = schema["$defs"]
    required = {"agents": definitions["agent"]["required"], "top": schema["required"]}
    return _PAGE.format(
        example=EXAMPLE,
        mistaken=MISTAKEN_EXAMPLE,
        messages=MISTAKEN_MESSAGES,
        max_bytes=MAX_BYTES,
        max_values=MAX_VALUES,
        max_depth=MAX_DEPTH,
        max_file_bytes=FILE_MAX_BYTES,
        top_level=_table(schema["properties"], required["top"]),
        variables=_table(definitions["variable"]["properties"]),
        lanes=_table(definitions["lane"]["properties"]),
        budget=_table(schema["properties"]["budget"]["properties"]),
        retry=_table(schema["properties"]["retry"]["properties"]),
        fallback=_table(definitions["fallback_step"]["properties"], definitions["fallback_step"]["required"]),
        agents=_table(definitions["agent"]["properties"], required["agents"], for_types=True),
        tasks=_table(definitions["task"]["properties"]),
        checks=_table(definitions["check"]["properties"]),
        wait=_table(definitions["task"]["properties"]["wait"]["properties"]),
        adds_tasks=_table(definitions["task"]["properties"]["adds_tasks"]["properties"]),
        notify=_table(schema["properties"]["notify"]["properties"]),
        cache=_table(definitions["agent"]["properties"]["cache"]["properties"]),
    )


def _table(
    properties: Mapping[str, Any], required: tuple[str, ...] | list[str] = (), *, for_types: bool = False
) -> str:
    columns = ["key", "value", "for", "meaning", "example"] if for_types else ["key", "value", "meaning", "example"]
    rows = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for key, schema in properties.items():
        cells = [f"`{key}`", _value(schema), _meaning(schema, is_required=key in required), _example(schema)]
        if for_types:
            cells.insert(2, _types(key))
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows)


_VALUES = {
    "string": "text",
    "number": "number",
    "integer": "whole number",
    "boolean": "true or false",
    "array": "list",
    "object": "mapping",
}


def _value(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{name}`" for name in schema["enum"])
    types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    return " or ".join(_VALUES[name] for name in types)


def _types(key: str) -> str:
    types = agent_types_of(key)
    return "all" if types == AGENT_TYPES else ", ".join(f"`{name}`" for name in types)


def _meaning(schema: Mapping[str, Any], *, is_required: bool) -> str:
    default = f" Default: `{_written(schema['default'])}`." if "default" in schema else ""
    return f"{schema['description']}{default}{' **Required.**' if is_required else ''}"


def _example(schema: Mapping[str, Any]) -> str:
    return f"`{_written(schema['examples'][0])}`"


def _written(value: object) -> str:
    """Return a value as one would write it in YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    if isinstance(value, str):
        return f'"{value}"' if "{{" in value or ": " in value else value
    return json.dumps(value)
