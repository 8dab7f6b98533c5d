"""The one way to lock a folder and to write a file whole or not at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lusifer.errors import IndexLockedError, StoreError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FolderLock", "write_atomic"]


class FolderLock:
    """Advisory lock on ``index.lock``, released by the system when the process dies.

    The engine locks too, but only while its log is open: not during creation and not between
    closing and loading around ``optimize``, when a second process would find the door open.

    Args:
        path: The index folder; it must exist.

    Raises:
        IndexLockedError: Another process, or another store in this one, holds it.
        StoreError: The lock file can't be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path / "index.lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreError(
                f"The index {path} can't be locked: {error}.",
                next_step="Check that the folder can be written to.",
            ) from error
        try:
            import fcntl
        except ImportError:  # no flock on Windows: there the engine's own lock has to do
            return
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.release()
            raise IndexLockedError(
                f"Another process holds the index {path}; one process may use it at a time.",
                next_step="Wait for that process to end, or close it, then run again.",
            ) from error

    def release(self) -> None:
        """Let others in; calling it twice is fine."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def write_atomic(path: Path, name: str, text: str) -> None:
    """Write a file whole or not at all, and make it survive a power cut."""
    partial = path / f"{name}.partial"
    with partial.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path / name)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
