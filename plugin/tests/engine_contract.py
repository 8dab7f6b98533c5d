"""The contract that every engine keeps, for test modules to inherit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from lusifer.engines.base import Engine
from lusifer.errors import EngineError

if TYPE_CHECKING:
    from pathlib import Path

NOISE = 1e-6
IDS = np.array([[0, 7, 8, 9, 2], [0, 5, 2, 1, 1], [0, 9, 8, 2, 1]], dtype=np.int64)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]], dtype=np.int64)


class EngineContract:
    """Contract of every engine; a subclass gives the fixture ``engine``."""

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


class GraphEngineContract(EngineContract):
    """Further contract of the engines that run a bundle's graph in this process."""

    def test_closed_engine_says_so(self, engine: Engine) -> None:
        engine.close()
        with pytest.raises(EngineError, match="closed"):
            engine.run(IDS, MASK)

    def test_a_bug_of_ours_is_not_hidden(self, engine: Engine) -> None:
        with pytest.raises(AttributeError):
            engine.run(None, MASK)  # type: ignore[arg-type]


def foreign_graph(folder: Path) -> Path:
    """Write a graph that no bundle has: one float input ``x``, one output ``y``."""
    from onnx import TensorProto, helper, save

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "foreign",
        [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    save(model, folder / "f.onnx")
    return folder / "f.onnx"
