"""Scores of several models on the same sets, from cached vectors, as one Markdown table."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from lusifer_training.evaluation.tasks import load_tatoeba, load_xquad, tatoeba_accuracy, xquad_matrix

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from lusifer_training.evaluation.embedders import Embedder
    from lusifer_training.evaluation.tasks import TextSet

__all__ = ["Scores", "evaluate", "markdown_table"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scores:
    """Of one model, in percent.

    Attributes:
        tatoeba: Accuracy by language, mean of both directions.
        xquad: R@1, question language -> paragraph language -> value.
        tatoeba_mean: Over all languages.
        xquad_off_diagonal: Mean over pairs of different languages.
        xquad_diagonal: Mean over pairs of equal languages.
        xquad_english: English to English.
    """

    tatoeba: dict[str, float]
    xquad: dict[str, dict[str, float]]
    tatoeba_mean: float
    xquad_off_diagonal: float
    xquad_diagonal: float
    xquad_english: float

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return asdict(self)


def evaluate(
    embedder: Embedder, *, data_folder: Path, cache_folder: Path, limit: int | None = None
) -> Scores:
    """Embed every set and score it; vectors already in the cache are not computed again.

    Args:
        embedder: What is measured.
        data_folder: Holds ``eval/``.
        cache_folder: Vectors by model, role and texts.
        limit: Only the first so many Tatoeba pairs and XQuAD paragraphs a language: quick, and easier.

    Raises:
        DataError: The evaluation data is missing.
    """

    def vectors(text_set: TextSet) -> np.ndarray:
        return _cached(embedder, text_set, cache_folder)

    tatoeba = {
        language: 100 * tatoeba_accuracy(vectors(ours), vectors(english))
        for language, (ours, english) in load_tatoeba(data_folder, limit).items()
    }
    sets, answers = load_xquad(data_folder, limit)
    matrix = xquad_matrix(
        {
            language: (vectors(questions), vectors(paragraphs))
            for language, (questions, paragraphs) in sets.items()
        },
        answers,
    )
    return Scores(
        tatoeba=tatoeba,
        xquad={
            a: {b: 100 * float(matrix.recall_at_1[i, j]) for j, b in enumerate(matrix.languages)}
            for i, a in enumerate(matrix.languages)
        },
        tatoeba_mean=float(np.mean(list(tatoeba.values()))),
        xquad_off_diagonal=100 * matrix.off_diagonal,
        xquad_diagonal=100 * matrix.diagonal,
        xquad_english=100 * matrix.english,
    )


def markdown_table(scores: Mapping[str, Scores]) -> str:
    """Models by column; means first, then Tatoeba by language and XQuAD by paragraph language."""
    first = next(iter(scores.values()))
    languages = len(first.xquad)
    pairs = languages * (languages - 1)
    rows: list[tuple[str, Callable[[Scores], float]]] = [
        (f"**XQuAD R@1, different languages** (mean of {pairs} pairs)", lambda s: s.xquad_off_diagonal),
        ("**XQuAD R@1, English to English**", lambda s: s.xquad_english),
        (f"XQuAD R@1, same language (mean of {languages})", lambda s: s.xquad_diagonal),
        (f"**Tatoeba accuracy** (mean of {len(first.tatoeba)})", lambda s: s.tatoeba_mean),
    ]
    for language in first.xquad:
        rows.append((f"XQuAD, question {language}, other paragraphs", _off_row(language)))
    for language in first.tatoeba:
        rows.append((f"Tatoeba {language}", lambda s, at=language: s.tatoeba[at]))
    lines = ["| | " + " | ".join(scores) + " |", "|---" + "|---:" * len(scores) + "|"]
    lines += [
        f"| {title} | " + " | ".join(f"{value(each):.1f}" for each in scores.values()) + " |"
        for title, value in rows
    ]
    return "\n".join(lines) + "\n"


def _off_row(language: str) -> Callable[[Scores], float]:
    return lambda s: float(
        np.mean([value for other, value in s.xquad[language].items() if other != language])
    )


def _cached(embedder: Embedder, text_set: TextSet, folder: Path) -> np.ndarray:
    """Vectors ``(N, D)`` of a set, from a file named by model, role and texts."""
    key = hashlib.sha256()
    for part in (embedder.identity, text_set.role, *text_set.texts):
        key.update(part.encode() + b"\0")
    path = folder / f"{key.hexdigest()[:32]}.npy"
    if path.is_file():
        return np.load(path)
    vectors = embedder(text_set.texts, text_set.role)
    _log.info("embedded %s: %d texts", text_set.name, len(vectors))
    folder.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".new.npy")
    np.save(aside, vectors)
    aside.rename(path)
    return vectors
