"""Snapshot of the target at the cutover, on disk: the base of a three-way comparison.

The comparison asks two questions about each document. Did the source change since, because somebody
wrote to it in the last moment? Did the target change since, because an application wrote to it
after the cutover? Only if the first is so and the second is not, the source's content is written to
the target; see :mod:`lusifer.reindex.reconciliation`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lusifer.common.disk_map import DiskMap
from lusifer.reindex.batch import ORPHAN_KEYS
from lusifer.reindex.endpoints.base import ALL_KEYS

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer.reindex.endpoints.base import AnyMigration

__all__ = ["count_changes", "delete_snapshot", "fill_snapshot", "open_snapshot"]

_FILE = "ledger.sqlite"


def open_snapshot(job_folder: Path) -> DiskMap:
    """Open the map from key to version that a job folder keeps during a cutover, or create it."""
    return DiskMap(job_folder / _FILE)


def fill_snapshot(job_folder: Path, migration: AnyMigration) -> None:
    """Replace the snapshot by the versions that the target has now."""
    with open_snapshot(job_folder) as snapshot:
        snapshot.clear()
        cursor: str | None = None
        while True:
            versions, cursor = migration.target.keys(ALL_KEYS, cursor, ORPHAN_KEYS)
            snapshot.put(versions)
            if cursor is None:
                return


def count_changes(job_folder: Path, migration: AnyMigration) -> int:
    """Count the documents of the target that were written since the snapshot; 0 without one."""
    if not (job_folder / _FILE).exists():
        return 0
    changed = 0
    with open_snapshot(job_folder) as snapshot:
        cursor: str | None = None
        while True:
            versions, cursor = migration.target.keys(ALL_KEYS, cursor, ORPHAN_KEYS)
            known = snapshot.get(list(versions))
            changed += sum(known.get(key) != version for key, version in versions.items())
            if cursor is None:
                return changed


def delete_snapshot(job_folder: Path) -> None:
    """Delete the file, where there is one."""
    (job_folder / _FILE).unlink(missing_ok=True)
