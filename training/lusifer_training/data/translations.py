"""Translation pairs of the evaluation data, and the accuracy of retrieving translations.

Nothing here is ever trained on. Training measures itself on the pairs while it runs, and the
evaluation reports them. The accuracy is Tatoeba's (LASER, arXiv 1812.10464, section 4.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lusifer_training.data.readers import read_json_lines
from lusifer_training.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from lusifer_training.embed_function import Vectors

__all__ = [
    "Translations",
    "bitext_hits",
    "evaluation_files",
    "language_of",
    "load_translations",
    "sample",
]


@dataclass(frozen=True, slots=True)
class Translations:
    """Sentences of one language and their English translations, row by row.

    Attributes:
        texts: N sentences.
        english: N translations.
    """

    texts: tuple[str, ...]
    english: tuple[str, ...]


def load_translations(data_folder: Path, limit: int | None = None) -> dict[str, Translations]:
    """Read the Tatoeba pairs of every language.

    Args:
        data_folder: Holds ``eval/tatoeba``.
        limit: Pairs of a language at most; None is all of them.

    Raises:
        DataError: The folder is missing or a line is broken.
    """
    sets = {}
    for path in evaluation_files(data_folder / "eval" / "tatoeba"):
        records = list(read_json_lines(path, ("text", "english")))
        chosen = [records[index] for index in sample(len(records), limit)]
        sets[language_of(path)] = Translations(
            tuple(record["text"] for record in chosen),
            tuple(record["english"] for record in chosen),
        )
    return sets


def bitext_hits(texts: Vectors, english: Vectors) -> NDArray[np.float64]:
    """Score each pair: the mean of both directions, 1 where the nearest vector is the translation.

    Args:
        texts: Unit vectors ``(N, D)``.
        english: Unit vectors ``(N, D)``, row-aligned with ``texts``.

    Returns:
        0, 0.5 or 1 for each pair ``(N,)``.
    """
    scores = texts @ english.T
    rows = np.arange(len(scores))
    forward, back = scores.argmax(axis=1) == rows, scores.argmax(axis=0) == rows
    hits: NDArray[np.float64] = (forward.astype(float) + back) / 2
    return hits


def evaluation_files(folder: Path) -> list[Path]:
    """List the packed JSON-lines files of an evaluation set, sorted by name.

    Raises:
        DataError: There are none.
    """
    files = sorted(folder.glob("*.jsonl.gz"))
    if not files:
        raise DataError(
            f"There is no evaluation data in {folder}.",
            next_step="Set LUSIFER_DATA to the folder that holds it.",
        )
    return files


def language_of(path: Path) -> str:
    """Return the language code in the name of an evaluation file."""
    return path.name.split(".")[0]


def sample(count: int, limit: int | None) -> list[int]:
    """Return the indices of the first ``limit`` of one fixed random order, sorted.

    A larger sample holds every smaller one, so that cached vectors serve both.
    """
    if limit is None or limit >= count:
        return list(range(count))
    return sorted(np.random.default_rng(0).permutation(count)[:limit].tolist())
