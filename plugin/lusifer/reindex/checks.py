"""Checks the new vectors before applications see them: verification, then the quality gate."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lusifer.errors import ReindexError
from lusifer.reindex.job import AFTER_CUTOVER, OVER
from lusifer.reindex.quality_gate import GateOptions, GateResult, measure
from lusifer.reindex.runner import PassOptions, check_model, run_passes
from lusifer.reindex.snapshot import open_snapshot
from lusifer.reindex.verification import Verification, verify

if TYPE_CHECKING:
    from lusifer.embedding.base import Embedder
    from lusifer.reindex.endpoints.base import AnyMigration
    from lusifer.reindex.job import Job, State
    from lusifer.types import JSON

__all__ = ["CheckOptions", "Checks", "check", "require_pass"]


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


def check(
    job: Job, migration: AnyMigration, embedder: Embedder, options: CheckOptions | None = None
) -> Checks:
    """Verify and measure; write the result to ``checks.json``.

    Where source and target differ, a pass is run and they are compared again, since applications
    may have written meanwhile.

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
    require_pass(job, state, "verify")
    if state.phase in {*AFTER_CUTOVER, *OVER} and not migration.in_place:
        raise ReindexError(
            "Applications see the new vectors and may write to them: there is nothing to compare "
            "them with.",
            next_step="Verify before the cutover.",
        )
    options = options or CheckOptions()

    def repair() -> None:
        # The rest of an interrupted pass says nothing about its beginning.
        passes = 2 if state.spans else 1
        run_passes(job, state, migration, embedder, PassOptions(maximum_passes=passes))

    with open_snapshot(job.path, in_place=migration.in_place) as snapshot:
        verification = verify(
            migration,
            embedder,
            snapshot,
            repair=repair,
            samples=options.samples,
            was_live=state.was_live,
        )
    checks = Checks(verification, measure(migration, embedder, job.plan.gate, options.gate))
    job.write("checks.json", checks.as_dict())
    return checks


def require_pass(job: Job, state: State, purpose: str) -> None:
    """Refuse a job without a complete pass.

    Raises:
        ReindexError: There is none.
    """
    if not state.passes:
        raise ReindexError(
            f"No pass is complete, so there is nothing to {purpose}.",
            next_step=f"Run it first: lusifer reindex run {job.path}",
        )
