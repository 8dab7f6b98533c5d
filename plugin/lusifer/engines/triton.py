"""A Triton server as engine: the graph runs there, texts and tokens stay here.

Tokens are batched under a budget on our side, since Triton's own batcher counts requests and not
tokens.
"""

from __future__ import annotations

import functools
import random
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from lusifer.errors import EngineBusyError, EngineError, EngineUnavailableError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["TritonEngine"]

_INPUTS = {"input_ids": "INT64", "attention_mask": "INT64"}
_OUTPUT = "embedding"
_MEMORY_WORDS = ("out of memory", "failed to allocate", "bad_alloc")
_ATTEMPTS = 5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 1.0
_CHANNEL = (
    # Batches are megabytes, gRPC's own limit is four.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A server that restarts is back in seconds; by default gRPC tries again after up to two
    # minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class TritonEngine:
    """Runs a model of a Triton server over gRPC (KServe v2).

    A call that finds the server unavailable is tried again, after pauses of random length, up to
    five times within the deadline. Nothing else is: what the server refused once it refuses again.

    Args:
        url: Host and port of the server's gRPC endpoint, such as ``localhost:8001``.
        model: Its name in the model repository.
        fingerprint: Of the bundle; the server's model must have the same. None takes any.
        timeout_s: Longest wait for one batch, tries and pauses included.

    Raises:
        MissingExtraError: ``tritonclient`` is not installed.
        EngineUnavailableError: The server can't be reached, or is still loading the model.
        EngineError: The server has no such model, or one with other inputs and outputs than a
            bundle's or of another fingerprint.
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
        self._channel: Any = grpc.insecure_channel(self._url, options=_CHANNEL)
        self._stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._closed = False
        self._maximum_rows = 0
        try:
            self._retried(self._check_model, time.monotonic() + timeout_s)
        except Exception:
            self.close()
            raise

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Answer ``(B, D)`` vectors for ``(B, T)`` ids and mask.

        Raises:
            EngineBusyError: The server is out of memory.
            EngineUnavailableError: The server can't be reached, or takes too long.
            EngineError: The server refuses the batch or serves another model now, or the engine is
                closed.
        """
        if self._closed:
            raise EngineError(
                "The engine triton is closed.", next_step="Load the vectorizer again."
            )
        step = self._maximum_rows or len(input_ids)
        parts = []
        for start in range(0, len(input_ids), step):
            request = self._request(
                input_ids[start : start + step], attention_mask[start : start + step]
            )
            deadline = time.monotonic() + self._timeout_s
            parts.append(self._retried(functools.partial(self._infer, request), deadline))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def close(self) -> None:
        """Close the connection; calling it twice is fine."""
        self._closed = True
        self._channel.close()

    def _request(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> Any:
        tensors = {"input_ids": input_ids, "attention_mask": attention_mask}
        tensor = self._messages.ModelInferRequest.InferInputTensor
        return self._messages.ModelInferRequest(
            model_name=self._model,
            inputs=[
                tensor(name=name, datatype=_INPUTS[name], shape=values.shape)
                for name, values in tensors.items()
            ],
            outputs=[self._messages.ModelInferRequest.InferRequestedOutputTensor(name=_OUTPUT)],
            raw_input_contents=[
                np.ascontiguousarray(values).tobytes() for values in tensors.values()
            ],
        )

    def _infer(self, request: Any, left_s: float) -> NDArray[np.float32]:
        answer = self._stub.ModelInfer(request, timeout=left_s)
        # After the answer: gRPC mends a lost connection in silence, and another server may be there
        # then.
        self._check_fingerprint(left_s)
        shapes = [tuple(output.shape) for output in answer.outputs if output.name == _OUTPUT]
        if len(shapes) != 1 or len(answer.raw_output_contents) != 1:
            raise EngineError(
                f"Triton's model {self._model} answered without {_OUTPUT}.",
                next_step="Export the Triton repository of this bundle again.",
            )
        return (
            np.frombuffer(answer.raw_output_contents[0], dtype=np.float32).reshape(shapes[0]).copy()
        )

    def _check_model(self, left_s: float) -> None:
        """Is the model there, of our shape and fingerprint? Then remember how many rows it takes."""
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
        if inputs != _INPUTS or outputs.get(_OUTPUT) != "FP32":
            raise EngineError(
                f"Triton's model {self._model} maps {inputs} to {outputs}, a bundle's maps {_INPUTS} to "
                f"{{'{_OUTPUT}': 'FP32'}}.",
                next_step="Export the Triton repository of this bundle, and name its model in triton_model.",
            )
        self._maximum_rows = self._check_fingerprint(left_s)

    def _check_fingerprint(self, left_s: float) -> int:
        """Does the server still have this bundle's model? Returns the most rows it takes at once."""
        request = self._messages.ModelConfigRequest(name=self._model)
        config = self._stub.ModelConfig(request, timeout=left_s).config
        served = config.parameters["fingerprint"].string_value
        if self._fingerprint is not None and served != self._fingerprint:
            raise EngineError(
                f"Triton's model {self._model} has the fingerprint {served or '(none)'}, the bundle here "
                f"{self._fingerprint}: their vectors must not be mixed.",
                next_step="Use the bundle that Triton's repository was exported from, or load its version.",
            )
        return int(config.max_batch_size)

    def _retried(self, call: Callable[[float], Any], deadline: float) -> Any:
        """What a call answers, trying again while the server is unavailable."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return call(max(0.001, deadline - time.monotonic()))
            except self._grpc.RpcError as error:
                code, message = error.code(), error.details() or ""
                pause_s = random.uniform(0, min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt))  # noqa: S311
                late = time.monotonic() + pause_s >= deadline
                if code is not self._grpc.StatusCode.UNAVAILABLE or attempt == _ATTEMPTS or late:
                    raise self._told(code, message) from error
                time.sleep(pause_s)
        raise AssertionError("unreachable")

    def _told(self, code: Any, message: str) -> EngineError:
        codes = self._grpc.StatusCode
        if code is codes.RESOURCE_EXHAUSTED or any(
            words in message.lower() for words in _MEMORY_WORDS
        ):
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
