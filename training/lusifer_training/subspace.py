"""The language subspace: directions that tell languages apart, found from monolingual text.

Means of each language's vectors differ mostly by language, not by content; the span of their differences is
projected out of every vector (LSAR, EMNLP 2022; the agnostic/specific split of Lens, arXiv 2410.04407). It is
linear, needs no language id at run time, and nothing is trained: the texts only give means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lusifer_training.data.readers import read_json_lines
from lusifer_training.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lusifer_training.evaluation.embedders import Embedder

__all__ = ["language_basis", "language_means", "load_monolingual", "project_out"]

MINIMUM_TEXTS = 20
"""Below this, a language's mean says more about the texts than about the language."""


def load_monolingual(path: Path) -> dict[str, list[str]]:
    """Texts by language from JSON lines with ``language`` and ``text``.

    Raises:
        DataError: The file is missing, a line is broken, or a language has too few texts.
    """
    texts: dict[str, list[str]] = {}
    for record in read_json_lines(path, ("language", "text")):
        texts.setdefault(record["language"], []).append(record["text"])
    if poor := [language for language, each in texts.items() if len(each) < MINIMUM_TEXTS]:
        raise DataError(
            f"{path} has fewer than {MINIMUM_TEXTS} texts in {', '.join(sorted(poor))}.",
            next_step="Add texts in these languages or leave them out.",
        )
    return texts


def language_means(embedder: Embedder, texts: Mapping[str, list[str]]) -> list[np.ndarray]:
    """Mean vectors ``(L, D)`` of the languages, one array per role: prompts move the mean."""
    return [
        np.stack([embedder(each, role).mean(axis=0) for each in texts.values()])
        for role in ("query", "document")
    ]


def language_basis(means_by_role: list[np.ndarray], rank: int) -> np.ndarray:
    """Orthonormal directions ``(D, rank)`` that separate the language means most.

    Args:
        means_by_role: ``(L, D)`` per role; each role is centred by itself, so that the direction between
            roles stays.
        rank: At most the number of languages less one.

    Raises:
        ConfigError: The rank is too high for the number of languages.
    """
    languages = len(means_by_role[0])
    if not 0 < rank < languages:
        raise ConfigError(
            f"rank {rank} needs more than {rank} languages; there are {languages}.",
            next_step=f"Choose a rank from 1 to {languages - 1}.",
        )
    differences = np.concatenate([means - means.mean(axis=0) for means in means_by_role])
    _, _, directions = np.linalg.svd(differences, full_matrices=False)
    return np.ascontiguousarray(directions[:rank].T, dtype=np.float32)


def project_out(vectors: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Vectors ``(N, D)`` without the directions ``(D, r)``, brought back to unit length."""
    left = vectors - (vectors @ basis) @ basis.T
    return left / np.maximum(np.linalg.norm(left, axis=1, keepdims=True), 1e-12)
