"""What can be seen of a Python script without running it: how it gets its task, how it answers, what it needs."""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass, field

__all__ = ["ScriptSource", "read_script_source"]

_STDIN = {"sys.stdin", "input", "fileinput.input", "raw_input"}
_ARGUMENTS = {"sys.argv", "argparse.ArgumentParser", "optparse.OptionParser", "click.command", "typer.run"}
_STDOUT = {"print", "sys.stdout", "os.write", "click.echo", "typer.echo"}
_LOOPS = {"asyncio.run", "asyncio.get_event_loop", "asyncio.new_event_loop"}
_STARTERS = {"subprocess", "os.system", "os.popen", "asyncio.create_subprocess_exec", "runpy", "exec"}
_IMPORT_ERRORS = {"ImportError", "ModuleNotFoundError", "Exception"}


@dataclass(frozen=True, kw_only=True)
class ScriptSource:
    """What a script's source says.

    `mistake`: why it is no Python 3, empty where it is. `modules`: the top-level modules it cannot do without. `texts`:
    the texts in it that could be files' names, without their folders. `is_program`: it does something when it is run.
    """

    mistake: str = ""
    modules: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()
    is_program: bool = True
    reads_stdin: bool = False
    reads_arguments: bool = False
    writes_stdout: bool = False
    starts_loop: bool = False
    starts_programs: bool = False


def read_script_source(source: bytes) -> ScriptSource:
    """Return what the source says. It is parsed, never run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as about escapes in somebody's strings: not our business
            tree = ast.parse(source)
    except SyntaxError as exc:
        return ScriptSource(mistake=f"line {exc.lineno}: {exc.msg}" if exc.lineno else exc.msg)
    except (ValueError, RecursionError, MemoryError) as exc:  # a NUL, an unknown encoding, or endless brackets
        return ScriptSource(mistake=str(exc) or "it is nested too deep")
    seen = _Seen()
    seen.visit(tree)
    return ScriptSource(
        modules=frozenset(seen.modules),
        texts=frozenset(seen.texts),
        is_program=any(not _is_definition(statement) for statement in tree.body),
        reads_stdin=seen.uses(_STDIN) or seen.opens_stdin,
        reads_arguments=seen.uses(_ARGUMENTS),
        writes_stdout=seen.uses(_STDOUT),
        starts_loop=seen.uses(_LOOPS),
        starts_programs=seen.uses(_STARTERS),
    )


def _is_definition(statement: ast.stmt) -> bool:
    """Say whether the statement only names things: what all statements of a module meant for import do."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    names = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    return isinstance(statement, names)


@dataclass
class _Seen(ast.NodeVisitor):
    """Collects the dotted names a script uses; `from sys import stdin as s` makes `s` count as `sys.stdin`."""

    modules: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    meanings: dict[str, str] = field(default_factory=dict)
    opens_stdin: bool = False

    def uses(self, wanted: set[str]) -> bool:
        """Say whether one of the names is used, or something of it."""
        spelled = set()
        for name in self.names:
            first, _, rest = name.partition(".")
            spelled.add(".".join(filter(None, (self.meanings.get(first, first), rest))))
        return any(name == each or name.startswith(f"{each}.") for each in wanted for name in spelled)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.modules.add(alias.name.partition(".")[0])
            if alias.asname:
                self.meanings[alias.asname] = alias.name

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level == 0 and node.module:
            self.modules.add(node.module.partition(".")[0])
            self.meanings |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}

    def visit_Try(self, node: ast.Try) -> None:
        """Leave out modules a script can do without."""
        before = set(self.modules)
        for statement in node.body:
            self.visit(statement)
        if any(_catches_imports(handler) for handler in node.handlers):
            self.modules = before
        for rest in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(rest)

    def visit_Name(self, node: ast.Name) -> None:
        self.names.add(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        parts, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            self.names.add(".".join([inner.id, *reversed(parts)]))
        else:
            self.visit(inner)

    def visit_Call(self, node: ast.Call) -> None:
        """Note `open(0)` and `open("/dev/stdin")`."""
        first = node.args[0] if node.args else None
        if isinstance(first, ast.Constant) and first.value in {0, "/dev/stdin"} and first.value is not False:
            self.opens_stdin = True
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and len(node.value) <= 255:  # noqa: PLR2004 -- the longest a file name can be
            self.texts.add(node.value.rpartition("/")[2])


def _catches_imports(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(each is None or (isinstance(each, ast.Name) and each.id in _IMPORT_ERRORS) for each in caught)
