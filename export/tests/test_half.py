from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from lusifer_export.half import halve_weights
from lusifer_export.weights import WeightStore, read_beside

if TYPE_CHECKING:
    from pathlib import Path

# 1 + 2**-11 lies between two numbers of fp16, 1 + 2**-9 between two of bf16.
WEIGHTS = np.array([[1.0 + 2**-11, 0.0], [0.0, 1.0 + 2**-9]], dtype=np.float32)


def halved(folder: Path, precision: Literal["fp16", "bf16"]) -> onnx.ModelProto:
    """Build ``out = tanh(x) @ w`` in a precision."""
    graph = helper.make_graph(
        [
            helper.make_node("Tanh", ["x"], ["h"]),
            helper.make_node("MatMul", ["h", "w"], ["out"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    halve_weights(model, precision, WeightStore(read_beside(folder), folder / "model.onnx"))
    return model


@pytest.mark.parametrize(
    ("precision", "kind", "nodes", "stored"),
    [
        (
            "fp16",
            TensorProto.FLOAT16,
            ["Tanh", "Cast", "MatMul", "Cast"],
            [[1.0, 0.0], [0.0, 1.0 + 2**-9]],
        ),
        (
            "bf16",
            TensorProto.BFLOAT16,
            ["Tanh", "Cast", "Cast", "Cast", "MatMul"],
            [[1.0, 0.0], [0.0, 1.0]],
        ),
    ],
)
def test_only_the_inputs_of_a_product_are_rounded(
    tmp_path: Path,
    precision: Literal["fp16", "bf16"],
    kind: int,
    nodes: list[str],
    stored: list[list[float]],
) -> None:
    model = halved(tmp_path, precision)
    assert [node.op_type for node in model.graph.node] == nodes
    (weights,) = model.graph.initializer
    assert weights.data_type == kind
    assert numpy_helper.to_array(weights).astype(np.float32).tolist() == stored
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (out,) = session.run(None, {"x": np.array([[100.0, 0.0], [0.0, 100.0]], np.float32)})
    assert out.dtype == np.float32
    assert out.tolist() == stored
