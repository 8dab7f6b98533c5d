"""Errors of the export component, a branch of the common tree.

::

    LusiferError
    └── ExportError
        ├── GateError         the graph's vectors are too far from the model's
        ├── TensorRtError     TensorRT or a GPU is missing, or TensorRT refuses the graph
        └── NoSpaceError      the disk can't hold the bundle
"""

from __future__ import annotations

from lusifer.errors import LusiferError

__all__ = ["ExportError", "GateError", "NoSpaceError", "TensorRtError"]


class ExportError(LusiferError):
    """A checkpoint can't be compiled."""


class GateError(ExportError):
    """The exported graph failed the quality gate: its vectors are not those of the model."""


class TensorRtError(ExportError):
    """No TensorRT engine can be built on this machine, or from this graph."""


class NoSpaceError(ExportError):
    """The disk of the target is too full."""

    status = 507
