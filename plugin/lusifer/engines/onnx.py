"""ONNX Runtime on the CPU: the engine that runs everywhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lusifer.engines.cpu import usable_cores
from lusifer.engines.graph import INPUTS, OUTPUT, RuntimeErrors, check_signature, closed_error
from lusifer.errors import MissingExtraError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import onnxruntime
    from numpy.typing import NDArray

__all__ = ["OnnxEngine"]

# Their classes share no base of their own; they come from one extension module.
_ERRORS = RuntimeErrors(
    "ONNX Runtime", lambda error: type(error).__module__.startswith("onnxruntime")
)


class OnnxEngine:
    """Runs ``model.onnx`` of a bundle.

    Args:
        model_path: The graph; its external data lies beside it.
        threads: Threads inside one operator; by default one for each physical core that this
            process may use.

    Raises:
        MissingExtraError: ``onnxruntime`` is not installed.
        BundleCorruptError: The graph can't be loaded, or has other inputs and outputs than a
            bundle's.
        EngineBusyError: There is not enough memory for the weights.
    """

    name = "onnx-cpu"

    def __init__(self, model_path: Path | str, *, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError(
                f"The ONNX engine needs onnxruntime: {error}.",
                next_step="Run pip install 'lusifer[cpu]' (or 'lusifer[gpu]', never both).",
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.inter_op_num_threads = 1
        # Batches come in every (B, T). The arena never releases memory and keeps the largest block
        # of each kind it ever needed; memory patterns are kept for each shape. Both grow for hours
        # in a long indexing run and save little where matrix products dominate.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        with _ERRORS.loading(model_path):
            session = onnxruntime.InferenceSession(
                os.fspath(model_path), options, providers=["CPUExecutionProvider"]
            )
        check_signature(
            model_path,
            [node.name for node in session.get_inputs()],
            [node.name for node in session.get_outputs()],
        )
        self._session: onnxruntime.InferenceSession | None = session

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Compute vectors ``(B, D)`` of ids and mask ``(B, T)``.

        Raises:
            EngineBusyError: There is not enough memory for this batch.
            EngineError: The session is closed, or the graph failed on these inputs.
        """
        if self._session is None:
            raise closed_error(self.name)
        feeds = dict(zip(INPUTS, (input_ids, attention_mask), strict=True))
        with _ERRORS.running(input_ids.shape):
            vectors: NDArray[np.float32] = self._session.run([OUTPUT], feeds)[0]
        return vectors

    def close(self) -> None:
        """Drop the session, and with it weights and threads."""
        self._session = None
