"""OpenVINO on the CPU: reads the same graph, and is the fastest where a chip multiplies bf16."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Literal

from lusifer.engines.cpu import usable_cores
from lusifer.engines.graph import INPUTS, OUTPUT, RuntimeErrors, check_signature, closed_error
from lusifer.errors import EngineError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy as np
    import openvino
    from numpy.typing import NDArray

__all__ = ["OpenVinoEngine", "multiplies_bf16"]

# OpenVINO raises plain RuntimeError, with the place in its own source.
_ERRORS = RuntimeErrors(
    "OpenVINO",
    lambda error: isinstance(error, RuntimeError) and "Exception from src/" in str(error),
)


class OpenVinoEngine:
    """Runs ``model.onnx`` of a bundle with OpenVINO.

    Args:
        model_path: The graph; its external data lies beside it.
        precision: Precision of the arithmetic. ``bf16`` is for chips that multiply it
            (:func:`multiplies_bf16`); on others OpenVINO computes in ``f32`` all the same.
        threads: Threads of one call; by default one for each physical core that this process may
            use.

    Raises:
        MissingExtraError: ``openvino`` is not installed.
        BundleCorruptError: The graph can't be loaded, or has other inputs and outputs than a
            bundle's.
        EngineBusyError: There is not enough memory for the weights.
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
        with _ERRORS.loading(model_path):
            core = _core()
            graph = core.read_model(os.fspath(model_path))
            model = core.compile_model(graph, "CPU", settings)
        check_signature(model_path, _port_names(model.inputs), _port_names(model.outputs))
        self._vocabulary = _vocabulary_size(graph)
        # One request is one computation: a second thread waits, as it would for the cores.
        self._request: openvino.InferRequest | None = model.create_infer_request()
        self._lock = threading.Lock()

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Compute vectors ``(B, D)`` of ids and mask ``(B, T)``.

        Raises:
            EngineBusyError: There is not enough memory for this batch.
            EngineError: The engine is closed, or the graph failed on these inputs.
        """
        rows, length = input_ids.shape
        # OpenVINO computes vectors of such input too, without a meaning.
        if attention_mask.shape != input_ids.shape or not self._knows(input_ids):
            raise EngineError(
                f"Ids of {rows} rows x {length} tokens with a mask {attention_mask.shape}, or "
                f"outside the vocabulary of {self._vocabulary}.",
                next_step="Use the tokenizer of the same bundle.",
            )
        with self._lock:
            if self._request is None:
                raise closed_error(self.name)
            with _ERRORS.running(input_ids.shape):
                answer = self._request.infer(
                    dict(zip(INPUTS, (input_ids, attention_mask), strict=True))
                )
                # A copy: the next call overwrites the request's own memory.
                vectors: NDArray[np.float32] = answer[OUTPUT].copy()
        return vectors

    def close(self) -> None:
        """Drop the model, and with it weights and threads."""
        with self._lock:
            self._request = None

    def _knows(self, input_ids: NDArray[np.int64]) -> bool:
        return self._vocabulary is None or bool(
            ((input_ids >= 0) & (input_ids < self._vocabulary)).all()
        )


def multiplies_bf16() -> bool:
    """Return whether this processor has instructions for bf16 products.

    Raises:
        MissingExtraError: ``openvino`` is not installed.
    """
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _core() -> openvino.Core:
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError(
            f"The engine openvino needs the package openvino: {error}.",
            next_step="Run pip install 'lusifer[openvino]'.",
        ) from error
    return openvino.Core()


def _port_names(ports: Iterable[openvino.ConstOutput]) -> list[str]:
    """Return one name of each port: the one that a bundle's graph has, where there are several."""
    known = {*INPUTS, OUTPUT}
    return [
        next((name for name in port.get_names() if name in known), port.get_any_name())
        for port in ports
    ]


def _vocabulary_size(graph: openvino.Model) -> int | None:
    """Return the rows of the token table; None if the graph looks tokens up in an unknown way."""
    for operation in graph.get_ops():
        if operation.get_type_name() != "Gather":
            continue
        ids = operation.input_value(1).get_node()
        if ids.get_type_name() == "Convert":
            ids = ids.input_value(0).get_node()
        if ids.get_type_name() == "Parameter" and "input_ids" in ids.output(0).get_names():
            return int(operation.input_value(0).get_partial_shape()[0].get_length())
    return None
