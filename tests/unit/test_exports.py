"""What the packages offer: true, sorted, and loaded only when it is used."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import llm_abstractions
import orchestration

PACKAGES = (orchestration, llm_abstractions)
FOUND = [
    found
    for package in PACKAGES
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not found.name.rpartition(".")[2].startswith("_")
]
MODULES = [found.name for found in FOUND]
# The command and the demo are used by their names, and their modules by each other.
COMMANDS = ("orchestration.cli", "orchestration.demo")
LIBRARY = [found.name for found in FOUND if not found.ispkg and not found.name.startswith(COMMANDS)]

# The contract's table, section 1.
CONTRACT = {
    "orchestration.orchestrator": ["ProjectOrchestrator"],
    "orchestration.executor": ["TaskExecutor", "ExecutionResult", "ExecutionStatus"],
    "orchestration.parallel_executor": ["ParallelExecutor"],
    "orchestration.agent_registry": ["AgentRegistry", "AgentConfig", "AgentType"],
    "orchestration.task": ["AgentTask", "TaskStatus", "TaskPriority"],
    "orchestration.errors": ["OrchestrationError", "DependencyError", "CycleError"],
    "llm_abstractions.factory": ["LlmFactory"],
    "llm_abstractions.base_llm": ["BaseLlm"],
    "llm_abstractions": ["AnthropicLlm", "OpenAILlm", "GeminiLlm"],
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in CONTRACT.items() for name in names])
def test_the_contract_s_imports_work_and_the_package_offers_the_same(module, name):
    value = getattr(importlib.import_module(module), name)
    package = importlib.import_module(module.partition(".")[0])
    assert getattr(package, name) is value
    assert name in package.__all__


@pytest.mark.parametrize("module", [*MODULES, *(package.__name__ for package in PACKAGES)])
def test_what_a_module_says_it_offers_is_there_and_in_order(module):
    loaded = importlib.import_module(module)
    names = getattr(loaded, "__all__", [])
    assert sorted(set(names)) == sorted(names)
    assert all(hasattr(loaded, name) for name in names)
    assert not [name for name in names if name.startswith("_") and name != "__version__"]


@pytest.mark.parametrize("module", LIBRARY)
def test_every_public_thing_a_module_defines_is_offered(module):
    loaded = importlib.import_module(module)
    defined = {
        name
        for name, value in vars(loaded).items()
        if not name.startswith("_") and isinstance(value, type) and value.__module__ == module
    }
    assert defined <= set(loaded.__all__)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_a_package_lists_its_names_and_refuses_others(package):
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        package.Nonsense  # noqa: B018


def test_every_public_error_is_offered_by_the_package():
    errors = importlib.import_module("orchestration.errors")
    assert set(errors.__all__) <= set(orchestration.__all__)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_type_checkers_are_told_the_same_names_as_the_program(package):
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    told = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert set(package.__all__) - told - defined <= {"__version__"}


def test_importing_the_packages_loads_no_vendor_and_starts_nothing():
    script = """
import sys, threading, os
env = dict(os.environ)
import orchestration, llm_abstractions
vendors = ("anthropic", "openai", "google", "xllamacpp", "aiohttp", "jinja2", "jsonschema", "rich", "ruamel", "asyncio")
print([name for name in vendors if name in sys.modules], threading.active_count(), env == dict(os.environ))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[] 1 True\n"


def test_importing_the_orchestrator_loads_no_vendor():
    script = """
import sys
import orchestration.orchestrator
vendors = ("anthropic", "openai", "google.genai", "xllamacpp", "aiohttp", "jinja2", "jsonschema", "rich", "ruamel")
print([name for name in vendors if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
