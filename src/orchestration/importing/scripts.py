"""A folder of scripts, made into agents. Reads the files and never runs one.

A script named after a provider becomes an agent of that provider with the folder as its stand-ins, as the synchronous
system had it; every other program becomes an agent of type `script`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.agent_registry import AgentType
from orchestration.importing.records import ImportedAgent, ImportedProject, ImportedTask, ImportRefusedError, slug
from orchestration.importing.script_source import ScriptSource, read_script_source
from orchestration.project_file.wording import one_of
from orchestration.runners.script import STANDIN_SCRIPTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["migrate_scripts"]

_SCRIPT_MAX_BYTES = 2_000_000
_INTERPRETERS = {
    ".py": "python3",
    ".sh": "sh",
    ".bash": "bash",
    ".zsh": "zsh",
    ".js": "node",
    ".rb": "ruby",
    ".pl": "perl",
}
# How programs begin that need no interpreter: ELF, and the two kinds of Mach-O.
_NATIVE = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
_PERSON = "me"
_NEEDS = {
    AgentType.ANTHROPIC_CLAUDE: "install async-orchestrator[anthropic] and set ANTHROPIC_API_KEY",
    AgentType.OPENAI_GPT: "install async-orchestrator[openai] and set OPENAI_API_KEY",
    AgentType.GOOGLE_GEMINI: "install async-orchestrator[gemini] and set GEMINI_API_KEY",
    AgentType.LOCAL: "install async-orchestrator[local], which brings a model that needs no key",
}
_PROVIDER_OF = {script: kind for kind, script in STANDIN_SCRIPTS.items()}


@dataclass(frozen=True, kw_only=True)
class _File:
    """A file of the folder. `path` is relative to the project's folder; `shebang` the words after `#!`."""

    name: str
    path: str
    content: bytes
    is_executable: bool
    shebang: tuple[str, ...] | None
    source: ScriptSource | None

    @property
    def stem(self) -> str:
        return self.name.rpartition(".")[0] or self.name

    @property
    def suffix(self) -> str:
        return os.path.splitext(self.name)[1]  # noqa: PTH122 -- a name, not a path


def migrate_scripts(folder: Path, root: Path) -> ImportedProject:
    """Return a project in `root` whose agents are the folder's scripts. Its one task is to write the others.

    Raises:
        ImportRefusedError: if there is no such folder, or no script in it.

    """
    if not folder.is_dir():
        raise ImportRefusedError(f"{folder}: is not a folder; expected the one with the scripts, such as scripts")
    relative = Path(os.path.relpath(folder.resolve(), root.resolve())).as_posix()
    told: list[str] = []
    files = list(_files(folder, relative, told))
    modules = _imported(files)
    agents: dict[str, ImportedAgent] = {}
    for file in files:
        refusal = _refusal(file, files, modules)
        if refusal:
            told.append(f"{file.name}: left out: {refusal}")
            continue
        notes = list(_findings(file, files))
        told += [f"{file.name}: {note}" for note in notes]
        agent = _agent(file, agents.keys(), notes)
        agents[agent.name] = agent
    if not agents:
        said = "".join(f"\n- {line}" for line in told)
        raise ImportRefusedError(f"{folder}: holds no script that could be an agent{said}")
    return _project(folder, relative, tuple(agents.values()), told)


def _project(folder: Path, relative: str, agents: tuple[ImportedAgent, ...], told: list[str]) -> ImportedProject:
    person = ImportedAgent(name=_free(_PERSON, [agent.name for agent in agents]), options={"type": "human"})
    has_standins = any("command" not in agent.options for agent in agents)
    first = ImportedTask(
        task_id="write-the-tasks",
        title="Write your tasks in place of this one",
        description=f"Give each its agent ({one_of(agent.name for agent in agents)}), a prompt, and in `dependencies` "
        "the tasks it waits for.",
        agent=person.name,
    )
    return ImportedProject(
        project_id=slug(folder.resolve().name, "scripts"),
        origin=f"the scripts in {relative}",
        tasks=(first,),
        agents=(*agents, person),
        scripts_dir=relative if has_standins else None,
        told=tuple(told),
    )


def _files(folder: Path, relative: str, told: list[str]) -> Iterator[_File]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == "__pycache__":
            continue
        if path.is_dir():
            told.append(f"{path.name}: is a folder, which was not looked into; migrate it by itself if it has scripts")
        elif not path.is_file():
            told.append(f"{path.name}: left out: it is no file, or leads to none")
        elif path.stat().st_size > _SCRIPT_MAX_BYTES and path.suffix in _INTERPRETERS:
            told.append(f"{path.name}: left out: it is larger than {_SCRIPT_MAX_BYTES:,} bytes, which no script is")
        else:
            try:
                yield _read(path, relative)
            except OSError as exc:
                told.append(f"{path.name}: left out: it cannot be read: {exc.strerror}")


def _read(path: Path, relative: str) -> _File:
    with path.open("rb") as file:
        content = file.read(_SCRIPT_MAX_BYTES)
    found = re.match(rb"#!([^\n]*)", content)
    shebang = tuple(found[1].decode(errors="replace").split(" ")) if found else None
    is_python = path.suffix == ".py" or any(word.rpartition("/")[2].startswith("python") for word in shebang or ())
    return _File(
        name=path.name,
        path=f"./{path.name}" if relative == "." else f"{relative}/{path.name}",
        content=content,
        is_executable=bool(path.stat().st_mode & stat.S_IXUSR),
        shebang=tuple(word for word in shebang if word) if shebang else None,
        source=read_script_source(content) if is_python else None,
    )


def _imported(files: Iterable[_File]) -> set[str]:
    return {module for file in files if file.source for module in file.source.modules}


def _refusal(file: _File, files: Iterable[_File], imported: set[str]) -> str:
    """Say why the file is no agent, with what to do; nothing if it is one."""
    if file.source is None:
        return _no_program(file)
    if file.source.mistake:
        return (
            f"it is not Python 3 ({file.source.mistake}); correct it (2to3 turns most of Python 2 into Python 3), "
            "then migrate again"
        )
    return "" if file.name in _PROVIDER_OF else _no_worker(file, file.source, files, imported)


def _no_program(file: _File) -> str:
    is_native = file.content.startswith(_NATIVE)
    if file.suffix in _INTERPRETERS or (file.is_executable and (file.shebang or is_native)):
        return ""
    if file.is_executable:
        return "it has no '#!' line that names its interpreter; add one as its first line"
    return "it is no program; if it is one, give it a '#!' line and run chmod +x"


def _no_worker(file: _File, source: ScriptSource, files: Iterable[_File], imported: set[str]) -> str:
    if not source.is_program:
        user = " and other scripts import it" if file.stem in imported else ""
        return f"it does nothing when it is run{user}; it stays where it is"
    started = [other.name for other in files if other is not file and other.name in source.texts]
    if source.starts_programs and (started or any(text.startswith("execute_") for text in source.texts)):
        which = one_of(started) if started else "execute_*.py"
        return f"it runs other scripts ({which}), which is the orchestrator's work now; make its steps tasks"
    return ""


def _agent(file: _File, taken: Iterable[str], notes: list[str]) -> ImportedAgent:
    name = _free(slug(file.stem.removeprefix("execute_"), "script"), taken, slug(file.suffix))
    kind = _PROVIDER_OF.get(file.name)
    if kind is None:
        return ImportedAgent(name=name, options={"type": "script", "command": _command(file)}, notes=tuple(notes))
    keep = f"{{ type: script, command: [python3, {file.path}] }}"
    return ImportedAgent(
        name=name,
        options={"type": kind.value},
        notes=(
            f"Calls the model. Until that is possible {file.name} stands in, with a warning, until release 1.0.",
            f"To call it: {_NEEDS[kind]}. To keep the script for good: {keep}",
            *notes,
        ),
    )


def _command(file: _File) -> list[str]:
    """Return the words that run the script: itself where it says how, else its interpreter first."""
    if file.is_executable and (file.shebang or file.suffix not in _INTERPRETERS) and not _shebang_fault(file):
        return [file.path]
    named = [word.strip("\r") for word in file.shebang or ()]
    if named and named[0].endswith("/env") and len(named) > 1 and not named[1].startswith("-"):
        named = named[1:]
    elif named and not Path(named[0]).exists():
        named = []
    return [*(named or [_INTERPRETERS.get(file.suffix, "python3")]), file.path]


def _shebang_fault(file: _File) -> str:
    """Say what keeps the system from following the `#!` line."""
    words = file.shebang
    if not words:
        return ""
    if words[-1].endswith("\r"):
        return "its lines end as on Windows, so its '#!' line names no program; save it with Unix line ends"
    if not Path(words[0]).exists():
        return f"its '#!' line names {words[0]!r}, which is not on this machine; correct it"
    if words[0].endswith("/env") and len(words) > 1 and not words[1].startswith("-") and not shutil.which(words[1]):
        return f"its '#!' line names {words[1]!r}, which is not on the PATH; install it or name another"
    return ""


def _findings(file: _File, files: Iterable[_File]) -> Iterator[str]:
    """Yield what a person has to look at before the script does its work as an agent."""
    if fault := _shebang_fault(file):
        yield fault
    elif not file.shebang and file.is_executable and file.suffix in _INTERPRETERS:
        yield f"has no '#!' line, so {_INTERPRETERS[file.suffix]} runs it; put another into `command` if that is wrong"
    if file.source is None:
        return
    yield from _protocol_findings(file.source)
    siblings = {other.stem for other in files if other.suffix == ".py"}
    missing = sorted(name for name in file.source.modules - siblings if not _is_installed(name))
    if missing:
        yield f"imports {one_of(missing)}, which {sys.executable} does not have; install it where the script runs"
    if file.source.starts_loop:
        yield (
            "starts an event loop of its own: right for a script, which is a process; as an agent of type python hand "
            "over the coroutine function instead"
        )


def _protocol_findings(source: ScriptSource) -> Iterator[str]:
    if not source.reads_stdin:
        said = "takes its task from arguments" if source.reads_arguments else "reads no task"
        other = (
            ", or make it of type cli with '{prompt}' among the words of `command`" if source.reads_arguments else ""
        )
        yield f"{said}, but it comes as one JSON object on stdin; read it with json.load(sys.stdin){other}"
    if not source.writes_stdout:
        yield "prints nothing that can be seen, so its answer would be empty; print the answer"


def _is_installed(module: str) -> bool:
    """Look a top-level module up without importing it."""
    if module in sys.stdlib_module_names:
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # it is loaded here, and nobody knows from where
        return True


def _free(name: str, taken: Iterable[str], more: str = "") -> str:
    known, free, number = set(taken), name, 2
    if free in known and more:
        free = name = f"{name}-{more}"
    while free in known:
        free, number = f"{name}-{number}", number + 1
    return free
