"""The demo's Python side: what must be right. A function takes the work and returns its task's output.

Text becomes the output as it is; anything else becomes JSON, and later tasks find it as `data`.
"""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestration import Work

PACKAGES = ("orchestration", "llm_abstractions")

# The functions the model reads, and the files they are in.
SUBJECTS = {
    "add_task": "orchestration/orchestrator.py",
    "execute_task": "orchestration/orchestrator.py",
    "execute_workflow": "orchestration/orchestrator.py",
    "find": "orchestration/agent_registry.py",
}

QUESTIONS = {"keyword": "starts with", "function": "name", "argument": "first argument", "returns": "gives back"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def survey(work: Work) -> dict[str, Any]:  # noqa: ARG001 -- it needs nothing but the installed source
    """Parse the installed packages: their sizes, and the heads of the functions to be read."""
    packages = []
    functions: dict[str, Any] = {}
    for package in PACKAGES:
        root = _folder(package)
        sources = {path.relative_to(root.parent).as_posix(): path.read_text("utf-8") for path in _files(root)}
        found = {(file, node) for file, text in sources.items() for node in _functions(text)}
        packages.append(_size(package, sources, found))
        functions |= {
            node.name: {"at": f"{file}:{node.lineno}", "head": _head(node), "author": _first_line(node), **_truth(node)}
            for file, node in found
            if SUBJECTS.get(node.name) == file
        }
    return {"packages": packages, "functions": functions}


def grade(work: Work) -> dict[str, Any]:
    """Mark each reading against what the parser says."""
    functions = work.inputs["survey"].data["functions"]
    marks = {}
    for task_id, reading in work.inputs.items():
        if task_id.startswith("read-"):
            name = task_id.removeprefix("read-").replace("-", "_")
            truth = functions[name]
            marks[name] = {question: {"said": reading.data[question], "is": truth[question]} for question in QUESTIONS}
    answers = [mark for answers in marks.values() for mark in answers.values()]
    return {"right": sum(_is_right(mark) for mark in answers), "asked": len(answers), "marks": marks}


def report(work: Work) -> str:
    """Write the report: the score, the answers, the model's own words, the sizes."""
    facts, grades = work.inputs["survey"].data, work.inputs["grade"].data
    reader = work.context.variables.get("reader", "The model")
    score = f"{grades['right']} of {grades['asked']}"
    intro = (
        f"{reader} was shown the heads of {len(grades['marks'])} functions of the orchestrator that ran it and filled "
        f"in a form for each. Python's parser marked the forms: {score} answers are right."
    )
    sections = [
        f"# {score}: how well does a small model read this code?",
        intro,
        _answers_table(grades["marks"]),
        *_mistakes(grades["marks"]),
        "## In its own words",
        "One sentence on each function. No program can mark these; judge for yourself by the author's own line.",
        *_sentences(work, facts["functions"]),
        "## What the parser counted",
        _sizes_table(facts["packages"]),
    ]
    return "\n\n".join(sections) + "\n"


# -- reading source ----------------------------------------------------------------------------------------------------


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"package {package!r} has no source files here")
    return Path(spec.origin).parent


def _files(root: Path) -> Iterator[Path]:
    yield from sorted(root.rglob("*.py"))


def _functions(text: str) -> Iterator[Function]:
    return (node for node in ast.walk(ast.parse(text)) if isinstance(node, Function))


def _size(package: str, sources: dict[str, str], found: set[tuple[str, Function]]) -> dict[str, Any]:
    lines, file, longest = max((_lines(node), file, node.name) for file, node in found)
    return {
        "package": package,
        "files": len(sources),
        "lines": sum(text.count("\n") for text in sources.values()),
        "functions": len(found),
        "longest": f"{longest} in {file}, {lines} lines",
    }


def _lines(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _head(node: Function) -> str:
    """Return what a reader sees first: the signature and the first line of the docstring."""
    return f'{_keyword(node)} {node.name}({_parameters(node)}) -> {_returns(node)}:\n    """{_first_line(node)}"""'


def _parameters(node: Function) -> str:
    """Return the parameters as written, without `self`, which is nobody's argument."""
    return ast.unparse(node.args).removeprefix("self").removeprefix(", ")


def _truth(node: Function) -> dict[str, str]:
    """Return the right answers to the questions."""
    arguments = [arg.arg for arg in (*node.args.args, *node.args.kwonlyargs) if arg.arg != "self"]
    # `list[AgentConfig]` is a list, and of `AgentTask | None` the form has room for the first.
    returns = _returns(node).partition("[")[0].partition(" |")[0]
    return {"keyword": _keyword(node), "function": node.name, "argument": arguments[0], "returns": returns}


def _keyword(node: Function) -> str:
    return "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"


def _returns(node: Function) -> str:
    return ast.unparse(node.returns) if node.returns else "None"


def _first_line(node: Function) -> str:
    return (ast.get_docstring(node) or "").partition("\n")[0]


# -- writing the report ------------------------------------------------------------------------------------------------


def _is_right(mark: dict[str, str]) -> bool:
    return mark["said"] == mark["is"]


def _answers_table(marks: dict[str, Any]) -> str:
    rows = [
        [f"`{name}`", *(f"{'✓' if _is_right(mark) else '✗'} {mark['said']}" for mark in answers.values())]
        for name, answers in marks.items()
    ]
    return _table(["function", *QUESTIONS.values()], rows)


def _mistakes(marks: dict[str, Any]) -> list[str]:
    lines = [
        f"- `{name}`, {QUESTIONS[question]}: it said `{mark['said']}`, the code says `{mark['is']}`"
        for name, answers in marks.items()
        for question, mark in answers.items()
        if not _is_right(mark)
    ]
    return ["What it got wrong:", "\n".join(lines)] if lines else []


def _sentences(work: Work, functions: dict[str, Any]) -> Iterator[str]:
    for task_id, told in work.inputs.items():
        if task_id.startswith("tell-"):
            name = task_id.removeprefix("tell-").replace("-", "_")
            subject = functions[name]
            yield f"**`{name}`** ({subject['at']})\n\n- the model: {told.data}\n- the author: {subject['author']}"


def _sizes_table(packages: list[dict[str, Any]]) -> str:
    rows = [
        [size["package"], *(f"{size[key]:,}" for key in ("files", "lines", "functions")), size["longest"]]
        for size in packages
    ]
    return _table(["package", "files", "lines", "functions", "longest function"], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines
    )
