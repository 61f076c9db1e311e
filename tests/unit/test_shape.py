"""The shape of the code: the limits that keep it readable, counted over src/ and benchmarks/."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def functions():
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, FUNCTIONS):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_has_at_most_500_lines(path):
    assert path.read_text(encoding="utf-8").count("\n") <= 500


def test_functions_are_short():
    lengths = sorted((node.end_lineno - node.lineno + 1, name) for name, node in functions())
    assert lengths[-1][0] <= 60, lengths[-1]
    assert lengths[int(0.9 * (len(lengths) - 1))][0] <= 30


def test_no_function_imports_an_own_module():
    own = ("orchestration", "llm_abstractions")
    offenders = [
        name
        for name, function in functions()
        for node in ast.walk(function)
        if (isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith(own)))
        or (isinstance(node, ast.Import) and any(alias.name.startswith(own) for alias in node.names))
    ]
    assert offenders == []


def test_no_broad_except_stays_silent():
    offenders = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or getattr(node.type, "id", "") in {"Exception", "BaseException"})
        and all(isinstance(statement, ast.Pass | ast.Continue) for statement in node.body)
    ]
    assert offenders == []


def test_event_loops_and_unowned_tasks_are_made_in_the_command_line_only():
    forbidden = {"asyncio.run", "asyncio.create_task", "asyncio.ensure_future", "asyncio.new_event_loop"}
    offenders = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        if "cli" not in path.parts
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in forbidden
    ]
    assert offenders == []
