"""Runs passes over a collection until one finds nothing to do, with a checkpoint after every batch.

A pass has two steps::

    copy    read a batch of the source, embed what lacks a current new vector, write it guarded
    sweep   delete copies from the target whose documents no longer exist in the source

Applications may write meanwhile: what they change behind the cursor, the next pass finds. A kill
costs the batch at hand. What it had written is recognised when the batch is read again.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from lusifer.common.rate_limit import RateLimit
from lusifer.errors import FingerprintMismatchError, InvalidDimensionError, ReindexError
from lusifer.reindex import batch
from lusifer.reindex.snapshot import delete_snapshot, open_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lusifer.embedding.base import Embedder
    from lusifer.reindex.endpoints.base import AnyMigration
    from lusifer.reindex.job import Job, State
    from lusifer.reindex.plan import Model
    from lusifer.reindex.snapshot import Snapshot
    from lusifer.types import JSON

__all__ = [
    "MAXIMUM_PASSES",
    "CopyStep",
    "PassOptions",
    "check_model",
    "copy_locally",
    "report_of",
    "run",
    "run_passes",
]

logger = logging.getLogger(__name__)

MAXIMUM_PASSES = 5
"""Applications that never stop writing leave something to every pass; the cutover reconciles it."""


class CopyStep(Protocol):
    """Does the copying of one pass; yields when the state is to be checkpointed."""

    def __call__(
        self,
        job: Job,
        state: State,
        migration: AnyMigration,
        embedder: Embedder,
        snapshot: Snapshot,
        overwrite: bool,
        /,
    ) -> Iterator[None]:
        """Copy what the state does not mark as done."""
        ...


def copy_locally(
    job: Job,
    state: State,
    migration: AnyMigration,
    embedder: Embedder,
    snapshot: Snapshot,
    overwrite: bool = False,
) -> Iterator[None]:
    """Copy batch after batch in this process."""
    limits = job.plan.limits
    source, tokens, target = map(
        RateLimit, (limits.source_per_s, limits.tokens_per_s, limits.target_per_s)
    )
    if not state.spans:
        state.start_step("copy", len(migration.source.key_ranges(1)))
    key_ranges = migration.source.key_ranges(state.spans)
    for number in state.open_ranges():
        cursor = state.cursors.get(number)
        while True:
            stale = batch.read_stale(
                migration,
                snapshot,
                key_ranges[number],
                cursor,
                job.plan.window,
                overwrite=overwrite,
            )
            source.spend(stale.read)
            embedded = batch.embed(embedder, stale.records, tokens)
            outcome = batch.write(migration, snapshot, embedded, stale)
            target.spend(outcome.tally.written)
            outcome.add_to(state)
            cursor = stale.cursor
            if cursor is None:
                state.finish(number)
            else:
                state.cursors[number] = cursor
            yield
            if cursor is None:
                break


@dataclass(frozen=True)
class PassOptions:
    """Options of the passes."""

    maximum_passes: int = MAXIMUM_PASSES
    """Passes of this run, at most."""
    on_progress: Callable[[State], None] | None = None
    """Called after every batch."""
    stopped: Callable[[], bool] = lambda: False
    """Called after every batch; True pauses the run."""
    overwrite: bool = False
    """Whether a document that changed on both sides is copied over the target's."""
    copy_step: CopyStep = copy_locally


def run(
    job: Job, migration: AnyMigration, embedder: Embedder, options: PassOptions | None = None
) -> State:
    """Re-embed until a pass finds nothing to do; what was done before is not done again.

    Args:
        job: Its plan is followed and its state is updated. The caller holds its lock.
        migration: Source and target.
        embedder: The plan's model.
        options: How passes are run.

    Returns:
        The state: ``settled`` if a whole pass found nothing, else ``running``.

    Raises:
        ReindexError: Applications see the target already, or the job was cleaned.
        StoreError: Source or target can't be read or written.
        FingerprintMismatchError: The embedder is not the plan's model.
        EngineError: The engine can't run.
    """
    check_model(job.plan.model, embedder)
    state = job.state()
    if state.phase in {"switching", "switched"} and not migration.in_place:
        raise ReindexError(
            "Applications see the new vectors already; copying the source again would undo what "
            "they wrote.",
            next_step=f"Complete or undo the cutover: lusifer reindex switch {job.path}, or "
            "rollback.",
        )
    if state.phase in {"cleaning", "cleaned"}:
        raise ReindexError("This job was cleaned.", next_step="Make a new plan.")
    if migration.cutover.prepare():
        # What an earlier target held says nothing about this one.
        delete_snapshot(job.path)
    if state.phase not in {"switching", "switched"}:
        state.phase = "running"
    job.save(state)
    clean = run_passes(job, state, migration, embedder, options or PassOptions())
    if clean and state.phase == "running":
        state.phase = "settled"
    job.save(state)
    job.write("report.json", report_of(job, state))
    return state


def run_passes(
    job: Job, state: State, migration: AnyMigration, embedder: Embedder, options: PassOptions
) -> bool:
    """Run passes until one finds nothing; return whether one did, from its first batch to its last.

    The rest of an interrupted pass proves nothing about its beginning, which was read before the
    interruption.
    """
    with open_snapshot(job.path, in_place=migration.in_place) as snapshot:
        for _ in range(options.maximum_passes):
            whole = state.spans == 0
            if not _run_pass(job, state, migration, embedder, snapshot, options):
                return False
            last = state.passes[-1]
            logger.info(
                "Pass %d: %d read, %d stale, %d gone, %d conflicts",
                len(state.passes),
                last.read,
                last.stale,
                last.gone,
                last.conflicts,
            )
            if whole and last.found == 0:
                return True
    return False


def _run_pass(
    job: Job,
    state: State,
    migration: AnyMigration,
    embedder: Embedder,
    snapshot: Snapshot,
    options: PassOptions,
) -> bool:
    """Run one pass, or the rest of one; return False if it was stopped before its end."""
    if state.step == "copy":
        steps = options.copy_step(job, state, migration, embedder, snapshot, options.overwrite)
        if not _checkpoint(job, state, steps, options):
            return False
        if migration.has_orphans:
            state.start_step("sweep", 1)
    if state.step == "sweep":
        steps = _delete_orphans(job, state, migration, snapshot, options.overwrite)
        if not _checkpoint(job, state, steps, options):
            return False
    state.end_pass()
    job.save(state)
    return True


def _checkpoint(job: Job, state: State, steps: Iterator[None], options: PassOptions) -> bool:
    """Save the state after every step; return False if the run was stopped."""
    before_s = time.monotonic()
    for _ in steps:
        now_s = time.monotonic()
        state.current.seconds += now_s - before_s
        before_s = now_s
        job.save(state)
        if options.on_progress is not None:
            options.on_progress(state)
        if options.stopped():
            return False
    return True


def _delete_orphans(
    job: Job, state: State, migration: AnyMigration, snapshot: Snapshot, overwrite: bool
) -> Iterator[None]:
    limit = RateLimit(job.plan.limits.source_per_s)
    cursor: str | None = state.cursors.get(0, "")
    while cursor is not None and state.open_ranges():
        outcome, cursor = batch.delete_orphans(migration, snapshot, cursor, overwrite=overwrite)
        limit.spend(batch.ORPHAN_KEYS)
        outcome.add_to(state)
        if cursor is None:
            state.finish(0)
        else:
            state.cursors[0] = cursor
        yield


def check_model(planned: Model, embedder: Embedder) -> None:
    """Refuse a model other than the planned one.

    Raises:
        FingerprintMismatchError: It is another one.
        InvalidDimensionError: Its vectors have another length.
    """
    if embedder.fingerprint != planned.fingerprint:
        raise FingerprintMismatchError(
            f"The plan is for {planned.name} ({planned.fingerprint}), the model in use is "
            f"{embedder.model_name} ({embedder.fingerprint}).",
            next_step="Use the planned model, or make a new plan for this one.",
        )
    if embedder.dimension != planned.dimension:
        raise InvalidDimensionError(
            f"The plan is for vectors of {planned.dimension} numbers, the model makes "
            f"{embedder.dimension}.",
            next_step="Use the planned dimension.",
        )


def report_of(job: Job, state: State) -> dict[str, JSON]:
    """Return what was done so far, JSON-ready."""
    totals = state.totals
    other_s = totals.seconds - totals.engine_seconds
    return {
        "plan": job.plan.id,
        "phase": state.phase,
        "model": job.plan.model.name,
        "source": job.plan.source.name,
        "target": job.plan.target.name,
        "passes": [each.model_dump() for each in state.passes],
        "totals": totals.model_dump(),
        "languages": {name: each.model_dump() for name, each in sorted(state.languages.items())},
        "documents_per_s": round(totals.written / totals.seconds, 2) if totals.seconds else 0.0,
        "tokens_per_s": round(totals.tokens / totals.engine_seconds, 1)
        if totals.engine_seconds
        else 0.0,
        "seconds_outside_engine": round(max(0.0, other_s), 3),
        "refused": state.refused,
    }
