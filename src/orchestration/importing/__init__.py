"""Plans and scripts of other systems, turned into project files. Reads nothing but text; only `project_text` writes.

A further format is one more file here and one more line in `PLAN_FORMATS`.
"""

from orchestration.importing.formats import PLAN_FORMATS, PlanFormat, format_of, read_plan
from orchestration.importing.project_text import check_loads, to_yaml, write_project
from orchestration.importing.records import (
    SOURCE_MAX_BYTES,
    ImportedAgent,
    ImportedProject,
    ImportedTask,
    ImportRefusedError,
    PlanOptions,
    Source,
)
from orchestration.importing.scripts import migrate_scripts

__all__ = [
    "PLAN_FORMATS",
    "SOURCE_MAX_BYTES",
    "ImportRefusedError",
    "ImportedAgent",
    "ImportedProject",
    "ImportedTask",
    "PlanFormat",
    "PlanOptions",
    "Source",
    "check_loads",
    "format_of",
    "migrate_scripts",
    "read_plan",
    "to_yaml",
    "write_project",
]
