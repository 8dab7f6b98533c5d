"""Checks the new vectors, points applications at them, and goes back.

::

    cutover   last passes ─ verify ─ quality gate ─ last pass, snapshot ─▶ activate ─ reconcile
    rollback  source is live again
    clean     delete the one that is not live

From the last pass to the cutover, writers are kept out where that is possible: always in the
embedded store, on Weaviate if requested. Otherwise, what applications write to the source in
between is reconciled right after the cutover; see :mod:`lusifer.reindex.reconciliation`. In place
there is nothing to reconcile.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lusifer.errors import QualityGateError, ReindexError
from lusifer.reindex.quality_gate import GateOptions, GateResult, measure
from lusifer.reindex.reconciliation import reconcile
from lusifer.reindex.runner import PassOptions, check_model, run_passes
from lusifer.reindex.snapshot import count_changes, delete_snapshot, fill_snapshot
from lusifer.reindex.verification import Verification, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from lusifer.embedding.base import Embedder
    from lusifer.reindex.endpoints.base import AnyMigration
    from lusifer.reindex.job import Job, State
    from lusifer.types import JSON

__all__ = ["CheckOptions", "Checks", "CutoverResult", "check", "clean", "cut_over", "rollback"]

_LAST_PASSES = 3
_CLEANED = "This job was cleaned."


@dataclass(frozen=True)
class CheckOptions:
    """Extent of verification and measurement."""

    samples: int = 200
    """Documents to embed again."""
    gate: GateOptions = field(default_factory=GateOptions)


@dataclass(frozen=True)
class Checks:
    """Results of verification and quality gate."""

    verification: Verification
    gate: GateResult

    @property
    def problems(self) -> list[str]:
        """Reasons to refuse the cutover, one sentence each."""
        return [*self.verification.problems, *self.gate.failures]

    def as_dict(self) -> dict[str, JSON]:
        """Return JSON-ready fields."""
        return {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "passed": not self.problems,
            "problems": self.problems,
            "verification": self.verification.as_dict(),
            "gate": self.gate.model_dump(mode="json"),
        }


@dataclass(frozen=True)
class CutoverResult:
    """Result of a cutover."""

    checks: Checks | None
    """Checks before the cutover; None if it was made before and is only completed."""
    reconciled: int
    """Documents that applications wrote to the source in the last moment."""


def check(
    job: Job, migration: AnyMigration, embedder: Embedder, options: CheckOptions | None = None
) -> Checks:
    """Verify and measure; write the result to ``checks.json``.

    Args:
        job: A job that has run.
        migration: Source and target.
        embedder: The new model.
        options: How much is verified and measured.

    Raises:
        ReindexError: Applications see the target, or no pass is complete.
        StoreError: Source or target can't be read.
        EngineError: A model can't run.
    """
    check_model(job.plan.model, embedder)
    state = job.state()
    _require_pass(job, state, "verify")
    if state.phase in {"switching", "switched", "cleaned"} and not migration.in_place:
        raise ReindexError(
            "Applications see the new vectors and may write to them: there is nothing to compare "
            "them with.",
            next_step="Verify before the cutover.",
        )
    options = options or CheckOptions()
    drift = state.passes[-1].found
    checks = Checks(
        verify(migration, embedder, samples=options.samples, drift=drift),
        measure(migration, embedder, job.plan.gate, options.gate),
    )
    job.write("checks.json", checks.as_dict())
    return checks


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

    A call after the cutover reconciles what was written to the source since, by applications that
    still used its own name.

    Args:
        job: The caller holds its lock.
        migration: Source and target.
        embedder: The new model.
        options: How much is verified and measured.
        force: Cut over although the checks fail.
        on_progress: Called after every batch.

    Raises:
        QualityGateError: The checks fail and ``force`` is not set; nothing was changed.
        ReindexError: No pass is complete, or the job was cleaned.
        StoreError: Source or target can't be read or written.
        EngineError: A model can't run.
    """
    check_model(job.plan.model, embedder)
    state = job.state()
    checks = None

    def run_last_passes(count: int) -> None:
        passes = PassOptions(maximum_passes=count, on_progress=on_progress)
        run_passes(job, state, migration, embedder, passes)

    if state.phase not in {"switching", "switched"}:
        _require_pass(job, state, "switch to")
        if state.phase == "cleaned":
            raise ReindexError(_CLEANED, next_step="Make a new plan.")
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
                run_last_passes(1)
                fill_snapshot(job.path, migration)
            state.phase = "switching"
            job.save(state)
            migration.cutover.activate()
    else:
        # The freeze also releases writes that a killed cutover held.
        with migration.write_freeze():
            if not migration.cutover.is_live():
                migration.cutover.activate()
    if migration.in_place:
        before = sum(each.written for each in state.passes)
        run_last_passes(_LAST_PASSES)
        reconciled = sum(each.written for each in state.passes) - before
    else:
        reconciled = reconcile(job, migration, embedder)
    state.phase = "switched"
    job.save(state)
    return CutoverResult(checks, reconciled)


def rollback(job: Job, migration: AnyMigration) -> int:
    """Point applications back at the unchanged source.

    Returns:
        Number of documents that were written to the target since the cutover. They are not in the
        source.

    Raises:
        ReindexError: Applications do not see the target, or the source was deleted.
    """
    state = job.state()
    if state.phase == "cleaned":
        raise ReindexError(
            f"{_CLEANED} There is no way back.", next_step="Re-embed with the old model."
        )
    if not migration.cutover.is_live():
        raise ReindexError(
            "Applications see the old vectors: there is nothing to roll back.",
            next_step="Nothing needs to be done.",
        )
    migration.cutover.deactivate()
    state.phase = "rolled-back"
    job.save(state)
    return count_changes(job.path, migration)


def clean(job: Job, migration: AnyMigration, *, force: bool = False) -> str:
    """Delete the source or target that applications do not see; return what was deleted.

    Args:
        job: The caller holds its lock.
        migration: Source and target.
        force: Delete the source although something else uses it.

    Raises:
        ReindexError: Something else uses the source and ``force`` is not set; nothing was deleted.
        StoreError: It can't be deleted.
    """
    state = job.state()
    live = migration.cutover.is_live()
    if live and not force and (uses := migration.cutover.source_uses()):
        raise ReindexError(
            f"{job.plan.source.name} is still in use. {' '.join(uses)}",
            next_step="Change what uses it first, or delete it all the same with --force.",
        )
    if live:
        migration.target.remove_copy_markers()
        removed = migration.cutover.remove_source()
    else:
        removed = migration.cutover.remove_target()
    state.phase = "cleaned"
    job.save(state)
    delete_snapshot(job.path)
    return removed


def _require_pass(job: Job, state: State, purpose: str) -> None:
    if not state.passes:
        raise ReindexError(
            f"No pass is complete, so there is nothing to {purpose}.",
            next_step=f"Run it first: lusifer reindex run {job.path}",
        )
