"""Hubness: how unevenly the hits of many queries are spread over the documents.

A *hub* is a document that is the first hit of far more queries than it answers. Vectors that share
one large direction make hubs (Radovanović et al. 2010, Suzuki et al. 2013).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["MAXIMUM_SHARE", "Hubness", "allowed_queries", "measure_hubness", "number_hits"]

MAXIMUM_SHARE = 0.1
"""Share of the queries that a document may be the first hit of."""
_FALSE_ALARM = 1e-4
"""Probability that an ordinary document is taken for a hub."""
_EQUAL_SHARES = 3
"""In a small collection, a document may have this many times its equal share of the queries."""


@dataclass(frozen=True, slots=True)
class Hubness:
    """Spread of the hits of Q queries over the documents."""

    queries: float
    """Number of queries, or their total weight."""
    skew: float
    """Skew of the k-occurrences: in the first k hits of how many queries each document is. It is 0
    where documents occur equally often."""
    first: int
    """Number of the most frequent first hit; -1 if there is no hit."""
    first_queries: float
    """Number of the queries whose first hit it is, or their weight."""

    @property
    def first_share(self) -> float:
        """Share of the queries whose first hit is the most frequent one, from 0 to 1."""
        return self.first_queries / self.queries if self.queries else 0.0


def measure_hubness(
    hits: NDArray[np.int64], documents: int, weights: NDArray[np.float64] | None = None
) -> Hubness:
    """Measure the skew of the k-occurrences and the most frequent first hit.

    Args:
        hits: Numbers of the first k hits of each query ``(Q, k)``, best first, from 0 to
            ``documents - 1``; -1 stands for no hit.
        documents: Number of documents that are searched.
        weights: Weight of each query ``(Q,)``; 1 by default.
    """
    weights = np.ones(len(hits)) if weights is None else np.asarray(weights, dtype=np.float64)
    total = float(weights.sum())
    if not hits.size:
        return Hubness(total, 0.0, -1, 0.0)
    found = hits >= 0
    repeated = np.broadcast_to(weights[:, None], hits.shape)
    occurrences = np.bincount(hits[found], repeated[found], minlength=documents)
    first = np.bincount(hits[found[:, 0], 0], weights[found[:, 0]], minlength=documents)
    deviations = occurrences - occurrences.mean()
    spread = float(np.sqrt((deviations**2).mean()))
    skew = float((deviations**3).mean()) / spread**3 if spread > 1e-9 else 0.0
    most = int(first.argmax())
    if not first[most]:
        return Hubness(total, skew, -1, 0.0)
    return Hubness(total, skew, most, float(first[most]))


def number_hits(hits: Sequence[Sequence[str]]) -> tuple[NDArray[np.int64], list[str]]:
    """Number the keys of hits, for :func:`measure_hubness`.

    Args:
        hits: Keys of the hits of Q queries, best first; queries may have fewer hits than others.

    Returns:
        Numbers ``(Q, k)``, where -1 stands for no hit, and the keys in the order of the numbers.
    """
    numbers: dict[str, int] = {}
    longest = max(map(len, hits), default=0)
    rows = [
        [*(numbers.setdefault(key, len(numbers)) for key in row), *[-1] * (longest - len(row))]
        for row in hits
    ]
    return np.array(rows, dtype=np.int64).reshape(len(hits), longest), list(numbers)


def allowed_queries(queries: int, documents: int, maximum_share: float = MAXIMUM_SHARE) -> int:
    """Return the largest number of queries that one document may be the first hit of.

    It is the maximum share of the queries. Where they are few, it is the most that a document with
    half of that share reaches by chance, with a probability of 1 in 10,000 to exceed it. With a
    share of 10 % these are 7 of 24 queries, 23 of 200 and 40 of 400. Of fewer than 30 documents,
    each may have three times its equal share.

    Args:
        queries: Number of queries.
        documents: Number of documents that are searched.
        maximum_share: Share that is allowed, from 0 to 1.
    """
    share = min(1.0, max(maximum_share, _EQUAL_SHARES / max(1, documents)))
    return max(math.floor(share * queries), _binomial_quantile(queries, share / 2))


def _binomial_quantile(trials: int, probability: float) -> int:
    """Return the smallest number that is exceeded with a probability below the false alarm's."""
    if probability <= 0:
        return 0
    odds = math.log(probability) - math.log1p(-probability)
    term = trials * math.log1p(-probability)
    exceeded = 1.0
    for count in range(trials + 1):
        exceeded -= math.exp(term)
        if exceeded < _FALSE_ALARM:
            return count
        term += math.log(trials - count) - math.log(count + 1) + odds if count < trials else 0.0
    return trials
