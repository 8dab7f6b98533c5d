"""Weights of a graph, one at a time: never a second copy of all of them in memory.

A model of 7 billion parameters takes 28 GB in fp32. So its weights stay in the checkpoint's files,
mapped into memory and in the precision they were stored in. One tensor at a time is converted to
fp32, merged with LoRA, transposed, converted to the target precision and written.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeAlias, cast

import torch
from onnx import TensorProto, numpy_helper
from onnx.external_data_helper import load_external_data_for_tensor, set_external_data
from peft.tuners.lora import LoraLayer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np
    import onnx
    from numpy.typing import NDArray
    from torch import Tensor, nn

__all__ = [
    "GEOMETRY",
    "SHARD_BYTES",
    "TRANSPOSED",
    "WeightStore",
    "fp32_arithmetic",
    "is_geometry",
    "merged_weights",
    "read_beside",
]

SHARD_BYTES = 2 * 10**9
"""Largest size of one file of weights: some file systems and tools end at 2 GiB."""
TRANSPOSED = ".transposed"
"""Suffix of the name of a graph's weight that is the transpose of the model's."""
GEOMETRY = frozenset({"centre", "language_basis"})
"""Names of the graph's weights of the geometry, which stay in fp32: after the centre is subtracted,
what is left of a vector is half as long, so that each rounding would count twice."""
_INLINE_BYTES = 1024
"""Size below which a weight stays in the graph."""
_HALF = (torch.float16, torch.bfloat16)
_Stored: TypeAlias = "dict[nn.Parameter, Tensor]"


class _Adapter(Protocol):
    """The layers of PEFT with LoRA; their base class lacks ``get_delta_weight``."""

    active_adapters: list[str]

    def get_delta_weight(self, adapter: str) -> Tensor:
        """Return what LoRA adds to the weights."""
        ...


class WeightStore:
    """Reads weights from their source and writes them beside a graph, in shards.

    Args:
        read: Returns the numbers of a tensor that has none inside; they are not kept.
        path: Path of the graph to write; weights go to ``NAME.data``, ``NAME.data.1`` and so on.
        shard_bytes: Largest size of one file, unless a single tensor is larger.
    """

    def __init__(
        self,
        read: Callable[[TensorProto], NDArray[np.generic]],
        path: Path,
        *,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        self._read = read
        self._path = path
        self._shard_bytes = shard_bytes
        self._shard = 0
        self._used_bytes = 0
        self._written: set[str] = set()

    def array(self, tensor: TensorProto) -> NDArray[np.generic]:
        """Return the numbers of a tensor, from inside it or from their source."""
        if tensor.data_location == TensorProto.EXTERNAL:
            return self._read(tensor)
        return numpy_helper.to_array(tensor)

    def put(self, tensor: TensorProto) -> TensorProto:
        """Write a tensor's numbers; return another tensor that refers to their place."""
        content = tensor.raw_data
        self._written.add(tensor.name)
        written = TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
        if len(content) < _INLINE_BYTES:
            written.raw_data = content
            return written
        if self._used_bytes and self._used_bytes + len(content) > self._shard_bytes:
            self._shard, self._used_bytes = self._shard + 1, 0
        name = f"{self._path.name}.data" + (f".{self._shard}" if self._shard else "")
        with (self._path.parent / name).open("r+b" if self._used_bytes else "wb") as file:
            file.seek(self._used_bytes)
            file.write(content)
        # A new tensor: protobuf frees nothing of a message while a part of it is in use, so a
        # cleared field would keep the numbers. The place can only be set while raw_data has a
        # value.
        written.raw_data = b""
        set_external_data(written, name, offset=self._used_bytes, length=len(content))
        written.ClearField("raw_data")
        self._used_bytes += len(content)
        return written

    def save(self, model: onnx.ModelProto) -> None:
        """Write the weights that were not put yet as they are, then the graph."""
        for tensor in model.graph.initializer:
            if tensor.name in self._written:
                continue
            # Numbers in typed fields become raw, like those that were read.
            tensor.CopyFrom(self.put(numpy_helper.from_array(self.array(tensor), tensor.name)))
        self._path.write_bytes(model.SerializeToString())


def is_geometry(name: str) -> bool:
    """Say whether a weight of a graph, transposed or not, belongs to the geometry."""
    return name.removesuffix(TRANSPOSED) in GEOMETRY


def read_beside(folder: Path) -> Callable[[TensorProto], NDArray[np.generic]]:
    """Return a reader of the weights that lie beside a graph in a folder."""

    def read(tensor: TensorProto) -> NDArray[np.generic]:
        loaded = TensorProto()
        loaded.CopyFrom(tensor)
        load_external_data_for_tensor(loaded, str(folder))
        return numpy_helper.to_array(loaded)

    return read


def merged_weights(model: nn.Module) -> dict[str, Callable[[], Tensor]]:
    """Return a reader of each weight and buffer by name, in fp32 with its LoRA merged.

    Names are those after :meth:`Lusifer.merge_lora`. That method itself would change mapped
    weights, and so copy them.
    """
    found: dict[str, Callable[[], Tensor]] = {}
    adapted: list[str] = []
    for path, module in model.named_modules():
        if any(path.startswith(each) for each in adapted):
            continue
        if isinstance(module, LoraLayer):
            adapted.append(f"{path}.")
            base = module.get_base_layer()
            for name, value in base.named_parameters():
                found[f"{_plain(path)}.{name}"] = _reader(
                    value, cast("_Adapter", module) if name == "weight" else None
                )
            continue
        own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        for name, value in own:
            found[f"{_plain(path)}.{name}".removeprefix(".")] = _reader(value, None)
    return found


def _plain(path: str) -> str:
    """Return a module's path as it is without PEFT."""
    return path.replace("base_model.model.", "")


def _reader(value: Tensor, adapter: _Adapter | None) -> Callable[[], Tensor]:
    def read() -> Tensor:
        with torch.inference_mode():
            weights = value.detach().float() if value.is_floating_point() else value.detach()
            if adapter is not None:
                for name in adapter.active_adapters:
                    weights = weights + adapter.get_delta_weight(name).float()
            return weights

    return read


@contextmanager
def fp32_arithmetic(model: nn.Module) -> Iterator[None]:
    """Compute in fp32 within the block, also in modules with weights in half precision.

    Such a module's weights are converted to fp32 when it is called and dropped after the call.
    """
    handles = []
    for module in model.modules():
        stored = {
            value: value.data for value in module.parameters(recurse=False) if value.dtype in _HALF
        }
        if not stored:
            continue

        def widen(module: nn.Module, inputs: object, stored: _Stored = stored) -> None:
            for value, data in stored.items():
                value.data = data.float()

        def narrow(
            module: nn.Module, inputs: object, output: object, stored: _Stored = stored
        ) -> None:
            for value, data in stored.items():
                value.data = data

        handles += [module.register_forward_pre_hook(widen), module.register_forward_hook(narrow)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
