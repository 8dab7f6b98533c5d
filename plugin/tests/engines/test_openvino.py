from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from plugin.tests.engine_contract import IDS, MASK, NOISE, GraphEngineContract, foreign_graph

from lusifer.engines.onnx import OnnxEngine
from lusifer.engines.openvino import OpenVinoEngine
from lusifer.errors import BundleCorruptError, EngineBusyError, EngineError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lusifer.bundle.format import Bundle


class TestOpenVinoEngine(GraphEngineContract):
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

    def test_broken_missing_and_foreign_graphs(self, tmp_path: Path) -> None:
        pytest.importorskip("openvino")
        (tmp_path / "broken.onnx").write_bytes(b"not a graph")
        for name in ("broken.onnx", "missing.onnx"):
            with pytest.raises(BundleCorruptError, match=name):
                OpenVinoEngine(tmp_path / name)
        with pytest.raises(BundleCorruptError, match=r"\['x'\] to \['y'\]"):
            OpenVinoEngine(foreign_graph(tmp_path))

    def test_bf16_is_near(self, bundle: Bundle) -> None:
        pytest.importorskip("openvino")
        engine = OpenVinoEngine(bundle.model_path, precision="bf16", threads=1)
        assert engine.name == "openvino-bf16"
        cosines = (engine.run(IDS, MASK) * OnnxEngine(bundle.model_path).run(IDS, MASK)).sum(axis=1)
        assert cosines.min() > 0.999


def test_missing_package_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtraError) as caught:
        OpenVinoEngine(tmp_path / "model.onnx")
    assert "pip install 'lusifer[openvino]'" in caught.value.next_step
