"""Project files (`orchestrate.yaml`): read, checked with every mistake told at once, and turned into records.

Importing it is light: YAML, JSON Schema and Jinja2 are loaded by the first file that needs them.
"""

from orchestration.project_file.loader import load_project
from orchestration.project_file.records import LaneCeilings, ProjectFile, Variable, resolve_variables
from orchestration.project_file.reference import reference_page
from orchestration.project_file.schema import json_schema

__all__ = [
    "LaneCeilings",
    "ProjectFile",
    "Variable",
    "json_schema",
    "load_project",
    "reference_page",
    "resolve_variables",
]
