"""An engine without weights, for tests: fast, deterministic, and broken on request.

A vector is the normalized sum of one random direction for each token. So texts that share tokens
are near each other, and a search finds what it should. Faults are tied to call numbers, so that a
failing test fails every time::

    engine = FakeEngine(16, faults=Faults(nan_on={2}))
    engine.run(ids, mask)  # fine
    engine.run(ids, mask)  # holds a NaN
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lusifer.errors import EngineBusyError

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

__all__ = ["FakeEngine", "Faults"]

_NEVER: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Faults:
    """Faults of an engine, each with the calls that have it; calls are counted from 1."""

    slow_s: float = 0.0
    """Seconds that every call sleeps."""
    out_of_memory_on: AbstractSet[int] = _NEVER
    """Calls that raise EngineBusyError."""
    out_of_memory_above_rows: int | None = None
    """Number of rows above which a call raises EngineBusyError, as a real engine does that is short
    of memory."""
    nan_on: AbstractSet[int] = _NEVER
    """Calls whose last vector holds a NaN."""
    short_answer_on: AbstractSet[int] = _NEVER
    """Calls that leave out the last vector."""
    wrong_dimension_on: AbstractSet[int] = _NEVER
    """Calls whose vectors are one number too long."""
    not_unit_on: AbstractSet[int] = _NEVER
    """Calls whose vectors have norm 2."""
    swapped_on: AbstractSet[int] = _NEVER
    """Calls whose first and last vector change places. No check of one answer can detect this; it
    tests that a comparison of known texts does."""


class FakeEngine:
    """Computes deterministic vectors from token ids.

    Args:
        dimension: Length D of the vectors.
        seed: Another seed gives other directions, as another model would.
        faults: What goes wrong, and when.
    """

    name = "fake"

    def __init__(self, dimension: int, *, seed: int = 0, faults: Faults | None = None) -> None:
        self.dimension = dimension
        self.faults = faults or Faults()
        self.calls = 0
        self.rows = 0
        self._seed = seed
        self._directions: dict[int, NDArray[np.float64]] = {}

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Compute vectors ``(B, D)`` of ids and mask ``(B, T)``, with the faults of this call.

        Raises:
            EngineBusyError: The faults contain one for this call.
        """
        self.calls += 1
        call, faults = self.calls, self.faults
        if faults.slow_s:
            time.sleep(faults.slow_s)
        rows = len(input_ids)
        limit = faults.out_of_memory_above_rows
        if call in faults.out_of_memory_on or (limit is not None and rows > limit):
            raise EngineBusyError(
                f"The fake engine is out of memory on call {call} with {rows} rows.",
                next_step="Send fewer rows, or try again.",
            )
        self.rows += rows
        vectors = np.stack(
            [
                self._vector(ids[mask == 1])
                for ids, mask in zip(input_ids, attention_mask, strict=True)
            ]
        )
        return self._spoil(vectors.astype(np.float32), call)

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def _vector(self, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        total = np.zeros(self.dimension)
        # Sorted: floating point sums depend on the order, and a vector must not.
        for token in np.sort(ids).tolist():
            if token not in self._directions:
                self._directions[token] = np.random.default_rng([self._seed, token]).normal(
                    size=self.dimension
                )
            total += self._directions[token]
        norm = float(np.linalg.norm(total))
        if norm == 0.0:
            total[0] = norm = 1.0
        return total / norm

    def _spoil(self, vectors: NDArray[np.float32], call: int) -> NDArray[np.float32]:
        faults = self.faults
        if call in faults.nan_on:
            vectors[-1, 0] = np.nan
        if call in faults.not_unit_on:
            vectors *= 2
        if call in faults.swapped_on:
            vectors[[0, -1]] = vectors[[-1, 0]]
        if call in faults.wrong_dimension_on:
            vectors = np.pad(vectors, ((0, 0), (0, 1)))
        if call in faults.short_answer_on:
            vectors = vectors[:-1]
        return vectors
