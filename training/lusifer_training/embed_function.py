"""The contract of everything that embeds in training and evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["EmbedFunction", "Role", "Vectors"]

Role = Literal["query", "document"]
"""Decides which prompt goes before a text."""

Vectors: TypeAlias = "NDArray[np.float32]"
"""A float32 array, ``(N, D)`` unless its docstring says otherwise."""


class EmbedFunction(Protocol):
    """Turn texts into unit vectors.

    Attributes:
        identity: Changes whenever the vectors would change: the key of the vector cache.
    """

    identity: str

    def __call__(self, texts: Sequence[str], role: Role) -> Vectors:
        """Return unit vectors ``(N, D)`` float32, in the order of the texts."""
        ...
