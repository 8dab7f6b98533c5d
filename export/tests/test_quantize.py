from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from lusifer_export.quantize import quantize_weights
from lusifer_export.weights import WeightStore, read_beside

if TYPE_CHECKING:
    from pathlib import Path


TABLE = np.array([[0.0, 0.0], [1.0, -0.5]], dtype=np.float32)


@pytest.fixture
def lookup(tmp_path: Path) -> onnx.ModelProto:
    """Build a lookup in a table of two rows, quantized."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["out"])],
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(TABLE, "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    quantize_weights(model, "int8", WeightStore(read_beside(tmp_path), tmp_path / "model.onnx"))
    return model


def test_each_row_of_a_table_has_its_scale(lookup: onnx.ModelProto) -> None:
    tensors = {each.name: numpy_helper.to_array(each) for each in lookup.graph.initializer}
    assert {name: value.tolist() for name, value in tensors.items()} == {
        "table_int8": [[0, 0], [127, -64]],
        "table_scale": [[1.0], [pytest.approx(1 / 127)]],
    }
    assert [node.op_type for node in lookup.graph.node] == ["Gather", "Cast", "Gather", "Mul"]


def test_a_row_of_zeros_in_the_table_stays_zero(lookup: onnx.ModelProto) -> None:
    session = onnxruntime.InferenceSession(
        lookup.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (rows,) = session.run(None, {"ids": np.array([0, 1])})
    np.testing.assert_allclose(rows, TABLE, atol=0.5 / 127)
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
