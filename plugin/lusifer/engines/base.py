"""The contract between the vectorizer and whatever computes vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Engine"]


@runtime_checkable
class Engine(Protocol):
    """Computes one unit vector for each row of token ids.

    What every implementation promises, beyond shapes: row i of the answer belongs to row i of the
    input, and depends on nothing but the ids where the mask is 1 - not on padding, not on its
    neighbours.
    """

    @property
    def name(self) -> str:
        """Short name for reports, such as ``onnx-cpu``."""
        ...

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Compute the vectors of a batch.

        Args:
            input_ids: ``(B, T)`` token ids, padded on the right.
            attention_mask: ``(B, T)``, 1 for a token and 0 for padding.

        Returns:
            ``(B, D)`` unit vectors.

        Raises:
            EngineBusyError: No memory for a batch of this size at this moment; nothing was
                computed.
            EngineError: The engine can't run at all.
        """
        ...

    def close(self) -> None:
        """Give back threads and memory; calling it twice is fine."""
        ...
