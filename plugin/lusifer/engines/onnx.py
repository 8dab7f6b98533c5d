"""ONNX Runtime on the CPU: the engine that runs everywhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lusifer.engines.cpu import usable_cores
from lusifer.engines.graph import (
    INPUTS,
    OUTPUT,
    check_signature,
    closed_error,
    is_out_of_memory,
    load_error,
    run_error,
)
from lusifer.errors import MissingExtraError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import onnxruntime
    from numpy.typing import NDArray

__all__ = ["OnnxEngine"]


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
        try:
            session = onnxruntime.InferenceSession(
                os.fspath(model_path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            if not _is_expected(error):
                raise
            raise load_error("ONNX Runtime", model_path, error) from error
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
        try:
            (vectors,) = self._session.run(
                [OUTPUT], dict(zip(INPUTS, (input_ids, attention_mask), strict=True))
            )
        except Exception as error:
            if not _is_expected(error):
                raise
            raise run_error(input_ids.shape, error) from error
        result: NDArray[np.float32] = vectors
        return result

    def close(self) -> None:
        """Drop the session, and with it weights and threads."""
        self._session = None


def _is_expected(error: Exception) -> bool:
    # The classes of ONNX Runtime share no base of their own; they come from one extension module.
    return is_out_of_memory(error) or type(error).__module__.startswith("onnxruntime")
