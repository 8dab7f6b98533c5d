"""Proof that the new side is what it should be: by counting, and by embedding a sample again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from lusifer.embedding.base import Embedder
    from lusifer.reindex.endpoints.base import Migration

__all__ = ["Verification", "verify"]

_TOLERANCE = 1e-3
"""Of a cosine to 1: databases keep float32 and normalise anew; another text or model is far beyond
it."""


class Verification(BaseModel):
    """What was counted and compared."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    old: int
    """Documents on the old side."""
    new: int
    """Documents on the new side."""
    drift: int
    """Documents that the last pass still found: by so many the sides may differ while applications
    write."""
    old_without_vector: int
    new_without_vector: int
    """Documents that no search finds."""
    sampled: int
    stale: tuple[str, ...]
    """Keys of the sample whose content on the new side is not the old side's."""
    wrong: tuple[str, ...]
    """Keys of the sample whose vector is not that of their text."""
    worst_cosine: float
    """Of the sample, between the stored vector and the one made now."""

    @property
    def problems(self) -> list[str]:
        """What is not as it should be, as sentences."""
        found = []
        if abs(self.old - self.new) > self.drift:
            found.append(f"The old side has {self.old:,} documents, the new one {self.new:,}.")
        if self.new_without_vector > self.old_without_vector + self.drift:
            found.append(
                f"{self.new_without_vector:,} documents have no new vector, so no search will find them; "
                f"{self.old_without_vector:,} have no old one."
            )
        if len(self.stale) > self.drift:
            found.append(
                f"{len(self.stale)} of {self.sampled} sampled documents are stale: {_few(self.stale)}."
            )
        if self.wrong:
            found.append(
                f"{len(self.wrong)} of {self.sampled} sampled vectors are not those of their texts "
                f"(worst cosine {self.worst_cosine:.4f}): {_few(self.wrong)}."
            )
        return found

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return {**self.model_dump(mode="json"), "problems": self.problems}


def verify(
    migration: Migration, embedder: Embedder, *, samples: int = 200, drift: int = 0, seed: int = 0
) -> Verification:
    """Count both sides, and compare a sample with vectors made now.

    Args:
        migration: The two sides.
        embedder: Of the new model.
        samples: Documents to embed again.
        drift: Documents by which the sides may differ.
        seed: Of the choice.

    Raises:
        StoreError: A side can't be read.
        EngineError: The engine can't run.
    """
    # In place the old side reads only what lacks the new vector.
    side = migration.new if migration.in_place else migration.old
    records = side.sample(samples, seed)
    keys = [record.key for record in records]
    hashes = migration.new.hashes(keys)
    vectors = migration.new.vectors(keys)
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
        old=migration.old.count(),
        new=migration.new.count(),
        drift=drift,
        old_without_vector=migration.old.count_without_vector(),
        new_without_vector=migration.new.count_without_vector(),
        sampled=len(records),
        stale=tuple(stale),
        wrong=tuple(wrong),
        worst_cosine=worst,
    )


def _few(keys: tuple[str, ...]) -> str:
    return ", ".join(keys[:3]) + (", …" if len(keys) > 3 else "")
