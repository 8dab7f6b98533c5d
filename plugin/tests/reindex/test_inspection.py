from __future__ import annotations

from lusifer.errors import CollectionMismatchError
from lusifer.reindex.inspection import unknown_model


def test_an_unknown_model_is_a_note() -> None:
    error = CollectionMismatchError("The collection x has one unnamed vector.", next_step="")
    assert unknown_model(error).as_dict() == {
        "severity": "note",
        "subject": "old model",
        "message": "The collection x has one unnamed vector. Its old vectors can be compared, but "
        "not searched by text.",
        "fix": "",
    }
