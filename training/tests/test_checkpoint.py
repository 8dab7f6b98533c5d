"""Checkpoints: saved, loaded, damaged."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lusifer_training.checkpoint import (
    load_checkpoint,
    save_checkpoint,
    trained_parameters,
)
from lusifer_training.config import read_config
from lusifer_training.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from pathlib import Path


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
            ("bert", None, {"centre_share": 0.5, "language_rank": 2}),
            ("bert", None, {"centre_share": 0.5}),
        ],
        ids=["default", "encoder only", "mix and subspace", "no lora", "geometry", "centre"],
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
