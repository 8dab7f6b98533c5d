"""The engine triton against a KServe server in this process that fails on request; the wire is real
gRPC."""

from __future__ import annotations

import time
from concurrent import futures
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from plugin.tests.engine_contract import IDS, MASK, EngineContract

from lusifer import Vectorizer
from lusifer.engines.fake import FakeEngine
from lusifer.engines.triton import TritonEngine
from lusifer.errors import EngineBusyError, EngineError, EngineOutputError, EngineUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lusifer.bundle.format import Bundle

grpc = pytest.importorskip("grpc")
pytest.importorskip("tritonclient.grpc")
from tritonclient.grpc import service_pb2 as messages  # noqa: E402
from tritonclient.grpc import service_pb2_grpc  # noqa: E402

FINGERPRINT = "sha256:" + "1" * 64


class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):
    """One model, computed by the fake engine."""

    def __init__(self) -> None:
        self.engine = FakeEngine(16, seed=3)
        self.fingerprint, self.version, self.maximum_rows = FINGERPRINT, "1", 0
        self.ready = True
        self.output = "embedding"
        self.failures: list[tuple[Any, str]] = []
        self.slow_s = 0.0
        self.calls = 0
        self.change: Callable[[Any], Any] = lambda vectors: vectors

    def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return messages.ModelReadyResponse(ready=self.ready and request.name == "lusifer_core")

    def RepositoryIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        index = messages.RepositoryIndexResponse
        return index(models=[index.ModelIndex(name="lusifer_core")])

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        tensor = messages.ModelMetadataResponse.TensorMetadata
        return messages.ModelMetadataResponse(
            name=request.name,
            versions=[self.version],
            inputs=[
                tensor(name=name, datatype="INT64") for name in ("input_ids", "attention_mask")
            ],
            outputs=[tensor(name=self.output, datatype="FP32")],
        )

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        answer = messages.ModelConfigResponse()
        answer.config.max_batch_size = self.maximum_rows
        answer.config.parameters["fingerprint"].string_value = self.fingerprint
        return answer

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.calls += 1
        time.sleep(self.slow_s)
        if self.failures:
            context.abort(*self.failures.pop(0))
        ids, mask = (
            np.frombuffer(raw, dtype=np.int64).reshape(tuple(each.shape))
            for raw, each in zip(request.raw_input_contents, request.inputs, strict=True)
        )
        vectors = self.change(self.engine.run(ids, mask))
        return messages.ModelInferResponse(
            model_name=request.model_name,
            model_version=self.version,
            outputs=[
                messages.ModelInferResponse.InferOutputTensor(
                    name="embedding", datatype="FP32", shape=vectors.shape
                )
            ],
            raw_output_contents=[vectors.astype(np.float32).tobytes()],
        )


class Running:
    """The servicer behind a port that can be left and taken again."""

    def __init__(self) -> None:
        self.servicer = Servicer()
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self.servicer, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()


@pytest.fixture
def server() -> Iterator[Running]:
    running = Running()
    yield running
    running.stop()


@pytest.fixture
def engine(server: Running) -> Iterator[TritonEngine]:
    engine = TritonEngine(server.url, fingerprint=FINGERPRINT)
    yield engine
    engine.close()


class TestContract(EngineContract):
    @pytest.fixture
    def engine(self, engine: TritonEngine) -> TritonEngine:
        return engine

    def test_batches_are_split_to_what_the_model_takes(self, server: Running) -> None:
        server.servicer.maximum_rows = 2
        with_limit = TritonEngine(server.url)
        assert np.array_equal(with_limit.run(IDS, MASK), server.servicer.engine.run(IDS, MASK))
        assert server.servicer.calls == 2
        with_limit.close()

    def test_closed_engine_says_so(self, engine: TritonEngine) -> None:
        engine.close()
        with pytest.raises(EngineError, match="closed"):
            engine.run(IDS, MASK)


class TestConnecting:
    def test_another_fingerprint(self, server: Running) -> None:
        with pytest.raises(EngineError, match="must not be mixed") as caught:
            TritonEngine(server.url, fingerprint="sha256:" + "2" * 64)
        assert FINGERPRINT in caught.value.message

    def test_no_such_model(self, server: Running) -> None:
        with pytest.raises(EngineError, match=r"no model 'other'; it has \['lusifer_core'\]"):
            TritonEngine(server.url, "other")

    def test_a_model_of_another_shape(self, server: Running) -> None:
        server.servicer.output = "sentence"
        with pytest.raises(EngineError, match="sentence"):
            TritonEngine(server.url)

    def test_a_model_that_still_loads(self, server: Running) -> None:
        server.servicer.ready = False
        with pytest.raises(EngineUnavailableError, match="not ready") as caught:
            TritonEngine(server.url)
        assert caught.value.retryable

    def test_nobody_there(self, server: Running) -> None:
        server.stop()
        with pytest.raises(EngineUnavailableError, match="can't compute now"):
            TritonEngine(server.url, timeout_s=2)


class TestFailures:
    def test_unavailable_is_tried_again(self, engine: TritonEngine, server: Running) -> None:
        server.servicer.failures = [(grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")] * 2
        assert np.array_equal(engine.run(IDS, MASK), server.servicer.engine.run(IDS, MASK))
        assert server.servicer.calls == 3

    def test_but_not_for_ever(self, engine: TritonEngine, server: Running) -> None:
        server.servicer.failures = [
            (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
        ] * 50
        with pytest.raises(EngineUnavailableError, match="maximum queue size"):
            engine.run(IDS, MASK)
        assert server.servicer.calls == 5

    @pytest.mark.parametrize(
        ("code", "message", "expected"),
        [
            ("INVALID_ARGUMENT", "unexpected shape", EngineError),
            ("INTERNAL", "onnx runtime error", EngineError),
            ("INTERNAL", "CUDA out of memory", EngineBusyError),
            ("RESOURCE_EXHAUSTED", "too large", EngineBusyError),
        ],
    )
    def test_nothing_else_is(
        self,
        engine: TritonEngine,
        server: Running,
        code: str,
        message: str,
        expected: type[EngineError],
    ) -> None:
        server.servicer.failures = [(getattr(grpc.StatusCode, code), message)]
        with pytest.raises(expected, match=message) as caught:
            engine.run(IDS, MASK)
        assert type(caught.value) is expected
        assert server.servicer.calls == 1

    def test_a_slow_server_meets_the_deadline(self, server: Running) -> None:
        engine = TritonEngine(server.url, timeout_s=1)
        server.servicer.slow_s = 3
        with pytest.raises(EngineUnavailableError, match="no answer within 1 s"):
            engine.run(IDS, MASK)
        assert server.servicer.calls == 1
        engine.close()

    def test_nan_never_leaves_the_vectorizer(
        self, bundle: Bundle, engine: TritonEngine, server: Running
    ) -> None:
        server.servicer.change = lambda vectors: vectors * np.nan
        with pytest.raises(EngineOutputError):
            Vectorizer(bundle, engine).embed_query("the cat")


class TestRestart:
    def test_a_server_that_comes_back_is_used_again(
        self, engine: TritonEngine, server: Running
    ) -> None:
        expected = engine.run(IDS, MASK)
        server.stop()
        server.start()
        assert np.array_equal(engine.run(IDS, MASK), expected)

    def test_one_that_comes_back_with_another_model_is_not(
        self, engine: TritonEngine, server: Running
    ) -> None:
        engine.run(IDS, MASK)
        server.stop()
        server.servicer.fingerprint = "sha256:" + "2" * 64
        server.start()
        with pytest.raises(EngineError, match="must not be mixed"):
            engine.run(IDS, MASK)

    def test_neither_is_a_new_version_of_another_model(
        self, engine: TritonEngine, server: Running
    ) -> None:
        engine.run(IDS, MASK)
        server.servicer.version, server.servicer.fingerprint = "2", "sha256:" + "2" * 64
        with pytest.raises(EngineError, match="must not be mixed"):
            engine.run(IDS, MASK)

    def test_a_new_version_of_the_same_model_is(
        self, engine: TritonEngine, server: Running
    ) -> None:
        expected = engine.run(IDS, MASK)
        server.servicer.version = "2"
        assert np.array_equal(engine.run(IDS, MASK), expected)
