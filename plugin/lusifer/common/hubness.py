"""Hubness: how unevenly the hits of many queries are spread over the documents.

A *hub* is a document that is the first hit of far more queries than it answers. Vectors that share
one large direction make hubs (Radovanović et al. 2010, Suzuki et al. 2013).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["MAXIMUM_SHARE", "Hub", "Hubness", "allowed_queries", "find_hubs", "measure_hubness"]

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


@dataclass(frozen=True, slots=True)
class Hub:
    """A document that is the first hit of too many queries that it does not answer."""

    key: str
    """Key of the document."""
    language: str | None
    """Language of the queries; None if these are the queries of all languages."""
    queries: int
    """Number of queries whose first hit it is."""
    of: int
    """Number of all queries of the language."""
    allowed: int
    """Largest number of queries that would be allowed."""


def find_hubs(
    first_hits: Mapping[str, Sequence[str | None]],
    documents: int,
    maximum_share: float = MAXIMUM_SHARE,
) -> list[Hub]:
    """Find hubs among the queries of each language, and among all queries.

    Args:
        first_hits: Key of the first hit of each query, by language; None where the first hit is
            right or there is none.
        documents: Number of documents that are searched.
        maximum_share: Share of the queries that is allowed; see :func:`allowed_queries`.

    Returns:
        Each hub once, in the language that finds it most often; the most frequent first.
    """
    found: dict[str, Hub] = {}
    groups: list[tuple[str | None, Sequence[str | None]]] = list(first_hits.items())
    groups.append((None, [key for keys in first_hits.values() for key in keys]))
    for language, keys in groups:
        allowed = allowed_queries(len(keys), documents, maximum_share)
        for key, count in Counter(key for key in keys if key is not None).items():
            known = found.get(key)
            if count > allowed and (known is None or count * known.of > known.queries * len(keys)):
                found[key] = Hub(key, language, count, len(keys), allowed)
    return sorted(found.values(), key=lambda hub: (-hub.queries / hub.of, hub.key))


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
