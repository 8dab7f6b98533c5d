"""Verifies the target: counts documents, and embeds a sample again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lusifer.embedding.base import Embedder
    from lusifer.reindex.endpoints.base import AnyMigration
    from lusifer.types import JSON

__all__ = ["Verification", "verify"]

_TOLERANCE = 1e-3
"""Distance of a cosine from 1. Databases store float32 and normalize again, which stays below it;
another text or model is far beyond it."""


class Verification(BaseModel):
    """Results of counting and comparing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    old: int
    """Documents in the source."""
    new: int
    """Documents in the target."""
    drift: int
    """Documents that the last pass still found. Source and target may differ by as many while
    applications write."""
    old_without_vector: int
    """Documents in the source that no search finds."""
    new_without_vector: int
    """Documents in the target that no search finds."""
    sampled: int
    stale: tuple[str, ...]
    """Keys of the sample whose content in the target is not the source's."""
    wrong: tuple[str, ...]
    """Keys of the sample whose vector is not that of their text."""
    worst_cosine: float
    """Lowest cosine in the sample between the stored vector and one made now."""

    @property
    def problems(self) -> list[str]:
        """Faults, one sentence each."""
        found = []
        if abs(self.old - self.new) > self.drift:
            found.append(f"The source has {self.old:,} documents, the target {self.new:,}.")
        if self.new_without_vector > self.old_without_vector + self.drift:
            found.append(
                f"{self.new_without_vector:,} documents have no new vector, so no search will find "
                f"them; {self.old_without_vector:,} have no old one."
            )
        if len(self.stale) > self.drift:
            found.append(
                f"{len(self.stale)} of {self.sampled} sampled documents are stale: "
                f"{_first_keys(self.stale)}."
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
    *,
    samples: int = 200,
    drift: int = 0,
    seed: int = 0,
) -> Verification:
    """Count the documents of source and target, and compare a sample with vectors made now.

    Args:
        migration: Source and target.
        embedder: The new model.
        samples: Documents to embed again.
        drift: Documents by which source and target may differ.
        seed: Seed of the sample.

    Raises:
        StoreError: Source or target can't be read.
        EngineError: The engine can't run.
    """
    source, target = migration.source, migration.target
    # In place the source returns only documents that lack the new vector.
    sampled = target if migration.in_place else source
    records = sampled.sample(samples, seed)
    keys = [record.key for record in records]
    hashes = target.hashes(keys)
    vectors = target.vectors(keys)
    stale = [record.key for record in records if hashes.get(record.key) != record.sha256]
    comparable = [r for r in records if r.key in vectors and r.key not in set(stale)]
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
    return Verification(
        old=source.count(),
        new=target.count(),
        drift=drift,
        old_without_vector=source.count_without_vector(),
        new_without_vector=target.count_without_vector(),
        sampled=len(records),
        stale=tuple(stale),
        wrong=tuple(wrong),
        worst_cosine=worst,
    )


def _first_keys(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (", …" if len(keys) > 3 else "")
