"""Folder of files that can be built again."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_directory"]


def cache_directory() -> Path:
    """Return the folder for files that can be built again; it may not exist yet.

    It is ``LUSIFER_CACHE`` if that is set, else the user's cache folder.
    """
    if configured := os.environ.get("LUSIFER_CACHE"):
        return Path(configured).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("lusifer")
