"""Hard negatives and clusters for query-document pairs, found with any embedder.

Negatives are documents that rank high for a query without being its own. The very first ranks are
left out, because they often answer too, and so is every document nearer to the query than a margin
below its own. Clusters are those of k-means over the queries: a batch from one has negatives that
are hard by themselves.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from lusifer_training.data.readers import read_json_lines
from lusifer_training.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer_training.embedders import EmbedFunction

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
    """Copy a file of pairs with ``negatives``, and ``cluster`` if asked for, in every record.

    Args:
        source: JSON lines with ``query`` and ``document``.
        target: JSON lines to write, aside first and then renamed.
        embedder: Finds what is near.
        negatives: Of each query, at most.
        ranks: First and last rank, from 0, that negatives are drawn from.
        margin: A negative's cosine to the query is at least so far below the own document's.
        clusters: Of k-means over the queries; None: no clusters.
        seed: Of draws and of k-means.

    Returns:
        ``pairs``, ``documents``, and ``negatives``, the mean number found.

    Raises:
        DataError: A line is broken.
        ConfigError: The window of ranks is empty or outside the documents.
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
    aside = target.with_name(target.name + ".new")
    with aside.open("w", encoding="utf-8") as file:
        for at, record in enumerate(records):
            mined: dict[str, Any] = {
                **record,
                "negatives": [documents[index] for index in chosen[at]],
            }
            if groups is not None:
                mined["cluster"] = int(groups[at])
            file.write(json.dumps(mined, ensure_ascii=False) + "\n")
    aside.replace(target)
    found = sum(map(len, chosen)) / len(chosen)
    return {"pairs": len(records), "documents": len(documents), "negatives": round(found, 2)}


def hard_negatives(
    queries: np.ndarray,
    documents: np.ndarray,
    own: np.ndarray,
    *,
    negatives: int,
    ranks: tuple[int, int],
    margin: float,
    seed: int = 0,
) -> list[np.ndarray]:
    """Indices of each query's negatives, nearest first.

    Args:
        queries: ``(N, D)`` unit vectors.
        documents: ``(M, D)`` unit vectors.
        own: Each query's document ``(N,)``.
        negatives: Of each query, at most.
        ranks: First and last rank, from 0 and the own document not counted.
        margin: Of cosine below the own document's.
        seed: Of the draw from the window.
    """
    first, last = ranks
    if not 0 <= first < min(last, len(documents) - 1):
        raise ConfigError(
            f"ranks {first} to {last} of {len(documents)} documents hold no negatives.",
            next_step="Choose a window that starts within the documents and ends later.",
        )
    rng = np.random.default_rng(seed)
    chosen = []
    for start in range(0, len(queries), ROWS_AT_ONCE):
        block = slice(start, start + ROWS_AT_ONCE)
        scores = queries[block] @ documents.T
        rows = np.arange(len(scores))
        own_scores = scores[rows, own[block]]
        # Last in rank, so that it never takes a place in the window.
        scores[rows, own[block]] = -np.inf
        order = np.argsort(-scores, axis=1, kind="stable")[:, first : min(last, len(documents) - 1)]
        for row in rows:
            far = order[row][scores[row, order[row]] <= own_scores[row] - margin]
            drawn = rng.choice(len(far), min(negatives, len(far)), replace=False)
            chosen.append(far[np.sort(drawn)])
    return chosen


def kmeans(vectors: np.ndarray, clusters: int, *, seed: int = 0) -> np.ndarray:
    """Cluster of each unit vector ``(N,)``, by cosine (spherical k-means).

    Args:
        vectors: ``(N, D)``.
        clusters: At most so many; an empty one is left empty.
        seed: Of the first centres.
    """
    rng = np.random.default_rng(seed)
    chosen = [int(rng.integers(len(vectors)))]
    farthest = np.full(len(vectors), np.inf)
    # k-means++: the next centre is drawn by its squared distance from those there are.
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
