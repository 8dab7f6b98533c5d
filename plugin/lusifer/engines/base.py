"""The contract between the vectorizer and what computes the vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Engine"]


@runtime_checkable
class Engine(Protocol):
    """Computes one unit vector for each row of token ids.

    Row i of the answer belongs to row i of the input. It depends only on the ids where the mask is
    1: neither on padding nor on the other rows.
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
            input_ids: Token ids ``(B, T)``, padded on the right.
            attention_mask: ``(B, T)``, 1 for a token and 0 for padding.

        Returns:
            Unit vectors ``(B, D)``.

        Raises:
            EngineBusyError: There is no memory for a batch of this size at this moment; nothing was
                computed.
            EngineError: The engine can't run at all.
        """
        ...

    def close(self) -> None:
        """Release threads and memory; calling it twice is fine."""
        ...
