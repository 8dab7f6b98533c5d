"""Folder of files that can be built again."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_directory", "make_private", "private_folder"]


def cache_directory() -> Path:
    """Return the folder for files that can be built again; it may not exist yet.

    It is ``LUSIFER_CACHE`` if that is set, else the user's cache folder.
    """
    if configured := os.environ.get("LUSIFER_CACHE"):
        return Path(configured).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("lusifer")


def private_folder(*names: str) -> Path:
    """Return a folder of :func:`cache_directory`, made if it is missing, for its owner only.

    Args:
        names: Names of the folder below the cache, outermost first; none is the cache itself.

    Raises:
        OSError: It can't be made.
    """
    path = cache_directory().joinpath(*names)
    make_private(path)
    return path


def make_private(folder: Path) -> None:
    """Make a folder and its missing parents for their owner only; an existing one stays as it is.

    Raises:
        OSError: It can't be made.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
    if not folder.is_dir():
        folder.mkdir()  # raises FileExistsError, with the name of what stands there
