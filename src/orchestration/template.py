"""Prompts written as Jinja2 templates, rendered in a sandbox. The only room that knows Jinja2, imported on first use.

The sandbox keeps a template to its data (the task, its dependencies' outcomes, variables, files under the project's
root) and bounds its steps and output, so that a mistake ends with a message. It is no wall against the author of a
project file, who can name commands to run anyway; what models write is only ever data here, never a template.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, TypeVar

from orchestration.errors import AttemptError
from orchestration.task import FailureKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from orchestration.attempt import AttemptContext
    from orchestration.task import AgentTask
else:
    StrictUndefined = ImmutableSandboxedEnvironment = object  # combined with the real ones in `_environment`

__all__ = [
    "FILE_MAX_BYTES",
    "OUTPUT_MAX_CHARS",
    "STEPS_MAX",
    "InnerFileError",
    "evaluate",
    "is_template",
    "read_file",
    "render",
]

OUTPUT_MAX_CHARS = 8_000_000
FILE_MAX_BYTES = 4_000_000
_POWER_MAX_BITS = 10_000
STEPS_MAX = 1_000_000  # a turn of a loop is one: about a second's work in all
_CALL_STEPS = 20  # what calling a macro takes, compared with that

_NAMES = (
    "a template knows: tasks.<id>.output, .data, .files and .skipped, vars.<name>, task.<field>, file('path'), "
    "and item in a task with for_each"
)

T = TypeVar("T")


class InnerFileError(Exception):
    """A file of the project that cannot be read as text, in words that follow its name."""


class _TemplateError(Exception):
    """What a template may not do, in words for its author."""


def is_template(text: str) -> bool:
    """Say whether the text holds anything to be rendered."""
    return "{{" in text or "{%" in text or "{#" in text


def render(task: AgentTask, context: AttemptContext, root: Path | None) -> str:
    """Return the rendered prompt of the task. Blocks: call it in a thread.

    Raises:
        AttemptError: of kind `bad_request`, naming the task, the template's line and what is wrong.

    """
    return _within_words(f"the prompt of task {task.task_id!r} cannot be made", lambda: _render(task, context, root))


def evaluate(
    name: str, expression: str, task: AgentTask, context: AttemptContext, root: Path | None, *, then: Callable[[Any], T]
) -> T:
    """Return what `then` makes of the value of an expression such as `tasks.review.data.score < 7`.

    `name` is the field of the task that it stands in. It may stand in `{{ }}`, as in a template. Values may be lazy, so
    `then` is where they are looked into. Blocks: call it in a thread.

    Raises:
        AttemptError: of kind `bad_request`, naming the task, the field and what is wrong.

    """
    what = f"`{name}` of task {task.task_id!r} cannot be evaluated: {expression.strip()!r}"
    return _within_words(what, lambda: then(_evaluate(expression, task, context, root)))


def _within_words(what: str, make: Callable[[], T]) -> T:
    """Return what `make` does; its mistakes leave as an AttemptError that begins with `what`."""
    # Imported here: 40 ms that a project without templates need not pay.
    from jinja2 import TemplateSyntaxError  # noqa: PLC0415

    try:
        return make()
    except TemplateSyntaxError as exc:
        line, problem = exc.lineno, exc.message or "not a valid template"
    except RecursionError:
        line, problem = None, "a macro calls itself without end"
    except Exception as exc:  # noqa: BLE001 -- whatever a filter or an expression raises is the template's mistake
        line, problem = _line_of(exc), _words_of(exc)
    at = "" if line is None else f", line {line} of its template"
    raise AttemptError(f"{what}{at}: {problem}", kind=FailureKind.BAD_REQUEST)


def read_file(root: Path | None, path: str) -> str:
    """Return the text of a file under the project's root. Blocks.

    Raises:
        InnerFileError: if there is no such file there, or it is too large or not text.

    """
    if root is None:
        raise InnerFileError("cannot be found: this project has no folder; open it with a project_root")
    folder = root.resolve()
    found = (folder / path).resolve()  # follows symlinks, so that they cannot lead out either
    if not found.is_relative_to(folder):
        raise InnerFileError(f"lies outside the project's folder {str(folder)!r}")
    if not found.is_file():
        raise InnerFileError(f"cannot be found: no such file in {str(folder)!r}")
    try:
        with found.open("rb") as file:
            raw = file.read(FILE_MAX_BYTES + 1)
    except OSError as exc:
        raise InnerFileError(f"cannot be read: {exc.strerror}; check its permissions") from exc
    if len(raw) > FILE_MAX_BYTES:
        raise InnerFileError(f"is larger than {FILE_MAX_BYTES:,} bytes")
    try:
        return raw.decode()
    except UnicodeDecodeError as exc:
        raise InnerFileError(f"is not UTF-8 text (byte {exc.start}); a prompt is text") from exc


def _render(task: AgentTask, context: AttemptContext, root: Path | None) -> str:
    from jinja2 import nodes  # noqa: PLC0415 -- as above

    environment = _environment()
    tree = environment.parse(task.prompt or "")
    for loop in tree.find_all(nodes.For):
        loop.iter = nodes.Filter(loop.iter, "counted", [], [], None, None)
    template = environment.from_string(tree)
    names = _names(task, context, root)
    size, pieces = 0, []
    for piece in template.generate(names):
        size += len(piece)
        if size > OUTPUT_MAX_CHARS:
            raise _TemplateError(f"its text is longer than {OUTPUT_MAX_CHARS:,} characters")
        pieces.append(piece)
    return "".join(pieces)


def _evaluate(expression: str, task: AgentTask, context: AttemptContext, root: Path | None) -> Any:
    from jinja2 import StrictUndefined as Undefined  # noqa: PLC0415 -- as above

    bare = expression.strip()
    if bare.startswith("{{") and bare.endswith("}}"):
        bare = bare[2:-2]
    value = _environment().compile_expression(bare, undefined_to_none=False)(**_names(task, context, root))
    if isinstance(value, Undefined):
        str(value)  # raises, with the reason why there is none
    return value


def _names(task: AgentTask, context: AttemptContext, root: Path | None) -> dict[str, Any]:
    names: dict[str, Any] = {
        "task": task,
        "tasks": _Inputs(context.inputs),
        "vars": _Variables(context.variables),
        "file": _Files(root).read,
    }
    if task.item is not None:
        names["item"] = task.item
    return names


class _Inputs(dict[str, Any]):
    """`tasks` in a template."""

    def explain(self, name: object) -> str:
        known = ", ".join(map(repr, self)) or "none"
        return f"it does not depend on a task {name!r} (its dependencies: {known}); add it to `dependencies`"


class _Variables(dict[str, str]):
    """`vars` in a template."""

    def explain(self, name: object) -> str:
        known = ", ".join(map(repr, self)) or "none"
        return f"no variable {name!r} was given (given: {known}); give it, or write vars.{name} | default('...')"


class _Missing(StrictUndefined):
    """An undefined name that says what there is instead."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        owner, name = self._undefined_obj, self._undefined_name
        if self._undefined_hint:
            return self._undefined_hint
        if isinstance(owner, _Inputs | _Variables):
            return owner.explain(name)
        message: str = super()._undefined_message
        if message.endswith("is undefined"):
            return f"{message}; {_NAMES}"
        if isinstance(owner, dict):
            return f"there is no {name!r} in the data (it has: {', '.join(map(repr, owner)) or 'nothing'})"
        return message


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja2's sandbox with a limit of steps. One per rendering, since it counts them."""

    intercepted_binops = frozenset({"*", "**"})
    steps = 0

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Prefer an item to a method: `data.items` is the field of that name, as every author expects."""
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Count a call, since macros can multiply as loops do."""
        self.step(_CALL_STEPS)
        return super().call(*args, **kwargs)

    def call_binop(self, _context: Any, name: str, left: Any, right: Any) -> Any:
        """Refuse products that are huge before they are made."""
        if name == "**":
            if isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > _POWER_MAX_BITS:
                raise _TemplateError(f"the power {right!r} is too large")
            return operator.pow(left, right)
        for text, times in ((left, right), (right, left)):
            if isinstance(text, str | list | tuple) and isinstance(times, int) and len(text) * times > OUTPUT_MAX_CHARS:
                raise _TemplateError(f"repeating something {times:,} times makes it longer than {OUTPUT_MAX_CHARS:,}")
        return operator.mul(left, right)

    def counted(self, items: Iterable[Any]) -> Iterator[Any]:
        """Count the turns of a loop."""
        for item in items:
            self.step()
            yield item

    def step(self, count: int = 1) -> None:
        self.steps += count
        if self.steps > STEPS_MAX:
            raise _TemplateError(f"it takes more than {STEPS_MAX:,} steps; its loops may be nested too deeply")


class _Files:
    """`file('path')` in a template: text under the project's root, and nowhere else."""

    def __init__(self, root: Path | None) -> None:
        self._root = root

    def read(self, path: str) -> str:
        """Return the file's text."""
        try:
            return read_file(self._root, path)
        except InnerFileError as exc:
            raise _TemplateError(f"file({path!r}) {exc}") from exc


def _environment() -> Any:
    """Return a sandbox for one rendering."""
    from jinja2 import StrictUndefined as Undefined  # noqa: PLC0415 -- as above
    from jinja2.sandbox import ImmutableSandboxedEnvironment as Base  # noqa: PLC0415

    sandbox: Any = type("Sandbox", (_Sandbox, Base), {})
    missing = type("Missing", (_Missing, Undefined), {"__slots__": ()})
    environment = sandbox(undefined=missing, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    environment.filters["counted"] = environment.counted
    return environment


def _line_of(exc: BaseException) -> int | None:
    """Return the template's line where it was raised: Jinja2 gives its frames the template's own line numbers."""
    line, trace = None, exc.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _words_of(exc: Exception) -> str:
    return str(exc) if isinstance(exc, _TemplateError) else f"{exc} ({type(exc).__name__})"
