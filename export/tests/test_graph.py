"""The exported graph answers what PyTorch answers, for every kind of model and every shape of
batch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from transformers import AutoModelForCausalLM

from lusifer.engines.graph import INPUTS, OUTPUT
from lusifer.engines.onnx import OnnxEngine
from lusifer_export.build import write_lowered
from lusifer_export.graph import export_graph, load_graph, save_graph, trace_graph
from lusifer_export.quantize import quantize_weights
from lusifer_export.weights import WeightStore, fp32_arithmetic, merged_weights, read_beside
from lusifer_training.checkpoint import load_checkpoint

if TYPE_CHECKING:
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
        """The engine of another precision; made once."""
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


def batch(rows: int, width: int, *, left: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask (rows, width) of mixed lengths; the first row is full."""
    rng = np.random.default_rng(rows * width)
    lengths = np.concatenate([[width], rng.integers(1, width + 1, rows - 1)])
    mask = (np.arange(width) < lengths[:, None]).astype(np.int64)
    mask = mask[:, ::-1].copy() if left else mask
    return np.where(mask == 1, rng.integers(4, 320, (rows, width)), 1), mask


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


def test_a_row_of_zeros_in_the_table_stays_zero(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, numpy_helper

    table = np.array([[0.0, 0.0], [1.0, -0.5]], dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["out"])],
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(table, "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    import onnxruntime

    quantize_weights(model, "int8", WeightStore(read_beside(tmp_path), tmp_path / "model.onnx"))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (rows,) = session.run(None, {"ids": np.array([0, 1])})
    np.testing.assert_allclose(rows, table, atol=0.5 / 127)
    assert not rows[0].any()


def test_quantizing_holds_one_matrix_at_a_time(tmp_path: Path) -> None:
    """120 MiB of matrices in a process of its own, whose peak may grow by a few of them."""
    code = """
import sys
from pathlib import Path
import numpy as np
from onnx import TensorProto, helper
from lusifer_export.quantize import quantize_weights
from lusifer_export.weights import WeightStore

def placeholder(name, dims):
    return TensorProto(name=name, dims=dims, data_type=1, data_location=TensorProto.EXTERNAL)

def read(tensor):
    return np.random.default_rng(0).standard_normal(tuple(tensor.dims), dtype=np.float32)

def peak_mib():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024

def quantize(products):
    nodes = [helper.make_node("Gather", ["table", "ids"], ["x0"])]
    nodes += [helper.make_node("MatMul", [f"x{n}", f"w{n}"], [f"x{n + 1}"]) for n in range(products)]
    weights = [placeholder(f"w{n}", [1024, 1024]) for n in range(products)]
    weights.append(placeholder("table", [64, 1024]))
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])
    out = helper.make_tensor_value_info(f"x{products}", TensorProto.FLOAT, ["n", 1024])
    model = helper.make_model(helper.make_graph(nodes, "g", [ids], [out], weights))
    store = WeightStore(read, Path(sys.argv[1]) / "model.onnx")
    quantize_weights(model, "int8-dynamic", store)
    store.save(model)

quantize(2)
before = peak_mib()
quantize(30)
print(peak_mib() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert (tmp_path / "model.onnx.data").stat().st_size > 30 * 1024**2
    assert float(done.stdout) < 40


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


class TestWeightsOneByOne:
    def test_lora_is_merged_as_the_model_does(self, tiny: Any) -> None:
        weights = merged_weights(tiny.model())
        merged = tiny.model()
        merged.merge_lora()
        expected = dict(merged.named_parameters()) | dict(merged.named_buffers())
        assert weights.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(weights[name](), value.detach())

    def test_the_model_itself_stays_as_it_is(self, tiny: Any) -> None:
        model = tiny.model()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        trace_graph(model)
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name])

    def test_an_llm_stored_in_half_precision(
        self, checkpoint: Path, tiny: Any, tmp_path: Path
    ) -> None:
        copy = Path(shutil.copytree(checkpoint, tmp_path / "copy"))
        llm = Path(shutil.copytree(tiny.llm_folder("llama"), tmp_path / "llm"))
        AutoModelForCausalLM.from_pretrained(llm, dtype=torch.bfloat16).save_pretrained(llm)
        values = json.loads((copy / "config.json").read_text())
        values["llm"]["location"] = f"folder:{llm}"
        (copy / "config.json").write_text(json.dumps(values))
        wide, stored = load_checkpoint(copy), load_checkpoint(copy, llm_dtype="auto")
        kinds = {value.dtype for value in stored.parameters()}
        assert kinds == {torch.float32, torch.bfloat16}
        ids, mask = (torch.from_numpy(each) for each in batch(5, 11))
        with torch.inference_mode():
            expected = wide(ids, mask)
            with fp32_arithmetic(stored):
                found = stored(ids, mask)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        # Nothing stays wide.
        assert {value.dtype for value in stored.parameters()} == kinds
        wide.merge_lora()
        widened = dict(wide.named_parameters()) | dict(wide.named_buffers())
        for name, read in merged_weights(stored).items():
            torch.testing.assert_close(read(), widened[name].detach(), atol=1e-6, rtol=1e-5)
