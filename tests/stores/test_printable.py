"""What servers and drivers say is cut to one line of printable characters."""

from __future__ import annotations

import pytest

from sessionpersist.exceptions import StoreUnavailable
from sessionpersist.stores.texts import LONGEST_LINE, driver_words, printable


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("ERR unknown command", "ERR unknown command"),
        ("two\r\nlines\tand\x00nothing", "two lines and nothing"),
        ("\x1b]0;a new title\x07 text", "]0;a new title text"),
        ("\x9b31mred", "31mred"),
        ("user \u202egnp.exe\u2066 name\u200b", "user gnp.exe name"),
        ("paragraph\u2029line\u2028half \ud800 private \ue000", "paragraph line half private"),
        ("Sitzung für 会话 “x”", "Sitzung für 会话 “x”"),
        (b"raw \x1b", r"b'raw \x1b'"),
        ("no redis://app:hunter2@host/0 here", "no redis://…@host/0 here"),
        (f"Duplicate entry '{'0123456789abcdef' * 4}' for key", "Duplicate entry '…' for key"),
        ("", ""),
    ],
)
def test_a_line_of_printable_characters_is_left(said: object, line: str) -> None:
    assert printable(said) == line


def test_what_is_long_is_cut() -> None:
    line = printable("x" * 1_000_000)
    assert len(line) == LONGEST_LINE
    assert line.endswith("…")


def test_the_words_of_a_driver_are_those_of_the_error_beneath_ours() -> None:
    ours, outer = StoreUnavailable("The store failed."), StoreUnavailable("The table could not be made.")
    ours.__cause__, outer.__cause__ = OSError("ERR \x1b[2J no"), ours
    assert driver_words(outer) == driver_words(ours) == "OSError: ERR [2J no"


def test_the_row_that_postgresql_quotes_is_not_told() -> None:
    ours = StoreUnavailable("The store failed.")
    ours.__cause__ = ValueError(
        "new row violates a constraint\nDETAIL:  Failing row contains (a user, bytes)."
    )
    assert driver_words(ours) == "ValueError: new row violates a constraint"


def test_an_error_without_a_cause_has_no_words_of_a_driver() -> None:
    assert driver_words(StoreUnavailable("The store failed.")) == ""
