"""Errors of the export room, a branch of the plugin's tree.

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
    """The exported graph doesn't answer what the model answers."""


class TensorRtError(ExportError):
    """No TensorRT engine can be built here, or from this graph."""


class NoSpaceError(ExportError):
    """The target's disk is too full."""

    status = 507
