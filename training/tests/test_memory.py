"""Errors that say that memory ran out."""

from __future__ import annotations

import pytest
import torch

from lusifer_training.memory import is_out_of_memory


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("tried to allocate 2 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("shapes don't match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_kinds(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
