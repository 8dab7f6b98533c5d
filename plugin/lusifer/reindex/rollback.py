"""Points applications back at the source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lusifer.errors import ReindexError
from lusifer.reindex import batch
from lusifer.reindex.endpoints.base import ALL_KEYS
from lusifer.reindex.job import OVER
from lusifer.reindex.reconciliation import changes_of
from lusifer.reindex.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from lusifer.embedding.base import Embedder
    from lusifer.reindex.endpoints.base import AnyMigration
    from lusifer.reindex.job import Job

__all__ = ["RollbackResult", "fill_vectors", "rollback"]


@dataclass(frozen=True)
class RollbackResult:
    """Result of a rollback."""

    left_behind: int
    """Documents that were written to the target, or deleted from it, and not in the source."""
    lacking: int
    """In place: documents without the old vector, which no search finds."""


def rollback(
    job: Job,
    migration: AnyMigration,
    *,
    force: bool = False,
    fill: Callable[[], object] | None = None,
) -> RollbackResult:
    """Point applications back at the source.

    Args:
        job: The caller holds its lock.
        migration: Source and target.
        force: In place: go back although documents lack the old vector.
        fill: In place: gives the old vector to the documents that lack it. It is called before and
            after the rollback.

    Raises:
        ReindexError: Applications do not see the target, or the source was deleted, or documents
            lack the old vector.
        StoreError: Source or target can't be read or written.
    """
    state = job.state()
    if state.phase in OVER:
        raise ReindexError(
            "This job was cleaned. There is no way back.", next_step="Re-embed with the old model."
        )
    if not migration.cutover.is_live():
        raise ReindexError(
            "Applications see the old vectors: there is nothing to roll back.",
            next_step="Nothing needs to be done.",
        )
    if migration.in_place and fill is not None:
        fill()
    lacking = migration.source.count_without_vector() if migration.in_place else 0
    if lacking and fill is None and not force:
        raise ReindexError(
            f"{lacking:,} documents lack the vector {job.plan.source.vector_name}, such as those "
            "that were written since the switch: no search would find them.",
            next_step="Name the old model with --old-bundle or --old-service, which makes these "
            "vectors, or go back without them: --force.",
        )
    migration.cutover.deactivate()
    state.phase = "rolled-back"
    job.save(state)
    if migration.in_place:
        if fill is not None:
            fill()
        return RollbackResult(0, migration.source.count_without_vector())
    return RollbackResult(changes_of(job, migration).count("target_only", "both"), 0)


def fill_vectors(migration: AnyMigration, embedder: Embedder, batch_size: int) -> int:
    """Give the target's vector to all documents that lack it; return how many got it.

    Args:
        migration: Source and target of one collection.
        embedder: The model of the target.
        batch_size: Documents to embed together.

    Raises:
        StoreError: Source or target can't be read or written.
        EngineError: The model can't run.
    """
    written = 0
    cursor: str | None = None
    with Snapshot() as snapshot:
        while True:
            stale = batch.read_stale(migration, snapshot, ALL_KEYS, cursor, batch_size)
            embedded = batch.embed(embedder, stale.records)
            written += batch.write(migration, snapshot, embedded, stale).tally.written
            cursor = stale.cursor
            if cursor is None:
                return written
