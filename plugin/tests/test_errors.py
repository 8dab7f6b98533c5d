from __future__ import annotations

import inspect

from lusifer import errors
from lusifer.errors import LusiferError

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, LusiferError)
]


def test_every_error_is_exported_drawn_and_documented() -> None:
    assert sorted(cls.__name__ for cls in CLASSES) == errors.__all__
    for cls in CLASSES:
        assert cls.__doc__
        assert f"{cls.__name__} " in (errors.__doc__ or "")


def test_the_drawing_has_the_right_status() -> None:
    for cls in CLASSES:
        drawn = next(
            line for line in (errors.__doc__ or "").splitlines() if f"{cls.__name__} " in line
        )
        numbers = [int(word) for word in drawn.split() if word.isdigit()]
        assert numbers in ([cls.status], []), drawn


def test_as_dict_and_str_hold_what_a_reader_needs() -> None:
    error = errors.IndexLockedError("Held by 7.", next_step="Wait.")
    assert str(error) == "Held by 7. Wait."
    assert error.as_dict() == {
        "type": "IndexLockedError",
        "message": "Held by 7.",
        "next_step": "Wait.",
        "status": 423,
        "retryable": True,
    }
