"""Errors of the export room.

::

    ExportError
    ├── ParityError       the graph's vectors are too far from the model's
    └── NoSpaceError      the disk can't hold the bundle
"""

from __future__ import annotations

__all__ = ["ExportError", "NoSpaceError", "ParityError"]


class ExportError(Exception):
    """Root of the tree.

    Args:
        message: What went wrong, with the numbers on both sides.
        next_step: What the reader should do now, as one sentence.
    """

    def __init__(self, message: str, *, next_step: str) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}"


class ParityError(ExportError):
    """The exported graph doesn't answer what the model answers."""


class NoSpaceError(ExportError):
    """The target's disk is too full."""
