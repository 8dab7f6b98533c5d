"""Compute the scores of vectors.

Metrics come from ir-measures, scikit-learn and scipy; only the grouping is our own.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
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

    from numpy.typing import NDArray
    from sklearn.pipeline import Pipeline

    from lusifer_training.embed_function import Vectors

__all__ = [
    "RetrievalMatrix",
    "clustering",
    "english_probe",
    "mixed_pool",
    "pooled_retrieval",
    "probe_accuracy",
    "retrieval_matrix",
    "sts_matrix",
    "tatoeba",
    "unit_rows",
]

CUT = 10
_MEASURES = {"r1": R @ 1, "mrr10": RR @ CUT, "ndcg10": nDCG @ CUT}


@dataclass(frozen=True, slots=True)
class RetrievalMatrix:
    """Scores of questions in each language against paragraphs in each language.

    Attributes:
        languages: L codes.
        by_question: Scores ``(L, L, Q)`` from 0 to 1 by metric (``r1``, ``mrr10``, ``ndcg10``). The
            axes are question language, paragraph language and question.
        answers: Index of the paragraph that answers each question ``(Q,)``.
    """

    languages: tuple[str, ...]
    by_question: dict[str, NDArray[np.float64]]
    answers: NDArray[np.int64]

    def cells(self, metric: str) -> dict[str, dict[str, float]]:
        """Return percent by question language and paragraph language."""
        means = 100 * self.by_question[metric].mean(axis=2)
        return {
            a: {b: float(means[i, j]) for j, b in enumerate(self.languages)}
            for i, a in enumerate(self.languages)
        }

    def measure(self, metric: str, cells: NDArray[np.bool_]) -> Measure:
        """Average some cells ``(L, L)``; the questions of a paragraph are drawn together."""
        return _by_paragraph(self.by_question[metric][cells].mean(axis=0), self.answers)

    def measures(self, metric: str) -> dict[str, Measure]:
        """Measure pairs of ``different`` languages, of the ``same`` language, and of ``en``."""
        same = np.eye(len(self.languages), dtype=bool)
        found = {"different": self.measure(metric, ~same), "same": self.measure(metric, same)}
        if "en" in self.languages:
            at = self.languages.index("en")
            english = np.zeros_like(same)
            english[at, at] = True
            found["en"] = self.measure(metric, english)
        return found


def retrieval_matrix(
    questions: Mapping[str, Vectors],
    paragraphs: Mapping[str, Vectors],
    answers: NDArray[np.int64],
) -> RetrievalMatrix:
    """Compute R@1, MRR@10 and nDCG@10 of every pair of languages.

    Args:
        questions: Unit vectors ``(Q, D)`` by language.
        paragraphs: Unit vectors ``(P, D)`` by language.
        answers: Index of the paragraph that answers each question ``(Q,)``.
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


def pooled_retrieval(
    questions: Mapping[str, Vectors],
    documents: Mapping[str, Vectors],
    answers: Mapping[str, NDArray[np.int64]],
    pools: Mapping[str, str],
) -> tuple[dict[str, Measure], dict[str, dict[str, float]]]:
    """Compute R@1, MRR@10 and nDCG@10 of questions in each language; languages count alike.

    The questions of one document are drawn together, in all languages.

    Args:
        questions: Unit vectors ``(Q, D)`` by language.
        documents: Unit vectors ``(P, D)`` by question language.
        answers: Index of the document that answers each question ``(Q,)``, by language.
        pools: Name of the documents by question language; equal for the same documents.

    Returns:
        The means over the languages by metric, and percent by metric and language.
    """
    starts: dict[str, int] = {}
    units = 0
    values: dict[str, list[NDArray[np.float64]]] = {name: [] for name in _MEASURES}
    weights, unit_of = [], []
    by_language: dict[str, dict[str, float]] = {name: {} for name in _MEASURES}
    names = {measure: name for name, measure in _MEASURES.items()}
    for language, asked in questions.items():
        if pools[language] not in starts:
            starts[pools[language]] = units
            units += len(documents[language])
        right = answers[language]
        unit_of.append(right + starts[pools[language]])
        weights.append(np.full(len(right), 1 / len(right)))
        relevant = {str(row): {str(document): 1} for row, document in enumerate(right)}
        scores = {name: np.zeros(len(right)) for name in _MEASURES}
        run = _run(asked @ documents[language].T)
        for metric in ir_measures.iter_calc(list(_MEASURES.values()), relevant, run):
            scores[names[metric.measure]][int(metric.query_id)] = metric.value
        for name, each in scores.items():
            values[name].append(each / len(right))
            by_language[name][language] = float(100 * each.mean())
    unit = np.unique(np.concatenate(unit_of), return_inverse=True)[1]
    weight = np.bincount(unit, np.concatenate(weights))
    measures = {
        name: mean_measure(np.bincount(unit, np.concatenate(each)), weight)
        for name, each in values.items()
    }
    return measures, by_language


def _run(scores: Vectors) -> dict[str, dict[str, float]]:
    """Return the first ten documents of each row, in the format of trec_eval."""
    cut = min(CUT, scores.shape[1])
    top = np.argpartition(-scores, cut - 1, axis=1)[:, :cut]
    values = np.take_along_axis(scores, top, axis=1).astype(float)
    return {
        str(row): dict(zip(map(str, documents), each, strict=True))
        for row, (documents, each) in enumerate(zip(top.tolist(), values.tolist(), strict=True))
    }


def mixed_pool(
    questions: Mapping[str, Vectors],
    paragraphs: Mapping[str, Vectors],
    answers: NDArray[np.int64],
) -> tuple[dict[str, Measure], dict[str, dict[str, float]]]:
    """Score one pool with the paragraphs of all languages (LAReQA, arXiv 2004.05484).

    * ``map``: mean average precision; the right paragraph is relevant in every language.
    * ``map_other``: mean average precision without the paragraphs of the question's language.
    * ``bias``: share of questions whose first hit is a wrong paragraph in their own language.
    * ``own_share``: share of the first ten in the question's language; ``1 / L`` is unbiased.
    * ``mean_rank``: mean rank of the right paragraphs in other languages, from 1.

    Returns:
        The measures, and each measure by question language.
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
        # Every question has the same number of right paragraphs: one in every other language.
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


def _average_precision(
    relevant: NDArray[np.bool_], scores: Vectors, answers: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Compute the average precision of each question ``(Q,)``.

    It is the mean over the questions of its paragraph, because scikit-learn returns means only.
    """
    found = np.zeros(len(answers))
    for paragraph in np.unique(answers):
        rows = answers == paragraph
        if not relevant.shape[1]:
            continue
        found[rows] = label_ranking_average_precision_score(relevant[rows], scores[rows])
    return found


def _by_paragraph(
    by_question: NDArray[np.float64], answers: NDArray[np.int64], *, scale: float = 100.0
) -> Measure:
    _, unit = np.unique(answers, return_inverse=True)
    return mean_measure(np.bincount(unit, by_question), np.bincount(unit), scale=scale)


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
