"""Verifies the target: counts documents, and embeds a sample again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from lusifer.reindex.reconciliation import Changes, find_changes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lusifer.embedding.base import Embedder
    from lusifer.reindex.endpoints.base import AnyMigration
    from lusifer.reindex.snapshot import Snapshot
    from lusifer.types import JSON

__all__ = ["Verification", "verify"]

_TOLERANCE = 1e-3
"""Distance of a cosine from 1. Databases store float32 and normalize again, which stays below it;
another text or model is far beyond it."""
_KEYS_SHOWN = 4
"""Keys of faulty documents that are kept, one more than are shown."""


class Verification(BaseModel):
    """Results of counting and comparing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    old: int
    """Documents in the source."""
    new: int
    """Documents in the target."""
    missing: int
    """Documents of the source that a pass did not bring to the target, although nothing changed
    them meanwhile."""
    missing_keys: tuple[str, ...]
    """First keys of these."""
    removed: int
    """Copies that somebody deleted from the target."""
    kept: int
    """Documents that applications wrote to the target; they stay as they are."""
    conflicts: int
    """Documents that applications changed on both sides."""
    old_without_vector: int
    """Documents in the source that no search finds."""
    new_without_vector: int
    """Documents in the target that no search finds."""
    sampled: int
    wrong: tuple[str, ...]
    """Keys of the sample whose vector is not that of their text."""
    worst_cosine: float
    """Lowest cosine in the sample between the stored vector and one made now."""

    @property
    def problems(self) -> list[str]:
        """Faults, one sentence each."""
        found = []
        if self.missing:
            found.append(
                f"{self.missing:,} documents of the source are not in the target, or not as they "
                f"are now: {_first_keys(self.missing_keys)}."
            )
        if self.removed:
            found.append(
                f"{self.removed:,} documents are gone from the target after they were copied: "
                "somebody deleted them, or the database lost them."
            )
        if self.conflicts:
            found.append(
                f"{self.conflicts:,} documents were changed both in the source and in the target; "
                "--force replaces the target's by the source's."
            )
        if self.new_without_vector > self.old_without_vector:
            found.append(
                f"{self.new_without_vector:,} documents have no new vector, so no search will find "
                f"them; {self.old_without_vector:,} have no old one."
            )
        if self.wrong:
            found.append(
                f"{len(self.wrong)} of {self.sampled} sampled vectors are not those of their texts "
                f"(worst cosine {self.worst_cosine:.4f}): {_first_keys(self.wrong)}."
            )
        return found

    def as_dict(self) -> dict[str, JSON]:
        """Return JSON-ready fields."""
        return {**self.model_dump(mode="json"), "problems": self.problems}


def verify(
    migration: AnyMigration,
    embedder: Embedder,
    snapshot: Snapshot,
    *,
    repair: Callable[[], None],
    samples: int = 200,
    was_live: bool = False,
    seed: int = 0,
) -> Verification:
    """Count the documents of source and target, and compare a sample with vectors made now.

    Where the two differ, every document is compared. Those that differ are repaired and compared
    again: a fault is what stays different although no application changed it meanwhile. So
    applications may write all the while.

    Args:
        migration: Source and target.
        embedder: The new model.
        snapshot: What both sides held when they were last copied.
        repair: Runs a pass.
        samples: Documents to embed again.
        was_live: Whether applications have seen the target before, so that what they deleted from
            it is no fault.
        seed: Seed of the sample.

    Raises:
        StoreError: Source or target can't be read or written.
        EngineError: The engine can't run.
    """
    source, target = migration.source, migration.target
    sampled = _compare_sample(migration, embedder, samples, seed)
    old, new = source.count(), target.count()
    old_without, new_without = source.count_without_vector(), target.count_without_vector()
    changes, missing = Changes(), dict[str, str]()
    if sampled.differ or old != new or (migration.in_place and new_without):
        before = find_changes(migration, snapshot)
        repair()
        changes = find_changes(migration, snapshot)
        missing = {
            key: sha256
            for key, sha256 in before.source_only.items()
            if changes.source_only.get(key) == sha256
        }
    if migration.in_place:
        new_without, missing = len(missing), {}
    removed = sum(not sha256 for sha256 in changes.target_only.values())
    return Verification(
        old=old,
        new=new,
        missing=len(missing),
        missing_keys=tuple(missing)[:_KEYS_SHOWN],
        removed=0 if was_live else removed,
        kept=changes.count("target_only"),
        conflicts=changes.count("both"),
        old_without_vector=old_without,
        new_without_vector=new_without,
        sampled=sampled.count,
        wrong=tuple(sampled.wrong),
        worst_cosine=sampled.worst_cosine,
    )


@dataclass(frozen=True)
class _Sample:
    """Result of comparing a sample."""

    count: int
    differ: bool
    """Whether the target lacks documents of the sample, or holds others."""
    wrong: list[str]
    worst_cosine: float


def _compare_sample(
    migration: AnyMigration, embedder: Embedder, samples: int, seed: int
) -> _Sample:
    target = migration.target
    # In place the source returns only documents that lack the new vector.
    records = (target if migration.in_place else migration.source).sample(samples, seed)
    keys = [record.key for record in records]
    vectors = target.vectors(keys)
    # Read last: where the content is the record's still, so was it when the vector was read.
    hashes = target.hashes(keys)
    equal = [record for record in records if hashes.get(record.key) == record.sha256]
    comparable = [record for record in equal if record.key in vectors]
    wrong: list[str] = []
    worst = 1.0
    if comparable:
        made = embedder.embed_documents([record.text for record in comparable]).vectors
        for record, vector in zip(comparable, made, strict=True):
            stored = vectors[record.key].astype(np.float64)
            cosine = float(stored @ vector / (np.linalg.norm(stored) * np.linalg.norm(vector)))
            worst = min(worst, cosine)
            if not cosine > 1 - _TOLERANCE:
                wrong.append(record.key)
    return _Sample(len(records), len(equal) < len(records), wrong, worst)


def _first_keys(keys: Sequence[str]) -> str:
    shown = _KEYS_SHOWN - 1
    return ", ".join(keys[:shown]) + (", …" if len(keys) > shown else "")
