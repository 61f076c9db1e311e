"""What a schema cannot see of how work is done: who may judge or resolve, what may be written, whom a task waits for.

As in `checks`, each yields its problems and looks at sound values only.
"""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

from orchestration.agent_registry import LLM_TYPES, AgentType
from orchestration.errors import InvalidTaskError
from orchestration.notice import check_address
from orchestration.task import is_inner_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestration.project_file.content import Content, Entry
    from orchestration.project_file.document import Problem
    from orchestration.project_file.wording import Keys

__all__ = ["check_workers", "errands", "made_later", "scope_fault"]

_MODES_WITH_PEOPLE = frozenset({"interactive", "hybrid"})
_HUMAN = AgentType.HUMAN.value


def check_workers(content: Content) -> Iterator[Problem]:
    """Yield all mistakes about workers, in no particular order."""
    yield from _permissions(content)
    yield from _errands(content)
    yield from _scopes(content)
    yield from _patterns(content)
    yield from _waits(content)
    yield from _taken_ids(content)
    yield from _webhook(content)


def errands(content: Content) -> Iterator[tuple[Keys, str]]:
    """Yield the agents that tasks need besides their own, as judges and for conflicts, and where they are named."""
    for entry in content.entries:
        for index, check in _checks(entry):
            if check.get("judge") is not None:
                yield entry.at("checks", index, "judge"), check["judge"]
        if "on_conflict" in entry.fields:
            yield entry.at("on_conflict"), entry.fields["on_conflict"]


def made_later(content: Content, name: str) -> str:
    """Return why an id cannot be depended on although it may well exist at run time; "" if there is no such reason."""
    head = name.rpartition(".")[0]
    while head:
        entry = content.tasks.get(head)
        if entry is not None and "for_each" in entry.given:
            return f"it is made of {head!r} at run time; depend on {head!r}, whose data is the list of what all came to"
        if entry is not None and "adds_tasks" in entry.given:
            return f"only {head!r} may add it; depend on {head!r}: what does waits for the tasks it adds, too"
        head = head.rpartition(".")[0]
    return ""


def scope_fault(scope: str) -> str:
    """Return what is wrong with a glob below the project's folder; "" for one that can be used.

    The rules are those of `orchestration.workspace.scopes`, which lies above this package.
    """
    if not scope.strip() or scope.startswith(("/", "~")) or ".." in scope.split("/") or "\\" in scope:
        return "is not a path below the project's folder; expected a glob such as src/**"
    if not is_inner_path(scope):
        return "means the whole folder; write **, or leave the key out"
    if "{" in scope and "," in scope and "}" in scope:
        return "has braces, which are not expanded; write one glob for each alternative"
    return ""


def _permissions(content: Content) -> Iterator[Problem]:
    """Programs that may do anything, where nothing is said to keep them from doing harm."""
    if "sandbox" in content.given:
        return
    for name, options in _agents(content).items():
        if options.get("permissions") == "full":
            message = (
                "'full' lets the program do anything, and nothing is said to keep it from doing harm; say what does, "
                "such as sandbox: devcontainer, or give it 'edit'"
            )
            yield content.document.at_value(("agents", name, "permissions"), message)


def _errands(content: Content) -> Iterator[Problem]:
    """Agents that cannot do what they are needed for."""
    agents = _agents(content)
    for keys, name in errands(content):
        options = agents.get(name, {})
        fault = "" if options.get("enabled") is False else _errand_fault(str(keys[-1]), options)
        if fault:
            yield content.document.at_value(keys, f"{name!r} {fault}")


def _errand_fault(key: str, options: Mapping[str, Any]) -> str:
    """Return why an agent cannot be what the key makes of it; "" if it can."""
    is_judge = key == "judge"
    if options.get("type") == _HUMAN:
        instead = "write 'person' in place of 'judge'" if is_judge else "leave 'on_conflict' out, and you are asked"
        return f"is a person; {instead}"
    if is_judge or _may_edit(options):
        return ""
    return "cannot change files; name a coding agent with permissions: edit, or a program"


def _may_edit(options: Mapping[str, Any]) -> bool:
    """Say whether an agent can change files, as far as is known."""
    is_reader = "tool" in options and options.get("permissions", "read-only") == "read-only"
    return not is_reader and options.get("type") not in LLM_TYPES


def _scopes(content: Content) -> Iterator[Problem]:
    """Paths and globs that lead out of the folder, or nowhere."""
    for entry in content.entries:
        globs = [(entry.at("writes", index), glob) for index, glob in enumerate(entry.fields.get("writes", ()))]
        for number, check in _checks(entry):
            changed = enumerate(check.get("changed") or ())
            globs += [(entry.at("checks", number, "changed", index), glob) for index, glob in changed]
            for index, path in enumerate(check.get("files") or ()):
                if path is not None and not is_inner_path(path):
                    message = f"{path!r} is not a path inside of the folder; expected one such as out/report.md"
                    yield content.document.at_value(entry.at("checks", number, "files", index), message)
        for keys, glob in globs:
            if glob is not None and (fault := scope_fault(glob)):
                yield content.document.at_value(keys, f"{glob!r} {fault}")


def _patterns(content: Content) -> Iterator[Problem]:
    """Regular expressions that are none."""
    for entry in content.entries:
        for index, check in _checks(entry):
            pattern = check.get("matches")
            if pattern is not None and (fault := _pattern_fault(pattern)):
                yield content.document.at_value(
                    entry.at("checks", index, "matches"), f"{pattern!r} is not a regular expression: {fault}"
                )


def _pattern_fault(pattern: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what may mean something else in a later Python
            re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as exc:
        return str(exc)
    return ""


def _waits(content: Content) -> Iterator[Problem]:
    """Deadlines for people where no person is asked."""
    agents = _agents(content)
    for entry in content.entries:
        if "wait" in entry.given and not _may_ask_person(content, entry, agents):
            message = (
                "no person is asked in this task: it has no agent of type human, no mode interactive or hybrid, no "
                "check by a person and no added tasks to approve; remove 'wait'"
            )
            yield content.document.at_key(entry.at("wait"), message)


def _may_ask_person(content: Content, entry: Entry, agents: Mapping[str, Mapping[str, Any]]) -> bool:
    """Say whether a person may have the next word; also where that cannot be known because of another mistake."""
    fields = entry.fields
    agent = agents.get(fields.get("agent") or content.top.get("default_agent", ""))
    is_known = all(name in fields or name not in entry.given for name in ("checks", "adds_tasks", "mode", "agent"))
    if not is_known or agent is None or ("mode" in content.given and "mode" not in content.top):
        return True
    adds = fields.get("adds_tasks", False)
    return (
        (adds if isinstance(adds, bool) else adds.get("approval") != "never")
        or any(check is None or "person" in check for check in fields.get("checks", ()))
        or (fields.get("mode") or agent.get("mode") or content.top.get("mode")) in _MODES_WITH_PEOPLE
        or any(one.get("type") == _HUMAN for one in (agent, *_chain(agent, agents)))
    )


def _chain(agent: Mapping[str, Any], agents: Mapping[str, Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the agents that may take over."""
    for step in agent.get("fallback") or ():
        name = step.get("agent") if isinstance(step, dict) else step
        yield agents.get(name or "", {})


def _taken_ids(content: Content) -> Iterator[Problem]:
    """Tasks under ids that another one's `for_each` will want."""
    point = content.document.at_key
    for task_id, entry in content.tasks.items():
        head, _, number = task_id.rpartition(".")
        origin = content.tasks.get(head)
        if origin is not None and "for_each" in origin.given and re.fullmatch(r"[1-9][0-9]*", number):
            message = f"{task_id!r} is what 'for_each' of {head!r} calls its item {number}; give the task another id"
            yield point(entry.id_keys, message)


def _webhook(content: Content) -> Iterator[Problem]:
    """An address that begins like one and is none; it may be a secret, and is not shown."""
    address = content.top.get("notify", {}).get("webhook")
    try:
        if address is not None:
            check_address(address, "the value (not shown, it may be secret)")
    except InvalidTaskError as exc:
        yield content.document.at_value(("notify", "webhook"), str(exc))


def _checks(entry: Entry) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the sound checks of a task with their places in the list."""
    for index, check in enumerate(entry.fields.get("checks", ())):
        if check is not None:
            yield index, check


def _agents(content: Content) -> dict[str, Mapping[str, Any]]:
    """Return the options of the sound agents, without those that are wrong and told already."""
    return {
        name: {key: value for key, value in options.items() if value is not None}
        for name, options in (content.agents or {}).items()
        if options is not None
    }
