"""Model to ONNX: one graph ``(input_ids, attention_mask) -> embedding`` with everything inside."""

from __future__ import annotations

import copy
import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from onnx import TensorProto

from lusifer_export.weights import TRANSPOSED, WeightStore, merged_weights, read_beside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from lusifer_training.model.lusifer import Lusifer

__all__ = [
    "INPUTS",
    "OUTPUT",
    "export_graph",
    "load_graph",
    "save_graph",
    "trace_graph",
    "weight_reader",
]

INPUTS = ("input_ids", "attention_mask")
OUTPUT = "embedding"
OPSET = 20


def export_graph(model: Lusifer, path: Path) -> None:
    """Trace a model into an fp32 graph of dynamic batch and length, and write it.

    Args:
        model: In eval mode, with or without LoRA.
        path: Of the graph: inputs ``(B, T)`` int64, output ``(B, D)`` float32 unit vectors.
    """
    WeightStore(weight_reader(model), path).save(trace_graph(model))


def trace_graph(model: Lusifer) -> onnx.ModelProto:
    """The fp32 graph of a model, LoRA merged, with shapes and names in place of its weights.

    Traced is a twin of the model that has no numbers, so that nothing is copied.
    :func:`weight_reader` gives the weights.
    """
    twin = _twin(model)
    ids = torch.zeros((2, 7), dtype=torch.int64, device="meta")
    batch = torch.export.Dim("batch", min=1, max=4096)
    tokens = torch.export.Dim("tokens", min=2, max=model.config.maximum_tokens)
    shape = {0: batch, 1: tokens}
    # The exporter reports on optional packages (torchvision) and on its own deprecations, not on
    # our model.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    # Weights without numbers are what we want.
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.onnx")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        program = torch.onnx.export(
            twin,
            (ids, torch.ones_like(ids)),
            input_names=list(INPUTS),
            output_names=["lusifer_output"],
            dynamic_shapes=(shape, shape),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            # Below, once weights are no constants to it: it would transpose each.
            optimize=False,
        )
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
    proto.graph.initializer.extend(
        _placeholder(value.name, value.shape, value.dtype) for value in used
    )
    _name_transposes(proto.graph)
    return proto


def weight_reader(model: Lusifer) -> Callable[[TensorProto], NDArray[Any]]:
    """Gives the weights of :func:`trace_graph`'s graph one at a time, in fp32."""
    weights = merged_weights(model)

    def read(tensor: TensorProto) -> NDArray[Any]:
        name = tensor.name.removesuffix(TRANSPOSED)
        array: NDArray[Any] = weights[name]().numpy()
        return np.ascontiguousarray(array.T) if name != tensor.name else array

    return read


def _twin(model: Lusifer) -> Lusifer:
    """A copy of shapes only, LoRA merged."""
    known: dict[int, Any] = {}
    for value in (*model.parameters(), *model.buffers()):
        dtype = torch.float32 if value.is_floating_point() else value.dtype
        empty = torch.empty(value.shape, dtype=dtype, device="meta")
        is_parameter = isinstance(value, torch.nn.Parameter)
        # What deepcopy finds here it takes for the copy.
        known[id(value)] = torch.nn.Parameter(empty, requires_grad=False) if is_parameter else empty
    twin = copy.deepcopy(model, known)
    twin.merge_lora()
    return twin


def _placeholder(name: str, shape: Iterable[int], kind: int) -> TensorProto:
    return TensorProto(
        name=name,
        dims=[int(each) for each in shape],
        data_type=int(kind),
        data_location=TensorProto.EXTERNAL,
    )


def _name_transposes(graph: onnx.GraphProto) -> None:
    """Replace each transpose of a weight by a weight with a name that says so."""
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
    """Write a graph whose weights are inside it, with these in files beside it."""
    WeightStore(read_beside(path.parent), path).save(graph)


def load_graph(path: Path) -> onnx.ModelProto:
    """Read a graph without the weights beside it; :func:`read_beside` gives them."""
    import onnx

    return onnx.load(path, load_external_data=False)


def _rename_output(graph: Any) -> None:
    """Call the output ``embedding``; the exporter names the token lookup so and doesn't see the clash."""
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
