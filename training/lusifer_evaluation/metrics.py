"""Compute the scores of translation, similarity, classification and clustering.

Metrics come from scikit-learn and scipy; only the grouping is our own.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import v_measure_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lusifer_evaluation.bootstrap import Measure, mean_measure, resampled_measure
from lusifer_training.data.translations import bitext_hits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline

    from lusifer_training.embed_function import Vectors

__all__ = [
    "clustering",
    "english_probe",
    "probe_accuracy",
    "sts_matrix",
    "tatoeba",
    "unit_rows",
]


def tatoeba(pairs: Mapping[str, tuple[Vectors, Vectors]]) -> tuple[Measure, dict[str, float]]:
    """Compute the accuracy of retrieving translations, the mean of both directions.

    Languages count alike.

    Args:
        pairs: Row-aligned unit vectors ``(N, D)`` of a language and of English, by language.

    Returns:
        The mean over the languages, and percent by language.
    """
    values, weights, by_language = [], [], {}
    for language, (ours, english) in pairs.items():
        hits = bitext_hits(ours, english)
        by_language[language] = float(100 * hits.mean())
        values.append(hits / len(hits))
        weights.append(np.full(len(hits), 1 / len(hits)))
    return mean_measure(np.concatenate(values), np.concatenate(weights)), by_language


def sts_matrix(
    pairs: Mapping[str, tuple[Vectors, Vectors]], scores: NDArray[np.float64]
) -> tuple[dict[str, Measure], dict[str, dict[str, float]]]:
    """Compute the Spearman correlation of cosines with human scores, for every pair of languages.

    The first sentence is in one language and the second in another.

    Args:
        pairs: Unit vectors ``(N, D)`` of first and second sentences, by language.
        scores: Human scores ``(N,)``.

    Returns:
        Means over pairs of ``different`` languages, of the ``same`` language and of ``en``; and
        percent by pair of languages.
    """
    languages = tuple(pairs)
    cosines = np.array(
        [[(pairs[a][0] * pairs[b][1]).sum(axis=1) for b in languages] for a in languages]
    )
    same = np.eye(len(languages), dtype=bool)
    groups = {"different": ~same, "same": same}
    if "en" in languages:
        groups["en"] = np.zeros_like(same)
        groups["en"][languages.index("en"), languages.index("en")] = True
    measures = {
        name: resampled_measure(len(scores), partial(_spearman, cosines[cells], scores))
        for name, cells in groups.items()
        if cells.any()
    }
    everything = np.arange(len(scores))
    table = {
        a: {
            b: 100 * _spearman(cosines[i, j, None], scores, everything)
            for j, b in enumerate(languages)
        }
        for i, a in enumerate(languages)
    }
    return measures, table


def _spearman(
    cosines: NDArray[np.float64], scores: NDArray[np.float64], drawn: NDArray[np.int64]
) -> float:
    """Average the Spearman correlation over rows ``(C, N)``.

    It uses scipy's ranks, because scipy's own function takes one pair at a time. If all cosines are
    equal, it is 0, where scipy's is NaN.
    """
    ours = rankdata(cosines[:, drawn], axis=1)
    gold = rankdata(scores[drawn])
    ours -= ours.mean(axis=1, keepdims=True)
    gold -= gold.mean()
    spread = np.linalg.norm(ours, axis=1) * np.linalg.norm(gold)
    return float((ours @ gold / np.maximum(spread, 1e-12)).mean())


def unit_rows(vectors: Vectors) -> Vectors:
    """Scale vectors ``(N, D)`` to unit length; a zero vector stays zero."""
    unit: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit


def english_probe(vectors: Vectors, labels: NDArray[np.str_]) -> Pipeline:
    """Train a logistic regression on English vectors ``(N, D)``.

    The vectors are standardised first, because sentence vectors lie in a narrow cone.
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=1000))
    with warnings.catch_warnings():
        # With few texts the fit does not converge, and is used as it is.
        warnings.filterwarnings("ignore", message="lbfgs failed to converge")
        return probe.fit(vectors, labels)


def probe_accuracy(
    probe: Pipeline,
    vectors: Mapping[str, Vectors],
    labels: Mapping[str, NDArray[np.str_]],
    *,
    parallel: bool,
) -> tuple[dict[str, Measure], dict[str, float]]:
    """Compute the accuracy of a probe in languages that it was not trained on.

    Args:
        probe: Trained on English.
        vectors: ``(N, D)`` by language; English is the first language whose name starts with en.
        labels: ``(N,)`` by language.
        parallel: Whether row n is one sentence in all languages; its rows are then drawn together.

    Returns:
        ``en`` and ``other``, and percent by language.
    """
    hits = {
        name: (probe.predict(each) == labels[name]).astype(float) for name, each in vectors.items()
    }
    english = next(name for name in hits if name.startswith("en"))
    others = [each for name, each in hits.items() if name != english]
    measures = {"en": mean_measure(hits[english])}
    if others:
        measures["other"] = mean_measure(
            np.mean(others, axis=0)
            if parallel
            else np.concatenate([each / len(each) for each in others]),
            None
            if parallel
            else np.concatenate([np.full(len(each), 1 / len(each)) for each in others]),
        )
    return measures, {name: float(100 * each.mean()) for name, each in hits.items()}


def clustering(
    vectors: Mapping[str, Vectors], labels: Mapping[str, NDArray[np.str_]]
) -> tuple[dict[str, Measure], dict[str, float]]:
    """Compute the V-measure of k-means against topics.

    Args:
        vectors: ``(N, D)`` by language, row n the same sentence in all.
        labels: ``(N,)`` by language.

    Returns:
        ``pool``, all languages in one pool, and ``alone``, the mean over languages; and percent by
        language. A pool whose clusters are languages scores near 0.
    """
    topics = np.unique(np.concatenate(list(labels.values())))
    languages = list(vectors)

    def clusters(points: Vectors) -> NDArray[np.int64]:
        found: NDArray[np.int64] = KMeans(len(topics), n_init=4, random_state=0).fit_predict(points)
        return found

    rows = len(next(iter(vectors.values())))
    pooled = clusters(np.concatenate([vectors[language] for language in languages]))
    pooled = pooled.reshape(len(languages), rows)
    gold = np.stack([labels[language] for language in languages])
    alone = np.stack([clusters(vectors[language]) for language in languages])
    measures = {
        "pool": resampled_measure(
            rows, lambda drawn: v_measure_score(gold[:, drawn].ravel(), pooled[:, drawn].ravel())
        ),
        "alone": resampled_measure(
            rows,
            lambda drawn: float(
                np.mean(
                    [v_measure_score(g[drawn], a[drawn]) for g, a in zip(gold, alone, strict=True)]
                )
            ),
        ),
    }
    by_language = {
        language: 100 * float(v_measure_score(gold[i], alone[i]))
        for i, language in enumerate(languages)
    }
    return measures, by_language
