"""Weights of a graph, one at a time: never a second copy of all of them in memory.

A model of 7 billion parameters is 28 GB in fp32. So its weights stay where the checkpoint has them,
mapped into memory and in the precision they were stored in. Tensor by tensor they are brought to
fp32, merged with LoRA, transposed, lowered and written.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from onnx import TensorProto, numpy_helper
from onnx.external_data_helper import load_external_data_for_tensor, set_external_data
from peft.tuners.lora import LoraLayer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray
    from torch import Tensor, nn

__all__ = [
    "SHARD_BYTES",
    "TRANSPOSED",
    "WeightStore",
    "fp32_arithmetic",
    "merged_weights",
    "read_beside",
]

SHARD_BYTES = 2 * 10**9
"""Of one file of weights: some file systems and tools end at 2 GiB."""
TRANSPOSED = ".transposed"
"""Ends the name of a graph's weight that is the transpose of the model's."""
_INLINE_BYTES = 1024
"""Smaller ones stay in the graph."""
_HALF = (torch.float16, torch.bfloat16)


class WeightStore:
    """Reads weights from where they lie and writes them beside a graph, in shards.

    Args:
        read: The weights of a tensor that has none inside; they are kept nowhere.
        path: Of the graph that will be written; weights go to ``NAME.data``, ``NAME.data.1`` and so
            on.
        shard_bytes: Most of one file, unless a single tensor is larger.
    """

    def __init__(
        self,
        read: Callable[[TensorProto], NDArray[Any]],
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

    def array(self, tensor: TensorProto) -> NDArray[Any]:
        """The numbers of a tensor, wherever they are."""
        if tensor.data_location == TensorProto.EXTERNAL:
            return self._read(tensor)
        return numpy_helper.to_array(tensor)

    def put(self, tensor: TensorProto) -> TensorProto:
        """Write a tensor's numbers; what comes back is another tensor, which says where they are."""
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
        # Protobuf frees nothing of a message as long as any part of it is in use, so a cleared
        # field, or a node beside it, would keep the numbers. It sets the place of a tensor that has
        # some.
        written.raw_data = b""
        set_external_data(written, name, offset=self._used_bytes, length=len(content))
        written.ClearField("raw_data")
        self._used_bytes += len(content)
        return written

    def save(self, model: onnx.ModelProto) -> None:
        """Write what wasn't put yet as it is, and then the graph."""
        for tensor in model.graph.initializer:
            if tensor.name in self._written:
                continue
            # Numbers given in typed fields become raw, as those read are.
            tensor.CopyFrom(self.put(numpy_helper.from_array(self.array(tensor), tensor.name)))
        self._path.write_bytes(model.SerializeToString())


def read_beside(folder: Path) -> Callable[[TensorProto], NDArray[Any]]:
    """Reads weights that lie beside a graph in a folder."""

    def read(tensor: TensorProto) -> NDArray[Any]:
        loaded = TensorProto()
        loaded.CopyFrom(tensor)
        load_external_data_for_tensor(loaded, str(folder))
        return numpy_helper.to_array(loaded)

    return read


def merged_weights(model: nn.Module) -> dict[str, Callable[[], Tensor]]:
    """By name, what gives each weight and buffer of a model in fp32 with its LoRA merged.

    Names are those after :meth:`Lusifer.merge_lora`, which would change, and so copy, mapped
    weights.
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
                    value, module if name == "weight" else None
                )
            continue
        own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        for name, value in own:
            found[f"{_plain(path)}.{name}".removeprefix(".")] = _reader(value, None)
    return found


def _plain(path: str) -> str:
    """A module's path as it is without PEFT."""
    return path.replace("base_model.model.", "")


def _reader(value: Tensor, adapter: Any) -> Callable[[], Tensor]:
    def read() -> Tensor:
        with torch.inference_mode():
            weights = value.detach().float() if value.is_floating_point() else value.detach()
            for name in adapter.active_adapters if adapter is not None else ():
                weights = weights + adapter.get_delta_weight(name).float()
            return weights

    return read


@contextmanager
def fp32_arithmetic(model: nn.Module) -> Iterator[None]:
    """Within the block, modules whose weights are stored in half precision compute in fp32.

    A module's weights are brought to fp32 when it is called and dropped after it.
    """
    handles = []
    for module in model.modules():
        stored = {
            value: value.data for value in module.parameters(recurse=False) if value.dtype in _HALF
        }
        if not stored:
            continue

        def widen(module: nn.Module, inputs: object, stored: dict[Any, Tensor] = stored) -> None:
            for value, data in stored.items():
                value.data = data.float()

        def narrow(
            module: nn.Module, inputs: object, output: object, stored: dict[Any, Tensor] = stored
        ) -> None:
            for value, data in stored.items():
                value.data = data

        handles += [module.register_forward_pre_hook(widen), module.register_forward_hook(narrow)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
