"""The folder of an embedded index: its files, its lock and its free space.

::

    my-index/
      index.json       model and vectors; written last, so a folder without it is no index
      flushed.json     how many documents the last flush saw
      index.lock       held by the one process that has the index open
      shard/           the engine's files
      shard.partial/   only while an index is created; never holds a document
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lusifer.common.files import acquire_lock, partials_of, remove_partials, write_atomic
from lusifer.embedded.engine import locked, unreadable
from lusifer.errors import (
    FingerprintMismatchError,
    IndexNotFoundError,
    StorageFullError,
    StoreError,
)
from lusifer.qdrant.keywords import StoredKeywords  # noqa: TC001  (pydantic needs it at run time)
from lusifer.stores.payloads import VECTOR_NAME

if TYPE_CHECKING:
    from pathlib import Path

    from filelock import FileLock

__all__ = [
    "INDEX_SCHEMA_VERSION",
    "MARGIN_BYTES",
    "IndexFile",
    "check_fingerprint",
    "free_space_or_raise",
    "lock_index",
    "no_index",
    "read_index",
    "remove_index",
    "write_index",
]

INDEX_SCHEMA_VERSION = 2
"""Version 2 has keywords whose words LUSIFER makes; those of version 1 are made again."""
MARGIN_BYTES = 128 * 1024**2
"""Free space that must remain after a write.

The engine maps files of 32 MiB (a payload page, a chunk of vectors, two log segments) and grows
into them. Without sparse files they take their full size at once."""

_UPGRADE = "Upgrade with pip install --upgrade lusifer, or index again into a new folder."
_OURS = {"flushed.json", "index.lock", "shard", "shard.partial"}


class IndexFile(BaseModel):
    """Content of ``index.json``."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    schema_version: Literal[1, 2] = 2
    fingerprint: Annotated[str, Field(min_length=1)]
    """Identity of the model whose vectors are stored here."""
    dimension: Annotated[int, Field(gt=0)]
    """Length D of the vectors."""
    model: str
    """The model's name for people."""
    vector_name: Annotated[str, Field(min_length=1)] = VECTOR_NAME
    """Name of the vector that searches use."""
    keywords: StoredKeywords = None
    """Set where documents have a BM25 vector too."""


def lock_index(path: Path, name: str = "index.lock") -> FileLock:
    """Lock an index folder; the system releases the lock when the process dies.

    The engine locks too, but only while its log is open. During creation, and between closing and
    loading around ``optimize``, a second process could come in.

    Args:
        path: The index folder; it must exist.
        name: Name of the lock file.

    Raises:
        IndexLockedError: Another process, or another store in this one, holds it.
        StoreError: The lock file can't be opened.
    """
    try:
        return acquire_lock(path / name)
    except TimeoutError as error:
        raise locked(path) from error
    except OSError as error:
        raise StoreError(
            f"The index {path} can't be locked: {error}.",
            next_step="Check that the folder can be written to.",
        ) from error


def read_index(path: Path) -> IndexFile:
    """Read ``index.json``.

    Raises:
        IndexNotFoundError: There is no such file.
        IndexCorruptError: It is damaged.
        StoreError: It was written by a newer version.
    """
    try:
        raw = (path / "index.json").read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise no_index(path) from error
    try:
        fields = json.loads(raw)
        if isinstance(fields, dict):
            _check_version(path, fields.get("schema_version"))
        return IndexFile.model_validate(fields)
    except (ValueError, ValidationError) as error:
        raise unreadable(path / "index.json", error) from error


def no_index(path: Path) -> IndexNotFoundError:
    """Return the error for a folder without an index."""
    return IndexNotFoundError(
        f"No index at {path}.", next_step=f"Fill one with: lusifer index FILE --index {path}"
    )


def _check_version(path: Path, version: object) -> None:
    if isinstance(version, int) and version > INDEX_SCHEMA_VERSION:
        found = f"The index {path} has schema version {version}"
        raise StoreError(f"{found}, this LUSIFER reads {INDEX_SCHEMA_VERSION}.", next_step=_UPGRADE)


def check_fingerprint(path: Path, index: IndexFile, fingerprint: str | None) -> None:
    """Refuse an index of another model; None skips the comparison.

    Raises:
        FingerprintMismatchError: It holds vectors of another model.
    """
    if fingerprint is not None and fingerprint != index.fingerprint:
        raise FingerprintMismatchError(
            f"The index {path} holds vectors of {index.model} ({index.fingerprint}), the bundle in "
            f"use is {fingerprint}.",
            next_step="Use the bundle it was made with, or re-index into a new folder: "
            "lusifer index FILE --index NEW_FOLDER",
        )


def write_index(path: Path, index: IndexFile) -> None:
    """Write ``index.json``, which makes the folder an index."""
    write_atomic(path / "index.json", index.model_dump_json(indent=2) + "\n", mode=0o600)


def write_flushed(path: Path, documents: int) -> None:
    """Write how many documents a flush saw."""
    write_atomic(path / "flushed.json", json.dumps({"documents": documents}) + "\n", mode=0o600)


def read_flushed(path: Path) -> int:
    """Return how many documents there must be at least; 0 before the first flush.

    A deletion lowers the number before it deletes, so a smaller count is damage. The engine itself
    (0.9.0) opens a shard whose id tracker was cut, and silently leaves out the documents it lost.

    Raises:
        IndexCorruptError: The file is damaged.
    """
    try:
        return int(json.loads((path / "flushed.json").read_bytes())["documents"])
    except FileNotFoundError:
        return 0
    except (ValueError, KeyError, TypeError) as error:
        raise unreadable(path / "flushed.json", error) from error


def clear_leftovers(path: Path) -> None:
    """Remove what an interrupted creation left; called with the lock held.

    Raises:
        StoreError: The folder holds files that are not ours; they are left alone.
    """
    written = (path / "index.json", path / "flushed.json")
    ours = _OURS | {each.name for file in written for each in partials_of(file)}
    foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in ours)
    if foreign:
        raise StoreError(
            f"{path} holds other files ({', '.join(foreign[:3])}) and no index.",
            next_step="Choose an empty or new folder for the index.",
        )
    shutil.rmtree(path / "shard.partial", ignore_errors=True)
    remove_partials(*written)


def remove_index(path: Path) -> None:
    """Remove an index and leave other files of its folder; called with the lock held."""
    # First what makes the folder an index: a removal that is cut short leaves no half index.
    (path / "index.json").unlink()
    (path / "flushed.json").unlink(missing_ok=True)
    shutil.rmtree(path / "shard", ignore_errors=True)


def allocated_bytes(path: Path) -> int:
    """Return the disk space a folder takes, which for sparse files is not the sum of sizes."""
    return sum(file.stat().st_blocks * 512 for file in path.rglob("*") if file.is_file())


def free_space_or_raise(path: Path, needed_bytes: int, what: str) -> None:
    """Check for free space before the engine writes.

    The engine writes through mapped memory. There a full disk gives no error code but the signal
    SIGBUS, which kills the process, so the space must be checked before.

    Raises:
        StorageFullError: Less than ``needed_bytes`` plus the margin is free.
    """
    free_bytes = shutil.disk_usage(path).free
    if free_bytes < needed_bytes + MARGIN_BYTES:
        raise StorageFullError(
            f"{what} needs {needed_bytes / 1e6:.1f} MB and a margin of "
            f"{MARGIN_BYTES / 1e6:.0f} MB, {free_bytes / 1e6:.1f} MB are free at {path}; nothing "
            "was written.",
            next_step="Free space and run again; what was acknowledged before is kept.",
        )
