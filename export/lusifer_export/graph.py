"""Model to ONNX: one graph ``(input_ids, attention_mask) -> embedding`` with everything inside."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from lusifer_training.model.lusifer import Lusifer

__all__ = ["INPUTS", "OUTPUT", "export_graph", "load_graph", "save_graph"]

INPUTS = ("input_ids", "attention_mask")
OUTPUT = "embedding"
OPSET = 20


def export_graph(model: Lusifer, path: Path) -> None:
    """Trace a model with merged LoRA into an fp32 graph of dynamic batch and length, and write it.

    Weights go from the model to ``NAME.data`` beside the graph one by one, without a copy of all in memory.

    Args:
        model: In eval mode, :meth:`Lusifer.merge_lora` done.
        path: Of the graph: inputs ``(B, T)`` int64, output ``(B, D)`` float32 unit vectors.
    """
    ids = torch.randint(5, 100, (2, 7))
    batch = torch.export.Dim("batch", min=1, max=4096)
    tokens = torch.export.Dim("tokens", min=2, max=model.config.maximum_tokens)
    shape = {0: batch, 1: tokens}
    # The exporter reports on optional packages (torchvision) and on its own deprecations, not on our model.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.onnx")
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        program = torch.onnx.export(
            model,
            (ids, torch.ones_like(ids)),
            input_names=list(INPUTS),
            output_names=["lusifer_output"],
            dynamic_shapes=(shape, shape),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    _rename_output(program.model.graph)
    program.save(path, external_data=True)


def save_graph(graph: onnx.ModelProto, path: Path) -> None:
    """Write the graph with its weights in one file beside it, ``NAME.data``: protobuf ends at 2 GB."""
    import onnx

    onnx.save(graph, path, save_as_external_data=True, location=path.name + ".data", size_threshold=1024)


def load_graph(path: Path) -> onnx.ModelProto:
    """Read a graph with its weights."""
    import onnx

    return onnx.load(path)


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
