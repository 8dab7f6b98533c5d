"""What the target held at the moment of the cutover, on disk: the base of a three-way comparison.

For each document: did the source change since (somebody wrote to it in the last moment)? Did the target
change since (an application wrote to it after the cutover)? Only where the first is so and the second is
not, the content of the source is written to the target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lusifer.common.disk_map import DiskMap

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["open_snapshot"]


def open_snapshot(job_folder: Path) -> DiskMap:
    """Open the map from key to version that a job folder keeps during a cutover, or make it."""
    return DiskMap(job_folder / "ledger.sqlite")
