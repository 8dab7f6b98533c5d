"""The evaluation tasks: their texts, and the scores of their vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import numpy as np

from lusifer_evaluation import metrics, retrieval
from lusifer_evaluation.package_sets import DEBIAN, HELP, PackageSet
from lusifer_evaluation.tasks import (
    LabelledSet,
    RetrievalSet,
    ScoredSet,
    Size,
    TextSet,
    XquadSet,
    load_news,
    load_package_set,
    load_sib200,
    load_stsb,
    load_tatoeba,
    load_tweets,
    load_xquad,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from lusifer_evaluation.bootstrap import Measure
    from lusifer_training.embed_function import Vectors

    VectorsOf: TypeAlias = Callable[[TextSet], Vectors]

__all__ = ["CHOICE", "TASKS", "TITLES", "Details", "Task"]

S = TypeVar("S")
Details: TypeAlias = dict[str, Any]
"""Tables by name, JSON-ready. ``Any``: they are nested to a depth that depends on the task."""
Outcome: TypeAlias = "tuple[dict[str, Measure], Details]"


@dataclass(frozen=True, slots=True)
class Task(Generic[S]):
    """An evaluation set of type ``S`` and its metrics.

    Attributes:
        load: Reads the set of a size from the data folder.
        texts: Returns all texts of the set.
        score: Returns measures by name, and tables by language, from vectors.
        package: Where the set comes from if the data folder does not have it.
    """

    load: Callable[[Path, Size], S]
    texts: Callable[[S], list[TextSet]]
    score: Callable[[S, VectorsOf], Outcome]
    package: PackageSet | None = None

    def read(self, data_folder: Path, cache_folder: Path, size: Size) -> S:
        """Read the set of a size; a set from packages is downloaded at the first call.

        Raises:
            DataError: The evaluation data is missing or broken.
            DebianUnavailableError: The set comes from packages, and they can't be downloaded.
        """
        if self.package:
            data_folder = self.package.folder(data_folder, cache_folder)
        return self.load(data_folder, size)


CHOICE = (
    "xquad.r1.different",
    "tatoeba.accuracy",
    "stsb.different",
    "sib200.other",
    "news.mrr10",
    "debian.mrr10",
    "help.mrr10",
)
"""Measures whose mean decides between models; the encoder was not trained on the last three."""

TITLES = {
    "choice": "Mean of seven sets, by which models are chosen",
    "xquad.r1.different": "XQuAD R@1, different languages",
    "xquad.r1.en": "XQuAD R@1, English to English",
    "xquad.r1.same": "XQuAD R@1, same language",
    "xquad.mrr10.different": "XQuAD MRR@10, different languages",
    "xquad.ndcg10.different": "XQuAD nDCG@10, different languages",
    "xquad.ndcg10.en": "XQuAD nDCG@10, English retrieval",
    "pool.map": "Mixed pool mAP",
    "pool.map_other": "Mixed pool mAP, own language left out",
    "pool.bias": "Mixed pool: first hit wrong and in the own language ↓",
    "pool.own_share": "Mixed pool: own language in the first ten ↓",
    "pool.mean_rank": "Mixed pool: mean rank of translations ↓",
    "tatoeba.accuracy": "Tatoeba accuracy",
    "stsb.different": "STS-B Spearman, different languages",
    "stsb.same": "STS-B Spearman, same language",
    "stsb.en": "STS-B Spearman, English",
    "sib200.other": "SIB-200 topics, English probe on other languages",
    "sib200.en": "SIB-200 topics, English probe on English",
    "sib200.clusters_pool": "SIB-200 V-measure, languages in one pool",
    "sib200.clusters_alone": "SIB-200 V-measure, each language alone",
    "news.mrr10": "MasakhaNEWS MRR@10, headline finds its article",
    "debian.mrr10": "Debian MRR@10, translated line finds the English description",
    "help.mrr10": "Help MRR@10, translated title finds the English page",
    "tweets.other": "Tweet sentiment, English probe on other languages",
    "tweets.en": "Tweet sentiment, English probe on English",
    "xquad.first_share": "XQuAD, most frequent first hit, worst language ↓",
    "pool.first_share": "Mixed pool, most frequent first hit, worst language ↓",
    "tatoeba.first_share": "Tatoeba, most frequent first hit, worst language ↓",
    "news.first_share": "MasakhaNEWS, most frequent first hit, worst language ↓",
    "debian.first_share": "Debian, most frequent first hit, worst language ↓",
    "help.first_share": "Help, most frequent first hit, worst language ↓",
    "xquad.skew": "XQuAD, skew of the first ten ↓",
    "pool.skew": "Mixed pool, skew of the first ten ↓",
    "tatoeba.skew": "Tatoeba, skew of the first ten ↓",
    "news.skew": "MasakhaNEWS, skew of the first ten ↓",
    "debian.skew": "Debian, skew of the first ten ↓",
    "help.skew": "Help, skew of the first ten ↓",
}
"""Title of each measure, in the order of the table; an arrow marks those that are better low."""


def _xquad(sets: XquadSet, vectors: VectorsOf) -> Outcome:
    questions = {name: vectors(each) for name, each in sets.questions.items()}
    paragraphs = {name: vectors(each) for name, each in sets.paragraphs.items()}
    matrix = retrieval.retrieval_matrix(questions, paragraphs, sets.answers)
    measures = {
        f"xquad.{metric}.{group}": measure
        for metric in matrix.by_question
        for group, measure in matrix.measures(metric).items()
    }
    pool, by_language = retrieval.mixed_pool(questions, paragraphs, sets.answers)
    measures |= {f"pool.{name}": measure for name, measure in pool.items()}
    cells = {metric: matrix.cells(metric) for metric in matrix.by_question}
    details: Details = {"xquad": cells, "pool": by_language}
    together = np.concatenate(list(paragraphs.values()))
    units = dict.fromkeys(questions, sets.answers)
    for name, found in (("xquad", paragraphs), ("pool", dict.fromkeys(paragraphs, together))):
        hubs, tables = _hubness(name, questions, found, units)
        measures |= hubs
        details |= tables
    return measures, details


def _hubness(
    name: str,
    questions: Mapping[str, Vectors],
    documents: Mapping[str, Vectors],
    units: Mapping[str, NDArray[np.int64]],
) -> Outcome:
    measures, by_language = retrieval.hubness_measures(
        {
            language: retrieval.first_hits(each, documents[language])
            for language, each in questions.items()
        },
        {language: len(documents[language]) for language in questions},
        units,
    )
    return (
        {f"{name}.{key}": measure for key, measure in measures.items()},
        {f"{name}.hubness": by_language},
    )


def _tatoeba(sets: dict[str, tuple[TextSet, TextSet]], vectors: VectorsOf) -> Outcome:
    pairs = {
        language: (vectors(ours), vectors(english)) for language, (ours, english) in sets.items()
    }
    measure, by_language = metrics.tatoeba(pairs)
    ours = {language: each for language, (each, _) in pairs.items()}
    english = {language: each for language, (_, each) in pairs.items()}
    ends = np.cumsum([len(each) for each in ours.values()])
    units = {
        language: np.arange(end - len(each), end)
        for (language, each), end in zip(ours.items(), ends, strict=True)
    }
    hubs, details = _hubness("tatoeba", ours, english, units)
    return {"tatoeba.accuracy": measure} | hubs, {"tatoeba": by_language} | details


def _stsb(sets: ScoredSet, vectors: VectorsOf) -> Outcome:
    measures, table = metrics.sts_matrix(
        {
            language: (vectors(first), vectors(second))
            for language, (first, second) in sets.pairs.items()
        },
        sets.scores,
    )
    return {f"stsb.{name}": measure for name, measure in measures.items()}, {"stsb": table}


def _retrieval(name: str, sets: RetrievalSet, vectors: VectorsOf) -> Outcome:
    questions = {language: vectors(each) for language, each in sets.questions.items()}
    documents = {language: vectors(each) for language, each in sets.documents.items()}
    pools = {language: each.name for language, each in sets.documents.items()}
    units = retrieval.document_units(documents, pools, sets.answers)
    found, by_language = retrieval.pooled_retrieval(questions, documents, sets.answers, units)
    hubs, details = _hubness(name, questions, documents, units)
    measures = {f"{name}.{metric}": each for metric, each in found.items()}
    return measures | hubs, {name: by_language} | details


def _retrieval_texts(sets: RetrievalSet) -> list[TextSet]:
    pools = {each.name: each for each in sets.documents.values()}
    return [*sets.questions.values(), *pools.values()]


def _package_task(package: PackageSet) -> Task[RetrievalSet]:
    name = package.name
    return Task(
        lambda folder, size: load_package_set(name, folder, size.pool),
        _retrieval_texts,
        lambda sets, vectors: _retrieval(name, sets, vectors),
        package,
    )


def _classification(name: str, sets: LabelledSet, vectors: VectorsOf) -> Outcome:
    probe = metrics.english_probe(vectors(sets.train), sets.train_labels)
    test = {language: vectors(each) for language, each in sets.test.items()}
    accuracy, by_language = metrics.probe_accuracy(
        probe, test, sets.test_labels, parallel=sets.parallel
    )
    measures = {f"{name}.{group}": measure for group, measure in accuracy.items()}
    details: Details = {name: by_language}
    if sets.parallel:
        clusters, by_language = metrics.clustering(test, sets.test_labels)
        measures |= {f"{name}.clusters_{group}": measure for group, measure in clusters.items()}
        details[f"{name}_clusters"] = by_language
    return measures, details


# Any: each task has a type of set of its own.
TASKS: dict[str, Task[Any]] = {
    "xquad": Task(
        lambda folder, size: load_xquad(folder, size.xquad),
        lambda sets: [*sets.questions.values(), *sets.paragraphs.values()],
        _xquad,
    ),
    "tatoeba": Task(
        lambda folder, size: load_tatoeba(folder, size.tatoeba),
        lambda sets: [each for pair in sets.values() for each in pair],
        _tatoeba,
    ),
    "stsb": Task(
        lambda folder, size: load_stsb(folder, size.stsb),
        lambda sets: [each for pair in sets.pairs.values() for each in pair],
        _stsb,
    ),
    "sib200": Task(
        lambda folder, size: load_sib200(folder, size.train, size.test),
        lambda sets: [sets.train, *sets.test.values()],
        lambda sets, vectors: _classification("sib200", sets, vectors),
    ),
    "news": Task(
        lambda folder, size: load_news(folder, size.news),
        _retrieval_texts,
        lambda sets, vectors: _retrieval("news", sets, vectors),
    ),
    "debian": _package_task(DEBIAN),
    "help": _package_task(HELP),
    "tweets": Task(
        lambda folder, size: load_tweets(folder, size.train, size.test),
        lambda sets: [sets.train, *sets.test.values()],
        lambda sets, vectors: _classification("tweets", sets, vectors),
    ),
}
"""Tasks by name, in the order of the table."""
