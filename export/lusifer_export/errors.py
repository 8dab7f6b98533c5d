"""Errors of the export component, a branch of the common tree.

::

    LusiferError
    └── ExportError
        ├── GateError         the graph's vectors are too far from the model's
        ├── TensorRtError     TensorRT or a GPU is missing, or TensorRT refuses the graph
        └── NoSpaceError      the disk can't hold the bundle
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lusifer.errors import LusiferError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ExportError", "GateError", "NoSpaceError", "TensorRtError", "translate_full_disk"]


class ExportError(LusiferError):
    """A checkpoint can't be compiled."""


class GateError(ExportError):
    """The exported graph failed the quality gate: its vectors are not those of the model."""


class TensorRtError(ExportError):
    """No TensorRT engine can be built on this machine, or from this graph."""


class NoSpaceError(ExportError):
    """The disk of the target is too full."""

    status = 507


@contextmanager
def translate_full_disk(message: str, *, next_step: str) -> Iterator[None]:
    """Translate the error of a full disk in the block; other errors pass unchanged.

    Raises:
        NoSpaceError: The disk is full.
    """
    try:
        yield
    # The tokenizers library raises bare Exception, with the number in its text.
    except Exception as error:
        full = f"os error {errno.ENOSPC}" in str(error)
        if full or (isinstance(error, OSError) and error.errno == errno.ENOSPC):
            raise NoSpaceError(message, next_step=next_step) from error
        raise
