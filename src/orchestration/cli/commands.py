"""The table of commands: where each one lives and what it does in a line. Imports nothing, so that help is fast."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["COMMANDS", "SECTIONS", "Entry"]


class Entry(NamedTuple):
    """A command's module under `orchestration.cli`, its function there, and its line in the help."""

    module: str
    function: str
    help: str


COMMANDS = {
    "init": Entry("start", "init", "Make a small project that works, to start from."),
    "demo": Entry("start", "demo", "Run the demo project: a real model on this machine, no key."),
    "import": Entry("importing", "import_", "Take in a plan, or answers that were given in files."),
    "migrate": Entry("importing", "migrate", "Make agents of a folder of scripts."),
    "run": Entry("run", "run", "Run the project; run again to resume."),
    "status": Entry("look", "status", "Show how every task stands."),
    "show": Entry("look", "show", "Show everything about one task."),
    "graph": Entry("look", "graph", "Draw who depends on whom."),
    "inbox": Entry("people", "inbox", "List what waits for you, and what it holds up."),
    "export": Entry("people", "export", "Write what waits for you as files, for an editor or an IDE."),
    "answer": Entry("steer", "answer", "Answer a task that waits for you, or edit its draft."),
    "approve": Entry("steer", "approve", "Accept a task's draft."),
    "reject": Entry("steer", "reject", "Refuse a task's draft, saying why."),
    "cancel": Entry("steer", "cancel", "Stop the run, or one task."),
    "reset": Entry("steer", "reset", "Forget what a task came to, so that it runs again."),
    "limits": Entry("traffic", "limits", "Show what calls of models are held to, or change it."),
    "budget": Entry("traffic", "budget", "Show what was spent and what is left, or raise the project's budget."),
    "validate": Entry("check", "validate", "Check the project file and list all its mistakes."),
    "agents": Entry("agents", "agents", "List the agents and what each still needs."),
    "doctor": Entry("doctor", "doctor", "Check this machine and the project's state."),
    "workspaces": Entry("workspaces", "workspaces", "List the worktrees and branches that tasks left."),
    "schema": Entry("check", "schema", "Print the JSON Schema of project files."),
}

SECTIONS = {
    "Start": ("init", "demo", "import", "migrate"),
    "Run and watch": ("run", "status", "show", "graph"),
    "Have your say": ("inbox", "answer", "approve", "reject", "export", "cancel", "reset"),
    "Traffic and money": ("limits", "budget"),
    "Look after it": ("validate", "agents", "workspaces", "doctor", "schema"),
}
