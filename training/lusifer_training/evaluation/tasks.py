"""Evaluation sets and their metrics: Tatoeba translation retrieval and XQuAD cross-lingual retrieval.

Nothing here is ever trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from lusifer_training.data.readers import read_json_lines
from lusifer_training.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Embed = Callable[[str, "TextSet"], np.ndarray]

__all__ = ["TextSet", "XquadMatrix", "load_tatoeba", "load_xquad", "tatoeba_accuracy", "xquad_matrix"]


@dataclass(frozen=True, slots=True)
class TextSet:
    """Texts of one language in one role."""

    name: str
    role: Literal["query", "document"]
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class XquadMatrix:
    """R@1 of questions in one language against paragraphs in another.

    Attributes:
        languages: L codes.
        recall_at_1: ``(L, L)`` in 0..1, question language by row, paragraph language by column.
    """

    languages: tuple[str, ...]
    recall_at_1: np.ndarray

    @property
    def off_diagonal(self) -> float:
        """Mean over pairs of different languages."""
        apart = ~np.eye(len(self.languages), dtype=bool)
        return float(self.recall_at_1[apart].mean())

    @property
    def diagonal(self) -> float:
        """Mean over pairs of equal languages."""
        return float(self.recall_at_1.diagonal().mean())

    @property
    def english(self) -> float:
        """English questions, English paragraphs."""
        at = self.languages.index("en")
        return float(self.recall_at_1[at, at])


def load_tatoeba(folder: Path, limit: int | None = None) -> dict[str, tuple[TextSet, TextSet]]:
    """Sentences and their English translations by language; both are questions: neither side is a passage.

    Args:
        folder: The data folder.
        limit: Only the first so many pairs of a language.

    Raises:
        DataError: The folder is missing or a line is broken.
    """
    sets = {}
    for path in _files(folder / "eval" / "tatoeba"):
        language = path.name.split(".")[0]
        records = list(read_json_lines(path, ("text", "english")))[:limit]
        sets[language] = (
            TextSet(f"tatoeba.{language}", "query", tuple(record["text"] for record in records)),
            TextSet(f"tatoeba.{language}.english", "query", tuple(record["english"] for record in records)),
        )
    return sets


def load_xquad(
    folder: Path, limit: int | None = None
) -> tuple[dict[str, tuple[TextSet, TextSet]], np.ndarray]:
    """Questions and paragraphs by language, and each question's paragraph ``(Q,)``, equal in all languages.

    Args:
        folder: The data folder.
        limit: Only the first so many paragraphs, and their questions.

    Raises:
        DataError: The folder is missing or a line is broken.
    """
    sets, answers = {}, np.zeros(0, dtype=np.int64)
    for path in _files(folder / "eval" / "xquad"):
        language = path.name.split(".")[0]
        records = list(read_json_lines(path, ("context", "questions")))[:limit]
        questions = [
            (index, item["question"]) for index, rec in enumerate(records) for item in rec["questions"]
        ]
        ours = np.array([index for index, _ in questions])
        if sets and not np.array_equal(ours, answers):
            raise DataError(
                f"{path} has other questions than {next(iter(sets))}: the languages must be parallel.",
                next_step="Fetch the evaluation data again.",
            )
        answers = ours
        sets[language] = (
            TextSet(f"xquad.{language}.questions", "query", tuple(question for _, question in questions)),
            TextSet(f"xquad.{language}.paragraphs", "document", tuple(rec["context"] for rec in records)),
        )
    return sets, answers


def tatoeba_accuracy(ours: np.ndarray, english: np.ndarray) -> float:
    """Mean accuracy of both directions, in 0..1, of row-aligned unit vectors ``(N, D)``."""
    scores = ours @ english.T
    rows = np.arange(len(scores))
    return float(((scores.argmax(axis=1) == rows).mean() + (scores.argmax(axis=0) == rows).mean()) / 2)


def xquad_matrix(vectors: dict[str, tuple[np.ndarray, np.ndarray]], answers: np.ndarray) -> XquadMatrix:
    """R@1 for every pair of languages.

    Args:
        vectors: Question vectors ``(Q, D)`` and paragraph vectors ``(P, D)`` by language.
        answers: The paragraph of each question ``(Q,)``.
    """
    languages = tuple(vectors)
    matrix = np.array(
        [
            [((vectors[a][0] @ vectors[b][1].T).argmax(axis=1) == answers).mean() for b in languages]
            for a in languages
        ]
    )
    return XquadMatrix(languages, matrix)


def _files(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.jsonl.gz"))
    if not files:
        raise DataError(
            f"There is no evaluation data in {folder}.",
            next_step="Set LUSIFER_DATA to the folder that holds it.",
        )
    return files
