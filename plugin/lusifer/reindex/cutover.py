"""The gate, the switch, and the way back.

::

    switch    last passes ─ verify ─ gate ─ last pass, ledger ─▶ applications see the new side ─ bring over
    rollback  applications see the old side
    clean     delete the side that nobody sees

Where writers can be kept out for a moment, they are from the last pass to the switch: always of the
embedded store, on Weaviate if that is wished. Else what an application wrote to the old side in
between is brought over right after the switch, by comparing three ways: see
:mod:`lusifer.reindex.snapshot`. In place there is nothing to bring over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lusifer.errors import CollectionMismatchError, StoreError
from lusifer.reindex import batch
from lusifer.reindex.endpoints.base import EVERYTHING, content_of
from lusifer.reindex.quality_gate import Gate, measure
from lusifer.reindex.runner import check_model, run_passes
from lusifer.reindex.snapshot import open_snapshot
from lusifer.reindex.verification import Verification, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lusifer.common.disk_map import DiskMap
    from lusifer.embedding.base import Embedder
    from lusifer.reindex.endpoints.base import Migration, Record
    from lusifer.reindex.job import Job, State
    from lusifer.reindex.quality_gate import Question

__all__ = ["Checks", "Switched", "check", "clean", "rollback", "switch"]

_LAST_PASSES = 3


@dataclass(frozen=True)
class Checks:
    """What was verified and measured."""

    verification: Verification
    gate: Gate

    @property
    def problems(self) -> list[str]:
        """What speaks against the switch."""
        return [*self.verification.problems, *self.gate.failures]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "passed": not self.problems,
            "problems": self.problems,
            "verification": self.verification.as_dict(),
            "gate": self.gate.model_dump(mode="json"),
        }


@dataclass(frozen=True)
class Switched:
    """What a switch or a rollback did."""

    checks: Checks | None
    brought_over: int
    """Documents that were written to the old side in the last moment."""
    left_behind: int
    """Documents that were written to the new side since the switch, and are not on the old one."""


def check(
    job: Job,
    migration: Migration,
    embedder: Embedder,
    *,
    old: Embedder | None = None,
    questions: Sequence[Question] | None = None,
    samples: int = 200,
    per_language: int = 25,
) -> Checks:
    """Verify and measure; keeps the result in ``checks.json``.

    Raises:
        StoreError: Applications see the new side, or nothing was embedded yet, or a side can't be
            read.
        EngineError: A model can't run.
    """
    check_model(job.plan.model, embedder)
    state = job.state()
    if not state.passes:
        raise StoreError(
            "No pass is complete, so there is nothing to verify.",
            next_step=f"Run it first: lusifer reindex run {job.path}",
        )
    if state.phase in {"switching", "switched", "cleaned"} and not migration.in_place:
        raise StoreError(
            "Applications see the new side, and may write to it: there is nothing to compare it with.",
            next_step="Verify before the switch.",
        )
    checks = Checks(
        verify(migration, embedder, samples=samples, drift=state.passes[-1].found),
        measure(
            migration,
            embedder,
            job.plan.gate,
            old=old,
            questions=questions,
            per_language=per_language,
        ),
    )
    job.write("checks.json", checks.as_dict())
    return checks


def switch(
    job: Job,
    migration: Migration,
    embedder: Embedder,
    *,
    force: bool = False,
    old: Embedder | None = None,
    questions: Sequence[Question] | None = None,
    samples: int = 200,
    per_language: int = 25,
    on_progress: Callable[[State], None] | None = None,
) -> Switched:
    """Let applications see the new side, if the gate opens; a switch that was killed is completed.

    Called again after a switch it brings over what was written to the old side since, by
    applications that still held its name.

    Args:
        job: Its lock is held by the caller.
        migration: The two sides.
        embedder: Of the new model.
        force: Switch although the checks fail.
        old: The old model, where it is at hand, for the gate.
        questions: The team's own, for the gate.
        samples: Documents to embed again.
        per_language: Documents of each language that the gate looks at.
        on_progress: Called after every window.

    Raises:
        CollectionMismatchError: The checks fail and it is not forced; nothing was changed.
        StoreError: Nothing was embedded yet, or a side can't be read or written.
        EngineError: A model can't run.
    """
    check_model(job.plan.model, embedder)
    state = job.state()
    checks = None

    def catch_up(passes: int) -> None:
        run_passes(job, state, migration, embedder, maximum_passes=passes, on_progress=on_progress)

    if state.phase not in {"switching", "switched"}:
        if not state.passes:
            raise StoreError(
                "No pass is complete, so there is nothing to switch to.",
                next_step=f"Run it first: lusifer reindex run {job.path}",
            )
        if state.phase == "cleaned":
            raise StoreError("This job is over: it was cleaned.", next_step="Make a new plan.")
        catch_up(_LAST_PASSES)
        checks = check(
            job,
            migration,
            embedder,
            old=old,
            questions=questions,
            samples=samples,
            per_language=per_language,
        )
        if checks.problems and not force:
            raise CollectionMismatchError(
                "The gate stays shut: " + " ".join(checks.problems),
                next_step=f"Look at {job.path / 'checks.json'}, mend it, run again, or use --force.",
            )
        with migration.fence():
            if not migration.in_place:
                catch_up(1)
                _fill_ledger(job, migration)
            state.phase = "switching"
            job.save(state)
            migration.switch.show_new()
    else:
        # The fence lets go of what a killed switch held.
        with migration.fence():
            if not migration.switch.shows_new():
                migration.switch.show_new()
    if migration.in_place:
        before = sum(each.written for each in state.passes)
        catch_up(_LAST_PASSES)
        brought = sum(each.written for each in state.passes) - before
    else:
        brought = _bring_over(job, migration, embedder)
    state.phase = "switched"
    job.save(state)
    return Switched(checks, brought, 0)


def rollback(job: Job, migration: Migration) -> Switched:
    """Let applications see the old side again, exactly as it is.

    Raises:
        StoreError: Applications do not see the new side, or the old one is gone.
    """
    state = job.state()
    if state.phase == "cleaned":
        raise StoreError(
            "The old side was cleaned: there is no way back.",
            next_step="Re-embed with the old model.",
        )
    if not migration.switch.shows_new():
        raise StoreError(
            "Applications see the old side: there is nothing to roll back.",
            next_step="Nothing needs to be done.",
        )
    migration.switch.show_old()
    state.phase = "rolled-back"
    job.save(state)
    return Switched(None, 0, _left_behind(job, migration))


def clean(job: Job, migration: Migration) -> str:
    """Delete the side that applications do not see; returns what was deleted.

    Raises:
        StoreError: The side can't be deleted.
    """
    state = job.state()
    if migration.switch.shows_new():
        migration.new.unmark()
        removed = migration.switch.remove_old()
    else:
        removed = migration.switch.remove_new()
    state.phase = "cleaned"
    job.save(state)
    (job.path / "ledger.sqlite").unlink(missing_ok=True)
    return removed


def _fill_ledger(job: Job, migration: Migration) -> None:
    with open_snapshot(job.path) as ledger:
        ledger.clear()
        cursor: str | None = None
        while True:
            held, cursor = migration.new.keys(EVERYTHING, cursor, batch.SWEEP_KEYS)
            ledger.put(held)
            if cursor is None:
                return


def _bring_over(job: Job, migration: Migration, embedder: Embedder) -> int:
    if not migration.searchable:
        return 0
    brought = 0
    with open_snapshot(job.path) as ledger:
        for _ in range(_LAST_PASSES):
            moved = _bring_writes(job, migration, embedder, ledger) + _bring_deletions(
                migration, ledger
            )
            brought += moved
            if not moved:
                break
    return brought


def _bring_writes(job: Job, migration: Migration, embedder: Embedder, ledger: DiskMap) -> int:
    moved = 0
    cursor: str | None = None
    while True:
        page = migration.old.read(EVERYTHING, cursor, job.plan.window)
        base = ledger.get([record.key for record in page.records])
        changed = [r for r in page.records if content_of(base.get(r.key, "")) != r.sha256]
        untouched = _untouched(migration, {record.key: base.get(record.key) for record in changed})
        chosen: list[Record] = [record for record in changed if record.key in untouched]
        # Settled, whichever side wins: only what the old side changes from here on is a change
        # again. And what an application wrote on the new side never is a copy again.
        settled = {record.key: f"{record.sha256}@theirs" for record in changed}
        if chosen:
            prepared = batch.embed(embedder, chosen)
            seen = {record.key: base[record.key] for record in chosen if record.key in base}
            moved += migration.new.write(prepared.records, prepared.vectors, seen)
            now = migration.new.versions([record.key for record in chosen])
            settled |= {
                r.key: now[r.key] for r in chosen if content_of(now.get(r.key, "")) == r.sha256
            }
        ledger.put(settled)
        cursor = page.cursor
        if cursor is None:
            return moved


def _bring_deletions(migration: Migration, ledger: DiskMap) -> int:
    moved = 0
    for held in ledger.pages(batch.SWEEP_KEYS):
        alive = migration.old.present(list(held))
        if gone := {key: version for key, version in held.items() if key not in alive}:
            untouched = _untouched(migration, gone)
            moved += migration.new.delete({key: gone[key] for key in untouched})
            ledger.delete(list(gone))
    return moved


def _untouched(migration: Migration, base: Mapping[str, str | None]) -> set[str]:
    """Documents that no application wrote or deleted on the new side since their version was noted."""
    if not base:
        return set()
    now = migration.new.versions(list(base))
    same = [key for key, version in base.items() if now.get(key) == version]
    # Part of a document may have been edited, which leaves it marked as the copy that it no longer
    # is.
    contents = migration.new.hashes([key for key in same if key in now])
    return {key for key in same if key not in now or contents.get(key) == content_of(now[key])}


def _left_behind(job: Job, migration: Migration) -> int:
    if not (job.path / "ledger.sqlite").exists():
        return 0
    changed = 0
    with open_snapshot(job.path) as ledger:
        cursor: str | None = None
        while True:
            held, cursor = migration.new.keys(EVERYTHING, cursor, batch.SWEEP_KEYS)
            base = ledger.get(list(held))
            changed += sum(base.get(key) != version for key, version in held.items())
            if cursor is None:
                return changed
