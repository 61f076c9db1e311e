"""Coding agents, made up: programs that take the real ones' flags and say what the real ones say, as a script has it.

`python -m orchestration.testing.cli_agents claude --script FILE FLAGS...`, or `command:` of an agent with a `tool`. The
shapes were taken from claude 2.1, codex 0.169, gemini 0.61, opencode 1.18 and aider 0.86. Knows no orchestrator.

The script is JSON: task ids, or "*", to lists of plays; the n-th call for a task plays the n-th, and those after the
last play the last again. A play is a list of acts, each a mapping with one name (`FakeTool.act_...`). What was asked,
and which conversations there are, is kept in a folder beside the script, its name ending in `.state`.
"""

from orchestration.testing.cli_agents.program import calls_of, main

__all__ = ["calls_of", "main"]
