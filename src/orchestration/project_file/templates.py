"""What templates and expressions get wrong before they ever run: their syntax, and names that will not be there.

Reads Jinja2's syntax tree and renders nothing. What a name may be is decided by the caller, in a `Scope`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from orchestration.project_file.wording import did_you_mean, one_of, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from jinja2 import Environment, TemplateSyntaxError, nodes

__all__ = ["Finding", "Scope", "find_in_expression", "find_mistakes"]

# Names that Jinja2 gives to some places of a template by itself.
_BUILT_IN = frozenset({"loop", "caller", "varargs", "kwargs", "self", "super"})
_MAPPING_METHODS = frozenset({"items", "keys", "values", "get"})
_JOINTS = frozenset("-.:@+")  # what an id may hold that a name in an expression may not
_RESULT_FIELDS = ("output", "data", "files", "skipped", "added")
_KNOWN = {
    "tasks": "tasks.<id>.output and tasks.<id>.data, the results of the task's dependencies",
    "vars": "vars.<name>, the project's variables",
    "task": "task.<field>, the task itself",
    "file": "file('path'), the text of a file in the project's folder",
}
_ITEM = {"item": "item, the element of the list that the task is done for"}


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What one task's template may name. `has_item`: the task is done for each item of a list, and knows which."""

    task_id: str
    dependencies: Collection[str]
    tasks: Collection[str]
    variables: Collection[str] | None  # None: not known, so none is called undeclared
    task_fields: Collection[str]
    has_item: bool = False


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One mistake, in the template's own line (from 1); `find` is the text to point at."""

    line: int
    find: str
    message: str


def find_mistakes(source: str, scope: Scope) -> list[Finding]:
    """Return what is wrong with a template, in its order; nothing for a text that is no template."""
    if not any(mark in source for mark in ("{{", "{%", "{#")):
        return []
    return _find("template", lambda: _environment().parse(source), scope)


def find_in_expression(source: str, scope: Scope) -> list[Finding]:
    """Return what is wrong with an expression such as `tasks.review.data.score < 7`, which may stand in `{{ }}`."""
    return _find("expression", lambda: _expression(source), scope)


def _find(what: str, parse: Callable[[], nodes.Template], scope: Scope) -> list[Finding]:
    from jinja2 import TemplateSyntaxError  # noqa: PLC0415 -- 0.1 s, for files with templates only

    try:
        return list(dict.fromkeys(_Reader(parse(), scope).findings()))
    except TemplateSyntaxError as exc:
        return [Finding(line=exc.lineno, find="", message=f"the {what} cannot be read: {_words(exc)}")]
    except ValueError as exc:  # a literal number of thousands of digits
        return [Finding(line=1, find="", message=f"the {what} cannot be read: {exc}")]
    except RecursionError:
        return [Finding(line=1, find="", message=f"the {what} is nested too deeply; make it simpler")]


def _expression(source: str) -> nodes.Template:
    """Parse an expression as it is parsed when it is evaluated.

    Raises:
        TemplateSyntaxError: if it is none.

    """
    from jinja2 import TemplateSyntaxError, nodes  # noqa: PLC0415 -- as above
    from jinja2.parser import Parser  # noqa: PLC0415

    bare = source.strip()
    if bare.startswith("{{") and bare.endswith("}}"):
        bare = bare[2:-2]
    before = source[: len(source) - len(source.lstrip())]  # lines count from the beginning
    parser = Parser(_environment(), before + bare, state="variable")
    expression = parser.parse_expression()
    if not parser.stream.eos:
        rest = parser.stream.current
        hint = "; to compare, write ==" if rest.type == "assign" else ""
        raise TemplateSyntaxError(f"it does not end before {str(rest.value)!r}{hint}", rest.lineno)
    return nodes.Template([nodes.Output([expression], lineno=1)], lineno=1)


def _words(exc: TemplateSyntaxError) -> str:
    return (exc.message or "a syntax error").rstrip(".")


@cache
def _environment() -> Environment:
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415 -- as above

    return ImmutableSandboxedEnvironment()


class _Reader:
    """Goes through one template's syntax tree."""

    def __init__(self, tree: nodes.Template, scope: Scope) -> None:
        from jinja2 import nodes  # noqa: PLC0415 -- as above

        self._nodes = nodes
        self._scope = scope
        self._known = _KNOWN | _ITEM if scope.has_item else _KNOWN
        self._all = list(tree.find_all(nodes.Node))
        # Whatever the template names anywhere counts as its own everywhere: a false alarm is worse than none.
        self._own = {node.name for node in self._all if isinstance(node, nodes.Name) and node.ctx != "load"}
        self._own |= {node.name for node in self._all if isinstance(node, nodes.Macro)}
        self._called = {id(node.node) for node in self._all if isinstance(node, nodes.Call)}
        self._split = {id(name) for node in self._all for name in self._rest_of_dashed(node)}

    def findings(self) -> Iterator[Finding]:
        """Yield the mistakes."""
        for node in self._all:
            for find, message in self._look(node):
                yield Finding(line=node.lineno, find=find, message=message)

    def _look(self, node: nodes.Node) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with one node: where to point, and the message."""
        nodes = self._nodes
        match node:
            case nodes.Include() | nodes.Import() | nodes.FromImport() | nodes.Extends():
                yield "", "a template stands alone: include, import and extends are not available; use file('path')"
            case nodes.Filter(name=name) if name not in _environment().filters:
                yield name, f"there is no filter {name!r}{did_you_mean(name, _environment().filters)}"
            case nodes.Test(name=name) if name not in _environment().tests:
                yield name, f"there is no test {name!r}{did_you_mean(name, _environment().tests)}"
            case nodes.Name(name=name, ctx="load") if not self._is_known(node):
                yield name, self._name_message(name)
            case nodes.Getattr(node=nodes.Name(name=owner)) | nodes.Getitem(node=nodes.Name(name=owner)):
                yield from self._member(owner, node)
            case nodes.Getattr(node=inner) | nodes.Getitem(node=inner) if self._key_of(inner, "tasks") is not None:
                field = self._key(node)
                if isinstance(field, str) and field not in _RESULT_FIELDS and id(inner) not in self._called:
                    yield field, f"a task's result has no {field!r}; expected one of {', '.join(_RESULT_FIELDS)}"

    def _is_known(self, node: nodes.Name) -> bool:
        name = node.name
        return (
            name in self._known
            or name in self._own
            or name in _BUILT_IN
            or name in _environment().globals
            or id(node) in self._split
        )

    def _name_message(self, name: str) -> str:
        if name in _ITEM:
            return f"there is no {name!r} here; only the prompt and 'when' of a task with 'for_each' know it"
        expected = f"; expected one of {', '.join(self._known)}, or a name the template sets"
        return f"there is no name {name!r} in a template{did_you_mean(name, self._known) or expected}"

    def _member(self, owner: str, node: nodes.Getattr | nodes.Getitem) -> Iterator[tuple[str, str]]:
        key = self._key(node)
        if owner in self._own or key is None or (key in _MAPPING_METHODS and id(node) in self._called):
            return
        message = ""
        if owner == "tasks":
            message = self._task_message(key)
        elif owner == "vars" and self._scope.variables is not None and key not in self._scope.variables:
            near = did_you_mean(key, self._scope.variables)
            message = f"the variable {key!r} is not declared{near or '; add it to variables'}"
        elif owner == "task" and key not in self._scope.task_fields:
            near = did_you_mean(key, self._scope.task_fields)
            message = f"a task has no field {key!r}{near or f'; expected one of {one_of(self._scope.task_fields)}'}"
        if message:
            yield f"{owner}.{key}" if isinstance(node, self._nodes.Getattr) else str(key), message

    def _task_message(self, key: str | int) -> str:
        scope = self._scope
        if not isinstance(key, str):
            return f"task ids are text; write tasks['{key}'] in place of tasks.{key}"
        if key in scope.dependencies:
            return ""
        if key == scope.task_id:
            return "a task cannot read its own result"
        if key in scope.tasks:
            return f"the result of {key!r} is not at hand; add {key!r} to the dependencies of {scope.task_id!r}"
        dashed = self._dashed(key)
        if dashed:
            return f"there is no task {key!r}; an id with other characters than letters is written tasks[{dashed!r}]"
        near = did_you_mean(key, scope.dependencies) or did_you_mean(key, scope.tasks)
        known = f"; it depends on {one_of(scope.dependencies)}" if scope.dependencies else "; it depends on none"
        return f"there is no task {shown(key)}{near or known}"

    def _dashed(self, key: str) -> str:
        """Return the id of which `tasks.<key>` is only the beginning, as `tasks.my` of `tasks.my-id`."""
        longer = (name for name in self._scope.tasks if name.startswith(key))
        return next((name for name in longer if name[len(key) : len(key) + 1] in _JOINTS), "")

    def _rest_of_dashed(self, node: nodes.Node) -> list[nodes.Name]:
        """Return the names that are the second half of an id with a dash, which reads as a subtraction."""
        if not isinstance(node, self._nodes.Sub):
            return []
        key = self._key_of(node.left, "tasks")
        if not isinstance(key, str) or key in self._scope.tasks or not self._dashed(key):
            return []
        return [
            name for name in (node.right, *node.right.find_all(self._nodes.Node)) if isinstance(name, self._nodes.Name)
        ]

    def _key_of(self, node: nodes.Node, owner: str) -> str | int | None:
        """Return what the node takes out of the name `owner`; None if it does something else."""
        nodes = self._nodes
        if not isinstance(node, nodes.Getattr | nodes.Getitem) or owner in self._own:
            return None
        return self._key(node) if isinstance(node.node, nodes.Name) and node.node.name == owner else None

    def _key(self, node: nodes.Getattr | nodes.Getitem) -> str | int | None:
        """Return the attribute or constant subscript; None for one that is computed."""
        if isinstance(node, self._nodes.Getattr):
            return node.attr
        return node.arg.value if isinstance(node.arg, self._nodes.Const) else None
