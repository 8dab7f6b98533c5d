"""States of a run on disk: written aside and renamed, the newest few kept, read back after a kill."""

from __future__ import annotations

import errno
import os
import pickle
from typing import TYPE_CHECKING, Any

import torch

from lusifer_training.errors import CheckpointError, DiskFullError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RunState"]


class RunState:
    """``step-000040.pt`` and its like in a stage's folder.

    Args:
        folder: Of the stage.
        keep: How many states stay; older ones are deleted after a newer one is whole.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def paths(self) -> list[Path]:
        """Whole states, oldest first."""
        return sorted(self.folder.glob("step-*.pt"))

    def save(self, state: dict[str, Any]) -> Path:
        """Write the state of ``state["step"]``: a kill leaves all of it or nothing.

        Raises:
            DiskFullError: There is no room; the states before are untouched.
        """
        path = self.folder / f"step-{state['step']:06d}.pt"
        aside = path.with_suffix(".new")
        try:
            with aside.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
        # torch's archive writer turns a failed write into a RuntimeError of its own.
        except (OSError, RuntimeError) as error:
            aside.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            kept = self.paths()
            raise DiskFullError(
                f"{path} can't be written: {error}.",
                next_step="Free some space and run the same command again; it goes on from "
                f"{kept[-1].name if kept else 'the start'}.",
            ) from error
        aside.replace(path)
        for old in self.paths()[: -self.keep]:
            old.unlink()
        return path

    def newest(self) -> tuple[Path, dict[str, Any]] | None:
        """The newest state, or None in a fresh folder.

        Raises:
            CheckpointError: The newest file is damaged.
        """
        # Of a save that a kill cut short.
        for half in self.folder.glob("step-*.new"):
            half.unlink()
        paths = self.paths()
        if not paths:
            return None
        try:
            return paths[-1], torch.load(paths[-1], weights_only=True, map_location="cpu")
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
            before = f"go on from {paths[-2].name}" if len(paths) > 1 else "start again"
            raise CheckpointError(
                f"{paths[-1]} can't be read: {error}.", next_step=f"Delete the file to {before}."
            ) from error
