"""Save and load the states of a run: the newest few are kept, and each is written whole."""

from __future__ import annotations

import errno
import pickle
from typing import TYPE_CHECKING, TypedDict

import torch

from lusifer.common.files import atomic_writer, is_partial
from lusifer_training.errors import CheckpointError, DiskFullError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

__all__ = ["RunState", "RunStates"]


class RunState(TypedDict):
    """Everything that a stage needs to resume.

    Attributes:
        identity: Hash of recipe and backbones; a state of others is refused.
        step: Number of finished optimiser steps.
        losses: Loss of every finished step.
        parameters: Trained parameters by name, on the CPU.
        optimizer: State dictionary of AdamW.
        scheduler: State dictionary of the learning-rate schedule.
        rng: State of torch's random generator.
        gpu_rng: State of the random generator of each GPU.
    """

    identity: str
    step: int
    losses: list[float]
    parameters: dict[str, Tensor]
    optimizer: dict[str, object]
    scheduler: dict[str, object]
    rng: Tensor
    gpu_rng: list[Tensor]


class RunStates:
    """Hold files such as ``step-000040.pt`` in the folder of a stage.

    Args:
        folder: Folder of the stage.
        keep: Number of states that stay. Older states are deleted after a newer one is written.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def paths(self) -> list[Path]:
        """List the states, oldest first."""
        return sorted(self.folder.glob("step-*.pt"))

    def save(self, state: RunState) -> Path:
        """Write the state of ``state["step"]``, whole or not at all.

        Raises:
            DiskFullError: The disk is full; the earlier states are untouched.
        """
        path = self.folder / f"step-{state['step']:06d}.pt"
        try:
            with atomic_writer(path) as file:
                torch.save(state, file)
        # torch's archive writer turns a failed write into a RuntimeError of its own.
        except (OSError, RuntimeError) as error:
            if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            kept = self.paths()
            raise DiskFullError(
                f"{path} can't be written: {error}.",
                next_step="Free some space and run the same command again; it resumes from "
                f"{kept[-1].name if kept else 'the start'}.",
            ) from error
        for old in self.paths()[: -self.keep]:
            old.unlink()
        return path

    def newest(self) -> tuple[Path, RunState] | None:
        """Load the newest state; return None in a new folder.

        Raises:
            CheckpointError: The newest file is damaged.
        """
        for path in self.folder.glob("step-*"):
            # An earlier version left ``.new``.
            if is_partial(path) or path.suffix == ".new":
                path.unlink()
        paths = self.paths()
        if not paths:
            return None
        try:
            return paths[-1], torch.load(paths[-1], weights_only=True, map_location="cpu")
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
            resume = f"resume from {paths[-2].name}" if len(paths) > 1 else "start again"
            raise CheckpointError(
                f"{paths[-1]} can't be read: {error}.", next_step=f"Delete the file to {resume}."
            ) from error
