"""The reference page is what the commands say of themselves; the table of commands is what they are."""

from pathlib import Path

import click
import pytest

from orchestration.cli import orchestrate
from orchestration.cli.commands import COMMANDS, SECTIONS
from orchestration.cli.reference import reference_page

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "cli.md"


def command(name):
    found = orchestrate.get_command(click.Context(orchestrate), name)
    assert found is not None
    return found


def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == reference_page(), "run `make docs`"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_table_is_the_first_line_of_the_commands_help(name):
    assert command(name).help.splitlines()[0] == COMMANDS[name].help
    assert command(name).name == name


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_of_a_command_is_given_twice(name):
    spellings = [spelling for parameter in command(name).params for spelling in parameter.opts]
    assert sorted(spellings) == sorted(set(spellings))


def test_every_command_stands_in_one_section():
    assert sorted(name for names in SECTIONS.values() for name in names) == sorted(COMMANDS)


def test_an_unknown_name_is_no_command():
    assert orchestrate.get_command(click.Context(orchestrate), "nothing") is None
