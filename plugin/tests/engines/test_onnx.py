from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from plugin.tests.engine_contract import IDS, MASK, GraphEngineContract, foreign_graph

from lusifer.engines.onnx import OnnxEngine
from lusifer.errors import BundleCorruptError, EngineBusyError, EngineError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lusifer.bundle.format import Bundle


class TestOnnxEngine(GraphEngineContract):
    @pytest.fixture
    def engine(self, bundle: Bundle) -> Iterator[OnnxEngine]:
        engine = OnnxEngine(bundle.model_path)
        yield engine
        engine.close()

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


class _Failing:
    def __init__(self, message: str) -> None:
        self._message = message

    def run(self, *_: object) -> None:
        from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

        raise RuntimeException(self._message)


def test_broken_and_foreign_graphs(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not a graph")
    with pytest.raises(BundleCorruptError, match=r"broken\.onnx"):
        OnnxEngine(tmp_path / "broken.onnx")
    with pytest.raises(BundleCorruptError, match=r"missing\.onnx"):
        OnnxEngine(tmp_path / "missing.onnx")
    with pytest.raises(BundleCorruptError, match=r"\['x'\] to \['y'\]"):
        OnnxEngine(foreign_graph(tmp_path))


def test_missing_package_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError) as caught:
        OnnxEngine(tmp_path / "model.onnx")
    assert "pip install 'lusifer[cpu]'" in caught.value.next_step
