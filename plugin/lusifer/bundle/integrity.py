"""Checks of a bundle's files, which may come from anybody, before an engine reads them."""

from __future__ import annotations

import hashlib
import stat
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from lusifer.bundle.external_data import external_files
from lusifer.errors import BundleCorruptError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

__all__ = ["REBUILD", "check_external_data", "check_file"]

REBUILD = (
    "Export the bundle again with lusifer-export, or copy the whole folder again from its source."
)
"""Next step of an error about a damaged bundle."""


def check_file(root: Path, name: str, *, size_bytes: int, sha256: str | None) -> None:
    """Compare a file with what the manifest says of it.

    Args:
        root: The bundle's folder, without links in its path.
        name: Path of the file in the folder.
        size_bytes: Expected size.
        sha256: Expected hash; None is not compared.

    Raises:
        BundleCorruptError: The file is missing, outside the folder, no regular file, or another.
    """
    file = root / name
    try:
        status = file.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleCorruptError(
            f"{name} is missing in the bundle {root} ({size_bytes} bytes expected).",
            next_step=REBUILD,
        ) from error
    except OSError as error:  # a name that is too long, links in a circle
        raise BundleCorruptError(
            f"{name} in the bundle {root} can't be read: {error.strerror}.", next_step=REBUILD
        ) from error
    # A pipe or a device would be read without end.
    if not stat.S_ISREG(status.st_mode) or not file.resolve().is_relative_to(root):
        raise BundleCorruptError(
            f"{name} in the bundle {root} is no regular file of this folder.", next_step=REBUILD
        )
    if status.st_size != size_bytes:
        raise BundleCorruptError(
            f"{name} has {status.st_size} bytes, the manifest says {size_bytes}.", next_step=REBUILD
        )
    if sha256 is None:
        return
    with file.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != sha256:
        raise BundleCorruptError(
            f"{name} was changed: its sha256 is {found}, the manifest says {sha256}.",
            next_step=REBUILD,
        )


def check_external_data(model: Path, listed: Collection[str]) -> None:
    """Refuse a graph that reads weights which the manifest does not list.

    Args:
        model: The ONNX graph.
        listed: Names of the files in the manifest.

    Raises:
        BundleCorruptError: It does, or is no graph.
    """
    try:
        named = external_files(model)
    except (OSError, ValueError) as error:
        raise BundleCorruptError(
            f"{model.name} is no ONNX graph: {error}.", next_step=REBUILD
        ) from error
    if unlisted := sorted(each for each in named if PurePosixPath(each).as_posix() not in listed):
        raise BundleCorruptError(
            f"{model.name} reads {unlisted[0][:500]!r}, which the manifest does not list.",
            next_step=REBUILD,
        )
