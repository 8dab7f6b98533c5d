"""Scores with bootstrap replicates: intervals, and paired differences between models.

The replicates of a measure draw the same units for every model, because the seed is the number of
units. So the difference of two models' replicates is the paired bootstrap of their difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Measure", "interval", "mean_measure", "mean_of", "resampled_measure"]

MEAN_REPLICATES = 1000
RESAMPLED_REPLICATES = 200
"""Number of replicates where each one ranks or clusters again."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One score of one model.

    Attributes:
        value: Score on all units; percent, except for ranks.
        replicates: Scores on resampled units ``(R,)``.
    """

    value: float
    replicates: NDArray[np.float64]

    @property
    def interval(self) -> tuple[float, float]:
        """Interval of 95 %."""
        return interval(self.replicates)

    def difference(self, other: Measure) -> tuple[float, tuple[float, float]]:
        """Return this score less the other, and the paired interval of 95 %."""
        return self.value - other.value, interval(self.replicates - other.replicates)

    def as_dict(self) -> dict[str, object]:
        """Return value and interval as JSON-ready fields, without the replicates."""
        return {"value": self.value, "interval_95": list(self.interval)}


def interval(replicates: NDArray[np.float64]) -> tuple[float, float]:
    """Return the middle 95 % of replicates."""
    low, high = np.percentile(replicates, (2.5, 97.5))
    return float(low), float(high)


def mean_measure(
    values: ArrayLike, weights: ArrayLike | None = None, *, scale: float = 100.0
) -> Measure:
    """Measure a weighted mean over units that are drawn whole.

    A unit is, for example, all questions of a paragraph.

    Args:
        values: Sum of the scores of each unit ``(U,)``.
        weights: Number of scores in each unit ``(U,)``; one by default.
        scale: Factor; 100 turns shares into percent.
    """
    sums = np.asarray(values, dtype=np.float64)
    sizes = np.ones_like(sums) if weights is None else np.asarray(weights, dtype=np.float64)
    counts = _draws(len(sums), MEAN_REPLICATES)
    replicates = scale * (counts @ sums) / np.maximum(counts @ sizes, 1e-12)
    return Measure(float(scale * sums.sum() / sizes.sum()), replicates)


def mean_of(measures: Sequence[Measure]) -> Measure:
    """Average measures of different sets; each replicate draws from every set.

    It has as many replicates as the measure with the fewest.
    """
    count = min(len(each.replicates) for each in measures)
    replicates = np.mean([each.replicates[:count] for each in measures], axis=0)
    return Measure(float(np.mean([each.value for each in measures])), replicates)


def resampled_measure(
    units: int, statistic: Callable[[NDArray[np.int64]], float], *, scale: float = 100.0
) -> Measure:
    """Measure any statistic of a list of units.

    Replicates are centred on the value. A draw with repeats holds fewer different units. A
    statistic that depends on their number, such as V-measure, is then biased by more than its
    spread.

    Args:
        units: Number of units.
        statistic: Computes the statistic from the drawn units' indices ``(U,)``, repeats included.
        scale: Factor; 100 turns shares into percent.
    """
    value = scale * statistic(np.arange(units))
    replicates = np.array(
        [
            scale * statistic(np.repeat(np.arange(units), count))
            for count in _draws(units, RESAMPLED_REPLICATES)
        ]
    )
    return Measure(value, replicates - replicates.mean() + value)


def _draws(units: int, replicates: int) -> NDArray[np.int64]:
    """Draw the count of each unit in each replicate ``(R, U)``."""
    rng = np.random.default_rng(units)
    return rng.multinomial(units, np.full(units, 1 / units), size=replicates)
