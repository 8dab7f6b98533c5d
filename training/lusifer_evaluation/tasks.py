"""Evaluation sets: Tatoeba, XQuAD, STS-B, SIB-200, tweets, news, Debian and help pages.

Nothing here is ever trained on. A sample of a set is the first part of one fixed order. So a larger
sample holds every smaller one, and cached vectors serve both.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from lusifer_training.data.readers import Record, read_json_lines
from lusifer_training.data.translations import (
    evaluation_files,
    language_of,
    load_translations,
    sample,
)
from lusifer_training.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lusifer_training.embed_function import Role

__all__ = [
    "SIZES",
    "LabelledSet",
    "RetrievalSet",
    "ScoredSet",
    "Size",
    "TextSet",
    "XquadSet",
    "load_news",
    "load_package_set",
    "load_sib200",
    "load_stsb",
    "load_tatoeba",
    "load_tweets",
    "load_xquad",
]

PARAGRAPHS_PER_ARTICLE = 5
NEWS_CHARACTERS = 600
"""Length of a document of the news; articles have up to 30,000 characters."""

_Part: TypeAlias = tuple[str, str, list[Record]]
"""Language, split and records of a labelled set."""


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
        answers: Index of the paragraph that answers each question ``(Q,)``.
        articles: Number of the article of each paragraph ``(P,)``; fitted maps are split by it.
        answer_texts: Words of the paragraph that answer each question, Q by language.
    """

    questions: dict[str, TextSet]
    paragraphs: dict[str, TextSet]
    answers: NDArray[np.int64]
    articles: NDArray[np.int64]
    answer_texts: dict[str, tuple[str, ...]]

    @property
    def languages(self) -> tuple[str, ...]:
        """Language codes, sorted."""
        return tuple(self.questions)


@dataclass(frozen=True, slots=True)
class ScoredSet:
    """Sentence pairs with a similarity score, parallel over the languages.

    Attributes:
        pairs: First and second sentences by language, N each.
        scores: Human scores from 0 to 5 ``(N,)``.
    """

    pairs: dict[str, tuple[TextSet, TextSet]]
    scores: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RetrievalSet:
    """Questions by language, and the documents that they are asked of.

    Attributes:
        questions: Q texts by language; Q differs between languages.
        documents: P texts by question language. Languages that ask the same documents have the same
            set, by name.
        answers: Index of the document that answers each question ``(Q,)``, by language.
    """

    questions: dict[str, TextSet]
    documents: dict[str, TextSet]
    answers: dict[str, NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """English training texts, and test texts in many languages.

    Attributes:
        train: English texts.
        train_labels: Labels of ``train``.
        test: Texts by language.
        test_labels: Labels by language.
        parallel: Whether row n is the same sentence in every language.
    """

    train: TextSet
    train_labels: NDArray[np.str_]
    test: dict[str, TextSet]
    test_labels: dict[str, NDArray[np.str_]]
    parallel: bool


@dataclass(frozen=True, slots=True)
class Size:
    """Number of examples of each set, per language; None is all of it.

    Attributes:
        xquad: Paragraphs, evenly over the articles, with their questions.
        tatoeba: Sentence pairs.
        stsb: Sentence pairs.
        train: English texts that a linear probe is trained on.
        test: Labelled texts.
        news: Headlines and articles.
        pool: Documents of a set from Debian packages, with all their questions.
    """

    xquad: int | None = None
    tatoeba: int | None = None
    stsb: int | None = None
    train: int | None = None
    test: int | None = None
    news: int | None = None
    pool: int | None = None


SIZES = {
    "smoke": Size(xquad=12, tatoeba=20, stsb=20, train=150, test=20, news=20, pool=20),
    "quick": Size(xquad=48, tatoeba=100, stsb=100, train=300, test=100, news=100, pool=100),
    "standard": Size(xquad=96, tatoeba=200, stsb=200, train=700, test=204, news=200, pool=200),
    "full": Size(tatoeba=250, stsb=250, train=700, test=250, news=200),
    "all": Size(),
}
"""Sizes by name.

With multilingual-e5's tokenizer they have 0.1, 0.5, 1.1, 1.8 and 3.0 million tokens.
``full`` has every set in every language, and the whole pools of XQuAD, Debian and the help, whose
difficulty depends on their size. The other sets are cut, so that two cores embed all of it in
twenty minutes.
"""


def load_tatoeba(folder: Path, limit: int | None = None) -> dict[str, tuple[TextSet, TextSet]]:
    """Load sentences and their English translations by language.

    Both sides have the query role, because neither side is a passage.

    Args:
        folder: The data folder.
        limit: Pairs of a language at most.

    Raises:
        DataError: The folder is missing or a line is broken.
    """
    return {
        language: (
            TextSet(f"tatoeba.{language}", "query", each.texts),
            TextSet(f"tatoeba.{language}.english", "query", each.english),
        )
        for language, each in load_translations(folder, limit).items()
    }


def load_xquad(folder: Path, limit: int | None = None) -> XquadSet:
    """Load questions and paragraphs by language.

    Args:
        folder: The data folder.
        limit: Paragraphs at most: the first of each article, then the second of each, and so on.

    Raises:
        DataError: The folder is missing, a line is broken, or the languages aren't parallel.
    """
    questions: dict[str, TextSet] = {}
    paragraphs: dict[str, TextSet] = {}
    answer_texts: dict[str, tuple[str, ...]] = {}
    answers, articles = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    for path in evaluation_files(folder / "eval" / "xquad"):
        language = language_of(path)
        records = list(read_json_lines(path, ("context", "questions")))
        order = sorted(range(len(records)), key=lambda n: (n % PARAGRAPHS_PER_ARTICLE, n))[:limit]
        chosen = [records[index] for index in sorted(order)]
        items = [
            (index, item) for index, record in enumerate(chosen) for item in record["questions"]
        ]
        ours = np.array([index for index, _ in items])
        if questions and not np.array_equal(ours, answers):
            raise _not_parallel(path, "questions", next(iter(questions)))
        answers = ours
        articles = np.array([record.get("article", index) for index, record in enumerate(chosen)])
        asked = tuple(item["question"] for _, item in items)
        questions[language] = TextSet(f"xquad.{language}.questions", "query", asked)
        contexts = tuple(record["context"] for record in chosen)
        paragraphs[language] = TextSet(f"xquad.{language}.paragraphs", "document", contexts)
        answer_texts[language] = tuple(item.get("answer", "") for _, item in items)
    return XquadSet(questions, paragraphs, answers, articles, answer_texts)


def load_stsb(folder: Path, limit: int | None = None) -> ScoredSet:
    """Load pairs of sentences with a score, in the same order in every language.

    Raises:
        DataError: The folder is missing, a line is broken, or the languages aren't parallel.
    """
    pairs: dict[str, tuple[TextSet, TextSet]] = {}
    scores = np.zeros(0)
    for path in evaluation_files(folder / "eval" / "stsb"):
        language = language_of(path)
        chosen = _sampled(list(read_json_lines(path, ("sentence1", "sentence2", "score"))), limit)
        ours = np.array([float(record["score"]) for record in chosen])
        if pairs and not np.array_equal(ours, scores):
            raise _not_parallel(path, "scores", next(iter(pairs)))
        scores = ours
        first, second = (
            TextSet(f"stsb.{language}.{side}", "query", tuple(record[side] for record in chosen))
            for side in ("sentence1", "sentence2")
        )
        pairs[language] = (first, second)
    return ScoredSet(pairs, scores)


def load_sib200(folder: Path, train: int | None = None, test: int | None = None) -> LabelledSet:
    """Load sentences of seven topics; the test sentences are translations of each other.

    Raises:
        DataError: The folder is missing, a line is broken, or there is no English.
    """

    def parts() -> Iterator[_Part]:
        for path in evaluation_files(folder / "eval" / "sib200"):
            records = list(read_json_lines(path, ("id", "split", "label", "text")))
            language = language_of(path)
            yield language, "train", [each for each in records if each["split"] == "train"]
            tests = [each for each in records if each["split"] == "test"]
            yield language, "test", sorted(tests, key=lambda each: each["id"])

    return _labelled("sib200", folder, parts(), train, test, parallel=True)


def load_tweets(folder: Path, train: int | None = None, test: int | None = None) -> LabelledSet:
    """Load tweets that are negative, neutral or positive; other tweets in every language.

    Raises:
        DataError: The folder is missing, a line is broken, or there is no English.
    """

    def parts() -> Iterator[_Part]:
        for path in evaluation_files(folder / "eval" / "tweet_sentiment"):
            language, split = path.name.split(".")[:2]
            yield language, split, list(read_json_lines(path, ("text", "label")))

    return _labelled("tweets", folder, parts(), train, test, parallel=False)


def load_news(folder: Path, limit: int | None = None) -> RetrievalSet:
    """Load headlines, and the starts of their articles as documents, by language (MasakhaNEWS).

    Args:
        folder: The data folder.
        limit: Articles of a language at most: the first ones of its file.

    Raises:
        DataError: The folder is missing or a line is broken.
    """
    questions: dict[str, TextSet] = {}
    documents: dict[str, TextSet] = {}
    for path in evaluation_files(folder / "eval" / "masakhanews"):
        language = language_of(path)
        chosen = list(islice(read_json_lines(path, ("headline", "text")), limit))
        headlines = tuple(record["headline"] for record in chosen)
        articles = tuple(record["text"][:NEWS_CHARACTERS] for record in chosen)
        questions[language] = TextSet(f"news.{language}.headlines", "query", headlines)
        documents[language] = TextSet(f"news.{language}.articles", "document", articles)
    answers = {name: np.arange(len(each.texts)) for name, each in questions.items()}
    return RetrievalSet(questions, documents, answers)


def load_package_set(name: str, folder: Path, limit: int | None = None) -> RetrievalSet:
    """Load questions in many languages of one pool of English documents.

    Args:
        name: Folder of the set below ``eval``: ``debian`` or ``help``.
        folder: The data folder.
        limit: Documents of the pool at most.

    Raises:
        DataError: The folder is missing or a line is broken.
    """
    records = {
        language_of(path): list(read_json_lines(path, ("id", "question", "document")))
        for path in evaluation_files(folder / "eval" / name)
    }
    texts = {each["id"]: each["document"] for read in records.values() for each in read}
    ids = sorted(texts)
    pool = {ids[index]: place for place, index in enumerate(sample(len(ids), limit))}
    english = TextSet(f"{name}.english", "document", tuple(texts[key] for key in pool))
    questions: dict[str, TextSet] = {}
    answers: dict[str, NDArray[np.int64]] = {}
    for language, read in records.items():
        if asked := [record for record in read if record["id"] in pool]:
            these = tuple(record["question"] for record in asked)
            questions[language] = TextSet(f"{name}.{language}.questions", "query", these)
            answers[language] = np.array([pool[record["id"]] for record in asked])
    return RetrievalSet(questions, dict.fromkeys(questions, english), answers)


def _labelled(
    name: str,
    folder: Path,
    parts: Iterable[_Part],
    train: int | None,
    test: int | None,
    *,
    parallel: bool,
) -> LabelledSet:
    english: list[Record] = []
    tested: dict[str, list[Record]] = {}
    for language, split, records in parts:
        if split == "test":
            tested[language] = _sampled(records, test)
        elif language.startswith("eng"):
            english = _sampled(records, train)
    if not english:
        raise DataError(
            f"{name} in {folder} has no English texts to train a probe on.",
            next_step="Fetch the evaluation data again.",
        )

    def texts_of(part: str, records: Sequence[Record]) -> TextSet:
        return TextSet(f"{name}.{part}", "query", tuple(record["text"] for record in records))

    def labels_of(records: Sequence[Record]) -> NDArray[np.str_]:
        return np.array([str(record["label"]) for record in records])

    return LabelledSet(
        texts_of("train", english),
        labels_of(english),
        {language: texts_of(language, records) for language, records in tested.items()},
        {language: labels_of(records) for language, records in tested.items()},
        parallel,
    )


def _sampled(records: Sequence[Record], limit: int | None) -> list[Record]:
    return [records[index] for index in sample(len(records), limit)]


def _not_parallel(path: Path, what: str, other: str) -> DataError:
    return DataError(
        f"{path} has other {what} than {other}: the languages must be parallel.",
        next_step="Fetch the evaluation data again.",
    )
