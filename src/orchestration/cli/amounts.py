"""Amounts as people type them: US dollars, and the limits of lanes."""

from __future__ import annotations

import re
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

import click

from orchestration.project_file import LaneCeilings
from orchestration.project_file.schema_traffic import LANE_PATTERN
from orchestration.project_file.wording import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["lane_name", "new_ceilings", "usd_amount"]

_NONE = "none"
_NAMES = tuple(field.name for field in fields(LaneCeilings))


def usd_amount(text: str) -> Decimal:
    """Return an amount of money to the cent it was typed.

    Raises:
        click.BadParameter: if it is none above 0.

    """
    try:
        amount = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount <= 0:
        raise click.BadParameter(f"{text!r} is no amount of money; expected US dollars above 0, such as 2.50")
    return amount


def lane_name(text: str) -> str:
    """Return the name of a lane, or its beginning.

    Raises:
        click.UsageError: if it can be neither.

    """
    if not re.search(LANE_PATTERN, text):
        raise click.UsageError(
            f"{text!r} is no lane; expected a provider, or a provider and a model family without version or date, "
            "such as anthropic or anthropic/claude-sonnet (or '*' for all)"
        )
    return text


def new_ceilings(pairs: Sequence[str]) -> dict[str, int | None]:
    """Read `NAME=VALUE` pairs; None stands for `none`: no limit any more.

    Raises:
        click.UsageError: if one is not such a pair, is not known, or is no whole number above 0.

    """
    given: dict[str, int | None] = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name not in _NAMES:
            hint = did_you_mean(name, _NAMES) or f"; expected one of {', '.join(_NAMES)}, such as rpm=50"
            raise click.UsageError(f"{pair!r} is no limit{hint}")
        if value != _NONE and not (value.isascii() and value.isdecimal() and int(value)):
            raise click.UsageError(f"{pair!r}: expected a whole number above 0, or {_NONE}, such as {name}=50")
        given[name] = None if value == _NONE else int(value)
    return given
