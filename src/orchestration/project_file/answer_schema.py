"""Whether a JSON Schema for answers can be used: a wrong one would be found out only after the answer was paid for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestration.project_file.wording import Keys, shown, spell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jsonschema import SchemaError, ValidationError

__all__ = ["SchemaFault", "find_fault"]

_MESSAGE_MAX = 200
_VALUES = frozenset({"const", "enum", "default", "examples"})  # below these there is data, no schema


@dataclass(frozen=True, kw_only=True)
class SchemaFault:
    """What is wrong with a schema, and where in it."""

    keys: Keys
    message: str

    @property
    def path(self) -> str:
        """The place in words."""
        return spell(self.keys) or "the top"


def find_fault(schema: Mapping[str, Any]) -> SchemaFault | None:
    """Return the first thing that is wrong with the schema; None for one that can be used."""
    dialect = schema.get("$schema", "")
    if not isinstance(dialect, str):
        return SchemaFault(keys=("$schema",), message=f"$schema is {shown(dialect)}, expected an address")
    try:
        return _invalid(schema) or next(_dangling(schema, schema, ()), None)
    except RecursionError:
        return SchemaFault(keys=(), message="it is nested too deeply")


def _invalid(schema: Mapping[str, Any]) -> SchemaFault | None:
    """Return what the schema's own schema says against it."""
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415 -- 0.13 s; only files with schemas pay
    from jsonschema.validators import validator_for  # noqa: PLC0415 -- the same

    try:
        validator_for(schema, default=Draft202012Validator).check_schema(dict(schema))
    except SchemaError as error:
        exc: ValidationError | SchemaError = error
        while exc.context:  # of several forms that are possible, the first is the simplest
            exc = exc.context[0]
        message = exc.message if len(exc.message) <= _MESSAGE_MAX else exc.message[:_MESSAGE_MAX] + "..."
        return SchemaFault(keys=tuple(exc.absolute_path), message=message)
    except ValueError as exc:  # a dialect that is no address at all
        return SchemaFault(keys=("$schema",), message=str(exc))
    return None


def _dangling(root: Mapping[str, Any], value: Any, keys: Keys) -> Iterator[SchemaFault]:
    """Yield references that lead nowhere; nothing is ever fetched, so those to other documents do too."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _dangling(root, item, (*keys, index))
    elif isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str) and not _leads_somewhere(root, reference):
            message = f"$ref {shown(reference)} leads nowhere; expected a place in this schema, such as #/$defs/item"
            yield SchemaFault(keys=(*keys, "$ref"), message=message)
        for key, item in value.items():
            if key not in _VALUES:
                yield from _dangling(root, item, (*keys, key))


def _leads_somewhere(root: Any, reference: str) -> bool:
    """Say whether a reference is to the schema itself or to a place in it; names (`#name`) are taken on trust."""
    if not reference.startswith("#/"):
        return reference.startswith("#")
    for part in reference[2:].split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(root, list) and key.isdecimal() and int(key) < len(root):
            root = root[int(key)]
        elif isinstance(root, dict) and key in root:
            root = root[key]
        else:
            return False
    return True
