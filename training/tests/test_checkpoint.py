"""Checkpoints, configurations and recipes: what was saved comes back, and what is wrong is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from lusifer_training.checkpoint import (
    load_checkpoint,
    save_checkpoint,
    trained_parameters,
)
from lusifer_training.config import ModelConfig, read_config, validated
from lusifer_training.errors import CheckpointError, ConfigError
from lusifer_training.recipe import Recipe, load_recipe
from lusifer_training.trainer.pipeline import interpolate

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))


def vectors(model: Any) -> torch.Tensor:
    ids = torch.randint(4, 320, (3, 11), generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        return model(ids, torch.ones_like(ids))


@pytest.fixture
def checkpoint(tiny: Any, tmp_path: Path) -> Path:
    return tiny.checkpoint(tmp_path / "checkpoint")


class TestRoundTrip:
    @pytest.mark.parametrize(
        ("encoder", "llm", "changes"),
        [
            ("bert", "llama", {}),
            ("xlm-roberta", None, {}),
            ("bert", "qwen2", {"encoder_layer_mix": True, "residual": False, "language_rank": 2}),
            ("bert", "mistral", {"encoder_lora": None, "llm_lora": None}),
        ],
        ids=["default", "encoder only", "mix and subspace", "no lora"],
    )
    def test_a_loaded_model_gives_the_saved_ones_vectors(
        self, tiny: Any, tmp_path: Path, encoder: str, llm: str | None, changes: dict[str, Any]
    ) -> None:
        config = tiny.config(encoder, llm, **changes)
        model = tiny.model(config)
        folder = save_checkpoint(model, tmp_path / "c", {"steps": 3})
        loaded = load_checkpoint(folder)
        torch.testing.assert_close(vectors(loaded), vectors(model), rtol=0, atol=1e-6)
        assert not loaded.training
        assert read_config(folder) == config

    def test_only_what_was_trained_is_saved(self, checkpoint: Path, tiny: Any) -> None:
        model = tiny.model()
        assert set(load_file(checkpoint / "adapter.safetensors")) == set(trained_parameters(model))
        assert sorted(path.name for path in checkpoint.iterdir()) == [
            "adapter.safetensors",
            "config.json",
            "training_report.json",
        ]
        report = json.loads((checkpoint / "training_report.json").read_text())
        assert report["steps"] == 0
        assert set(report["versions"]) == {"torch", "transformers", "peft"}

    def test_a_checkpoint_is_replaced_whole(self, tiny: Any, checkpoint: Path) -> None:
        (checkpoint / "left-over").touch()
        (checkpoint.parent / "checkpoint.new").mkdir()
        save_checkpoint(tiny.model(), checkpoint, {})
        assert not (checkpoint / "left-over").exists()
        assert [path.name for path in checkpoint.parent.iterdir()] == ["checkpoint"]


class TestDamage:
    def test_no_checkpoint(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="is not a checkpoint") as caught:
            load_checkpoint(tmp_path)
        assert "adapter.safetensors" in caught.value.next_step

    def test_a_config_that_is_no_json(self, checkpoint: Path) -> None:
        (checkpoint / "config.json").write_text("{")
        with pytest.raises(CheckpointError, match="is not a checkpoint"):
            load_checkpoint(checkpoint)

    def test_no_adapter(self, checkpoint: Path) -> None:
        (checkpoint / "adapter.safetensors").unlink()
        with pytest.raises(CheckpointError, match=r"adapter\.safetensors can't be read"):
            load_checkpoint(checkpoint)

    @pytest.mark.parametrize("keep", [0.0, 0.1, 0.9])
    def test_a_cut_adapter(self, checkpoint: Path, keep: float) -> None:
        path = checkpoint / "adapter.safetensors"
        whole = path.read_bytes()
        path.write_bytes(whole[: int(keep * len(whole))])
        with pytest.raises(CheckpointError, match="can't be read"):
            load_checkpoint(checkpoint)

    @pytest.mark.parametrize("damage", ["missing", "extra", "shape"])
    def test_an_adapter_of_another_model(self, checkpoint: Path, damage: str) -> None:
        path = checkpoint / "adapter.safetensors"
        tensors = load_file(path)
        if damage == "missing":
            del tensors["head.bias"]
        elif damage == "extra":
            tensors["head.extra"] = torch.zeros(1)
        else:
            tensors["head.bias"] = torch.zeros(7)
        save_file(tensors, path)
        name = "head.extra" if damage == "extra" else "head.bias"
        with pytest.raises(CheckpointError, match=f"1 tensors .* such as {name}"):
            load_checkpoint(checkpoint)

    def test_an_unknown_key_names_the_nearest(self, checkpoint: Path) -> None:
        path = checkpoint / "config.json"
        values = json.loads(path.read_text())
        values["poolin"] = values.pop("pooling")
        path.write_text(json.dumps(values))
        with pytest.raises(ConfigError, match="poolin: unknown key; did you mean 'pooling'"):
            load_checkpoint(checkpoint)


class TestConfigurations:
    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"llm_layer": 3}, r"llm_layer: unknown key; did you mean 'llm_layers'\?"),
            (
                {"encoder_lora": {"rnk": 3}},
                r"encoder_lora\.rnk: unknown key; did you mean 'rank'\?",
            ),
            ({"zzz": 1}, r"zzz: unknown key\."),
            ({"llm_layers": 0}, "llm_layers: Input should be greater than 0"),
            ({"pooling": "max"}, "pooling: Input should be 'mean' or 'last_token'"),
            ({"llm": None, "residual": False}, "a model without an LLM needs the residual path"),
        ],
    )
    def test_what_is_wrong_is_named(self, tiny: Any, change: dict[str, Any], problem: str) -> None:
        values = {**tiny.config().model_dump(mode="json"), **change}
        with pytest.raises(ConfigError, match=problem):
            validated(ModelConfig, values, where="here")

    def test_a_configuration_does_not_change(self, tiny: Any) -> None:
        with pytest.raises(ValueError, match="frozen"):
            tiny.config().llm_layers = 3


class TestRecipes:
    @pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
    def test_every_recipe_of_the_repository_loads(self, path: Path) -> None:
        recipe = load_recipe(path)
        assert recipe.model.name
        assert load_recipe(path) == recipe

    def test_there_are_recipes(self) -> None:
        assert CONFIGS

    @pytest.fixture
    def values(self) -> dict[str, Any]:
        values: dict[str, Any] = yaml.safe_load((CONFIGS[0].parent / "small.yaml").read_text())
        return values

    @pytest.mark.parametrize(
        ("at", "key", "near"),
        [
            ((), "interpolaton", "interpolation"),
            (("model",), "llm_layer", "llm_layers"),
            (("model", "encoder"), "fromat", "format"),
            (("finetune",), "step", "steps"),
            (("datasets", "medquad"), "schem", "schema"),
        ],
    )
    def test_an_unknown_key_names_the_nearest_of_its_level(
        self, tmp_path: Path, values: dict[str, Any], at: tuple[str, ...], key: str, near: str
    ) -> None:
        place = values
        for part in at:
            place = place[part]
        place[key] = 1
        path = tmp_path / "r.yaml"
        path.write_text(yaml.safe_dump(values))
        with pytest.raises(ConfigError, match=rf"{key}: unknown key; did you mean '{near}'\?"):
            load_recipe(path)

    def test_stage_1_needs_an_llm(self, values: dict[str, Any]) -> None:
        values["align"] = {"steps": 1, "batch_texts": 2, "learning_rate": 1e-3}
        del values["model"]["llm"]
        with pytest.raises(
            ConfigError, match=r"stage 1 .align. aligns with an LLM, and the model has none"
        ):
            validated(Recipe, values, where="here")

    @pytest.mark.parametrize(
        "shares", [{"interpolation": 0.5}, {"interpolation": 1.0, "head_interpolation": 0.5}]
    )
    def test_interpolation_needs_the_raw_encoder(
        self, values: dict[str, Any], shares: dict[str, float]
    ) -> None:
        values["model"]["residual"] = False
        values.update(shares)
        with pytest.raises(ConfigError, match=r"interpolation goes back to the raw encoder"):
            validated(Recipe, values, where="here")

    @pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe", b"- 1\n- 2\n", b""])
    def test_a_file_that_is_no_recipe(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "r.yaml"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=r"r\.yaml"):
            load_recipe(path)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="can't be read"):
            load_recipe(tmp_path / "gone.yaml")


class TestInterpolation:
    def test_nothing_kept_is_the_raw_encoder_and_all_the_trained_model(self, tiny: Any) -> None:
        raw, model = vectors(tiny.model(trained=False)), tiny.model()
        trained = vectors(model)
        interpolate(model, 1.0, 1.0)
        assert torch.equal(vectors(model), trained)
        interpolate(model, 0.0, 0.0)
        torch.testing.assert_close(vectors(model), raw, rtol=0, atol=1e-6)

    def test_half_lies_between(self, tiny: Any) -> None:
        raw, model = vectors(tiny.model(trained=False)), tiny.model()
        trained = vectors(model)
        interpolate(model, 0.5, 0.5)
        half = vectors(model)
        assert ((half * raw).sum(1) > (trained * raw).sum(1)).all()

    def test_without_the_head_the_trained_encoder_is_left(self, tiny: Any) -> None:
        model, other, raw = tiny.model(), tiny.model(), vectors(tiny.model(trained=False))
        interpolate(model, 1.0, 0.0)
        with torch.no_grad():
            other.head.weight.zero_()
            other.head.bias.zero_()
        assert torch.equal(vectors(model), vectors(other))
        assert (vectors(model) - raw).abs().max() > 1e-4


def test_backbones_that_moved_are_named(tiny: Any, tmp_path: Path) -> None:
    from lusifer_training.config import BackboneSource
    from lusifer_training.errors import MissingBackboneError

    copy = shutil.copytree(tiny.encoder_folder("bert"), tmp_path / "encoder")
    source = BackboneSource(location=f"folder:{copy}", format="huggingface")
    config = tiny.config().model_copy(update={"encoder": source})
    folder = tiny.checkpoint(tmp_path / "c", config)
    shutil.rmtree(copy)
    with pytest.raises(MissingBackboneError, match="There is no folder"):
        load_checkpoint(folder)
