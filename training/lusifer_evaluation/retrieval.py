"""Compute the scores of retrieval.

Metrics come from ir-measures and scikit-learn; only the grouping is our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import ir_measures
import numpy as np
from ir_measures import RR, R, nDCG
from scipy.stats import rankdata
from sklearn.metrics import label_ranking_average_precision_score

from lusifer.common.hubness import Hubness, measure_hubness
from lusifer_evaluation.bootstrap import Measure, mean_measure, resampled_measure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lusifer_training.embed_function import Vectors

__all__ = [
    "RetrievalMatrix",
    "document_units",
    "first_hits",
    "hubness_measures",
    "mixed_pool",
    "pooled_retrieval",
    "retrieval_matrix",
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


def document_units(
    documents: Mapping[str, Vectors],
    pools: Mapping[str, str],
    answers: Mapping[str, NDArray[np.int64]],
) -> dict[str, NDArray[np.int64]]:
    """Number the document that answers each question ``(Q,)``, by language.

    Languages that ask the same documents share their numbers.

    Args:
        documents: Vectors ``(P, D)`` by question language.
        pools: Name of the documents by question language; equal for the same documents.
        answers: Index of the document that answers each question ``(Q,)``, by language.
    """
    starts: dict[str, int] = {}
    count = 0
    for language, pool in pools.items():
        if pool not in starts:
            starts[pool] = count
            count += len(documents[language])
    return {language: each + starts[pools[language]] for language, each in answers.items()}


def pooled_retrieval(
    questions: Mapping[str, Vectors],
    documents: Mapping[str, Vectors],
    answers: Mapping[str, NDArray[np.int64]],
    units: Mapping[str, NDArray[np.int64]],
) -> tuple[dict[str, Measure], dict[str, dict[str, float]]]:
    """Compute R@1, MRR@10 and nDCG@10 of questions in each language; languages count alike.

    Args:
        questions: Unit vectors ``(Q, D)`` by language.
        documents: Unit vectors ``(P, D)`` by question language.
        answers: Index of the document that answers each question ``(Q,)``, by language.
        units: Number of each question's unit ``(Q,)``, by language. The questions of a unit are
            drawn together.

    Returns:
        The means over the languages by metric, and percent by metric and language.
    """
    values: dict[str, list[NDArray[np.float64]]] = {name: [] for name in _MEASURES}
    by_language: dict[str, dict[str, float]] = {name: {} for name in _MEASURES}
    names = {measure: name for name, measure in _MEASURES.items()}
    for language, asked in questions.items():
        right = answers[language]
        relevant = {str(row): {str(document): 1} for row, document in enumerate(right)}
        scores = {name: np.zeros(len(right)) for name in _MEASURES}
        run = _run(asked @ documents[language].T)
        for metric in ir_measures.iter_calc(list(_MEASURES.values()), relevant, run):
            scores[names[metric.measure]][int(metric.query_id)] = metric.value
        for name, each in scores.items():
            values[name].append(each / len(right))
            by_language[name][language] = float(100 * each.mean())
    unit = np.unique(
        np.concatenate([units[language] for language in questions]), return_inverse=True
    )[1]
    weights = [
        np.full(len(answers[language]), 1 / len(answers[language])) for language in questions
    ]
    weight = np.bincount(unit, np.concatenate(weights))
    measures = {
        name: mean_measure(np.bincount(unit, np.concatenate(each)), weight)
        for name, each in values.items()
    }
    return measures, by_language


def first_hits(questions: Vectors, documents: Vectors) -> NDArray[np.int64]:
    """Return the indices of the first ten documents of each question ``(Q, 10)``, best first."""
    scores = questions @ documents.T
    cut = min(CUT, scores.shape[1])
    top = np.argpartition(-scores, cut - 1, axis=1)[:, :cut]
    order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
    hits: NDArray[np.int64] = np.take_along_axis(top, order, axis=1)
    return hits


def hubness_measures(
    hits: Mapping[str, NDArray[np.int64]],
    documents: Mapping[str, int],
    units: Mapping[str, NDArray[np.int64]],
) -> tuple[dict[str, Measure], dict[str, dict[str, float]]]:
    """Measure hubness by question language, with questions of one unit drawn together.

    Args:
        hits: First hits of each question ``(Q, k)``, by language.
        documents: Number of documents that are searched, by language.
        units: Number of each question's unit ``(Q,)``, by language; languages may share units.

    Returns:
        ``first_share``, percent in the language with the largest share, and ``skew``, the mean over
        the languages; and both by language.
    """
    names = np.unique(np.concatenate(list(units.values())))
    unit_of = {language: np.searchsorted(names, each) for language, each in units.items()}

    def measured(drawn: NDArray[np.int64]) -> list[Hubness]:
        counts = np.bincount(drawn, minlength=len(names)).astype(float)
        return [
            measure_hubness(each, documents[language], counts[unit_of[language]])
            for language, each in hits.items()
        ]

    everything = measured(np.arange(len(names)))
    measures = {
        "first_share": resampled_measure(
            len(names), lambda drawn: max(each.first_share for each in measured(drawn))
        ),
        "skew": resampled_measure(
            len(names),
            lambda drawn: float(np.mean([each.skew for each in measured(drawn)])),
            scale=1.0,
        ),
    }
    by_language = {
        "first_share": {
            language: 100 * each.first_share
            for language, each in zip(hits, everything, strict=True)
        },
        "skew": {language: each.skew for language, each in zip(hits, everything, strict=True)},
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
