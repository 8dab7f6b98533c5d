"""Points applications at the new vectors, if the checks pass.

::

    last passes ─ verify ─ quality gate ─ last pass ─▶ activate ─ passes

From the last pass to the cutover, writers are kept out where that is possible: always in the
embedded store, on Weaviate if requested. Otherwise, the passes after the cutover copy what
applications wrote to the source in between.

What an application wrote to either side, at whatever time, is left alone
(:mod:`lusifer.reindex.reconciliation`). Where documents changed on both sides, the cutover says how
many these are, and replaces the target's only if it is told to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lusifer.errors import QualityGateError, ReindexError
from lusifer.reindex.checks import check, require_pass
from lusifer.reindex.job import AFTER_CUTOVER, OVER
from lusifer.reindex.reconciliation import conflicts_sentence
from lusifer.reindex.runner import PassOptions, check_model, run_passes

if TYPE_CHECKING:
    from collections.abc import Callable

    from lusifer.embedding.base import Embedder
    from lusifer.reindex.checks import CheckOptions, Checks
    from lusifer.reindex.endpoints.base import AnyMigration
    from lusifer.reindex.job import Job, State

__all__ = ["CutoverResult", "cut_over"]

_LAST_PASSES = 3


@dataclass(frozen=True)
class CutoverResult:
    """Result of a cutover."""

    checks: Checks | None
    """Checks before the cutover; None if it was made before and is only completed."""
    reconciled: int
    """Documents that applications wrote to the source in the last moment."""
    conflicts: int
    """Documents that applications changed on both sides. Each side keeps its own until clean."""


def cut_over(
    job: Job,
    migration: AnyMigration,
    embedder: Embedder,
    options: CheckOptions | None = None,
    *,
    force: bool = False,
    on_progress: Callable[[State], None] | None = None,
) -> CutoverResult:
    """Point applications at the target if the checks pass; complete a cutover that was killed.

    A call after the cutover copies what was written to the source since, by applications that still
    used its own name.

    Args:
        job: The caller holds its lock.
        migration: Source and target.
        embedder: The new model.
        options: How much is verified and measured.
        force: Cut over although the checks fail, and replace the target's documents by the source's
            where both sides changed.
        on_progress: Called after every batch.

    Raises:
        QualityGateError: The checks fail, or documents changed on both sides, and ``force`` is not
            set; applications see what they saw before.
        ReindexError: No pass is complete, or the job was cleaned.
        StoreError: Source or target can't be read or written.
        EngineError: A model can't run.
    """
    check_model(job.plan.model, embedder)
    state = job.state()
    checks = None

    def run_last_passes(count: int, *, overwrite: bool = False) -> None:
        passes = PassOptions(maximum_passes=count, on_progress=on_progress, overwrite=overwrite)
        run_passes(job, state, migration, embedder, passes)

    if state.phase not in AFTER_CUTOVER:
        require_pass(job, state, "switch to")
        if state.phase in OVER:
            raise ReindexError("This job was cleaned.", next_step="Make a new plan.")
        run_last_passes(_LAST_PASSES)
        checks = check(job, migration, embedder, options)
        if checks.problems and not force:
            raise QualityGateError(
                "The quality gate failed: " + " ".join(checks.problems),
                next_step=f"Read {job.path / 'checks.json'}, fix the causes and run again, or use "
                "--force.",
            )
        with migration.write_freeze():
            if not migration.in_place:
                run_last_passes(1, overwrite=force)
                if not force and state.passes[-1].conflicts:
                    raise QualityGateError(
                        conflicts_sentence(state.passes[-1].conflicts),
                        next_step="Run switch again, with --force to take the source's documents.",
                    )
            state.phase, state.was_live = "switching", True
            job.save(state)
            migration.cutover.activate()
    else:
        # The freeze also releases writes that a killed cutover held.
        with migration.write_freeze():
            if not migration.cutover.is_live():
                migration.cutover.activate()
    before = state.totals
    if migration.searchable:
        run_last_passes(_LAST_PASSES)
    after = state.totals
    state.phase = "switched"
    job.save(state)
    reconciled = after.written + after.gone - before.written - before.gone
    return CutoverResult(checks, reconciled, state.passes[-1].conflicts)
