"""Writes to the target what applications wrote to the source around the cutover.

Each document is compared three ways: with the source, the target, and the snapshot of the target at
the cutover (:mod:`lusifer.reindex.snapshot`). A change of the source goes to the target, unless an
application has written the document there since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lusifer.reindex import batch
from lusifer.reindex.endpoints.base import ALL_KEYS, content_of
from lusifer.reindex.snapshot import open_snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lusifer.common.disk_map import DiskMap
    from lusifer.embedding.base import Embedder
    from lusifer.reindex.endpoints.base import AnyMigration
    from lusifer.reindex.job import Job

__all__ = ["copy_deletions", "copy_writes", "reconcile"]

_MAXIMUM_ROUNDS = 3


def reconcile(job: Job, migration: AnyMigration, embedder: Embedder) -> int:
    """Copy late writes and deletions until a round finds none, in at most three rounds.

    Returns:
        Number of documents that were written or deleted.

    Raises:
        StoreError: Source or target can't be read or written.
        EngineError: The engine can't run.
    """
    if not migration.searchable:
        return 0
    total = 0
    with open_snapshot(job.path) as snapshot:
        for _ in range(_MAXIMUM_ROUNDS):
            changed = copy_writes(
                migration, embedder, snapshot, batch_size=job.plan.window
            ) + copy_deletions(migration, snapshot)
            total += changed
            if not changed:
                break
    return total


def copy_writes(
    migration: AnyMigration, embedder: Embedder, snapshot: DiskMap, *, batch_size: int
) -> int:
    """Write documents that the source has changed and no application has; return how many."""
    written = 0
    cursor: str | None = None
    while True:
        page = migration.source.read(ALL_KEYS, cursor, batch_size)
        base = snapshot.get([record.key for record in page.records])
        changed = [r for r in page.records if content_of(base.get(r.key, "")) != r.sha256]
        untouched = _untouched(migration, {record.key: base.get(record.key) for record in changed})
        chosen = [record for record in changed if record.key in untouched]
        # Decided, whichever content wins: only a later change of the source is a change again.
        # And what an application wrote to the target is never taken for a copy again.
        decided = {record.key: f"{record.sha256}@theirs" for record in changed}
        if chosen:
            embedded = batch.embed(embedder, chosen)
            rows = list(zip(embedded.records, embedded.vectors, strict=True))
            expected = {record.key: base[record.key] for record in chosen if record.key in base}
            written += migration.target.write(rows, expected)
            now = migration.target.versions([record.key for record in chosen])
            decided |= {
                r.key: now[r.key] for r in chosen if content_of(now.get(r.key, "")) == r.sha256
            }
        snapshot.put(decided)
        cursor = page.cursor
        if cursor is None:
            return written


def copy_deletions(migration: AnyMigration, snapshot: DiskMap) -> int:
    """Delete documents that no longer exist in the source and that no application has written.

    Returns:
        Number of documents that were deleted.
    """
    deleted = 0
    for known in snapshot.pages(batch.ORPHAN_KEYS):
        present = migration.source.present(list(known))
        if orphans := {key: version for key, version in known.items() if key not in present}:
            untouched = _untouched(migration, orphans)
            deleted += migration.target.delete({key: orphans[key] for key in untouched})
            snapshot.delete(list(orphans))
    return deleted


def _untouched(migration: AnyMigration, base: Mapping[str, str | None]) -> set[str]:
    """Return the keys whose documents no application wrote to or deleted from the target.

    Args:
        migration: Source and target.
        base: Versions in the snapshot; None for a document that was not there.
    """
    if not base:
        return set()
    now = migration.target.versions(list(base))
    same = [key for key, version in base.items() if now.get(key) == version]
    # An edit of a part of a document leaves the mark of the copy that it no longer is.
    contents = migration.target.hashes([key for key in same if key in now])
    return {key for key in same if key not in now or contents.get(key) == content_of(now[key])}
