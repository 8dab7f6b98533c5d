"""The geometry of the served vector: subtract a share of the centre, project languages out.

The vectors of a contrastive encoder point one way: unrelated texts have a cosine of 0.75 to 0.85.
The part that all vectors share lets some texts, hubs, be near every query, and normalising after a
projection enlarges it. Subtracting a share of the mean vector first removes both (Suzuki et al.
2013, Hara et al. 2015; all-but-the-top, Mu and Viswanath 2018).

The step is affine, ``normalize((I - B Bᵀ)(v - c m))``, so that it is part of the exported graph. It
needs neither training nor the language of a text.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lusifer_training.language_subspace import project_out

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lusifer_training.embed_function import EmbedFunction, Role, Vectors

__all__ = ["DEFAULT_SHARE", "Geometry", "GeometryEmbedder", "centre_of", "without_languages"]

DEFAULT_SHARE = 0.85
"""Share of the centre that is subtracted by default, chosen on seven evaluation sets
(docs/explanation/geometry.md)."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """The affine step at the end of a model.

    Attributes:
        centre: Mean of unit vectors, m ``(D,)``.
        share: Share of the centre that is subtracted, c; 0 for none.
        basis: Orthonormal directions of the language subspace, B ``(D, r)``; r is 0 for none.
    """

    centre: Vectors
    share: float
    basis: Vectors

    @property
    def identity(self) -> str:
        """Changes whenever the step changes."""
        parts = [self.basis] if not self.share else [self.basis, self.share * self.centre]
        digest = hashlib.sha256()
        for part in parts:
            digest.update(np.ascontiguousarray(part, dtype=np.float32).tobytes())
        return digest.hexdigest()

    def apply(self, vectors: Vectors) -> Vectors:
        """Map plain unit vectors ``(N, D)`` to those that the model serves, of unit length too."""
        return project_out(
            vectors - np.float32(self.share) * self.centre if self.share else vectors, self.basis
        )


def without_languages(basis: Vectors) -> Geometry:
    """Return the geometry that only projects a language basis ``(D, r)`` out."""
    return Geometry(np.zeros(len(basis), np.float32), 0.0, basis)


class GeometryEmbedder:
    """Embed with another embedder and apply a geometry to its vectors.

    Both share the cached vectors of the other embedder.

    Args:
        base: Returns plain unit vectors.
        geometry: Centre and language basis.
    """

    def __init__(self, base: EmbedFunction, geometry: Geometry) -> None:
        self.base = base
        self.geometry = geometry
        self.identity = f"{base.identity}:without:{geometry.identity}"

    def __call__(self, texts: Sequence[str], role: Role) -> Vectors:
        """Return unit vectors ``(N, D)`` float32."""
        return self.geometry.apply(self.base(texts, role))


def centre_of(parts: Iterable[Vectors]) -> Vectors:
    """Return the centre ``(D,)``: the mean over the parts, each of which counts alike.

    Args:
        parts: Plain unit vectors ``(N, D)`` of each source and role.
    """
    means = [np.mean(each, axis=0, dtype=np.float64) for each in parts]
    centre: Vectors = np.mean(means, axis=0).astype(np.float32)
    return centre
