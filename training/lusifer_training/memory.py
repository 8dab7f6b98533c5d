"""Recognise that memory ran out."""

from __future__ import annotations

import torch
from accelerate.utils.memory import should_reduce_batch_size

__all__ = ["is_out_of_memory"]


def is_out_of_memory(error: Exception) -> bool:
    """Decide whether an error says that the memory of a GPU or of the machine ran out.

    torch has no error type for a CPU's memory, so that the message decides there.
    """
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or bool(
        should_reduce_batch_size(error)
    )
