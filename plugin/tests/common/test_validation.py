from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lusifer.common.validation import check_text, check_texts, vector_fault
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


def test_the_first_bad_text_of_a_list_is_named() -> None:
    check_texts(["a", "b"])
    with pytest.raises(InvalidTextError) as caught:
        check_texts(["a", "", None])
    assert caught.value.message == "Text 1: The text is empty (0 characters)."


@pytest.mark.parametrize(
    ("vectors", "fault"),
    [
        ([[0.6, 0.8], [1.0, 0.0]], None),
        ([[0.6, 0.8]], "shape (1, 2) for 2 rows"),
        ([0.6, 0.8], "shape (2,) for 2 rows"),
        ([[1.0, 0.0, 0.0]] * 2, "dimension 3 instead of 2"),
        (
            [[0.6, 0.8], [np.nan, 1.0]],
            "NaN or infinity in 1 of 2 vectors, first in vector 1",
        ),
        ([[np.inf, 0.0]] * 2, "NaN or infinity in 2 of 2 vectors, first in vector 0"),
        ([[0.0, 0.0], [1.0, 0.0]], "only zeros in 1 of 2 vectors, first in vector 0"),
        ([[0.6, 0.8], [3.0, 4.0]], "a norm 4 away from 1, at most 0.001 is allowed"),
    ],
)
def test_faults_of_vectors(vectors: list[object], fault: str | None) -> None:
    assert vector_fault(np.array(vectors, dtype=np.float32), 2, 2) == fault


def test_any_length_but_zero_is_fine_without_unit_norm() -> None:
    vectors = np.array([[3.0, 4.0]], dtype=np.float32)
    assert vector_fault(vectors, 1, 2, unit_norm=False) is None
    zeros = vector_fault(vectors * 0, 1, 2, unit_norm=False)
    assert zeros == "only zeros in 1 of 1 vectors, first in vector 0"
    assert vector_fault(vectors.astype(np.float64), 1, 2) == "float64 numbers instead of float32"
