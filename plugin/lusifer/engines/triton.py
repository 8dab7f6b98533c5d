"""A Triton server as engine: the graph runs there, texts and tokens stay here.

Tokens are batched under a budget on our side, since Triton's own batcher counts requests and not tokens.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from lusifer.errors import EngineBusyError, EngineError, EngineUnavailableError, MissingExtraError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TritonEngine"]

_INPUTS = {"input_ids": "INT64", "attention_mask": "INT64"}
_OUTPUT = "embedding"
_MEMORY_WORDS = ("out of memory", "failed to allocate")
_UNAVAILABLE_WORDS = ("exceeds maximum queue", "timeout", "unavailable", "not ready")


class TritonEngine:
    """Runs the model of a Triton server over HTTP (KServe v2, binary tensors).

    Args:
        url: Host and port of the server's HTTP endpoint, such as ``localhost:8000``.
        model: Its name in the model repository.
        timeout_s: Longest wait for one batch.

    Raises:
        MissingExtraError: ``tritonclient`` is not installed.
        EngineUnavailableError: The server can't be reached, or is still loading the model.
        EngineError: The server has no such model, or one with other inputs and outputs than a bundle's.
    """

    name = "triton"

    def __init__(self, url: str, model: str = "lusifer", *, timeout_s: float = 60.0) -> None:
        try:
            import tritonclient.http as library
        except ImportError as error:
            raise MissingExtraError(
                f"The engine triton needs tritonclient: {error}.",
                next_step="Run pip install 'lusifer[triton]'.",
            ) from error
        self._library = library
        self._url = url.removeprefix("http://").rstrip("/")
        self._model = model
        self._timeout_s = timeout_s
        # The client's connections belong to the thread that opened them (gevent).
        self._local = threading.local()
        self._closed = False
        self._maximum_rows = self._check_model()

    def run(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Answer ``(B, D)`` vectors for ``(B, T)`` ids and mask.

        Raises:
            EngineBusyError: The server is out of memory.
            EngineUnavailableError: The server can't be reached, or takes too long.
            EngineError: The server refuses the batch, or the engine is closed.
        """
        if self._closed:
            raise EngineError("The engine triton is closed.", next_step="Load the vectorizer again.")
        step = self._maximum_rows or len(input_ids)
        parts = [
            self._infer(input_ids[start : start + step], attention_mask[start : start + step])
            for start in range(0, len(input_ids), step)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def close(self) -> None:
        """Close this thread's connections; those of others go with their threads."""
        self._closed = True
        client = getattr(self._local, "client", None)
        if client is not None:
            client.close()
            self._local.client = None

    def _infer(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        inputs = []
        for name, values in (("input_ids", input_ids), ("attention_mask", attention_mask)):
            tensor = self._library.InferInput(name, list(values.shape), "INT64")
            tensor.set_data_from_numpy(np.ascontiguousarray(values))
            inputs.append(tensor)
        outputs = [self._library.InferRequestedOutput(_OUTPUT)]
        answer = self._call("infer", self._model, inputs, outputs=outputs)
        vectors = answer.as_numpy(_OUTPUT)
        if vectors is None:
            raise EngineError(
                f"Triton's model {self._model} answered without {_OUTPUT}.",
                next_step="Export the Triton repository of this bundle again.",
            )
        result: NDArray[np.float32] = vectors
        return result

    def _check_model(self) -> int:
        """Most rows the model takes at once, 0 for any number."""
        if not self._call("is_model_ready", self._model):
            known = [entry["name"] for entry in self._call("get_model_repository_index")]
            if self._model not in known:
                raise EngineError(
                    f"Triton at {self._url} has no model {self._model!r}; it has {known}.",
                    next_step="Set triton_model, or put the model into Triton's repository.",
                )
            raise EngineUnavailableError(
                f"Triton at {self._url} is not ready with the model {self._model!r}.",
                next_step="Wait until it is loaded, and look at Triton's log if it never is.",
            )
        metadata = self._call("get_model_metadata", self._model)
        inputs = {entry["name"]: entry["datatype"] for entry in metadata["inputs"]}
        outputs = {entry["name"]: entry["datatype"] for entry in metadata["outputs"]}
        if inputs != _INPUTS or outputs.get(_OUTPUT) != "FP32":
            raise EngineError(
                f"Triton's model {self._model} maps {inputs} to {outputs}, a bundle's maps {_INPUTS} to "
                f"{{'{_OUTPUT}': 'FP32'}}.",
                next_step="Export the Triton repository of this bundle, and name its model in triton_model.",
            )
        return int(self._call("get_model_config", self._model).get("max_batch_size", 0))

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        try:
            return getattr(self._client(), method)(*arguments, **options)
        except self._library.InferenceServerException as error:
            message = str(error)
            if any(words in message.lower() for words in _MEMORY_WORDS):
                raise EngineBusyError(
                    f"Triton at {self._url} has no memory for this batch: {message}.",
                    next_step="Lower batch_tokens, or give Triton more memory.",
                ) from error
            unavailable = error.status() in {"429", "503", "504"}
            if unavailable or any(words in message.lower() for words in _UNAVAILABLE_WORDS):
                raise self._unavailable(message) from error
            raise EngineError(
                f"Triton at {self._url} refused {method}: {message}.", next_step="Look at Triton's log."
            ) from error
        except (OSError, TimeoutError) as error:
            # The connection may be half read: the next call gets a new one.
            self._local.client = None
            raise self._unavailable(f"{type(error).__name__}: {error}") from error

    def _client(self) -> Any:
        client = getattr(self._local, "client", None)
        if client is None:
            client = self._library.InferenceServerClient(
                self._url, connection_timeout=self._timeout_s, network_timeout=self._timeout_s
            )
            self._local.client = client
        return client

    def _unavailable(self, message: str) -> EngineUnavailableError:
        return EngineUnavailableError(
            f"Triton at {self._url} can't compute now: {message}.",
            next_step="Check that the server runs and is reachable, then try again.",
        )
