"""Evaluation sets: Tatoeba, XQuAD, multilingual STS-B, SIB-200 and tweet sentiment.

Nothing here is ever trained on. A sample of a set is the first part of one fixed order, so that a
larger one holds every smaller one and cached vectors serve both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from lusifer_training.data.readers import read_json_lines
from lusifer_training.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "SIZES",
    "LabelledSet",
    "ScoredSet",
    "Size",
    "TextSet",
    "XquadSet",
    "load_sib200",
    "load_stsb",
    "load_tatoeba",
    "load_tweets",
    "load_xquad",
]

Role = Literal["query", "document"]
PARAGRAPHS_PER_ARTICLE = 5


@dataclass(frozen=True, slots=True)
class TextSet:
    """Texts of one language in one role."""

    name: str
    role: Role
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class XquadSet:
    """Questions and paragraphs, parallel over the languages.

    Attributes:
        questions: Q texts by language.
        paragraphs: P texts by language.
        answers: The paragraph of each question ``(Q,)``.
        articles: The article of each paragraph ``(P,)``: what is fitted is split by it.
        answer_texts: The words of the paragraph that answer each question, Q by language.
    """

    questions: dict[str, TextSet]
    paragraphs: dict[str, TextSet]
    answers: np.ndarray
    articles: np.ndarray
    answer_texts: dict[str, tuple[str, ...]]

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes, sorted."""
        return tuple(self.questions)


@dataclass(frozen=True, slots=True)
class ScoredSet:
    """Sentence pairs with a score of likeness, parallel over the languages.

    Attributes:
        pairs: First and second sentences by language, N each.
        scores: ``(N,)``, 0 to 5.
    """

    pairs: dict[str, tuple[TextSet, TextSet]]
    scores: np.ndarray


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """English training texts and test texts in many languages.

    Attributes:
        train: English.
        train_labels: Of ``train``.
        test: By language.
        test_labels: By language.
        parallel: Row n is the same sentence in every language.
    """

    train: TextSet
    train_labels: np.ndarray
    test: dict[str, TextSet]
    test_labels: dict[str, np.ndarray]
    parallel: bool


@dataclass(frozen=True, slots=True)
class Size:
    """How much of each set, per language; None is all of it.

    Attributes:
        xquad: Paragraphs, evenly over the articles, with their questions.
        tatoeba: Sentence pairs.
        stsb: Sentence pairs.
        train: English texts that a probe learns from.
        test: Labelled texts.
    """

    xquad: int | None = None
    tatoeba: int | None = None
    stsb: int | None = None
    train: int | None = None
    test: int | None = None


SIZES = {
    "smoke": Size(xquad=12, tatoeba=20, stsb=20, train=150, test=20),
    "quick": Size(xquad=48, tatoeba=100, stsb=100, train=300, test=100),
    "standard": Size(xquad=96, tatoeba=200, stsb=200, train=700, test=204),
    "full": Size(tatoeba=250, stsb=250, train=700, test=250),
    "all": Size(),
}
"""By name. Tokens with multilingual-e5's tokenizer: 0.1, 0.4, 0.8, 1.4 and 2.5 million.

``full`` has every set in every language, and whole what is hard because of its size, the pool of
XQuAD's paragraphs; of the others as many texts as two cores embed in the rest of fifteen minutes.
"""


def load_tatoeba(folder: Path, limit: int | None = None) -> dict[str, tuple[TextSet, TextSet]]:
    """Sentences and their English translations by language; both are questions: neither side is a passage.

    Args:
        folder: The data folder.
        limit: Pairs of a language.

    Raises:
        DataError: The folder is missing or a line is broken.
    """
    sets = {}
    for path in _files(folder / "eval" / "tatoeba"):
        language = _language(path)
        records = list(read_json_lines(path, ("text", "english")))
        chosen = [records[index] for index in _spread(len(records), limit)]
        sets[language] = (
            TextSet(f"tatoeba.{language}", "query", tuple(record["text"] for record in chosen)),
            TextSet(
                f"tatoeba.{language}.english",
                "query",
                tuple(record["english"] for record in chosen),
            ),
        )
    return sets


def load_xquad(folder: Path, limit: int | None = None) -> XquadSet:
    """Questions and paragraphs by language.

    Args:
        folder: The data folder.
        limit: Paragraphs: the first of each article, then the second of each, and so on.

    Raises:
        DataError: The folder is missing, a line is broken, or the languages aren't parallel.
    """
    questions, paragraphs, answer_texts = {}, {}, {}
    answers, articles = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    for path in _files(folder / "eval" / "xquad"):
        language = _language(path)
        records = list(read_json_lines(path, ("context", "questions")))
        order = sorted(range(len(records)), key=lambda n: (n % PARAGRAPHS_PER_ARTICLE, n))[:limit]
        chosen = [records[index] for index in sorted(order)]
        items = [
            (index, item) for index, record in enumerate(chosen) for item in record["questions"]
        ]
        ours = np.array([index for index, _ in items])
        if questions and not np.array_equal(ours, answers):
            raise DataError(
                f"{path} has other questions than {next(iter(questions))}: the languages must be parallel.",
                next_step="Fetch the evaluation data again.",
            )
        answers = ours
        articles = np.array([record.get("article", index) for index, record in enumerate(chosen)])
        asked = tuple(item["question"] for _, item in items)
        questions[language] = TextSet(f"xquad.{language}.questions", "query", asked)
        contexts = tuple(record["context"] for record in chosen)
        paragraphs[language] = TextSet(f"xquad.{language}.paragraphs", "document", contexts)
        answer_texts[language] = tuple(item.get("answer", "") for _, item in items)
    return XquadSet(questions, paragraphs, answers, articles, answer_texts)


def load_stsb(folder: Path, limit: int | None = None) -> ScoredSet:
    """Pairs of sentences with a score, in the same order in every language.

    Raises:
        DataError: The folder is missing, a line is broken, or the languages aren't parallel.
    """
    pairs: dict[str, tuple[TextSet, TextSet]] = {}
    scores = np.zeros(0)
    for path in _files(folder / "eval" / "stsb"):
        language = _language(path)
        records = list(read_json_lines(path, ("sentence1", "sentence2", "score")))
        chosen = [records[index] for index in _spread(len(records), limit)]
        ours = np.array([float(record["score"]) for record in chosen])
        if pairs and not np.array_equal(ours, scores):
            raise DataError(
                f"{path} has other scores than {next(iter(pairs))}: the languages must be parallel.",
                next_step="Fetch the evaluation data again.",
            )
        scores = ours
        first, second = (
            TextSet(f"stsb.{language}.{side}", "query", tuple(record[side] for record in chosen))
            for side in ("sentence1", "sentence2")
        )
        pairs[language] = (first, second)
    return ScoredSet(pairs, scores)


def load_sib200(folder: Path, train: int | None = None, test: int | None = None) -> LabelledSet:
    """Sentences of seven topics; the test sentences are translations of each other.

    Raises:
        DataError: The folder is missing, a line is broken, or there is no English.
    """
    sets, labels = {}, {}
    english: list[dict[str, str]] = []
    for path in _files(folder / "eval" / "sib200"):
        language = _language(path)
        records = list(read_json_lines(path, ("id", "split", "label", "text")))
        if language.startswith("eng"):
            english = [record for record in records if record["split"] == "train"]
        tested = sorted(
            (record for record in records if record["split"] == "test"), key=lambda r: r["id"]
        )
        chosen = [tested[index] for index in _spread(len(tested), test)]
        sets[language] = TextSet(
            f"sib200.{language}", "query", tuple(record["text"] for record in chosen)
        )
        labels[language] = np.array([record["label"] for record in chosen])
    return _labelled("sib200", folder, english, train, sets, labels, parallel=True)


def load_tweets(folder: Path, train: int | None = None, test: int | None = None) -> LabelledSet:
    """Tweets that are negative, neutral or positive; other tweets in every language.

    Raises:
        DataError: The folder is missing, a line is broken, or there is no English.
    """
    sets, labels = {}, {}
    english: list[dict[str, str]] = []
    for path in _files(folder / "eval" / "tweet_sentiment"):
        language, split = path.name.split(".")[:2]
        records = list(read_json_lines(path, ("text", "label")))
        if split == "train":
            english = records
            continue
        chosen = [records[index] for index in _spread(len(records), test)]
        sets[language] = TextSet(
            f"tweets.{language}", "query", tuple(record["text"] for record in chosen)
        )
        labels[language] = np.array([str(record["label"]) for record in chosen])
    return _labelled("tweets", folder, english, train, sets, labels, parallel=False)


def _labelled(
    name: str,
    folder: Path,
    english: list[dict[str, str]],
    train: int | None,
    test: dict[str, TextSet],
    labels: dict[str, np.ndarray],
    *,
    parallel: bool,
) -> LabelledSet:
    if not english:
        raise DataError(
            f"{name} in {folder} has no English texts to learn from.",
            next_step="Fetch the evaluation data again.",
        )
    chosen = [english[index] for index in _spread(len(english), train)]
    texts = TextSet(f"{name}.train", "query", tuple(record["text"] for record in chosen))
    train_labels = np.array([str(record["label"]) for record in chosen])
    return LabelledSet(texts, train_labels, test, labels, parallel)


def _spread(count: int, limit: int | None) -> list[int]:
    """The first ``limit`` of one fixed random order, put back in order."""
    if limit is None or limit >= count:
        return list(range(count))
    return sorted(np.random.default_rng(0).permutation(count)[:limit].tolist())


def _language(path: Path) -> str:
    return path.name.split(".")[0]


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.jsonl.gz"))
    if not files:
        raise DataError(
            f"There is no evaluation data in {folder}.",
            next_step="Set LUSIFER_DATA to the folder that holds it.",
        )
    return files
