"""How things are said."""

from decimal import Decimal

import pytest
from rich.cells import cell_len

from orchestration.ledger import Spend
from orchestration.task import TaskStatus
from orchestration.views import wording


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, ""),
        (-1, "0.0 s"),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.6, "1 h 00 min"),
        (8040, "2 h 14 min"),
    ],
)
def test_durations_get_coarser_as_they_get_longer(seconds, said):
    assert wording.duration(seconds) == said


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1.0k"),
        (12_449, "12.4k"),
        (999_949, "999.9k"),
        (999_950, "1.0M"),
        (1_234_567, "1.2M"),
    ],
)
def test_tokens_are_rounded_for_the_eye(number, said):
    assert wording.tokens(number) == said


@pytest.mark.parametrize(
    ("calls", "cost", "unpriced", "said"),
    [
        (0, "0", 0, ""),
        (1, "0", 0, "$0"),
        (1, "0.00312", 0, "$0.0031"),
        (1, "0.00001", 0, "< $0.0001"),
        (3, "1234.5", 0, "$1,234.50"),
        (3, "0.01", 1, "≥ $0.0100"),
        (2, "0.00001", 1, "≥ $0"),
        (1, "0", 1, "unknown"),
    ],
)
def test_an_unknown_price_is_said_and_never_taken_for_nothing(calls, cost, unpriced, said):
    assert wording.money(Spend(calls=calls, cost_usd=Decimal(cost), unpriced_calls=unpriced)) == said


def test_counts_take_the_form_of_their_noun():
    assert [wording.count(n, "task") for n in (0, 1, 2, 1234)] == ["0 tasks", "1 task", "2 tasks", "1,234 tasks"]


def test_what_a_terminal_would_obey_is_made_visible():
    said = wording.printable("a\x1b[31mb\x07c\x9b\u202ed\r\ne\tf\rg\ud800")
    assert said == "a\\x1b[31mb\\x07c\\x9b\\u202ed\ne\tf\\rg\\ud800"


def test_one_line_is_one_line_and_ends_with_an_ellipsis_when_cut():
    assert wording.one_line("  a \n\n b\tc ") == "a b c"
    assert wording.one_line("x" * 50, 10) == "x" * 9 + "…"
    assert wording.one_line("x" * 10, 10) == "x" * 10
    assert wording.one_line(" " * 1_000_000 + "x", 10) == "…"


def test_every_status_has_a_word_a_style_and_symbols_of_one_cell():
    for status in TaskStatus:
        assert wording.WORDS[status]
        assert wording.STYLES[status]
        assert cell_len(wording.SYMBOLS[status]) == cell_len(wording.ASCII_SYMBOLS[status]) == 1
        assert wording.ASCII_SYMBOLS[status].isascii()
    assert len(set(wording.SYMBOLS.values())) == len(set(wording.ASCII_SYMBOLS.values())) == len(TaskStatus)
