from __future__ import annotations

import pytest

from lusifer.errors import CollectionMismatchError
from lusifer.reindex.inspection import unknown_model, version_numbers


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("1.18.0", (1, 18)), ("1.39", (1, 39)), ("1.9.2-dev", (1, 9)), ("v2.0.1", (2, 0)), ("", ())],
)
def test_a_version_has_two_numbers(version: str, numbers: tuple[int, ...]) -> None:
    assert version_numbers(version) == numbers


def test_numbers_are_compared_as_numbers() -> None:
    assert version_numbers("1.9.0") < (1, 17) < version_numbers("1.20.0")


def test_an_unknown_model_is_a_note() -> None:
    error = CollectionMismatchError("The collection x has one unnamed vector.", next_step="")
    assert unknown_model(error).as_dict() == {
        "severity": "note",
        "subject": "old model",
        "message": "The collection x has one unnamed vector. Its old vectors can be compared, but "
        "not searched by text.",
        "fix": "",
    }
