"""Deletes the side that applications do not see, once the other one has all it holds."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from lusifer.errors import IndexNotFoundError, ReindexError
from lusifer.reindex.reconciliation import changes_of, conflicts_sentence
from lusifer.reindex.snapshot import delete_snapshot

if TYPE_CHECKING:
    from lusifer.reindex.endpoints.base import AnyMigration
    from lusifer.reindex.job import Job

__all__ = ["clean"]


def clean(job: Job, migration: AnyMigration, *, force: bool = False) -> str:
    """Delete the source or target that applications do not see; return what was deleted.

    From the count to the deletion nobody writes to that side, where the database can refuse writes.
    Elsewhere a write that comes in behind the count goes with the side.

    Args:
        job: The caller holds its lock.
        migration: Source and target.
        force: Delete it although it holds what the other one lacks, or something else uses the
            source.

    Raises:
        ReindexError: It holds what the other one lacks, or something else uses the source, and
            ``force`` is not set; nothing was deleted.
        StoreError: It can't be deleted.
    """
    state = job.state()
    live = migration.cutover.is_live()
    if live and not force and (uses := migration.cutover.source_uses()):
        raise ReindexError(
            f"{job.plan.source.name} is still in use. {' '.join(uses)}",
            next_step="Change what uses it first, or delete it all the same with --force.",
        )
    with ExitStack() as held:
        if not force:
            try:
                held.enter_context(migration.source_hold() if live else migration.target_hold())
                _refuse_loss(job, migration, live=live)
            except IndexNotFoundError:
                if state.phase != "cleaning":
                    raise
                # It was killed after the deletion.
        state.phase = "cleaning"
        job.save(state)
        removed = migration.cutover.remove_source() if live else migration.cutover.remove_target()
    if live:
        migration.target.remove_copy_markers()
    state.phase = "cleaned"
    job.save(state)
    delete_snapshot(job.path)
    return removed


def _refuse_loss(job: Job, migration: AnyMigration, *, live: bool) -> None:
    """Refuse to delete a side that holds what the other one lacks.

    Raises:
        IndexNotFoundError: It was deleted.
        ReindexError: It does.
    """
    if migration.in_place and not live:
        lost, both = migration.source.count_without_vector(), 0
    else:
        changes = changes_of(job, migration)
        lost = changes.count("source_only" if live else "target_only")
        both = changes.count("both")
    if not lost and not both:
        return
    plan = job.plan
    doomed, kept = (plan.source, plan.target) if live else (plan.target, plan.source)
    if migration.in_place:
        raise ReindexError(
            f"{lost:,} documents lack the vector {kept.vector_name}: without "
            f"{doomed.vector_name} no search would find them.",
            next_step=f"Make their vectors with: lusifer reindex switch {job.path}; or use "
            "--force.",
        )
    sentences = []
    if lost:
        sentences.append(
            f"{lost:,} documents were written to {doomed.name} or deleted from it, and not in "
            f"{kept.name}."
        )
    if both:
        sentences.append(conflicts_sentence(both))
    raise ReindexError(
        " ".join(sentences),
        next_step=f"Copy them with: lusifer reindex switch {job.path}; or delete them with --force."
        if lost
        else f"Keep those of {kept.name} with --force.",
    )
