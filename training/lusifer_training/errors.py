"""Errors of training and evaluation: one branch of the plugin's tree.

::

    LusiferError
    └── TrainingError
        ├── ConfigError          a recipe or checkpoint configuration contradicts itself
        ├── BackboneError        weights can't be read from their source
        │   ├── MissingBackboneError   the package, folder or hub revision does not exist
        │   ├── WrongHashError         the file isn't the one the configuration names
        │   └── WrongLayoutError       the file isn't in the expected format
        ├── CheckpointError      a checkpoint is missing, cut or of another configuration
        ├── DataError            a training or evaluation file can't be read
        ├── DiskFullError        a training state can't be written
        ├── DivergedError        the loss stopped being a number
        └── TooLargeError        a batch doesn't fit into memory
"""

from __future__ import annotations

from lusifer.errors import LusiferError

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


class TrainingError(LusiferError):
    """A model can't be trained, loaded or evaluated."""


class ConfigError(TrainingError):
    """A configuration contradicts itself or holds an unknown key."""


class BackboneError(TrainingError):
    """Weights can't be read from their source."""


class MissingBackboneError(BackboneError):
    """The package, folder or hub revision does not exist; ``next_step`` has the install command."""


class WrongHashError(BackboneError):
    """A file's sha256 isn't the one the configuration names."""


class WrongLayoutError(BackboneError):
    """A file isn't in the expected format or lacks tensors."""


class CheckpointError(TrainingError):
    """A checkpoint is missing, cut short or belongs to another configuration."""


class DataError(TrainingError):
    """A data file is missing or has a broken line."""


class DiskFullError(TrainingError):
    """A training state can't be written; the earlier states are kept."""


class DivergedError(TrainingError):
    """The loss is NaN or infinite; the last good state is kept."""


class TooLargeError(TrainingError):
    """A batch doesn't fit into memory; ``next_step`` names a batch size that does."""
