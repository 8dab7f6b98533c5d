"""Documents of which one is a hub, for the doctors of all databases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lusifer.types import Document

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["DIMENSION", "hub_documents"]

DIMENSION = 64


def hub_documents(*, hub: bool) -> tuple[list[Document], NDArray[np.float32]]:
    """Return 300 documents, and isotropic vectors or vectors that share a direction.

    With the direction, the document ``hub`` has nothing else, and so lies near all others.
    """
    vectors = np.random.default_rng(0).normal(size=(300, DIMENSION))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    if hub:
        common = np.random.default_rng(1).normal(size=DIMENSION)
        common /= np.linalg.norm(common)
        vectors = vectors + 1.5 * common
        vectors[-1] = common
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = [*(f"doc/{n}" for n in range(299)), "hub"]
    text = "This tool unpacks archives and edits photographs, and its name is {}."
    return [Document(name, text.format(name)) for name in names], vectors.astype(np.float32)
