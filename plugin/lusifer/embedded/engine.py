"""The import of ``qdrant-edge-py``, and its errors as ours.

Edge (0.9.0) raises nothing but bare ``Exception`` with a message from the Rust engine, so only the
message distinguishes a lock from a full disk. What is not recognised becomes a StoreError with that
message; nothing is swallowed.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from lusifer.common.native import is_panic
from lusifer.errors import (
    IndexCorruptError,
    IndexLockedError,
    LusiferError,
    StorageFullError,
    StoreError,
)
from lusifer.stores.server_errors import missing_package

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

__all__ = ["damaged", "edge_errors", "import_edge", "locked", "translate", "unreadable"]

_FULL_WORDS = (
    "no space left",
    "os error 28",
    "storagefull",
    "disk quota",
    "exceeds available disk space",
)
_LOCKED_WORDS = ("wouldblock", "resource temporarily unavailable")
_DENIED_WORDS = (
    "permission denied",
    "read-only file system",
    "too many open files",
    "cannot allocate memory",
)
_CORRUPT_WORDS = (
    "failed to load segment",
    "failed to deserialize",
    "is not readable",
    "no segments were loaded",
    "can't init wal",
    "does not exist",
    "corrupt",
)


def import_edge() -> ModuleType:
    """Return the module ``qdrant_edge``.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import qdrant_edge
    except ImportError as error:
        raise missing_package(
            "The embedded store", "qdrant-edge-py", error, extra="qdrant"
        ) from error
    return qdrant_edge


def translate(message: str, path: Path, *, loading: bool = False) -> LusiferError:
    """Return our error for a message of the engine.

    Args:
        message: What the engine says.
        path: The index folder.
        loading: Whether files were being read: then a message that is not recognised means damage.
    """
    lower = message.lower()
    if any(word in lower for word in _FULL_WORDS):
        return StorageFullError(
            f"No space left for the index {path}: {message}.",
            next_step="Free space and run again; what was acknowledged before is kept.",
        )
    if any(word in lower for word in _LOCKED_WORDS):
        return locked(path)
    denied = any(word in lower for word in _DENIED_WORDS)
    if any(word in lower for word in _CORRUPT_WORDS) or (loading and not denied):
        return IndexCorruptError(
            f"The index {path} can't be read: {message}.",
            next_step="Restore the folder from a copy, or index again into a new folder.",
        )
    return StoreError(
        f"The store engine failed on the index {path}: {message}.",
        next_step="Run again; if it repeats, index into a new folder.",
    )


def locked(path: Path) -> IndexLockedError:
    """Return the error for an index in use."""
    return IndexLockedError(
        f"Another process holds the index {path}; one process may use it at a time.",
        next_step="Wait for that process to end, or close it, then run again.",
    )


def unreadable(
    file: Path,
    error: Exception,
    *,
    next_step: str = "Restore the folder from a copy, or index again into a new folder.",
) -> IndexCorruptError:
    """Return the error for a damaged file."""
    reason = " ".join(str(error).split())
    return IndexCorruptError(f"{file} can't be read: {reason}.", next_step=next_step)


def damaged(path: Path, what: str) -> IndexCorruptError:
    """Return the error for an index that lacks something; ``what`` says what."""
    return IndexCorruptError(
        f"The index {path} is damaged: {what}.",
        next_step="Restore the folder from a copy, or index again into a new folder.",
    )


@contextmanager
def edge_errors(path: Path, *, loading: bool = False) -> Iterator[None]:
    """Turn whatever calls of the engine raise into errors of :mod:`lusifer.errors`.

    Raises:
        IndexLockedError: Another process has the shard open.
        StorageFullError: The disk is full.
        IndexCorruptError: The files are damaged.
        StoreError: Anything else.
    """
    try:
        yield
    except LusiferError:
        raise
    except BaseException as error:
        # Edge raises only bare Exception. A Rust panic, seen on an empty file, is not even that.
        panicked = is_panic(error)
        if isinstance(error, Exception) or panicked:
            raise translate(str(error), path, loading=loading or panicked) from error
        raise
