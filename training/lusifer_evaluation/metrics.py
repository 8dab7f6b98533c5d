"""Scores of vectors. Metrics come from ir-measures, scikit-learn and scipy; only the grouping is
ours.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ir_measures
import numpy as np
from ir_measures import RR, R, nDCG
from scipy.stats import rankdata
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import label_ranking_average_precision_score, v_measure_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lusifer_evaluation.bootstrap import Measure, mean_measure, resampled_measure
from lusifer_training.data.translations import bitext_hits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sklearn.pipeline import Pipeline

__all__ = [
    "RetrievalMatrix",
    "clustering",
    "english_probe",
    "mixed_pool",
    "probe_accuracy",
    "retrieval_matrix",
    "sts_matrix",
    "tatoeba",
]

CUT = 10
_MEASURES = {"r1": R @ 1, "mrr10": RR @ CUT, "ndcg10": nDCG @ CUT}


@dataclass(frozen=True, slots=True)
class RetrievalMatrix:
    """Questions in one language against paragraphs in another.

    Attributes:
        languages: L codes.
        by_question: ``(L, L, Q)`` in 0..1 by metric (``r1``, ``mrr10``, ``ndcg10``): question
            language, paragraph language, question.
        answers: The paragraph of each question ``(Q,)``.
    """

    languages: tuple[str, ...]
    by_question: dict[str, np.ndarray]
    answers: np.ndarray

    def cells(self, metric: str) -> dict[str, dict[str, float]]:
        """Percent, question language -> paragraph language."""
        means = 100 * self.by_question[metric].mean(axis=2)
        return {
            a: {b: float(means[i, j]) for j, b in enumerate(self.languages)}
            for i, a in enumerate(self.languages)
        }

    def measure(self, metric: str, cells: np.ndarray) -> Measure:
        """Mean over some cells ``(L, L)``, with questions of one paragraph drawn together."""
        return _by_paragraph(self.by_question[metric][cells].mean(axis=0), self.answers)

    def measures(self, metric: str) -> dict[str, Measure]:
        """Pairs of different languages, of equal ones, and English to English where there is English."""
        same = np.eye(len(self.languages), dtype=bool)
        found = {"different": self.measure(metric, ~same), "same": self.measure(metric, same)}
        if "en" in self.languages:
            at = self.languages.index("en")
            english = np.zeros_like(same)
            english[at, at] = True
            found["en"] = self.measure(metric, english)
        return found


def retrieval_matrix(
    questions: Mapping[str, np.ndarray], paragraphs: Mapping[str, np.ndarray], answers: np.ndarray
) -> RetrievalMatrix:
    """R@1, MRR@10 and nDCG@10 of every pair of languages.

    Args:
        questions: Unit vectors ``(Q, D)`` by language.
        paragraphs: Unit vectors ``(P, D)`` by language.
        answers: The paragraph of each question ``(Q,)``.
    """
    languages = tuple(questions)
    shape = (len(languages), len(languages), len(answers))
    values = {name: np.zeros(shape) for name in _MEASURES}
    names = {measure: name for name, measure in _MEASURES.items()}
    relevant = {str(question): {str(paragraph): 1} for question, paragraph in enumerate(answers)}
    evaluator = ir_measures.evaluator(list(_MEASURES.values()), relevant)
    for i, a in enumerate(languages):
        for j, b in enumerate(languages):
            for metric in evaluator.iter_calc(_run(questions[a] @ paragraphs[b].T)):
                values[names[metric.measure]][i, j, int(metric.query_id)] = metric.value
    return RetrievalMatrix(languages, values, answers)


def _run(scores: np.ndarray) -> dict[str, dict[str, float]]:
    """The first ten of each row, as trec_eval reads them."""
    cut = min(CUT, scores.shape[1])
    top = np.argpartition(-scores, cut - 1, axis=1)[:, :cut]
    values = np.take_along_axis(scores, top, axis=1).astype(float)
    return {
        str(row): dict(zip(map(str, documents), each, strict=True))
        for row, (documents, each) in enumerate(zip(top.tolist(), values.tolist(), strict=True))
    }


def mixed_pool(
    questions: Mapping[str, np.ndarray], paragraphs: Mapping[str, np.ndarray], answers: np.ndarray
) -> tuple[dict[str, Measure], dict[str, dict[str, float]]]:
    """One pool with the paragraphs of all languages (LAReQA, arXiv 2004.05484): do languages mix?

    * ``map``: mean average precision; the paragraph in every language is relevant.
    * ``map_other``: the same with the question's own language left out of the pool.
    * ``bias``: share of questions whose first hit is a wrong paragraph in their own language.
    * ``own_share``: share of the first ten in the question's language; ``1 / L`` is fair.
    * ``mean_rank``: of the right paragraphs in other languages, from 1.

    Returns:
        Measures, and each by question language.
    """
    languages = tuple(questions)
    own_of = np.repeat(np.arange(len(languages)), len(next(iter(paragraphs.values()))))
    paragraph_of = np.tile(np.arange(len(next(iter(paragraphs.values())))), len(languages))
    pool = np.concatenate([paragraphs[language] for language in languages])
    relevant = answers[:, None] == paragraph_of[None, :]
    names = ("map", "map_other", "bias", "own_share", "mean_rank")
    values = {name: np.zeros((len(languages), len(answers))) for name in names}
    rows = np.arange(len(answers))
    for i, language in enumerate(languages):
        scores = questions[language] @ pool.T
        own = own_of == i
        values["map"][i] = _average_precision(relevant, scores, answers)
        values["map_other"][i] = _average_precision(relevant[:, ~own], scores[:, ~own], answers)
        first = scores.argmax(axis=1)
        values["bias"][i] = own[first] & ~relevant[rows, first]
        top = np.argpartition(-scores, min(CUT, len(pool)) - 1, axis=1)[:, :CUT]
        values["own_share"][i] = own[top].mean(axis=1)
        others = relevant & ~own
        # Question by question the same number of right paragraphs: one in every other language.
        ranks = rankdata(-scores, axis=1)[others].reshape(len(answers), -1)
        values["mean_rank"][i] = ranks.mean(axis=1) if ranks.size else 1.0
    scale = {"mean_rank": 1.0}
    measures = {
        name: _by_paragraph(each.mean(axis=0), answers, scale=scale.get(name, 100.0))
        for name, each in values.items()
    }
    by_language = {
        name: dict(
            zip(languages, (scale.get(name, 100.0) * each.mean(axis=1)).tolist(), strict=True)
        )
        for name, each in values.items()
    }
    return measures, by_language


def _average_precision(relevant: np.ndarray, scores: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Of each question ``(Q,)``: the mean over its paragraph's questions, as scikit-learn reports means."""
    found = np.zeros(len(answers))
    for paragraph in np.unique(answers):
        rows = answers == paragraph
        if not relevant.shape[1]:
            continue
        found[rows] = label_ranking_average_precision_score(relevant[rows], scores[rows])
    return found


def _by_paragraph(by_question: np.ndarray, answers: np.ndarray, *, scale: float = 100.0) -> Measure:
    _, unit = np.unique(answers, return_inverse=True)
    return mean_measure(np.bincount(unit, by_question), np.bincount(unit), scale=scale)


def tatoeba(pairs: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> tuple[Measure, dict[str, float]]:
    """Accuracy of finding translations, mean of both directions; languages count alike.

    Args:
        pairs: Row-aligned unit vectors ``(N, D)`` of a language and of English, by language.

    Returns:
        The mean over languages, and percent by language.
    """
    values, weights, by_language = [], [], {}
    for language, (ours, english) in pairs.items():
        hits = bitext_hits(ours, english)
        by_language[language] = float(100 * hits.mean())
        values.append(hits / len(hits))
        weights.append(np.full(len(hits), 1 / len(hits)))
    return mean_measure(np.concatenate(values), np.concatenate(weights)), by_language


def sts_matrix(
    pairs: Mapping[str, tuple[np.ndarray, np.ndarray]], scores: np.ndarray
) -> tuple[dict[str, Measure], dict[str, dict[str, float]]]:
    """Spearman correlation of cosines with human scores, first sentence in one language, second in another.

    Args:
        pairs: Unit vectors ``(N, D)`` of first and second sentences, by language.
        scores: Human ``(N,)``.

    Returns:
        Means over pairs of different and of equal languages and English, and percent by pair of
        languages.
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
        name: resampled_measure(
            len(scores), lambda drawn, at=cells: _spearman(cosines[at], scores, drawn)
        )
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


def _spearman(cosines: np.ndarray, scores: np.ndarray, drawn: np.ndarray) -> float:
    """Mean over rows ``(C, N)``; scipy's ranks, because its own function takes one pair at a time.

    Of a model whose cosines are all equal it is 0; scipy's is NaN.
    """
    ours = rankdata(cosines[:, drawn], axis=1)
    gold = rankdata(scores[drawn])
    ours -= ours.mean(axis=1, keepdims=True)
    gold -= gold.mean()
    spread = np.linalg.norm(ours, axis=1) * np.linalg.norm(gold)
    return float((ours @ gold / np.maximum(spread, 1e-12)).mean())


def english_probe(vectors: np.ndarray, labels: np.ndarray) -> Pipeline:
    """A logistic regression on English vectors ``(N, D)``.

    They are standardised first: sentence vectors lie in a narrow cone.
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=1000))
    with warnings.catch_warnings():
        # Of a sample with few texts; the probe is then what it is.
        warnings.filterwarnings("ignore", message="lbfgs failed to converge")
        return probe.fit(vectors, labels)


def probe_accuracy(
    probe: Pipeline,
    vectors: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    *,
    parallel: bool,
) -> tuple[dict[str, Measure], dict[str, float]]:
    """Accuracy of a probe in languages it was not trained on.

    Args:
        probe: Trained on English.
        vectors: ``(N, D)`` by language; the one named like English is reported apart.
        labels: ``(N,)`` by language.
        parallel: Row n is one sentence in all languages: they are drawn together.

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
    vectors: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]
) -> tuple[dict[str, Measure], dict[str, float]]:
    """V-measure of k-means against topics: each language alone, and all languages in one pool.

    A pool whose clusters are languages scores near 0.

    Args:
        vectors: ``(N, D)`` by language, row n the same sentence in all.
        labels: ``(N,)`` by language.
    """
    topics = np.unique(np.concatenate(list(labels.values())))
    languages = list(vectors)

    def clusters(points: np.ndarray) -> np.ndarray:
        found: np.ndarray = KMeans(len(topics), n_init=4, random_state=0).fit_predict(points)
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
