"""One root for all errors, so that the command line reports each of them the same way."""

from __future__ import annotations

import pytest

from lusifer.errors import LusiferError
from lusifer_training import errors


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_a_lusifer_error(name: str) -> None:
    error = getattr(errors, name)("The loss is nan.", next_step="Lower the learning rate.")
    assert isinstance(error, LusiferError)
    assert isinstance(error, errors.TrainingError)
    assert str(error) == "The loss is nan. Lower the learning rate."
    assert error.as_dict() == {
        "type": name,
        "message": "The loss is nan.",
        "next_step": "Lower the learning rate.",
        "status": 500,
        "retryable": False,
    }
