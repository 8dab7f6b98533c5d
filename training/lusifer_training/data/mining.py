"""Find hard negatives and clusters for query-document pairs with any embedder.

Negatives are documents that rank high for a query without being its own document. The first ranks
are left out, because they often answer the query too. Documents whose cosine is above a limit, the
own document's cosine less a margin, are left out as well (NV-Retriever, arXiv 2407.15831).
Clusters come from k-means over the queries: the in-batch negatives of a batch from one cluster are
hard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lusifer_training.data.readers import read_json_lines
from lusifer_training.data.writing import write_json_lines
from lusifer_training.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from lusifer_training.embed_function import EmbedFunction, Vectors

__all__ = ["hard_negatives", "kmeans", "mine"]

ROWS_AT_ONCE = 256
KMEANS_ROUNDS = 25


def mine(
    source: Path,
    target: Path,
    embedder: EmbedFunction,
    *,
    negatives: int = 7,
    ranks: tuple[int, int] = (30, 128),
    margin: float = 0.05,
    clusters: int | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Copy a file of pairs and add ``negatives`` to every record, and ``cluster`` if asked for.

    Args:
        source: JSON lines with ``query`` and ``document``.
        target: JSON lines to write, whole or not at all.
        embedder: Decides which documents are near a query.
        negatives: Maximum number for each query.
        ranks: First and last rank that negatives are drawn from, from 0.
        margin: Minimum difference of the cosines of the own document and of a negative.
        clusters: Number of clusters for k-means over the queries; None: no clusters.
        seed: Seed of the draws and of k-means.

    Returns:
        ``pairs``, ``documents``, and ``negatives``, the mean number found for a query.

    Raises:
        DataError: A line is broken.
        ConfigError: The range of ranks is empty or outside the documents.
    """
    records = list(read_json_lines(source, ("query", "document")))
    documents = list(dict.fromkeys(record["document"] for record in records))
    number = {document: at for at, document in enumerate(documents)}
    own = np.array([number[record["document"]] for record in records])
    queries = embedder([record["query"] for record in records], "query")
    vectors = embedder(documents, "document")
    chosen = hard_negatives(
        queries, vectors, own, negatives=negatives, ranks=ranks, margin=margin, seed=seed
    )
    groups = kmeans(queries, clusters, seed=seed) if clusters else None

    def mined() -> Iterator[dict[str, object]]:
        for at, record in enumerate(records):
            found = [documents[index] for index in chosen[at]]
            cluster = {} if groups is None else {"cluster": int(groups[at])}
            yield {**record, "negatives": found, **cluster}

    write_json_lines(target, mined())
    found = sum(map(len, chosen)) / len(chosen)
    return {"pairs": len(records), "documents": len(documents), "negatives": round(found, 2)}


def hard_negatives(
    queries: Vectors,
    documents: Vectors,
    own: NDArray[np.int64],
    *,
    negatives: int,
    ranks: tuple[int, int],
    margin: float,
    seed: int = 0,
) -> list[NDArray[np.int64]]:
    """Choose the negatives of each query, as indices of documents, nearest first.

    Args:
        queries: ``(N, D)`` unit vectors.
        documents: ``(M, D)`` unit vectors.
        own: Each query's document ``(N,)``.
        negatives: Maximum number for each query.
        ranks: First and last rank, from 0; the own document is not counted.
        margin: Minimum difference of the cosines of the own document and of a negative.
        seed: Seed of the draw from the ranks.

    Raises:
        ConfigError: The range of ranks is empty or outside the documents.
    """
    first, last = ranks
    if not 0 <= first < min(last, len(documents) - 1):
        raise ConfigError(
            f"ranks {first} to {last} of {len(documents)} documents hold no negatives.",
            next_step="Choose a first rank within the documents and a larger last rank.",
        )
    rng = np.random.default_rng(seed)
    chosen = []
    for start in range(0, len(queries), ROWS_AT_ONCE):
        block = slice(start, start + ROWS_AT_ONCE)
        scores = queries[block] @ documents.T
        rows = np.arange(len(scores))
        own_scores = scores[rows, own[block]]
        # The own document gets the last rank, so that it is never drawn.
        scores[rows, own[block]] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, first : min(last, len(documents) - 1)]
        for row in rows:
            far = order[row][scores[row, order[row]] <= own_scores[row] - margin]
            drawn = rng.choice(len(far), min(negatives, len(far)), replace=False)
            chosen.append(far[np.sort(drawn)])
    return chosen


def kmeans(vectors: Vectors, clusters: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Cluster unit vectors by cosine (spherical k-means, with the first centres of k-means++).

    Args:
        vectors: ``(N, D)``.
        clusters: Maximum number; an empty cluster is left empty.
        seed: Seed of the first centres.

    Returns:
        The cluster of each vector ``(N,)``.
    """
    rng = np.random.default_rng(seed)
    chosen = [int(rng.integers(len(vectors)))]
    farthest = np.full(len(vectors), np.inf)
    # k-means++: the next centre is drawn by its squared distance from the present centres.
    while len(chosen) < min(clusters, len(vectors)):
        farthest = np.minimum(farthest, np.maximum(0, 2 - 2 * vectors @ vectors[chosen[-1]]))
        if not farthest.any():
            break
        chosen.append(int(rng.choice(len(vectors), p=farthest / farthest.sum())))
    centres = vectors[chosen]
    groups = np.full(len(vectors), -1)
    for _ in range(KMEANS_ROUNDS):
        nearest = np.concatenate(
            [
                (vectors[start : start + ROWS_AT_ONCE] @ centres.T).argmax(axis=1)
                for start in range(0, len(vectors), ROWS_AT_ONCE)
            ]
        )
        if np.array_equal(nearest, groups):
            break
        groups = nearest
        sums = np.zeros_like(centres)
        np.add.at(sums, groups, vectors)
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(lengths > 0, sums / np.maximum(lengths, 1e-12), centres)
    return groups
