"""Errors of the training room, in one tree; each says what to do next.

::

    TrainingError
    ├── ConfigError          a recipe or checkpoint configuration contradicts itself
    ├── BackboneError        a source of weights can't be used
    │   ├── MissingBackboneError   the package, folder or hub revision isn't there
    │   ├── WrongHashError         the file isn't the one the configuration names
    │   └── WrongLayoutError       the file isn't in the expected format
    ├── CheckpointError      a checkpoint is missing, cut or of another configuration
    ├── DataError            a training or evaluation file can't be read
    ├── DiskFullError        a state can't be written
    ├── DivergedError        the loss stopped being a number
    └── TooLargeError        a batch doesn't fit into memory
"""

from __future__ import annotations

__all__ = [
    "BackboneError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DiskFullError",
    "DivergedError",
    "MissingBackboneError",
    "TooLargeError",
    "TrainingError",
    "WrongHashError",
    "WrongLayoutError",
]


class TrainingError(Exception):
    """Root of the tree.

    Args:
        message: What went wrong, with both sides of the broken comparison.
        next_step: What the reader should do now, as one sentence.
    """

    def __init__(self, message: str, *, next_step: str) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}"


class ConfigError(TrainingError):
    """A configuration contradicts itself or holds an unknown key."""


class BackboneError(TrainingError):
    """A source of weights can't be used."""


class MissingBackboneError(BackboneError):
    """The package, folder or hub revision isn't there; ``next_step`` holds the install command."""


class WrongHashError(BackboneError):
    """A file's sha256 isn't the one the configuration names."""


class WrongLayoutError(BackboneError):
    """A file isn't in the expected format or lacks tensors."""


class CheckpointError(TrainingError):
    """A checkpoint is missing, cut short or belongs to another configuration."""


class DataError(TrainingError):
    """A data file is missing or has a broken line."""


class DiskFullError(TrainingError):
    """A state can't be written; those before are kept."""


class DivergedError(TrainingError):
    """The loss is NaN or infinite; the last good state is kept."""


class TooLargeError(TrainingError):
    """A batch doesn't fit into memory; ``next_step`` names one that does."""
