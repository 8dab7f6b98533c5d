"""The exported graph answers what PyTorch answers, for every kind of model and every shape of
batch."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from export.tests.helpers import batch

from lusifer.engines.graph import INPUTS, OUTPUT
from lusifer.engines.onnx import OnnxEngine
from lusifer_export.build import write_lowered
from lusifer_export.graph import export_graph, load_graph, save_graph
from lusifer_export.weights import WeightStore, read_beside
from lusifer_training.checkpoint import geometry_of, load_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from lusifer.bundle.format import Precision

MODELS: dict[str, tuple[str, str | None, dict[str, Any]]] = {
    "xlmr-qwen2": (
        "xlm-roberta",
        "qwen2",
        {"residual": False, "pooling": "last_token", "output_dimension": 20, "llm_layers": 1},
    ),
    "bert-mistral": (
        "bert",
        "mistral",
        {"encoder_layer_mix": True, "language_rank": 3, "llm_layers": 1},
    ),
    "encoder-only": ("xlm-roberta", None, {}),
    "encoder-cls": ("xlm-roberta", None, {"encoder_pooling": "cls"}),
    "geometry": ("bert", None, {"centre_share": 0.7, "language_rank": 3}),
}
SHAPES = [(1, 2), (1, 1), (1, 64), (3, 5), (7, 23), (40, 9)]


class Exported:
    """A model, its graph, and engines on files of it."""

    def __init__(self, model: Any, graph: onnx.ModelProto, folder: Path) -> None:
        self.model = model
        self.graph = graph
        self.folder = folder
        folder.mkdir(exist_ok=True)
        save_graph(self.graph, folder / "model.onnx")
        self.engine = OnnxEngine(folder / "model.onnx", threads=1)
        self._lowered: dict[str, OnnxEngine] = {}

    def lowered(self, precision: Precision) -> OnnxEngine:
        """Return the engine of another precision; it is made once."""
        if precision not in self._lowered:
            folder = self.folder / precision
            folder.mkdir()
            store = WeightStore(read_beside(self.folder), folder / "model.onnx")
            write_lowered(load_graph(self.folder / "model.onnx"), store, precision)
            self._lowered[precision] = OnnxEngine(folder / "model.onnx", threads=1)
        return self._lowered[precision]

    def expected(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self.model(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()


@pytest.fixture(scope="module", params=["bert-llama", *MODELS])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "bert-llama":
        # The bundle is of this model already.
        model = load_checkpoint(request.getfixturevalue("checkpoint"))
        model.merge_lora()
        return Exported(model, onnx.load(request.getfixturevalue("bundle").model_path), folder)
    encoder, llm, changes = MODELS[request.param]
    tiny = request.getfixturevalue("tiny")
    model = tiny.model(tiny.config(encoder, llm, **changes))
    model.merge_lora()
    export_graph(model, folder / "traced.onnx")
    return Exported(model, onnx.load(folder / "traced.onnx"), folder / "saved")


def test_signature(exported: Exported) -> None:
    graph = exported.graph.graph
    assert tuple(each.name for each in graph.input) == INPUTS
    assert [each.name for each in graph.output] == [OUTPUT]
    dimension = graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    assert dimension == exported.model.config.output_dimension
    for each in graph.input:
        rows, tokens = each.type.tensor_type.shape.dim
        assert rows.dim_param
        assert tokens.dim_param
        assert each.type.tensor_type.elem_type == onnx.TensorProto.INT64


@pytest.mark.parametrize("exported", ["geometry"], indirect=True)
def test_the_geometry_is_folded_exactly(exported: Exported) -> None:
    """The graph serves what :class:`Geometry` makes of the plain model's vectors, to 1e-6."""
    model = exported.model
    ids, mask = batch(40, 23)
    geometry = geometry_of(
        model.config, {"centre": model.centre, "language_basis": model.language_basis}
    )
    plain = copy.copy(model)
    plain.config = model.config.model_copy(update={"centre_share": 0.0, "language_rank": 0})
    with torch.inference_mode():
        before = plain(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    np.testing.assert_allclose(exported.engine.run(ids, mask), geometry.apply(before), atol=1e-6)


def test_no_name_is_given_twice(exported: Exported) -> None:
    graph = exported.graph.graph
    made = [name for node in graph.node for name in node.output if name]
    made += [each.name for each in (*graph.input, *graph.initializer)]
    assert len(made) == len(set(made))
    assert made.count(OUTPUT) == 1
    assert all(OUTPUT not in node.input for node in graph.node)
    onnx.checker.check_model(str(exported.folder / "model.onnx"))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_the_graph_equals_pytorch(exported: Exported, shape: tuple[int, int], left: bool) -> None:
    ids, mask = batch(*shape, left=left)
    vectors = exported.engine.run(ids, mask)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, exported.expected(ids, mask), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_weights_lie_beside_the_graph(exported: Exported, tmp_path: Path) -> None:
    files = sorted(path.name for path in exported.folder.iterdir() if path.is_file())
    assert files == ["model.onnx", "model.onnx.data"]
    data = (exported.folder / "model.onnx.data").stat().st_size
    assert data > 4 * 320 * 32
    # The graph finds its weights by name only, wherever the folder lies.
    whole = onnx.load(exported.folder / "model.onnx")
    small = [each for each in whole.graph.initializer if len(each.raw_data) >= 1024]
    assert sum(len(each.raw_data) for each in small) <= data
    save_graph(whole, tmp_path / "model.onnx")
    ids, mask = batch(2, 4)
    moved = OnnxEngine(tmp_path / "model.onnx", threads=1).run(ids, mask)
    assert np.array_equal(moved, exported.engine.run(ids, mask))


NOISE = {"fp16": 2**-10, "bf16": 2**-7}


@pytest.mark.parametrize("precision", ["int4", "int8-dynamic", "int8", "fp16", "bf16"])
class TestPrecisions:
    def test_it_stays_near_pytorch(self, exported: Exported, precision: Precision) -> None:
        engine = exported.lowered(precision)
        ids, mask = batch(40, 23)
        vectors = engine.run(ids, mask)
        cosines = (vectors * exported.expected(ids, mask)).sum(axis=1)
        # These weights are wild: where attention is a near tie, a single text may jump.
        assert cosines.mean() > (0.8 if precision == "int4" else 0.97)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        # It is another graph, not the fp32 one again.
        assert np.abs(vectors - exported.engine.run(ids, mask)).max() > 1e-5

    def test_neighbours_do_not_move_a_vector(
        self, exported: Exported, precision: Precision
    ) -> None:
        engine = exported.lowered(precision)
        ids, mask = batch(16, 23)
        together = engine.run(ids, mask)
        alone = np.concatenate(
            [
                engine.run(row[None, : bits.sum()], bits[None, : bits.sum()])
                for row, bits in zip(ids, mask, strict=True)
            ]
        )
        np.testing.assert_allclose(together, alone, atol=NOISE.get(precision, 1e-5))

    def test_weights_are_small(self, exported: Exported, precision: Precision) -> None:
        exported.lowered(precision)
        whole = onnx.load(exported.folder / precision / "model.onnx")
        tables = [each for each in whole.graph.initializer if list(each.dims) == [320, 32]]
        kind = {"fp16": onnx.TensorProto.FLOAT16, "bf16": onnx.TensorProto.BFLOAT16}
        assert [each.data_type for each in tables] == [kind.get(precision, onnx.TensorProto.INT8)]
        blockwise = [node for node in whole.graph.node if node.op_type == "MatMulNBits"]
        assert bool(blockwise) == precision.startswith("int")
        sizes = [
            (exported.folder / part / "model.onnx.data").stat().st_size for part in (".", precision)
        ]
        # What is left are norms, biases and small matrices.
        assert sizes[1] < 0.6 * sizes[0]

    @pytest.mark.parametrize("exported", ["geometry"], indirect=True)
    def test_the_geometry_stays_in_fp32(self, exported: Exported, precision: Precision) -> None:
        exported.lowered(precision)
        whole = onnx.load(exported.folder / precision / "model.onnx")
        kinds = {each.name: each.data_type for each in whole.graph.initializer}
        geometry = {name for name in kinds if name.startswith(("centre", "language_basis"))}
        assert {"language_basis", "language_basis.transposed"} <= geometry
        assert {kinds[name] for name in geometry} == {onnx.TensorProto.FLOAT}
        products = [node for node in whole.graph.node if set(node.input) & geometry]
        assert {node.op_type for node in products} <= {"MatMul", "Mul", "Sub"}

    def test_norms_and_softmax_stay_in_fp32(self, exported: Exported, precision: Precision) -> None:
        exported.lowered(precision)
        whole = onnx.load(exported.folder / precision / "model.onnx")
        weights = {each.name: each.data_type for each in whole.graph.initializer}
        for node in whole.graph.node:
            if node.op_type in ("LayerNormalization", "Softmax", "ReduceMean", "ReduceL2"):
                assert not any("half" in name for name in node.input)
                assert {weights[name] for name in node.input if name in weights} <= {
                    onnx.TensorProto.FLOAT,
                    onnx.TensorProto.INT64,
                }


@pytest.mark.parametrize("precision", ["fp32", "int8-dynamic"])
def test_large_weights_lie_in_shards(
    exported: Exported, tmp_path: Path, precision: Precision
) -> None:
    store = WeightStore(read_beside(exported.folder), tmp_path / "model.onnx", shard_bytes=20_000)
    write_lowered(load_graph(exported.folder / "model.onnx"), store, precision)
    shards = sorted(path for path in tmp_path.iterdir() if path.name != "model.onnx")
    assert len(shards) > 2
    assert {path.name for path in shards} == {
        "model.onnx.data" + (f".{index}" if index else "") for index in range(len(shards))
    }
    # The token table is larger than a shard, and has one of its own.
    assert sum(path.stat().st_size > 20_000 for path in shards) <= 1
    ids, mask = batch(3, 9)
    engine = exported.engine if precision == "fp32" else exported.lowered(precision)
    assert np.array_equal(
        OnnxEngine(tmp_path / "model.onnx", threads=1).run(ids, mask), engine.run(ids, mask)
    )
