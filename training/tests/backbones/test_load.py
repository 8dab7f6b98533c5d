"""Backbones are loaded whole, or refused with the fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lusifer_training.backbones.load import (
    load_encoder,
    load_llm,
    load_llm_tokenizer,
    load_tokenizer,
)
from lusifer_training.backbones.source import locate
from lusifer_training.config import BackboneSource
from lusifer_training.errors import MissingBackboneError, WrongHashError, WrongLayoutError
from lusifer_training.recipe import load_recipe

CONFIGS = Path(__file__).parents[2] / "configs"


def folder_source(folder: Path, **fields: Any) -> BackboneSource:
    return BackboneSource(**{"location": f"folder:{folder}", "format": "huggingface", **fields})


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
