"""ONNX Runtime on the CPU: the engine that runs everywhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lusifer.errors import BundleCorruptError, EngineBusyError, EngineError, MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["OnnxEngine", "usable_cores"]

_INPUTS = {"input_ids", "attention_mask"}
_OUTPUT = "embedding"
# ONNX Runtime has no exception class for this: allocation failures reach Python as RuntimeException
# or Fail.
_MEMORY_WORDS = (
    "bad_alloc",
    "bad allocation",
    "allocate memory",
    "out of memory",
    "available memory",
)


class OnnxEngine:
    """Runs ``model.onnx`` of a bundle.

    Args:
        model_path: The graph; its external data lies beside it.
        threads: Threads inside one operator; by default one for each physical core this process may
            use.

    Raises:
        MissingExtraError: ``onnxruntime`` is not installed.
        BundleCorruptError: The graph can't be loaded, or has other inputs and outputs than a
            bundle's.
        EngineBusyError: Not enough memory for the weights.
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
        # Batches come in every (B, T). The arena never gives memory back and keeps the largest
        # block of each kind it ever needed, and memory patterns are kept for each shape seen: both
        # grow for hours in a long indexing run and save little where matrix products dominate.
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(
                os.fspath(model_path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            if _is_memory(error):
                raise _busy(f"No memory to load {model_path}: {error}") from error
            if not _is_onnxruntime(error):
                raise
            raise BundleCorruptError(
                f"ONNX Runtime can't load {model_path}: {error}",
                next_step="Open the bundle with verify=True to see which file is damaged, or export again.",
            ) from error
        self._check_signature(model_path)

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Answer ``(B, D)`` vectors for ``(B, T)`` ids and mask.

        Raises:
            EngineBusyError: Not enough memory for this batch.
            EngineError: The session is closed, or the graph failed on these inputs.
        """
        if self._session is None:
            raise EngineError("The ONNX engine is closed.", next_step="Load the vectorizer again.")
        try:
            (vectors,) = self._session.run(
                [_OUTPUT], {"input_ids": input_ids, "attention_mask": attention_mask}
            )
        except Exception as error:
            rows, length = input_ids.shape
            if _is_memory(error):
                raise _busy(
                    f"No memory for a batch of {rows} rows x {length} tokens: {error}"
                ) from error
            if not _is_onnxruntime(error):
                raise
            raise EngineError(
                f"The graph failed on a batch of {rows} rows x {length} tokens: {error}",
                next_step="Check the bundle with Bundle.open(path, verify=True); if whole, export again.",
            ) from error
        result: NDArray[np.float32] = vectors
        return result

    def close(self) -> None:
        """Drop the session, and with it weights and threads."""
        self._session = None

    def _check_signature(self, model_path: Path | str) -> None:
        inputs = {node.name for node in self._session.get_inputs()}
        outputs = {node.name for node in self._session.get_outputs()}
        if inputs != _INPUTS or _OUTPUT not in outputs:
            raise BundleCorruptError(
                f"The graph {model_path} maps {sorted(inputs)} to {sorted(outputs)}, a bundle's graph maps "
                f"{sorted(_INPUTS)} to ['{_OUTPUT}'].",
                next_step="Export the bundle again with this version of LUSIFER.",
            )


def usable_cores() -> int:
    """Physical cores this process may run on, at least 1.

    Two hyper-threads share one matrix unit, so a thread on each of them only adds waiting.
    """
    if not hasattr(os, "sched_getaffinity"):
        return max(1, os.cpu_count() or 1)
    cpus = os.sched_getaffinity(0)
    cores = set()
    for cpu in cpus:
        try:
            siblings = Path(
                f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
            ).read_text()
        except OSError:
            siblings = str(cpu)
        cores.add(siblings.strip())
    return max(1, len(cores))


def _is_onnxruntime(error: Exception) -> bool:
    # Its classes share no base of their own; they come from one extension module.
    return type(error).__module__.startswith("onnxruntime")


def _is_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(
        word in str(error).lower() for word in _MEMORY_WORDS
    )


def _busy(message: str) -> EngineBusyError:
    return EngineBusyError(
        message, next_step="Lower batch_tokens, free memory, or try again later."
    )
