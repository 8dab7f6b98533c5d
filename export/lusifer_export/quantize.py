"""int8 weights: a quarter of the size, and still one vector per text.

Dynamic int8 has one activation scale for a whole batch, so a text's vector moves with its neighbours. Here
only weights are int8: matrix products dequantise blocks of 32, the token table has one scale per row.
Activations stay fp32, so a vector depends on its own text only.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    import onnx

__all__ = ["quantize_weights"]

BLOCK = 32
"""Weights that share a scale; the blocks of Q4_0, in which the default encoder comes."""


def quantize_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with int8 matrices and an int8 token table."""
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        DefaultWeightOnlyQuantConfig,
        MatMulNBitsQuantizer,
    )

    _quantize_token_table(model)
    logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer").setLevel(logging.WARNING)
    quantizer = MatMulNBitsQuantizer(
        model,
        algo_config=DefaultWeightOnlyQuantConfig(
            block_size=BLOCK, is_symmetric=True, bits=8, op_types_to_quantize=("MatMul",)
        ),
    )
    quantizer.process()
    return quantizer.model.model


def _quantize_token_table(model: onnx.ModelProto) -> None:
    """Replace the largest table lookup by int8 rows and a scale per row: ``(V, H)`` int8, ``(V, 1)`` fp32."""
    graph = model.graph
    tables = {each.name: each for each in graph.initializer}
    lookups = [node for node in graph.node if node.op_type == "Gather" and node.input[0] in tables]
    node = max(lookups, key=lambda each: int(np.prod(tables[each.input[0]].dims)))
    table, ids, output = tables[node.input[0]], node.input[1], node.output[0]
    weights = numpy_helper.to_array(table)
    scales = np.abs(weights).max(axis=1, keepdims=True) / 127
    scales[scales == 0] = 1
    rows = np.rint(weights / scales).astype(np.int8)
    graph.initializer.remove(table)
    graph.initializer.append(numpy_helper.from_array(rows, f"{table.name}_int8"))
    graph.initializer.append(numpy_helper.from_array(scales.astype(np.float32), f"{table.name}_scale"))
    position = list(graph.node).index(node)
    graph.node.remove(node)
    replacement = (
        helper.make_node("Gather", [f"{table.name}_int8", ids], [f"{output}_int8"]),
        helper.make_node("Cast", [f"{output}_int8"], [f"{output}_float"], to=TensorProto.FLOAT),
        helper.make_node("Gather", [f"{table.name}_scale", ids], [f"{output}_scale"]),
        helper.make_node("Mul", [f"{output}_float", f"{output}_scale"], [output]),
    )
    for offset, each in enumerate(replacement):
        graph.node.insert(position + offset, each)
