"""A Triton server as engine: the graph runs there, texts and tokens stay here.

Batches keep a token budget on our side, because Triton's own batcher counts requests, not tokens.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from lusifer.common.retry import call_with_retry
from lusifer.engines.graph import INPUTS, OUTPUT, closed_error, is_out_of_memory
from lusifer.errors import (
    EngineBusyError,
    EngineError,
    EngineUnavailableError,
    LusiferError,
    MissingExtraError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc
    from numpy.typing import NDArray
    from tritonclient.grpc import service_pb2, service_pb2_grpc

__all__ = ["TritonEngine"]

_Answer = TypeVar("_Answer")

_INPUT_TYPES = dict.fromkeys(INPUTS, "INT64")
_OUTPUT_TYPE = "FP32"
_ATTEMPTS = 5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0
_CHANNEL = (
    # Batches are megabytes; gRPC's own limit is four.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that restarts is back in seconds; by default gRPC waits up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class TritonEngine:
    """Runs a model of a Triton server over gRPC (KServe v2).

    A call that finds the server unavailable is retried with growing pauses, up to five calls within
    the deadline. No other error is retried: the server would refuse the call again.

    Args:
        url: Host and port of the server's gRPC endpoint, such as ``localhost:8001``.
        model: Name of the model in the model repository.
        fingerprint: Fingerprint of the bundle; the server's model must have the same. None accepts
            any.
        timeout_s: Longest wait for one batch, retries and pauses included.

    Raises:
        MissingExtraError: ``tritonclient`` is not installed.
        EngineUnavailableError: The server can't be reached, or is still loading the model.
        EngineError: The server has no such model, or its inputs, outputs or fingerprint are not
            those of the bundle.
    """

    name = "triton"

    def __init__(
        self,
        url: str,
        model: str = "lusifer_core",
        *,
        fingerprint: str | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        try:
            import grpc
            from tritonclient.grpc import service_pb2, service_pb2_grpc
        except ImportError as error:
            raise MissingExtraError(
                f"The engine triton needs tritonclient: {error}.",
                next_step="Run pip install 'lusifer[triton]'.",
            ) from error
        self._grpc, self._messages = grpc, service_pb2
        self._url = url.removeprefix("grpc://").removeprefix("http://").rstrip("/")
        self._model = model
        self._fingerprint = fingerprint
        self._timeout_s = timeout_s
        self._channel: grpc.Channel = grpc.insecure_channel(self._url, options=_CHANNEL)
        self._stub: service_pb2_grpc.GRPCInferenceServiceStub = (
            service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        )
        self._closed = False
        self._maximum_rows = 0
        try:
            self._call(self._check_model)
        except Exception:
            self.close()
            raise

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Compute vectors ``(B, D)`` of ids and mask ``(B, T)``.

        Raises:
            EngineBusyError: The server is out of memory.
            EngineUnavailableError: The server can't be reached, or takes too long.
            EngineError: The server refuses the batch or serves another model now, or the engine is
                closed.
        """
        if self._closed:
            raise closed_error(self.name)
        step = self._maximum_rows or len(input_ids)
        parts = []
        for start in range(0, len(input_ids), step):
            rows = slice(start, start + step)
            request = self._request(input_ids[rows], attention_mask[rows])
            parts.append(self._call(functools.partial(self._infer, request)))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def close(self) -> None:
        """Close the connection; calling it twice is fine."""
        self._closed = True
        self._channel.close()

    def _request(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> service_pb2.ModelInferRequest:
        tensors = dict(zip(INPUTS, (input_ids, attention_mask), strict=True))
        tensor = self._messages.ModelInferRequest.InferInputTensor
        return self._messages.ModelInferRequest(
            model_name=self._model,
            inputs=[
                tensor(name=name, datatype=_INPUT_TYPES[name], shape=values.shape)
                for name, values in tensors.items()
            ],
            outputs=[self._messages.ModelInferRequest.InferRequestedOutputTensor(name=OUTPUT)],
            raw_input_contents=[
                np.ascontiguousarray(values).tobytes() for values in tensors.values()
            ],
        )

    def _infer(self, request: service_pb2.ModelInferRequest, left_s: float) -> NDArray[np.float32]:
        answer = self._stub.ModelInfer(request, timeout=left_s)
        # After the answer: gRPC restores a lost connection without a report, and another server may
        # listen then.
        self._check_fingerprint(left_s)
        shapes = [tuple(output.shape) for output in answer.outputs if output.name == OUTPUT]
        if len(shapes) != 1 or len(answer.raw_output_contents) != 1:
            raise EngineError(
                f"Triton's model {self._model} answered without {OUTPUT}.",
                next_step="Export the Triton repository of this bundle again.",
            )
        return (
            np.frombuffer(answer.raw_output_contents[0], dtype=np.float32).reshape(shapes[0]).copy()
        )

    def _check_model(self, left_s: float) -> None:
        """Check that the model is ready and fits the bundle; note how many rows it takes."""
        messages, stub = self._messages, self._stub
        if not stub.ModelReady(messages.ModelReadyRequest(name=self._model), timeout=left_s).ready:
            index = stub.RepositoryIndex(messages.RepositoryIndexRequest(), timeout=left_s)
            known = sorted({entry.name for entry in index.models})
            if self._model not in known:
                raise EngineError(
                    f"Triton at {self._url} has no model {self._model!r}; it has {known}.",
                    next_step="Set triton_model, or put the model into Triton's repository.",
                )
            raise self._unavailable(f"the model {self._model!r} is not ready")
        metadata = stub.ModelMetadata(
            messages.ModelMetadataRequest(name=self._model), timeout=left_s
        )
        inputs = {entry.name: entry.datatype for entry in metadata.inputs}
        outputs = {entry.name: entry.datatype for entry in metadata.outputs}
        if inputs != _INPUT_TYPES or outputs.get(OUTPUT) != _OUTPUT_TYPE:
            raise EngineError(
                f"Triton's model {self._model} maps {inputs} to {outputs}, a bundle's maps "
                f"{_INPUT_TYPES} to {{'{OUTPUT}': '{_OUTPUT_TYPE}'}}.",
                next_step="Export the Triton repository of this bundle, and name its model in "
                "triton_model.",
            )
        self._maximum_rows = self._check_fingerprint(left_s)

    def _check_fingerprint(self, left_s: float) -> int:
        """Check that the server has this bundle's model; return the most rows it takes at once."""
        request = self._messages.ModelConfigRequest(name=self._model)
        config = self._stub.ModelConfig(request, timeout=left_s).config
        served = config.parameters["fingerprint"].string_value
        if self._fingerprint is not None and served != self._fingerprint:
            raise EngineError(
                f"Triton's model {self._model} has the fingerprint {served or '(none)'}, the "
                f"bundle here {self._fingerprint}: their vectors must not be mixed.",
                next_step="Use the bundle that Triton's repository was exported from, or load its "
                "version.",
            )
        return int(config.max_batch_size)

    def _call(self, call: Callable[[float], _Answer]) -> _Answer:
        """Call with the seconds left until the deadline; retry while the server is unavailable."""
        deadline_s = time.monotonic() + self._timeout_s

        def attempt() -> _Answer:
            try:
                return call(max(0.001, deadline_s - time.monotonic()))
            except self._grpc.RpcError as error:
                raise self._translate(error.code(), error.details() or "") from error

        return call_with_retry(
            attempt,
            retry_for_s=self._timeout_s,
            attempts=_ATTEMPTS,
            first_delay_s=_FIRST_PAUSE_S,
            longest_delay_s=_LONGEST_PAUSE_S,
            should_retry=self._is_unavailable,
        )

    def _is_unavailable(self, error: LusiferError) -> bool:
        cause = error.__cause__
        return isinstance(cause, self._grpc.RpcError) and bool(
            cause.code() is self._grpc.StatusCode.UNAVAILABLE
        )

    def _translate(self, code: grpc.StatusCode, message: str) -> EngineError:
        codes = self._grpc.StatusCode
        if code is codes.RESOURCE_EXHAUSTED or is_out_of_memory(message):
            return EngineBusyError(
                f"Triton at {self._url} has no memory for this batch: {message}.",
                next_step="Lower batch_tokens, or give Triton more memory.",
            )
        if code is codes.DEADLINE_EXCEEDED:
            return self._unavailable(f"no answer within {self._timeout_s:g} s")
        if code in (codes.UNAVAILABLE, codes.CANCELLED):
            return self._unavailable(message)
        return EngineError(
            f"Triton at {self._url} refused: {message} ({code.name}).",
            next_step="Look at Triton's log.",
        )

    def _unavailable(self, message: str) -> EngineUnavailableError:
        return EngineUnavailableError(
            f"Triton at {self._url} can't compute now: {message}.",
            next_step="Check that the server runs and is reachable, then try again.",
        )
