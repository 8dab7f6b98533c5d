from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from lusifer.engines.base import Engine
from lusifer.engines.fake import FakeEngine, Faults
from lusifer.engines.onnx import OnnxEngine, usable_cores
from lusifer.engines.openvino import OpenVinoEngine
from lusifer.errors import BundleCorruptError, EngineBusyError, EngineError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from lusifer.bundle.format import Bundle

NOISE = 1e-6
IDS = np.array([[0, 7, 8, 9, 2], [0, 5, 2, 1, 1], [0, 9, 8, 2, 1]], dtype=np.int64)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]], dtype=np.int64)


class EngineContract:
    """What every engine must keep; a subclass gives the fixture ``engine``."""

    dimension = 16

    def test_is_an_engine_with_a_name(self, engine: Engine) -> None:
        assert isinstance(engine, Engine)
        assert engine.name

    def test_shape_type_and_norm(self, engine: Engine) -> None:
        vectors = engine.run(IDS, MASK)
        assert vectors.shape == (3, self.dimension)
        assert vectors.dtype == np.float32
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-3)

    def test_a_row_does_not_see_padding(self, engine: Engine) -> None:
        short = engine.run(IDS[1:2, :3], MASK[1:2, :3])
        padded = engine.run(IDS[1:2], MASK[1:2])
        other_padding = engine.run(np.where(MASK == 1, IDS, 11)[1:2], MASK[1:2])
        assert np.abs(short - padded).max() <= NOISE
        assert np.abs(short - other_padding).max() <= NOISE

    def test_a_row_does_not_see_its_neighbours_or_its_place(self, engine: Engine) -> None:
        together = engine.run(IDS, MASK)
        reverse = engine.run(IDS[::-1].copy(), MASK[::-1].copy())[::-1]
        alone = np.concatenate([engine.run(IDS[i : i + 1], MASK[i : i + 1]) for i in range(3)])
        assert np.abs(together - reverse).max() <= NOISE
        assert np.abs(together - alone).max() <= NOISE

    def test_different_rows_have_different_vectors(self, engine: Engine) -> None:
        vectors = engine.run(IDS, MASK)
        assert (vectors @ vectors.T)[~np.eye(3, dtype=bool)].max() < 0.999

    def test_closing_twice_is_fine(self, engine: Engine) -> None:
        engine.close()
        engine.close()


class TestFakeEngine(EngineContract):
    @pytest.fixture
    def engine(self) -> FakeEngine:
        return FakeEngine(16, seed=3)

    def test_texts_that_share_tokens_are_near(self, engine: FakeEngine) -> None:
        vectors = engine.run(IDS, MASK)
        assert vectors[0] @ vectors[2] > vectors[0] @ vectors[1]

    def test_seed_is_another_model(self, engine: FakeEngine) -> None:
        assert np.array_equal(engine.run(IDS, MASK), FakeEngine(16, seed=3).run(IDS, MASK))
        assert not np.allclose(engine.run(IDS, MASK), FakeEngine(16, seed=4).run(IDS, MASK))

    def test_faults_happen_on_their_call_only(self) -> None:
        def second(**fault: Any) -> NDArray[np.float32]:
            engine = FakeEngine(16, faults=Faults(**fault))
            first = engine.run(IDS, MASK)
            assert np.array_equal(first, FakeEngine(16).run(IDS, MASK))
            return engine.run(IDS, MASK)

        right = FakeEngine(16).run(IDS, MASK)
        assert np.isnan(second(nan_on={2})).sum() == 1
        assert second(short_answer_on={2}).shape == (2, 16)
        assert second(wrong_dimension_on={2}).shape == (3, 17)
        assert np.array_equal(second(swapped_on={2}), right[[2, 1, 0]])
        assert np.linalg.norm(second(not_unit_on={2}), axis=1) == pytest.approx(2)
        with pytest.raises(EngineBusyError, match="call 2"):
            second(out_of_memory_on={2})

    def test_slow_and_short_of_memory(self) -> None:
        engine = FakeEngine(16, faults=Faults(slow_s=0.02, out_of_memory_above_rows=2))
        start = time.perf_counter()
        engine.run(IDS[:2], MASK[:2])
        assert time.perf_counter() - start >= 0.02
        with pytest.raises(EngineBusyError):
            engine.run(IDS, MASK)

    def test_a_row_without_tokens_still_has_unit_norm(self, engine: FakeEngine) -> None:
        assert np.linalg.norm(engine.run(IDS[:1], np.zeros_like(MASK[:1]))) == pytest.approx(1)


class TestOnnxEngine(EngineContract):
    @pytest.fixture
    def engine(self, bundle: Bundle) -> Iterator[OnnxEngine]:
        engine = OnnxEngine(bundle.model_path)
        yield engine
        engine.close()

    def test_closed_engine_says_so(self, engine: OnnxEngine) -> None:
        engine.close()
        with pytest.raises(EngineError, match="closed"):
            engine.run(IDS, MASK)

    def test_ids_outside_the_vocabulary_are_an_engine_error(self, engine: OnnxEngine) -> None:
        with pytest.raises(EngineError, match="3 rows x 5 tokens"):
            engine.run(IDS + 10_000, MASK)

    @pytest.mark.parametrize(
        "message", ["std::bad_alloc", "Failed to allocate memory for requested buffer"]
    )
    def test_memory_trouble_is_busy(self, engine: OnnxEngine, message: str) -> None:
        engine._session = _Failing(message)
        with pytest.raises(EngineBusyError, match="3 rows x 5 tokens") as caught:
            engine.run(IDS, MASK)
        assert caught.value.retryable

    def test_a_bug_of_ours_is_not_hidden(self, engine: OnnxEngine) -> None:
        with pytest.raises(AttributeError):
            engine.run(None, MASK)  # type: ignore[arg-type]


class TestOpenVinoEngine(EngineContract):
    @pytest.fixture
    def engine(self, bundle: Bundle) -> Iterator[OpenVinoEngine]:
        pytest.importorskip("openvino")
        engine = OpenVinoEngine(bundle.model_path, threads=1)
        yield engine
        engine.close()

    def test_it_answers_what_onnx_answers(self, engine: OpenVinoEngine, bundle: Bundle) -> None:
        assert (
            np.abs(engine.run(IDS, MASK) - OnnxEngine(bundle.model_path).run(IDS, MASK)).max()
            <= NOISE
        )

    def test_an_answer_outlives_the_next_call(self, engine: OpenVinoEngine) -> None:
        first = engine.run(IDS, MASK)
        copy = first.copy()
        engine.run(IDS[::-1].copy(), MASK[::-1].copy())
        assert np.array_equal(first, copy)

    def test_closed_engine_says_so(self, engine: OpenVinoEngine) -> None:
        engine.close()
        with pytest.raises(EngineError, match="closed"):
            engine.run(IDS, MASK)

    def test_a_graph_that_fails_is_an_engine_error(self, engine: OpenVinoEngine) -> None:
        with pytest.raises(EngineError, match="3 rows x 5 tokens"):
            engine.run(IDS, MASK[:2, :3].copy())
        for outside in (IDS + 10_000, IDS - 100):
            with pytest.raises(EngineError, match="outside the vocabulary"):
                engine.run(outside, MASK)

    def test_memory_trouble_is_busy(self, engine: OpenVinoEngine) -> None:
        class Failing:
            def infer(self, inputs: object) -> None:
                raise RuntimeError(
                    "Exception from src/inference/infer_request.cpp:1: std::bad_alloc"
                )

        engine._request = Failing()
        with pytest.raises(EngineBusyError, match="3 rows x 5 tokens") as caught:
            engine.run(IDS, MASK)
        assert caught.value.retryable

    def test_a_bug_of_ours_is_not_hidden(self, engine: OpenVinoEngine) -> None:
        with pytest.raises(AttributeError):
            engine.run(None, MASK)  # type: ignore[arg-type]

    def test_broken_and_missing_graphs(self, tmp_path: Path) -> None:
        pytest.importorskip("openvino")
        (tmp_path / "broken.onnx").write_bytes(b"not a graph")
        for name in ("broken.onnx", "missing.onnx"):
            with pytest.raises(BundleCorruptError, match=name):
                OpenVinoEngine(tmp_path / name)

    def test_bf16_is_near(self, bundle: Bundle) -> None:
        pytest.importorskip("openvino")
        engine = OpenVinoEngine(bundle.model_path, precision="bf16", threads=1)
        assert engine.name == "openvino-bf16"
        cosines = (engine.run(IDS, MASK) * OnnxEngine(bundle.model_path).run(IDS, MASK)).sum(axis=1)
        assert cosines.min() > 0.999


class _Failing:
    def __init__(self, message: str) -> None:
        self._message = message

    def run(self, *_: object) -> None:
        from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

        raise RuntimeException(self._message)


def test_broken_and_foreign_graphs(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a graph")
    with pytest.raises(BundleCorruptError, match=r"broken\.onnx"):
        OnnxEngine(broken)
    with pytest.raises(BundleCorruptError, match=r"missing\.onnx"):
        OnnxEngine(tmp_path / "missing.onnx")
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "foreign",
        [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, [1])],
    )
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10),
        tmp_path / "f.onnx",
    )
    with pytest.raises(BundleCorruptError, match=r"\['x'\] to \['y'\]"):
        OnnxEngine(tmp_path / "f.onnx")
    pytest.importorskip("openvino")
    with pytest.raises(BundleCorruptError, match=r"\['x'\] to \['y'\]"):
        OpenVinoEngine(tmp_path / "f.onnx")


def test_missing_package_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError) as caught:
        OnnxEngine(tmp_path / "model.onnx")
    assert "pip install 'lusifer[cpu]'" in caught.value.next_step
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError) as caught:
        OpenVinoEngine(tmp_path / "model.onnx")
    assert "pip install 'lusifer[openvino]'" in caught.value.next_step


def test_usable_cores() -> None:
    assert usable_cores() >= 1
