"""int8 and int4 weights: a quarter of the size and less, and still one vector per text.

The usual dynamic int8 has one activation scale for a whole batch, so a text's vector changes with
its neighbours. Here every scale belongs to a block of one row or of the weights. Matrix products
(``MatMulNBits``) have blocks along the inner dimension; the token table has one scale per row. So a
vector depends on its own text only.
"""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from lusifer_export.weights import is_geometry

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx
    from numpy.typing import NDArray

    from lusifer_export.weights import WeightStore

__all__ = ["QUANTIZED", "quantize_weights"]

_TABLE_ROWS = 4096
_Replacement: TypeAlias = "tuple[Sequence[onnx.NodeProto], Sequence[onnx.TensorProto]]"
"""Nodes that take the place of one node, with their weights."""


@dataclass(frozen=True)
class _Blocks:
    """Quantization of the weights of a matrix product."""

    bits: int
    size: int
    """Number of weights along the inner dimension that share a scale."""
    integer_products: bool
    """Whether activations are rounded to int8 too, each row in blocks of the same size, so that
    products are of integers. Otherwise each call converts the weights to fp32, which costs more
    than the products of a short text."""


QUANTIZED = {
    # Blocks of 32, as in Q4_0, the format of the default encoder.
    "int8": _Blocks(8, 32, integer_products=False),
    # Larger blocks apply fewer scales in the innermost loop; 128 would pad the default LLM's 576.
    "int8-dynamic": _Blocks(8, 64, integer_products=True),
    "int4": _Blocks(4, 32, integer_products=True),
}


def quantize_weights(model: onnx.ModelProto, precision: str, store: WeightStore) -> None:
    """Convert a graph's matrices to int8 or int4, and its token table to int8.

    Args:
        model: The fp32 graph; it is changed.
        precision: A key of :data:`QUANTIZED`.
        store: Reads and writes the weights of the graph.
    """
    logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer").setLevel(logging.WARNING)
    graph = model.graph
    weights = {each.name: each for each in graph.initializer}
    lookups = [node for node in graph.node if node.op_type == "Gather" and node.input[0] in weights]
    largest = max(lookups, key=lambda each: int(np.prod(weights[each.input[0]].dims)))
    nodes: list[onnx.NodeProto] = []
    made: dict[str, onnx.TensorProto] = {}
    for node in graph.node:
        weight = next((weights[name] for name in node.input if name in weights), None)
        if node == largest:
            new_nodes, tensors = _quantize_table(node, store.array(weights[node.input[0]]))
        elif (
            weight is not None
            and node.op_type == "MatMul"
            and node.input[1] == weight.name
            and not is_geometry(weight.name)
        ):
            new_nodes, tensors = _quantize_product(node, store.array(weight), QUANTIZED[precision])
        else:
            nodes.append(node)
            continue
        nodes += new_nodes
        for tensor in tensors:
            if tensor.name not in made:
                made[tensor.name] = store.put(tensor)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [each for name, each in weights.items() if name in used]
    del graph.initializer[:]
    graph.initializer.extend([*kept, *made.values()])
    if all(each.domain != "com.microsoft" for each in model.opset_import):
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def _quantize_product(
    node: onnx.NodeProto, weights: NDArray[np.generic], blocks: _Blocks
) -> _Replacement:
    """Return the nodes and tensors that replace one product with weights ``(K, N)``."""
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        DefaultWeightOnlyQuantConfig,
        MatMulNBitsQuantizer,
    )

    # The quantizer takes whole models; with models of one node, only one matrix is in memory.
    name = node.input[1]
    graph = helper.make_graph([node], "product", [], [], [numpy_helper.from_array(weights, name)])
    quantizer = MatMulNBitsQuantizer(
        helper.make_model(graph),
        algo_config=DefaultWeightOnlyQuantConfig(
            block_size=blocks.size,
            is_symmetric=True,
            bits=blocks.bits,
            op_types_to_quantize=("MatMul",),
            # 4 is the operator's number for int8 activations.
            accuracy_level=4 if blocks.integer_products else None,
        ),
    )
    quantizer.process()
    done = quantizer.model.model.graph
    # Copies: a node keeps the whole message that it is part of alive, and so the numbers.
    nodes = [copy.deepcopy(each) for each in done.node]
    return nodes, [each for each in done.initializer if each.name != name]


def _quantize_table(node: onnx.NodeProto, weights: NDArray[np.generic]) -> _Replacement:
    """Return the nodes and tensors that replace a lookup in an fp32 table ``(V, H)``.

    They look up int8 rows ``(V, H)`` and one scale per row ``(V, 1)``.
    """
    table, ids, output = node.input[0], node.input[1], node.output[0]
    rows, scales = np.empty(weights.shape, np.int8), np.empty((len(weights), 1), np.float32)
    # In parts: a table is a model's largest tensor.
    for start in range(0, len(weights), _TABLE_ROWS):
        part = weights[start : start + _TABLE_ROWS]
        scale = np.abs(part).max(axis=1, keepdims=True) / 127
        scale[scale == 0] = 1
        rows[start : start + _TABLE_ROWS] = np.rint(part / scale)
        scales[start : start + _TABLE_ROWS] = scale
    tensors = (
        numpy_helper.from_array(rows, f"{table}_int8"),
        numpy_helper.from_array(scales, f"{table}_scale"),
    )
    nodes = (
        helper.make_node("Gather", [f"{table}_int8", ids], [f"{output}_int8"]),
        helper.make_node("Cast", [f"{output}_int8"], [f"{output}_float"], to=TensorProto.FLOAT),
        helper.make_node("Gather", [f"{table}_scale", ids], [f"{output}_scale"]),
        helper.make_node("Mul", [f"{output}_float", f"{output}_scale"], [output]),
    )
    return nodes, tensors
