"""The language subspace: directions that tell languages apart, found from monolingual text.

Means of each language's vectors differ mostly by language, not by content; the span of their
differences, M_s, is projected out of every vector (LSAR, EMNLP 2022; the agnostic/specific split of
Lens, arXiv 2410.04407). It is linear, needs no language id at run time, and nothing is trained: the
texts only give means. What was projected out, the side vector, still names the language.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from lusifer_training.data.readers import read_json_lines
from lusifer_training.errors import CheckpointError, ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lusifer_training.embedders import EmbedFunction, Role

__all__ = [
    "LanguageIdentifier",
    "LanguageMeans",
    "language_basis",
    "language_means",
    "load_monolingual",
    "project_out",
]

MINIMUM_TEXTS = 20
"""Below this, a language's mean says more about the texts than about the language."""

IDENTIFIER_NAME = "language_centroids.safetensors"


@dataclass(frozen=True, slots=True)
class LanguageMeans:
    """Mean vectors of one source of text in one role.

    Attributes:
        source: Where the texts come from.
        role: With whose prompt they were embedded.
        languages: L codes.
        vectors: ``(L, D)``.
    """

    source: str
    role: Role
    languages: tuple[str, ...]
    vectors: np.ndarray


def load_monolingual(path: Path) -> dict[str, dict[str, list[str]]]:
    """Texts by source and language from JSON lines with ``language``, ``text`` and, optionally, ``source``.

    Raises:
        DataError: The file is missing, a line is broken, or a language has too few texts.
    """
    texts: dict[str, dict[str, list[str]]] = {}
    for record in read_json_lines(path, ("language", "text")):
        languages = texts.setdefault(record.get("source", ""), {})
        languages.setdefault(record["language"], []).append(record["text"])
    poor = {
        language
        for languages in texts.values()
        for language, each in languages.items()
        if len(each) < MINIMUM_TEXTS
    }
    if poor:
        raise DataError(
            f"{path} has fewer than {MINIMUM_TEXTS} texts of a source in {', '.join(sorted(poor))}.",
            next_step="Add texts in these languages or leave them out.",
        )
    return texts


def language_means(
    embedder: EmbedFunction, texts: Mapping[str, Mapping[str, Sequence[str]]]
) -> list[LanguageMeans]:
    """Means of the languages, source by source and role by role.

    Args:
        embedder: Of the model, without a projection.
        texts: By source and language.
    """
    return [
        LanguageMeans(
            source,
            role,
            tuple(languages),
            np.stack([embedder(each, role).mean(axis=0) for each in languages.values()]),
        )
        for source, languages in texts.items()
        for role in ("query", "document")
    ]


def language_basis(means: Sequence[LanguageMeans], rank: int | None = None) -> np.ndarray:
    """Orthonormal directions ``(D, rank)`` that separate the language means most, strongest first.

    Args:
        means: Each is centred by itself and all are stacked, so that the directions between roles
            and between sources of text, which are not language, stay.
        rank: At most the number of directions in which languages differ, which is the default: L -
            1 for one source in one role.

    Raises:
        ConfigError: The rank is too high for the means.
    """
    differences = np.concatenate([each.vectors - each.vectors.mean(axis=0) for each in means])
    most = min(sum(len(each.languages) - 1 for each in means), differences.shape[1])
    if rank is not None and not 0 < rank <= most:
        raise ConfigError(
            f"rank {rank} is not between 1 and {most}: these languages differ in {most} directions.",
            next_step=f"Choose a rank from 1 to {most}.",
        )
    _, _, directions = np.linalg.svd(differences, full_matrices=False)
    return np.ascontiguousarray(directions[: rank or most].T, dtype=np.float32)


def project_out(vectors: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Vectors ``(N, D)`` without the directions ``(D, r)``, brought back to unit length."""
    left = vectors - (vectors @ basis) @ basis.T
    return left / np.maximum(np.linalg.norm(left, axis=1, keepdims=True), 1e-12)


@dataclass(frozen=True, slots=True)
class LanguageIdentifier:
    """Names the language of a vector from its side vector, the ``r`` numbers that the projection takes out.

    Attributes:
        basis: ``(D, r)``.
        languages: L codes.
        centroids: Mean side vectors by role ``(L, r)``.
    """

    basis: np.ndarray
    languages: tuple[str, ...]
    centroids: dict[Role, np.ndarray]

    @classmethod
    def fit(cls, means: Sequence[LanguageMeans], basis: np.ndarray) -> LanguageIdentifier:
        """From the means that gave the basis; a language of several sources gets the mean over them."""
        languages = tuple(sorted({language for each in means for language in each.languages}))
        centroids: dict[Role, np.ndarray] = {}
        for role in ("query", "document"):
            of_role = [each for each in means if each.role == role]
            overall = np.mean([each.vectors.mean(axis=0) for each in of_role], axis=0)
            rows = []
            for language in languages:
                # Sources differ in what they are about: only what sets a language apart within each
                # one counts.
                offsets = [
                    each.vectors[each.languages.index(language)] - each.vectors.mean(axis=0)
                    for each in of_role
                    if language in each.languages
                ]
                rows.append((overall + np.mean(offsets, axis=0)) @ basis)
            centroids[role] = np.stack(rows).astype(np.float32)
        return cls(basis, languages, centroids)

    def side_vectors(self, vectors: np.ndarray) -> np.ndarray:
        """``M_sᵀ z``: ``(N, r)`` of unprojected unit vectors ``(N, D)``."""
        side: np.ndarray = vectors @ self.basis
        return side

    def identify(self, vectors: np.ndarray, role: Role) -> list[str]:
        """The language of each unprojected unit vector ``(N, D)``: the nearest centroid."""
        side = self.side_vectors(vectors)
        distances = np.linalg.norm(side[:, None, :] - self.centroids[role][None], axis=-1)
        return [self.languages[index] for index in distances.argmin(axis=1)]

    def save(self, folder: Path) -> None:
        """Write beside a checkpoint's adapter."""
        save_file(
            {"basis": self.basis, **self.centroids},
            folder / IDENTIFIER_NAME,
            metadata={"languages": " ".join(self.languages)},
        )

    @classmethod
    def load(cls, folder: Path) -> LanguageIdentifier:
        """Read it from a checkpoint folder.

        Raises:
            CheckpointError: The checkpoint has none.
        """
        path = folder / IDENTIFIER_NAME
        if not path.is_file():
            raise CheckpointError(
                f"{folder} has no {IDENTIFIER_NAME}.",
                next_step="Make the checkpoint with lusifer train subspace.",
            )
        with safe_open(path, framework="numpy") as file:
            languages = tuple(file.metadata()["languages"].split())
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        basis = tensors.pop("basis")
        return cls(basis, languages, {role: tensors[role] for role in ("query", "document")})
