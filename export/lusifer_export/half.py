"""fp16 and bf16 weights: half the size, and fast matrix products on chips with half precision.

Only the two inputs of a matrix product with weights are half precision. LayerNorm, softmax, pooling
and sums stay in fp32: encoders of the XLM-R kind overflow fp16 in LayerNorm
(triton-inference-server/server#7507, NVIDIA/TensorRT#3101).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from onnx import TensorProto, helper, numpy_helper

from lusifer_export.weights import is_geometry

if TYPE_CHECKING:
    import onnx

    from lusifer_export.weights import WeightStore

__all__ = ["halve_weights"]

_KINDS = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def halve_weights(
    model: onnx.ModelProto, precision: Literal["fp16", "bf16"], store: WeightStore
) -> None:
    """Convert a graph's matrices, token table and inputs of matrix products to half precision.

    A product in bf16 is written as one in fp32 of numbers rounded to bf16, because ONNX Runtime has
    no bf16 product on a CPU. Chips with bf16 units compute the same: they sum in fp32.

    Args:
        model: The fp32 graph; it is changed.
        precision: ``fp16`` or ``bf16``.
        store: Reads and writes the weights of the graph.
    """
    kind = _KINDS[precision]
    numpy_kind = helper.tensor_dtype_to_np_dtype(kind)
    graph = model.graph
    weights = {each.name: each for each in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    halved: set[str] = set()
    rounded: set[str] = set()
    for node in graph.node:
        matrix = (
            node.op_type == "MatMul" and node.input[1] in weights and not is_geometry(node.input[1])
        )
        table = node.op_type == "Gather" and _is_matrix(weights.get(node.input[0]))
        if not (matrix or table):
            nodes.append(node)
            continue
        name = node.input[1] if matrix else node.input[0]
        if name not in halved:
            array = store.array(weights[name]).astype(numpy_kind)
            weights[name].CopyFrom(store.put(numpy_helper.from_array(array, name)))
            halved.add(name)
            if matrix and precision == "bf16":
                nodes.append(
                    helper.make_node("Cast", [name], [f"{name}_fp32"], to=TensorProto.FLOAT)
                )
        output = node.output[0]
        if table:
            node.output[0] = f"{output}_half"
            nodes += [
                node,
                helper.make_node("Cast", [node.output[0]], [output], to=TensorProto.FLOAT),
            ]
            continue
        source = node.input[0]
        half = f"{source}_half"
        if half not in rounded:
            nodes.append(helper.make_node("Cast", [source], [half], to=kind))
            if precision == "bf16":
                nodes.append(
                    helper.make_node("Cast", [half], [f"{source}_rounded"], to=TensorProto.FLOAT)
                )
            rounded.add(half)
        if precision == "bf16":
            node.input[0], node.input[1] = f"{source}_rounded", f"{name}_fp32"
            nodes.append(node)
        else:
            node.input[0], node.output[0] = half, f"{output}_half_product"
            nodes += [
                node,
                helper.make_node("Cast", [node.output[0]], [output], to=TensorProto.FLOAT),
            ]
    del graph.node[:]
    graph.node.extend(nodes)
    # The types that shape inference noted of changed values are no longer true.
    del graph.value_info[:]


def _is_matrix(weights: onnx.TensorProto | None) -> bool:
    return weights is not None and len(weights.dims) == 2 and weights.data_type == TensorProto.FLOAT
