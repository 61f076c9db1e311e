"""What becomes of text that others made before it is stored, shown or handed to a model."""

import pytest

from orchestration.verification.excerpt import GAP, encodable, excerpt, listed, readable


@pytest.mark.parametrize("chars", [0, 1, 33, 34, 35, 100, 5_000])
def test_an_excerpt_is_never_longer_than_asked_for(chars):
    assert len(excerpt("x" * 5_000, chars)) == chars


def test_short_text_is_left_as_it_is():
    assert excerpt("abc", 3) == "abc"


def test_of_long_text_more_of_the_end_is_kept_than_of_the_beginning():
    head, tail = excerpt("a" * 5_000 + "b" * 5_000, 1_000).split(GAP)

    assert set(head) == {"a"}
    assert set(tail) == {"b"}
    assert len(tail) == pytest.approx(2 * len(head), abs=2)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("plain\n\ttext", "plain\n\ttext"),
        ("\x1b[1;31mred\x1b[0m and \x1b[2Jgone", "red and gone"),
        ("\x1b]0;a title\x07shown \x1b]8;;http://x\x1b\\link", "shown link"),
        ("10 %\r50 %\r\ndone", "10 %\n50 %\ndone"),
        ("nul\0 bell\x07 c1\x9b5m", "nul\ufffd bell\ufffd c1\ufffd5m"),
        ("half \ud83d", "half ?"),
        ("lone \x1b", "lone \ufffd"),
        ("grüße ✓", "grüße ✓"),
    ],
)
def test_what_steers_a_terminal_or_fits_in_no_file_is_taken_out(raw, clean):
    assert readable(raw) == clean


def test_text_is_made_encodable_without_touching_the_rest():
    assert encodable("a\0\x1b[0m ü \ud800") == "a\0\x1b[0m ü ?"


def test_long_lists_are_cut():
    assert listed(["a", "b"]) == "a, b"
    assert listed([str(n) for n in range(1_012)], 2) == "0, 1 and 1,010 more"
