from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from export.tests.helpers import change_config
from safetensors.torch import load_file, save_file

from lusifer_export.fingerprint import checkpoint_fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable


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
        lambda values: values["encoder"].update(location="folder:/elsewhere"),
        lambda values: values["tokenizer"].update(sha256="0" * 64),
        lambda values: values.update(llm=None, llm_lora=None),
        lambda values: values.update(centre_share=0.7),
    ],
    ids=range(11),
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
