"""Export a model to ONNX: one graph ``(input_ids, attention_mask) -> embedding``."""

from __future__ import annotations

import copy
import logging
import warnings
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from onnx import TensorProto

from lusifer.engines.graph import INPUTS, OUTPUT
from lusifer_export.weights import TRANSPOSED, WeightStore, merged_weights, read_beside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import onnx
    import onnx_ir
    from numpy.typing import NDArray

    from lusifer_training.model.lusifer import Lusifer

__all__ = [
    "export_graph",
    "load_graph",
    "save_graph",
    "trace_graph",
    "weight_reader",
]

OPSET = 20


def export_graph(model: Lusifer, path: Path) -> None:
    """Trace a model into an fp32 graph of dynamic batch and length, and write it.

    Args:
        model: Model in eval mode, with or without LoRA.
        path: Path of the graph. Its inputs are ``(B, T)`` int64, its output is float32 unit vectors
            ``(B, D)``.
    """
    WeightStore(weight_reader(model), path).save(trace_graph(model))


def trace_graph(model: Lusifer) -> onnx.ModelProto:
    """Return the fp32 graph of a model, LoRA merged, with shapes and names in place of its weights.

    The trace runs on a copy of the model without numbers, so that no weights are copied.
    :func:`weight_reader` reads the weights.
    """
    twin = _copy_without_numbers(model)
    ids = torch.zeros((2, 7), dtype=torch.int64, device="meta")
    batch = torch.export.Dim("batch", min=1, max=4096)
    tokens = torch.export.Dim("tokens", min=2, max=model.config.maximum_tokens)
    shape = {0: batch, 1: tokens}
    # The exporter warns about optional packages (torchvision) and its own deprecations, not about
    # our model.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    # It also reports weights without numbers, which are intended here.
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.onnx")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        exported = torch.onnx.export(
            twin,
            (ids, torch.ones_like(ids)),
            input_names=list(INPUTS),
            output_names=["lusifer_output"],
            dynamic_shapes=(shape, shape),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            # Optimized below, when weights are no constants to it: it would transpose each.
            optimize=False,
        )
        # With dynamo=True it always returns a program.
        program = cast("torch.onnx.ONNXProgram", exported)
        graph = program.model.graph
        named = dict(twin.named_parameters()) | dict(twin.named_buffers())
        weights = {name: graph.initializers[name] for name in named if name in graph.initializers}
        for value in weights.values():
            value.const_value = None
        program.optimize()
    _rename_output(graph)
    used = [
        value for name, value in weights.items() if graph.initializers.pop(name, None) is not None
    ]
    proto = program.model_proto
    proto.graph.initializer.extend(map(_placeholder_of, used))
    _name_transposes(proto.graph)
    return proto


def weight_reader(model: Lusifer) -> Callable[[TensorProto], NDArray[np.generic]]:
    """Return a reader of the weights of :func:`trace_graph`'s graph, one at a time, in fp32."""
    weights = merged_weights(model)

    def read(tensor: TensorProto) -> NDArray[np.generic]:
        name = tensor.name.removesuffix(TRANSPOSED)
        array: NDArray[np.generic] = weights[name]().numpy()
        return np.ascontiguousarray(array.T) if name != tensor.name else array

    return read


def _copy_without_numbers(model: Lusifer) -> Lusifer:
    """Return a copy of the model that has shapes only, with LoRA merged."""
    known: dict[int, object] = {}
    for value in (*model.parameters(), *model.buffers()):
        dtype = torch.float32 if value.is_floating_point() else value.dtype
        empty = torch.empty(value.shape, dtype=dtype, device="meta")
        is_parameter = isinstance(value, torch.nn.Parameter)
        # deepcopy takes the values of this dictionary for copies that exist.
        known[id(value)] = torch.nn.Parameter(empty, requires_grad=False) if is_parameter else empty
    twin = copy.deepcopy(model, known)
    twin.merge_lora()
    return twin


def _placeholder_of(value: onnx_ir.Value) -> TensorProto:
    if value.name is None or value.shape is None or value.dtype is None:
        raise ValueError(f"the weight {value.name} has no shape or no type")
    return _placeholder(value.name, value.shape.numpy(), value.dtype)


def _placeholder(name: str, shape: Iterable[int], kind: int) -> TensorProto:
    return TensorProto(
        name=name,
        dims=list(shape),
        data_type=int(kind),
        data_location=TensorProto.EXTERNAL,
    )


def _name_transposes(graph: onnx.GraphProto) -> None:
    """Replace each transpose of a weight by a weight whose name ends in :data:`TRANSPOSED`."""
    weights = {each.name: each for each in graph.initializer}
    kept = []
    renamed: dict[str, str] = {}
    for node in graph.node:
        weight = weights.get(node.input[0]) if node.op_type == "Transpose" else None
        if weight is None or len(weight.dims) != 2:
            kept.append(node)
            continue
        name = weight.name + TRANSPOSED
        renamed[node.output[0]] = name
        if name not in weights:
            weights[name] = _placeholder(name, reversed(weight.dims), weight.data_type)
    for node in kept:
        for index, name in enumerate(node.input):
            node.input[index] = renamed.get(name, name)
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    del graph.initializer[:]
    graph.initializer.extend(each for name, each in weights.items() if name in used)


def save_graph(graph: onnx.ModelProto, path: Path) -> None:
    """Write a graph that contains its weights, with the weights in files beside it."""
    WeightStore(read_beside(path.parent), path).save(graph)


def load_graph(path: Path) -> onnx.ModelProto:
    """Read a graph without the weights beside it; :func:`read_beside` reads those."""
    import onnx

    return onnx.load(path, load_external_data=False)


def _rename_output(graph: onnx_ir.Graph) -> None:
    """Rename the output to ``embedding``.

    The exporter gives that name to the token lookup, and does not notice the clash.
    """
    values = [value for node in graph for value in node.outputs]
    taken = {value.name for value in (*values, *graph.inputs, *graph.initializers.values())}
    for value in values:
        if value.name == OUTPUT:
            value.name = _free_name("token_embedding", taken)
    graph.outputs[0].name = OUTPUT


def _free_name(wish: str, taken: set[str | None]) -> str:
    name = wish
    while name in taken:
        name += "_"
    return name
