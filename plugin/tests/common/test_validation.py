from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lusifer.common.validation import check_text
from lusifer.errors import InvalidTextError


@pytest.mark.parametrize(
    "text", ["a", "猫", " x ", "\u200bx", "🙂", "َ", "١", "¿", "q" * 1_000_000, " " * 1000 + "x"]
)
def test_accepts_anything_visible(text: str) -> None:
    check_text(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        (" \t\n", "no visible character"),
        ("\u00a0\u2003\u3000", "no visible character"),
        ("\u200b\u200d\ufeff\u2060", "no visible character"),
        ("\x07\x1b\x85", "no visible character"),
        ("\u3164\u2800\ufe0f", "no visible character"),
        ("ab\x00c", "position 2 of 4"),
        ("ab\ud800", "U+D800 at position 2 of 3"),
        ("\udfff", "U+DFFF at position 0 of 1"),
        (None, "NoneType"),
        (b"bytes", "bytes"),
        (7, "int"),
    ],
)
def test_refuses_with_place_and_cure(text: object, words: str) -> None:
    with pytest.raises(InvalidTextError, match=None) as caught:
        check_text(text)
    assert words in caught.value.message
    assert caught.value.next_step.endswith(".")
    assert caught.value.status == 400


@given(st.text())
def test_never_fails_otherwise(text: str) -> None:
    try:
        check_text(text)
    except InvalidTextError:
        assert "\x00" in text or not any(character.isalnum() for character in text)
