"""The language subspace: directions that distinguish languages, found from monolingual text.

The means of each language's vectors differ mostly by language, not by content. The span of their
differences, M_s, is projected out of every vector. This is LSAR (Xie et al., EMNLP 2022), and the
split into an agnostic and a specific part of Lens (arXiv 2410.04407).

The projection is linear and needs no language id at run time. Nothing is trained: the texts only
give means. The part that was projected out, the side vector, still names the language.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from lusifer_training.data.readers import read_json_lines
from lusifer_training.embed_function import Role
from lusifer_training.errors import CheckpointError, ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lusifer_training.embed_function import EmbedFunction, Vectors

__all__ = [
    "LanguageIdentifier",
    "LanguageMeans",
    "language_basis",
    "language_means",
    "load_monolingual",
    "project_out",
]

MINIMUM_TEXTS = 20
"""With fewer texts, a language's mean depends more on the texts than on the language."""

IDENTIFIER_NAME = "language_centroids.safetensors"

_ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class LanguageMeans:
    """Mean vectors of the languages, for one source of text in one role.

    Attributes:
        source: Name of the source of the texts.
        role: Role whose prompt the texts were embedded with.
        languages: L codes.
        vectors: ``(L, D)``.
    """

    source: str
    role: Role
    languages: tuple[str, ...]
    vectors: Vectors


def load_monolingual(path: Path) -> dict[str, dict[str, list[str]]]:
    """Read texts by source and language.

    Args:
        path: JSON lines with ``language``, ``text`` and, optionally, ``source``.

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
            f"{path} has fewer than {MINIMUM_TEXTS} texts of a source in "
            f"{', '.join(sorted(poor))}.",
            next_step="Add texts in these languages or leave them out.",
        )
    return texts


def language_means(
    embedder: EmbedFunction, texts: Mapping[str, Mapping[str, Sequence[str]]]
) -> list[LanguageMeans]:
    """Compute the mean vector of each language, by source and role.

    Args:
        embedder: The model without a projection.
        texts: Texts by source and language.
    """
    return [
        LanguageMeans(
            source,
            role,
            tuple(languages),
            np.stack([embedder(each, role).mean(axis=0) for each in languages.values()]),
        )
        for source, languages in texts.items()
        for role in _ROLES
    ]


def language_basis(means: Sequence[LanguageMeans], rank: int | None = None) -> Vectors:
    """Return orthonormal directions ``(D, rank)`` that separate language means, strongest first.

    Args:
        means: Each item is centred by itself before all are stacked. So directions between roles
            and between sources of text, which are not language, stay in the vectors.
        rank: Number of directions. The default is its maximum, the number of directions in which
            the languages differ: L - 1 for one source in one role.

    Raises:
        ConfigError: The rank is too high for the means.
    """
    differences = np.concatenate([each.vectors - each.vectors.mean(axis=0) for each in means])
    most = min(sum(len(each.languages) - 1 for each in means), differences.shape[1])
    if rank is not None and not 0 < rank <= most:
        raise ConfigError(
            f"rank {rank} is not between 1 and {most}: these languages differ in {most} "
            "directions.",
            next_step=f"Choose a rank from 1 to {most}.",
        )
    _, _, directions = np.linalg.svd(differences, full_matrices=False)
    return np.ascontiguousarray(directions[: rank or most].T, dtype=np.float32)


def project_out(vectors: Vectors, basis: Vectors) -> Vectors:
    """Remove the directions ``(D, r)`` from vectors ``(N, D)``, and return them at unit length."""
    left = vectors - (vectors @ basis) @ basis.T
    unit: Vectors = left / np.maximum(np.linalg.norm(left, axis=1, keepdims=True), 1e-12)
    return unit


@dataclass(frozen=True, slots=True)
class LanguageIdentifier:
    """Name the language of a vector from its side vector.

    The side vector is the ``r`` numbers that the projection removes.

    Attributes:
        basis: Orthonormal directions ``(D, r)``.
        languages: L codes.
        centroids: Mean side vectors ``(L, r)`` by role.
    """

    basis: Vectors
    languages: tuple[str, ...]
    centroids: dict[Role, Vectors]

    @classmethod
    def fit(cls, means: Sequence[LanguageMeans], basis: Vectors) -> LanguageIdentifier:
        """Compute the centroids from the means that gave the basis.

        A language with several sources gets the mean over them.
        """
        languages = tuple(sorted({language for each in means for language in each.languages}))
        centroids: dict[Role, Vectors] = {}
        for role in _ROLES:
            in_role = [each for each in means if each.role == role]
            overall = np.mean([each.vectors.mean(axis=0) for each in in_role], axis=0)
            rows = []
            for language in languages:
                # Sources differ in their topics. Only the offset of a language within each source
                # is about the language.
                offsets = [
                    each.vectors[each.languages.index(language)] - each.vectors.mean(axis=0)
                    for each in in_role
                    if language in each.languages
                ]
                rows.append((overall + np.mean(offsets, axis=0)) @ basis)
            centroids[role] = np.stack(rows).astype(np.float32)
        return cls(basis, languages, centroids)

    def side_vectors(self, vectors: Vectors) -> Vectors:
        """Return the side vectors ``M_sᵀ z`` ``(N, r)`` of unprojected unit vectors ``(N, D)``."""
        side: Vectors = vectors @ self.basis
        return side

    def identify(self, vectors: Vectors, role: Role) -> list[str]:
        """Return the language of each unprojected unit vector ``(N, D)``: the nearest centroid."""
        side = self.side_vectors(vectors)
        distances = np.linalg.norm(side[:, None, :] - self.centroids[role][None], axis=-1)
        return [self.languages[index] for index in distances.argmin(axis=1)]

    def save(self, folder: Path) -> None:
        """Write the identifier into a checkpoint folder."""
        save_file(
            {"basis": self.basis, **{str(role): each for role, each in self.centroids.items()}},
            folder / IDENTIFIER_NAME,
            metadata={"languages": " ".join(self.languages)},
        )

    @classmethod
    def load(cls, folder: Path) -> LanguageIdentifier:
        """Read the identifier of a checkpoint folder.

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
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        basis = tensors.pop("basis")
        return cls(basis, languages, {role: tensors[role] for role in _ROLES})
