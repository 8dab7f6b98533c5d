"""int8 and int4 weights: a quarter of the size and less, and still one vector per text.

The usual dynamic int8 has one activation scale for a whole batch, so a text's vector moves with its
neighbours. Here every scale belongs to a block of one row or of the weights: matrix products
(``MatMulNBits``) have blocks along the inner dimension, the token table has one scale per row. A vector
depends on its own text only.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    import onnx

__all__ = ["QUANTIZED", "quantize_weights"]


@dataclass(frozen=True)
class _Blocks:
    bits: int
    size: int
    """Weights along the inner dimension that share a scale."""
    integer_products: bool
    """Round activations to int8 too, each row in blocks of the same size, and multiply integers. Without,
    weights are brought to fp32 anew at each call, which costs more than the products of a short text."""


QUANTIZED = {
    # 32 are the blocks of Q4_0, in which the default encoder comes.
    "int8": _Blocks(8, 32, integer_products=False),
    # Larger blocks apply fewer scales in the innermost loop; 128 would pad the default LLM's 576.
    "int8-dynamic": _Blocks(8, 64, integer_products=True),
    "int4": _Blocks(4, 32, integer_products=True),
}


def quantize_weights(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """The graph with int8 or int4 matrices and an int8 token table.

    Args:
        model: In fp32; changed.
        precision: A key of :data:`QUANTIZED`.
    """
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        DefaultWeightOnlyQuantConfig,
        MatMulNBitsQuantizer,
    )

    blocks = QUANTIZED[precision]
    _quantize_token_table(model)
    logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer").setLevel(logging.WARNING)
    quantizer = MatMulNBitsQuantizer(
        model,
        algo_config=DefaultWeightOnlyQuantConfig(
            block_size=blocks.size,
            is_symmetric=True,
            bits=blocks.bits,
            op_types_to_quantize=("MatMul",),
            # The operator's own number for int8 activations.
            accuracy_level=4 if blocks.integer_products else None,
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
