"""Passes over a collection until one finds nothing to do, a checkpoint after every window.

A pass copies, then sweeps::

    copy     read a window of the old side, embed what lacks a right new vector, write it under a guard
    sweep    delete from the new side what is gone from the old one

Applications may write all the while: what they change behind the cursor, the next pass finds. A
kill costs the window at hand; what it had written is found to be right when the window is read
again.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from lusifer.common.rate_limit import RateLimit
from lusifer.errors import FingerprintMismatchError, InvalidDimensionError, StoreError
from lusifer.reindex import batch
from lusifer.reindex.endpoints.base import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lusifer.embedding.base import Embedder
    from lusifer.reindex.endpoints.base import Migration
    from lusifer.reindex.job import Job, State
    from lusifer.reindex.plan import Model

__all__ = ["MAXIMUM_PASSES", "check_model", "report_of", "run", "run_passes"]

logger = logging.getLogger(__name__)

MAXIMUM_PASSES = 5
"""Applications that write without end leave something to every pass; the switch brings it over."""


def _never() -> bool:
    return False


def run(
    job: Job,
    migration: Migration,
    embedder: Embedder,
    *,
    maximum_passes: int = MAXIMUM_PASSES,
    on_progress: Callable[[State], None] | None = None,
    stopped: Callable[[], bool] = _never,
    walk: Callable[..., Iterator[None]] | None = None,
) -> State:
    """Re-embed until a pass finds nothing to do; what was done before is not done again.

    Args:
        job: Its plan says how; its state is kept. The caller holds its lock.
        migration: The two sides.
        embedder: Of the plan's model.
        maximum_passes: Passes of this run, at most.
        on_progress: Called after every window.
        stopped: Asked after every window; True pauses the run.
        walk: Does the copying of one pass; by default here, window after window.

    Returns:
        The state: ``settled`` where a whole pass found nothing, else ``running``.

    Raises:
        StoreError: A side can't be read or written, or applications see the new side already.
        FingerprintMismatchError: The embedder is of another model than the plan.
        EngineError: The engine can't run.
    """
    check_model(job.plan.model, embedder)
    state = job.state()
    if state.phase in {"switching", "switched"} and not migration.in_place:
        raise StoreError(
            "Applications see the new side already; copying the old one over it would undo what they wrote.",
            next_step=f"Complete or undo the switch: lusifer reindex switch {job.path}, or rollback.",
        )
    if state.phase == "cleaned":
        raise StoreError("This job is over: it was cleaned.", next_step="Make a new plan.")
    migration.switch.prepare()
    if state.phase not in {"switching", "switched"}:
        state.phase = "running"
    job.save(state)
    clean = run_passes(
        job,
        state,
        migration,
        embedder,
        maximum_passes=maximum_passes,
        on_progress=on_progress,
        stopped=stopped,
        walk=walk,
    )
    if clean and state.phase == "running":
        state.phase = "settled"
    job.save(state)
    job.write("report.json", report_of(job, state))
    return state


def run_passes(
    job: Job,
    state: State,
    migration: Migration,
    embedder: Embedder,
    *,
    maximum_passes: int,
    on_progress: Callable[[State], None] | None = None,
    stopped: Callable[[], bool] = _never,
    walk: Callable[..., Iterator[None]] | None = None,
) -> bool:
    """Passes until one finds nothing; whether one did, from its first window to its last.

    The rest of an interrupted pass proves nothing about its beginning: that was read before the
    interruption.
    """
    for _ in range(maximum_passes):
        whole = state.spans == 0
        if not run_pass(
            job, state, migration, embedder, on_progress=on_progress, stopped=stopped, walk=walk
        ):
            return False
        last = state.passes[-1]
        logger.info(
            "Pass %d: %d read, %d stale, %d gone",
            len(state.passes),
            last.read,
            last.stale,
            last.gone,
        )
        if whole and last.found == 0:
            return True
    return False


def run_pass(
    job: Job,
    state: State,
    migration: Migration,
    embedder: Embedder,
    *,
    on_progress: Callable[[State], None] | None = None,
    stopped: Callable[[], bool] = _never,
    walk: Callable[..., Iterator[None]] | None = None,
) -> bool:
    """One pass, or the rest of one that was interrupted; False where it was stopped before its end."""

    def all_of(steps: Iterator[None]) -> bool:
        before_s = time.monotonic()
        for _ in steps:
            now_s = time.monotonic()
            state.current.seconds += now_s - before_s
            before_s = now_s
            job.save(state)
            if on_progress is not None:
                on_progress(state)
            if stopped():
                return False
        return True

    if state.step == "copy":
        if not all_of((walk or copy_here)(job, state, migration, embedder)):
            return False
        if migration.sweeps:
            state.start_step("sweep", 1)
    if state.step == "sweep" and not all_of(_sweep_here(job, state, migration)):
        return False
    state.end_pass()
    job.save(state)
    return True


def copy_here(job: Job, state: State, migration: Migration, embedder: Embedder) -> Iterator[None]:
    """Copy window after window in this process; yields when one is to be checkpointed."""
    limits = job.plan.limits
    source, engine, target = (
        RateLimit(limits.source_per_s), RateLimit(limits.tokens_per_s), RateLimit(limits.target_per_s)
    )  # fmt: skip
    if not state.spans:
        state.start_step("copy", len(migration.old.spans(1)))
    parts = migration.old.spans(state.spans)
    for part in state.open_parts():
        cursor = state.cursors.get(part)
        while True:
            found = batch.find(migration, parts[part], cursor, job.plan.window)
            source.spend(found.read)
            prepared = batch.embed(embedder, found.stale, engine)
            outcome = batch.put(migration, prepared, found.seen, read=found.read)
            target.spend(outcome.tally.written)
            outcome.add_to(state)
            cursor = found.cursor
            if cursor is None:
                state.finish(part)
            else:
                state.cursors[part] = cursor
            yield
            if cursor is None:
                break


def _sweep_here(job: Job, state: State, migration: Migration) -> Iterator[None]:
    pace = RateLimit(job.plan.limits.source_per_s)
    cursor = state.cursors.get(0)
    while state.open_parts():
        outcome, cursor = batch.sweep(migration, EVERYTHING, cursor)
        pace.spend(batch.SWEEP_KEYS)
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
        InvalidDimensionError: It makes vectors of another length.
    """
    if embedder.fingerprint != planned.fingerprint:
        raise FingerprintMismatchError(
            f"The plan is for {planned.name} ({planned.fingerprint}), the model in use is "
            f"{embedder.model_name} ({embedder.fingerprint}).",
            next_step="Use the planned model, or make a new plan for this one.",
        )
    if embedder.dimension != planned.dimension:
        raise InvalidDimensionError(
            f"The plan is for vectors of {planned.dimension} numbers, the model makes {embedder.dimension}.",
            next_step="Use the planned dimension.",
        )


def report_of(job: Job, state: State) -> dict[str, Any]:
    """What was done so far, JSON-ready."""
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
