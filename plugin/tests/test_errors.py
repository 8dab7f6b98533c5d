from __future__ import annotations

import inspect
from typing import Any

import pytest

from lusifer import errors
from lusifer.errors import LusiferError

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value)
    and issubclass(value, LusiferError)
    and not value.__name__.startswith("_")
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


@pytest.mark.parametrize(
    ("kind", "status"),
    [(errors.OverloadedError, 429), (errors.NotReadyError, 503), (errors.StoreBusyError, 429)],
)
def test_errors_that_name_the_time_of_a_retry(kind: Any, status: int) -> None:
    error = kind("Busy.", next_step="Wait.", retry_after_s=1.5)
    assert (error.status, error.retryable, error.retry_after_s) == (status, True, 1.5)
    assert str(error) == "Busy. Wait."
    with pytest.raises(TypeError, match="retry_after_s"):
        kind("Busy.", next_step="Wait.")
