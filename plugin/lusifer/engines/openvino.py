"""OpenVINO on the CPU: reads the same graph, and is the fastest where a chip multiplies bf16."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Literal

from lusifer.engines.onnx import usable_cores
from lusifer.errors import BundleCorruptError, EngineBusyError, EngineError, MissingExtraError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["OpenVinoEngine", "multiplies_bf16"]

_INPUTS = {"input_ids", "attention_mask"}
_OUTPUT = "embedding"
_MEMORY_WORDS = ("bad_alloc", "bad allocation", "failed to allocate", "out of memory")


class OpenVinoEngine:
    """Runs ``model.onnx`` of a bundle with OpenVINO.

    Args:
        model_path: The graph; its external data lies beside it.
        precision: Of the arithmetic. ``bf16`` is for chips that multiply it
            (:func:`multiplies_bf16`); elsewhere OpenVINO computes in ``f32`` whatever is asked.
        threads: Of one call; by default one for each physical core this process may use.

    Raises:
        MissingExtraError: ``openvino`` is not installed.
        BundleCorruptError: The graph can't be loaded, or has other inputs and outputs than a
            bundle's.
        EngineBusyError: Not enough memory for the weights.
    """

    def __init__(
        self,
        model_path: Path | str,
        *,
        precision: Literal["f32", "bf16"] = "f32",
        threads: int | None = None,
    ) -> None:
        self.name = f"openvino-{precision}"
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads or usable_cores(),
            "NUM_STREAMS": 1,
            # Its own rounding of activations to int8 moves a vector by 2e-3 with its neighbours.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
            # Pinned threads of several processes would meet on the same core.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            core = _core()
            graph = core.read_model(os.fspath(model_path))
            model = core.compile_model(graph, "CPU", settings)
        except Exception as error:
            if _is_memory(error):
                raise _busy(f"No memory to load {model_path}: {error}") from error
            if not _is_openvino(error):
                raise
            raise BundleCorruptError(
                f"OpenVINO can't load {model_path}: {error}",
                next_step="Open the bundle with verify=True to see which file is damaged, or export again.",
            ) from error
        _check_signature(model, model_path)
        self._vocabulary = _vocabulary(graph)
        # One request is one computation: a second thread waits, as it would for the cores.
        self._request: Any = model.create_infer_request()
        self._lock = threading.Lock()

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Answer ``(B, D)`` vectors for ``(B, T)`` ids and mask.

        Raises:
            EngineBusyError: Not enough memory for this batch.
            EngineError: The engine is closed, or the graph failed on these inputs.
        """
        rows, length = input_ids.shape
        # OpenVINO answers such input too, with vectors of nothing.
        if attention_mask.shape != input_ids.shape or not self._knows(input_ids):
            raise EngineError(
                f"Ids of {rows} rows x {length} tokens with a mask {attention_mask.shape}, or outside the "
                f"vocabulary of {self._vocabulary}.",
                next_step="Use the tokenizer of the same bundle.",
            )
        with self._lock:
            if self._request is None:
                raise EngineError(
                    "The OpenVINO engine is closed.", next_step="Load the vectorizer again."
                )
            try:
                answer = self._request.infer(
                    {"input_ids": input_ids, "attention_mask": attention_mask}
                )
                # The request's own memory is written over by the next call.
                vectors: NDArray[np.float32] = answer[_OUTPUT].copy()
            except Exception as error:
                if _is_memory(error):
                    raise _busy(
                        f"No memory for a batch of {rows} rows x {length} tokens: {error}"
                    ) from error
                if not _is_openvino(error):
                    raise
                raise EngineError(
                    f"The graph failed on a batch of {rows} rows x {length} tokens: {error}",
                    next_step="Check the bundle with Bundle.open(path, verify=True); if whole, export again.",
                ) from error
        return vectors

    def _knows(self, input_ids: NDArray[np.int64]) -> bool:
        return self._vocabulary is None or bool(
            ((input_ids >= 0) & (input_ids < self._vocabulary)).all()
        )

    def close(self) -> None:
        """Drop the model, and with it weights and threads."""
        with self._lock:
            self._request = None


def multiplies_bf16() -> bool:
    """Whether this processor has instructions for bf16 products.

    Raises:
        MissingExtraError: ``openvino`` is not installed.
    """
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _core() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError(
            f"The engine openvino needs the package openvino: {error}.",
            next_step="Run pip install 'lusifer[openvino]'.",
        ) from error
    return openvino.Core()


def _check_signature(model: Any, model_path: Path | str) -> None:
    inputs = {name for port in model.inputs for name in port.get_names()}
    outputs = {name for port in model.outputs for name in port.get_names()}
    if not inputs >= _INPUTS or len(model.inputs) != len(_INPUTS) or _OUTPUT not in outputs:
        raise BundleCorruptError(
            f"The graph {model_path} maps {sorted(inputs)} to {sorted(outputs)}, a bundle's graph maps "
            f"{sorted(_INPUTS)} to ['{_OUTPUT}'].",
            next_step="Export the bundle again with this version of LUSIFER.",
        )


def _vocabulary(graph: Any) -> int | None:
    """Rows of the token table; None if the graph looks tokens up in a way not known here."""
    for operation in graph.get_ops():
        if operation.get_type_name() != "Gather":
            continue
        ids = operation.input_value(1).get_node()
        if ids.get_type_name() == "Convert":
            ids = ids.input_value(0).get_node()
        if ids.get_type_name() == "Parameter" and "input_ids" in ids.output(0).get_names():
            return int(operation.input_value(0).get_partial_shape()[0].get_length())
    return None


def _is_openvino(error: Exception) -> bool:
    # OpenVINO raises plain RuntimeError, with the place in its own source.
    return isinstance(error, RuntimeError) and "Exception from src/" in str(error)


def _is_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or any(
        word in str(error).lower() for word in _MEMORY_WORDS
    )


def _busy(message: str) -> EngineBusyError:
    return EngineBusyError(
        message, next_step="Lower batch_tokens, free memory, or try again later."
    )
