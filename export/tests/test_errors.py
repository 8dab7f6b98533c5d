from __future__ import annotations

import errno

import pytest

from lusifer.errors import LusiferError
from lusifer_export.errors import (
    ExportError,
    GateError,
    NoSpaceError,
    TensorRtError,
    translate_full_disk,
)


def test_they_are_a_branch_of_the_common_tree() -> None:
    assert issubclass(ExportError, LusiferError)
    assert {cls.__name__: cls.status for cls in (GateError, TensorRtError, NoSpaceError)} == {
        "GateError": 500,
        "TensorRtError": 500,
        "NoSpaceError": 507,
    }


@pytest.mark.parametrize(
    "raised",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        # The tokenizers library raises bare Exception.
        Exception("No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_reported(raised: Exception) -> None:
    with pytest.raises(NoSpaceError) as caught, translate_full_disk("Full.", next_step="Free it."):
        raise raised
    assert str(caught.value) == "Full. Free it."
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize("raised", [PermissionError(errno.EACCES, "denied"), ValueError("28")])
def test_other_errors_pass(raised: Exception) -> None:
    with pytest.raises(type(raised)), translate_full_disk("Full.", next_step="Free it."):
        raise raised
