"""A score with its bootstrap replicates: intervals, and paired differences between models.

Replicates of one measure draw the same units for every model (the seed is the number of units), so
that the difference of two models' replicates is the paired bootstrap of their difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Measure", "interval", "mean_measure", "resampled_measure"]

MEAN_REPLICATES = 1000
RESAMPLED_REPLICATES = 200
"""Fewer where every replicate ranks or clusters anew."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of one model.

    Attributes:
        value: On all units; percent, except for ranks.
        replicates: Of resampled units ``(R,)``.
    """

    value: float
    replicates: np.ndarray

    @property
    def interval(self) -> tuple[float, float]:
        """Of 95 %."""
        return interval(self.replicates)

    def difference(self, other: Measure) -> tuple[float, tuple[float, float]]:
        """This less the other, and its paired interval of 95 %."""
        return self.value - other.value, interval(self.replicates - other.replicates)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, with the interval but without replicates."""
        return {"value": self.value, "interval_95": list(self.interval)}


def interval(replicates: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of replicates."""
    low, high = np.percentile(replicates, (2.5, 97.5))
    return float(low), float(high)


def mean_measure(
    values: np.ndarray, weights: np.ndarray | None = None, *, scale: float = 100.0
) -> Measure:
    """A weighted mean over units that are drawn together, such as all questions of a paragraph.

    Args:
        values: Sum of the unit's scores ``(U,)``.
        weights: Number of scores in each unit ``(U,)``; one by default.
        scale: Factor; 100 makes percent of shares.
    """
    values = np.asarray(values, dtype=np.float64)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
    counts = _draws(len(values), MEAN_REPLICATES)
    replicates = scale * (counts @ values) / np.maximum(counts @ weights, 1e-12)
    return Measure(float(scale * values.sum() / weights.sum()), replicates)


def resampled_measure(
    units: int, statistic: Callable[[np.ndarray], float], *, scale: float = 100.0
) -> Measure:
    """Any statistic of a list of units.

    Replicates are centred on the value. A list with repeats holds fewer different units, and what
    depends on their number, as V-measure does, is otherwise off by more than its spread.

    Args:
        units: How many there are.
        statistic: Of the chosen units' indices ``(U,)``, repeats included.
        scale: Factor; 100 makes percent of shares.
    """
    value = scale * statistic(np.arange(units))
    replicates = np.array(
        [
            scale * statistic(np.repeat(np.arange(units), count))
            for count in _draws(units, RESAMPLED_REPLICATES)
        ]
    )
    return Measure(value, replicates - replicates.mean() + value)


def _draws(units: int, replicates: int) -> np.ndarray:
    """How often each unit is drawn in each replicate ``(R, U)``."""
    rng = np.random.default_rng(units)
    return rng.multinomial(units, np.full(units, 1 / units), size=replicates)
