from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lusifer.common.terminal import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Ünïcode 写真 👩‍🚀 می‌خواهم\tx", "Ünïcode 写真 👩‍🚀 می‌خواهم\tx"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\r\nError: b", r"a\x0d\nError: b"),
        ("a\u202eb\u2066c\u200f", r"a\u202eb\u2066c\u200f"),
        ("a\u2028b", r"a\u2028b"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_acts_on_a_terminal_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_nothing_that_acts_is_left(text: str) -> None:
    for lines in (False, True):
        left = printable(text, lines=lines)
        kept = {"\t", "\n"} if lines else {"\t"}
        assert all(each in kept or unicodedata.category(each) not in {"Cc", "Cs"} for each in left)
        directions = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
        assert not directions & {unicodedata.bidirectional(each) for each in left}
        left.encode()
    assert printable(text, lines=True).count("\n") == text.count("\n")
